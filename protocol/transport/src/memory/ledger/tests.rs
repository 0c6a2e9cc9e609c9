use std::task::Waker;

use proptest::prelude::*;

use super::*;

const ACK_WAIT: Duration = Duration::from_secs(30);

fn ledger() -> Ledger {
    Ledger::new(ACK_WAIT, Dedupe::new(Duration::from_secs(120), 1_000))
}

fn take(ledger: &mut Ledger, seat: usize) -> Option<Taken> {
    match ledger.poll_take(seat, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready((taken, _)) => Some(taken),
        Poll::Pending => None,
    }
}

fn push(ledger: &mut Ledger, now: Instant, text: &'static str) {
    ledger.push(now, "", Bytes::from_static(text.as_bytes()));
}

#[test]
fn consumers_are_served_in_turns() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let (a, b) = (ledger.sit(), ledger.sit());
    ledger.want(a, 4);
    ledger.want(b, 4);
    for _ in 0..4 {
        push(&mut ledger, now, "x");
    }
    ledger.serve(now);
    let count = |ledger: &mut Ledger, seat| std::iter::from_fn(|| take(ledger, seat)).count();
    assert_eq!((count(&mut ledger, a), count(&mut ledger, b)), (2, 2));
}

#[test]
fn what_lay_with_a_consumer_beyond_its_time_goes_to_another_and_is_wanted_anew() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let (slow, other) = (ledger.sit(), ledger.sit());
    ledger.want(slow, 1);
    push(&mut ledger, now, "x");
    ledger.serve(now);
    ledger.want(other, 1);
    ledger.expire(now + ACK_WAIT);
    ledger.serve(now + ACK_WAIT);
    assert_eq!(take(&mut ledger, slow), None);
    assert_eq!(take(&mut ledger, other).map(|taken| taken.deliveries), Some(2));
    push(&mut ledger, now, "y");
    ledger.serve(now + ACK_WAIT);
    assert!(take(&mut ledger, slow).is_some());
}

#[test]
fn settled_deadlines_do_not_pile_up_behind_one_that_is_not() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let seat = ledger.sit();
    ledger.want(seat, u32::MAX);
    push(&mut ledger, now, "kept");
    for _ in 0..100_000 {
        push(&mut ledger, now, "x");
        ledger.serve(now);
    }
    while let Some(taken) = take(&mut ledger, seat) {
        if taken.seq != 0 {
            ledger.ack(taken.seq);
        }
    }
    assert_eq!(ledger.state(), QueueState { messages: 1, unacknowledged: 1 });
    assert!(ledger.deadlines.len() <= STALE_DEADLINES + 2, "{}", ledger.deadlines.len());
    assert_eq!(ledger.next_deadline(), Some(now + ACK_WAIT));
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Want(usize, u32),
    Take(usize),
    Ack(usize),
    Nack(usize, u64),
    Leave(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Push),
        2 => (0..3_usize, 0..4_u32).prop_map(|(seat, n)| Step::Want(seat, n)),
        4 => (0..3_usize).prop_map(Step::Take),
        3 => (0..8_usize).prop_map(Step::Ack),
        1 => (0..8_usize, 0..40_u64).prop_map(|(n, after)| Step::Nack(n, after)),
        1 => (0..3_usize).prop_map(Step::Leave),
        2 => (0..40_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever consumers do, every message is acknowledged or still to be had.
    #[test]
    fn no_message_is_lost_and_counts_add_up(steps in prop::collection::vec(step(), 0..200)) {
        let (mut ledger, mut now) = (ledger(), Instant::now());
        let mut seats = [ledger.sit(), ledger.sit(), ledger.sit()];
        let mut held: Vec<Taken> = Vec::new();
        let (mut pushed, mut acked) = (0_u64, std::collections::BTreeSet::new());
        for step in steps {
            match step {
                Step::Push => {
                    push(&mut ledger, now, "x");
                    pushed += 1;
                }
                Step::Want(seat, more) => ledger.want(seats[seat], more),
                Step::Take(seat) => held.extend(take(&mut ledger, seats[seat])),
                Step::Ack(n) if !held.is_empty() => {
                    let taken = held.swap_remove(n % held.len());
                    ledger.ack(taken.seq);
                    acked.insert(taken.seq);
                }
                Step::Nack(n, after) if !held.is_empty() => {
                    let taken = held.swap_remove(n % held.len());
                    let at = (after > 0).then(|| now + Duration::from_secs(after));
                    ledger.nack(taken, at);
                }
                Step::Ack(_) | Step::Nack(..) => {}
                Step::Leave(seat) => {
                    ledger.leave(seats[seat]);
                    seats[seat] = ledger.sit();
                }
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
            }
            ledger.expire(now);
            ledger.serve(now);
            let state = ledger.state();
            prop_assert_eq!(state.messages + acked.len() as u64, pushed);
            prop_assert!(state.unacknowledged <= state.messages);
        }
        for seat in seats {
            ledger.leave(seat);
        }
        let last = ledger.sit();
        ledger.want(last, u32::MAX);
        now += Duration::from_secs(100);
        ledger.expire(now);
        ledger.serve(now);
        while let Some(taken) = take(&mut ledger, last) {
            ledger.ack(taken.seq);
            prop_assert!(acked.insert(taken.seq), "{taken:?} came back after its acknowledgement");
        }
        prop_assert_eq!(acked.len() as u64, pushed);
        prop_assert_eq!(ledger.state(), QueueState::default());
        prop_assert_eq!(ledger.bytes(), 0);
    }
}
