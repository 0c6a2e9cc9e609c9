use std::collections::HashMap;
use std::num::NonZeroU32;

use proptest::prelude::*;
use visor_protocol::ids::{Attempt, RunId};

use super::*;
use crate::config::fleet::Key;

const START: Timestamp = Timestamp::from_micros(1_000_000_000);
const UNCLAIMED: Duration = Duration::from_secs(2);

fn ticket(seq: u32) -> Ticket {
    let run = RunId::from_bytes([7; 16]);
    Ticket { job: JobId { run, seq }, attempt: Attempt::FIRST }
}

fn waiting(seq: u32, channel: &str) -> Waiting {
    Waiting {
        ticket: ticket(seq),
        pool: PoolName::default_pool(),
        priority: Priority::Normal,
        key: JobKey {
            channel: ChannelId::new(channel).unwrap(),
            provider: "command",
            credential: None,
        },
        weight: 1,
        since: START,
    }
}

fn capacity(slots: u32) -> Event {
    let pool = PoolName::default_pool();
    Event::Capacity(vec![PoolCapacity { pool, slots, ready: 1, not_ready: 0 }])
}

fn admitted(effects: &[Effect]) -> Vec<u32> {
    effects.iter().map(|Effect::Admit(ticket, _)| ticket.job.seq).collect()
}

fn rule(per_second: u32, burst: u32, each: Vec<Key>) -> LimitRule {
    LimitRule {
        name: "calls".into(),
        provider: Some("command".into()),
        credential: None,
        channel: None,
        each,
        every: Duration::from_secs(1) / per_second,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

#[test]
fn no_more_is_handed_over_than_there_are_slots() {
    let mut core = Core::new(&[], UNCLAIMED);
    core.apply(START, capacity(2));
    for seq in 0..5 {
        core.apply(START, Event::Submit(waiting(seq, "a")));
    }
    assert_eq!(core.pools()[0].in_flight, 2);
    let ran = Some(Duration::from_secs(1));
    let effects = core.apply(START, Event::Released(vec![(ticket(0), ran)]));
    assert_eq!(admitted(&effects), [2]);
}

#[test]
fn jobs_wait_while_no_worker_is_there() {
    let mut core = Core::new(&[], UNCLAIMED);
    assert!(core.apply(START, Event::Submit(waiting(0, "a"))).is_empty());
    let info = core.explain(ticket(0).job).unwrap();
    assert_eq!((info.ready_workers, info.place, info.handed_over), (0, 1, false));
    assert_eq!(admitted(&core.apply(START, capacity(1))), [0]);
    assert!(core.explain(ticket(0).job).unwrap().handed_over);
}

#[test]
fn a_job_that_lost_its_turn_goes_before_those_that_had_none() {
    let mut core = Core::new(&[], UNCLAIMED);
    for seq in 0..4 {
        core.apply(START, Event::Submit(waiting(seq, "a")));
    }
    for seq in [8, 9] {
        let mut again = waiting(seq, "a");
        again.ticket.attempt = Attempt(2);
        core.apply(START, Event::Submit(again));
    }
    assert_eq!(core.explain(ticket(0).job).unwrap().place, 3);
    assert_eq!(admitted(&core.apply(START, capacity(5))), [8, 9, 0, 1, 2]);
}

#[test]
fn a_higher_priority_goes_first() {
    let mut core = Core::new(&[], UNCLAIMED);
    for (seq, priority) in [(0, Priority::Low), (1, Priority::Normal), (2, Priority::High)] {
        core.apply(START, Event::Submit(Waiting { priority, ..waiting(seq, "a") }));
    }
    assert_eq!(admitted(&core.apply(START, capacity(3))), [2, 1, 0]);
}

#[test]
fn a_small_channel_does_not_wait_behind_a_large_one() {
    let mut core = Core::new(&[], UNCLAIMED);
    for seq in 0..100 {
        core.apply(START, Event::Submit(waiting(seq, "large")));
    }
    core.apply(START, Event::Submit(waiting(100, "small")));
    let first = admitted(&core.apply(START, capacity(4)));
    assert!(first.contains(&100), "{first:?}");
}

#[test]
fn slots_are_shared_by_weight() {
    let mut core = Core::new(&[], UNCLAIMED);
    for seq in 0..100 {
        core.apply(START, Event::Submit(Waiting { weight: 3, ..waiting(seq, "heavy") }));
        core.apply(START, Event::Submit(waiting(1_000 + seq, "light")));
    }
    let first = admitted(&core.apply(START, capacity(40)));
    let heavy = first.iter().filter(|seq| **seq < 1_000).count();
    assert_eq!((first.len(), heavy), (40, 30));
}

#[test]
fn a_job_that_waits_for_a_token_holds_no_slot() {
    let mut core = Core::new(&[rule(1, 1, vec![])], UNCLAIMED);
    core.apply(START, capacity(2));
    core.apply(START, Event::Submit(waiting(0, "a")));
    core.apply(START, Event::Submit(waiting(1, "a")));
    assert_eq!(core.pools()[0].in_flight, 1);
    let mut other = waiting(2, "a");
    other.key.provider = "noop";
    assert_eq!(admitted(&core.apply(START, Event::Submit(other))), [2]);
    let (limit, until) = core.explain(ticket(1).job).unwrap().blocked.unwrap();
    assert_eq!(limit, "calls");
    assert_eq!(core.limits(), [LimitStatus { limit: "calls".into(), waiting: 1 }]);
    core.apply(START, Event::Released(vec![(ticket(2), None)]));
    assert_eq!(core.next_wake(), Some(until));
    assert_eq!(admitted(&core.apply(until, Event::Tick { connected: true })), [1]);
}

#[test]
fn more_workers_never_make_a_higher_rate() {
    let mut core = Core::new(&[rule(10, 1, vec![])], UNCLAIMED);
    core.apply(START, capacity(1_000));
    for seq in 0..500 {
        core.apply(START, Event::Submit(waiting(seq, "a")));
    }
    let mut started = core.pools()[0].in_flight;
    let mut now = START;
    let end = START + Duration::from_secs(10);
    while let Some(at) = core.next_wake() {
        if at > end {
            break;
        }
        now = at.max(now);
        // Those nobody took are handed over again; that takes no token.
        let effects = core.apply(now, Event::Tick { connected: true });
        let first = effects.iter().filter(|Effect::Admit(_, publication)| *publication == 0);
        started += u32::try_from(first.count()).unwrap();
    }
    // Ten a second for ten seconds, and the one token there was at the start.
    assert!((100..=101).contains(&started), "{started}");
}

#[test]
fn each_channel_has_tokens_of_its_own_when_the_rule_says_so() {
    let mut core = Core::new(&[rule(1, 1, vec![Key::Channel])], UNCLAIMED);
    core.apply(START, capacity(10));
    for (seq, channel) in [(0, "a"), (1, "a"), (2, "b"), (3, "b")] {
        core.apply(START, Event::Submit(waiting(seq, channel)));
    }
    assert_eq!(core.pools()[0].in_flight, 2);
    assert_eq!(core.explain(ticket(3).job).unwrap().blocked.unwrap().0, "calls/b");
}

#[test]
fn a_job_nobody_takes_is_handed_over_again_only_while_a_slot_is_free() {
    let mut core = Core::new(&[], UNCLAIMED);
    core.apply(START, capacity(1));
    core.apply(START, Event::Submit(waiting(0, "a")));
    let later = START + UNCLAIMED;
    let effects = core.apply(later, Event::Tick { connected: true });
    assert_eq!(effects, [Effect::Admit(ticket(0), 1)]);
    core.apply(later, Event::Claimed(vec![ticket(0)]));
    let effects = core.apply(later + UNCLAIMED * 3, Event::Tick { connected: true });
    assert_eq!(effects, []);
}

#[test]
fn nothing_is_taken_for_lost_while_the_transport_is_away() {
    let mut core = Core::new(&[], UNCLAIMED);
    core.apply(START, capacity(1));
    core.apply(START, Event::Submit(waiting(0, "a")));
    let back = START + Duration::from_secs(60);
    assert_eq!(core.apply(back, Event::Tick { connected: false }), []);
    assert_eq!(core.apply(back + UNCLAIMED / 2, Event::Tick { connected: true }), []);
}

#[test]
fn a_withdrawn_job_never_goes() {
    let mut core = Core::new(&[], UNCLAIMED);
    core.apply(START, Event::Submit(waiting(0, "a")));
    core.apply(START, Event::Submit(waiting(1, "a")));
    core.apply(START, Event::Withdraw(ticket(0)));
    assert_eq!(admitted(&core.apply(START, capacity(5))), [1]);
    assert_eq!(core.pools()[0].waiting, 0);
}

#[test]
fn what_comes_and_goes_does_not_pile_up_in_a_line_that_nobody_takes_from() {
    let mut core = Core::new(&[rule(1, 1, vec![Key::Channel])], UNCLAIMED);
    core.apply(START, Event::Submit(waiting(0, "stays")));
    for seq in 1..10_000 {
        let mut job = waiting(seq, &format!("channel-{}", seq % 500));
        job.priority = Priority::ALL[seq as usize % 3];
        core.apply(START, Event::Submit(job));
        core.apply(START, Event::Withdraw(ticket(seq)));
        assert!(core.pools[&PoolName::default_pool()].line.entries() < 100);
    }
    assert_eq!(admitted(&core.apply(START, capacity(5))), [0]);
}

#[test]
fn very_short_jobs_are_handed_over_ahead_and_long_ones_are_not() {
    for (ran, in_flight) in [(Duration::from_micros(50), 20), (Duration::from_secs(1), 10)] {
        let mut core = Core::new(&[], UNCLAIMED);
        core.apply(START, capacity(10));
        for seq in 0..100 {
            core.apply(START, Event::Submit(waiting(seq, "a")));
        }
        core.apply(START, Event::Released(vec![(ticket(0), Some(ran))]));
        assert_eq!(core.pools()[0].in_flight, in_flight, "{ran:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit { channel: u8, priority: u8, pool: u8 },
    Release(u16),
    Claim(u16),
    Withdraw(u16),
    Slots { pool: u8, slots: u8 },
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..3_u8, 0..2_u8)
            .prop_map(|(channel, priority, pool)| Step::Submit { channel, priority, pool }),
        3 => any::<u16>().prop_map(Step::Release),
        2 => any::<u16>().prop_map(Step::Claim),
        1 => any::<u16>().prop_map(Step::Withdraw),
        1 => (0..2_u8, 0..6_u8).prop_map(|(pool, slots)| Step::Slots { pool, slots }),
        1 => (0..3_000_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: a job goes once for each asking, never without a slot, and no job is
    /// forgotten.
    #[test]
    fn slots_are_never_exceeded_and_no_job_is_forgotten(steps in prop::collection::vec(step(), 1..200)) {
        let mut core = Core::new(&[rule(5, 2, vec![Key::Channel])], UNCLAIMED);
        let mut now = START;
        let mut next = 0;
        let mut open: HashMap<u32, bool> = HashMap::new(); // seq → admitted
        let pools = [PoolName::new("one").unwrap(), PoolName::new("two").unwrap()];
        let mut slots = [0_u32; 2];
        for step in steps {
            let pick = |n: u16, open: &HashMap<u32, bool>| {
                let mut keys: Vec<u32> = open.keys().copied().collect();
                keys.sort_unstable();
                (!keys.is_empty()).then(|| keys[usize::from(n) % keys.len()])
            };
            let effects = match step {
                Step::Submit { channel, priority, pool } => {
                    open.insert(next, false);
                    next += 1;
                    core.apply(now, Event::Submit(Waiting {
                        priority: Priority::ALL[usize::from(priority)],
                        pool: pools[usize::from(pool)].clone(),
                        ..waiting(next - 1, ["a", "b", "c", "d"][usize::from(channel)])
                    }))
                }
                Step::Release(n) => match pick(n, &open) {
                    Some(seq) if open[&seq] => {
                        open.remove(&seq);
                        core.apply(now, Event::Released(vec![(ticket(seq), Some(Duration::from_secs(1)))]))
                    }
                    _ => vec![],
                },
                Step::Claim(n) => match pick(n, &open) {
                    Some(seq) if open[&seq] => core.apply(now, Event::Claimed(vec![ticket(seq)])),
                    _ => vec![],
                },
                Step::Withdraw(n) => match pick(n, &open) {
                    Some(seq) => {
                        open.remove(&seq);
                        core.apply(now, Event::Withdraw(ticket(seq)))
                    }
                    None => vec![],
                },
                Step::Slots { pool, slots: count } => {
                    slots[usize::from(pool)] = u32::from(count);
                    core.apply(now, Event::Capacity(
                        pools.iter().zip(slots).map(|(pool, slots)| PoolCapacity {
                            pool: pool.clone(), slots, ready: u32::from(slots > 0), not_ready: 0,
                        }).collect(),
                    ))
                }
                Step::Wait(ms) => {
                    now = now + Duration::from_millis(u64::from(ms));
                    core.apply(now, Event::Tick { connected: true })
                }
            };
            for Effect::Admit(ticket, publication) in effects {
                let admitted = open.get_mut(&ticket.job.seq);
                prop_assert!(admitted.is_some(), "a job went that nobody wants");
                let admitted = admitted.unwrap();
                prop_assert_eq!(*admitted, publication > 0, "a job went twice");
                *admitted = true;
            }
            let known: u32 = core.pools().iter().map(|pool| pool.waiting + pool.in_flight).sum();
            prop_assert_eq!(known as usize, open.len(), "a job was forgotten");
        }
        // In the end, with room and time for all, all go.
        for _ in 0..200 {
            now = now + Duration::from_secs(1);
            let effects = core.apply(now, Event::Capacity(pools.iter().map(|pool| PoolCapacity {
                pool: pool.clone(), slots: 10_000, ready: 1, not_ready: 0,
            }).collect()));
            for Effect::Admit(ticket, _) in effects {
                open.insert(ticket.job.seq, true);
            }
        }
        prop_assert!(open.values().all(|admitted| *admitted), "a job never went");
    }
}
