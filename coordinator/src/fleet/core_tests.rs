use visor_protocol::ids::{Attempt, JobId, PoolName, RunId};
use visor_protocol::worker::{Execution, HostUsage};

use super::*;

const START: Timestamp = Timestamp::from_micros(1_000_000_000);
const TTL: Duration = Duration::from_secs(2);

fn ticket(seq: u32) -> Ticket {
    Ticket { job: JobId { run: RunId::from_bytes([7; 16]), seq }, attempt: Attempt::FIRST }
}

fn id(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

fn beat(name: &str, boot: u64, held: &[u32]) -> Event {
    Event::Heartbeat(Box::new(Heartbeat {
        worker: id(name),
        boot,
        pool: PoolName::default_pool(),
        slots: 4,
        held: held.iter().map(|seq| ticket(*seq)).collect(),
        state: WorkerState::Ready,
        execution: Execution::Host,
        images: Vec::new(),
        host: HostUsage::default(),
        version: "test".into(),
        since: START,
    }))
}

fn claim(name: &str, seq: u32) -> Event {
    Event::Claimed { worker: id(name), boot: 1, tickets: vec![(ticket(seq), START)] }
}

const SWEEP: Event = Event::Sweep { connected: true };

/// Sweeps every tenth of a second, as the actor does; `beats` says who reports at each half second.
fn pass(
    core: &mut Core,
    from: Timestamp,
    time: Duration,
    beats: &dyn Fn() -> Vec<Event>,
) -> (Timestamp, Vec<Effect>) {
    let mut effects = Vec::new();
    let steps = time.as_millis() / 100;
    let mut now = from;
    for step in 1..=steps {
        now = from + Duration::from_millis(u64::try_from(step * 100).unwrap());
        if step % 5 == 0 {
            for event in beats() {
                effects.extend(core.apply(now, event));
            }
        }
        effects.extend(core.apply(now, SWEEP));
    }
    (now, effects)
}

fn lost(effects: &[Effect]) -> Vec<u32> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Lost { ticket, .. } => Some(ticket.job.seq),
            _ => None,
        })
        .collect()
}

#[test]
fn a_silent_worker_loses_its_leases_and_a_pause_of_a_second_does_not() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    let (now, effects) = pass(&mut core, START, Duration::from_millis(1_500), &Vec::new);
    assert_eq!(lost(&effects), Vec::<u32>::new());
    core.apply(now, beat("one", 1, &[0]));
    let (_, effects) = pass(&mut core, now, Duration::from_secs(3), &Vec::new);
    assert_eq!(lost(&effects), [0]);
    assert!(effects.contains(&Effect::Gone { worker: id("one"), why: "silent for 2.1 s".into() }));
}

#[test]
fn a_restarted_worker_has_lost_what_its_earlier_life_held() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    assert_eq!(lost(&core.apply(START, beat("one", 2, &[]))), [0]);
    assert_eq!(core.apply(START, beat("one", 1, &[0])), [], "a late heartbeat changes nothing");
}

#[test]
fn a_heartbeat_stands_in_for_a_lost_claim() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    let effects = core.apply(START, beat("one", 1, &[3]));
    assert_eq!(effects, [Effect::Started { ticket: ticket(3), worker: id("one"), at: START }]);
}

#[test]
fn the_second_worker_to_claim_an_attempt_is_told_to_stop() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, beat("two", 1, &[]));
    core.apply(START, claim("one", 0));
    let effects = core.apply(START, claim("two", 0));
    let why = "another worker has it";
    assert_eq!(effects, [Effect::Cancel { worker: id("two"), tickets: vec![ticket(0)], why }]);
    assert_eq!(core.holder(ticket(0)).unwrap().0, id("one"));
}

#[test]
fn a_report_that_was_lost_is_asked_for_and_then_the_attempt_is_given_up() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    let (_, effects) =
        pass(&mut core, START, Duration::from_secs(6), &|| vec![beat("one", 1, &[])]);
    let resends = effects.iter().filter(|effect| matches!(effect, Effect::Resend { .. })).count();
    assert_eq!((resends, lost(&effects)), (1, vec![0]));
}

#[test]
fn a_claim_that_comes_after_the_outcome_grants_nothing() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    core.apply(START, Event::Finished(vec![(ticket(0), id("one"), Duration::ZERO)]));
    assert_eq!(core.apply(START, claim("one", 0)), []);
    assert_eq!(core.apply(START, beat("one", 1, &[0])), []);
    assert_eq!(core.workers(START)[0].jobs_last_minute, 1);
}

#[test]
fn a_second_worker_that_stopped_takes_nothing_from_the_first() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, beat("two", 1, &[]));
    core.apply(START, claim("one", 0));
    core.apply(START, claim("two", 0));
    let stopped = Event::Finished(vec![(ticket(0), id("two"), Duration::ZERO)]);
    assert_eq!(core.apply(START, stopped), []);
    assert_eq!(core.holder(ticket(0)).unwrap().0, id("one"));
}

#[test]
fn silence_means_nothing_while_the_transport_is_away() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    let mut now = START;
    for _ in 0..100 {
        now = now + Duration::from_millis(100);
        assert_eq!(core.apply(now, Event::Sweep { connected: false }), []);
    }
    let (now, effects) = pass(&mut core, now, Duration::from_millis(1_500), &Vec::new);
    assert_eq!(effects, [], "workers get time to reconnect");
    let (_, effects) = pass(&mut core, now, Duration::from_secs(2), &Vec::new);
    assert_eq!(lost(&effects), [0]);
}

#[test]
fn a_coordinator_that_stood_still_does_not_blame_the_workers() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    core.apply(START, SWEEP);
    let woke = START + Duration::from_secs(30);
    assert_eq!(core.apply(woke, SWEEP), []);
    core.apply(woke, beat("one", 1, &[0]));
    let (_, effects) = pass(&mut core, woke, Duration::from_secs(1), &Vec::new);
    assert_eq!(lost(&effects), Vec::<u32>::new());
}

#[test]
fn a_lease_from_the_journal_is_kept_by_its_worker_or_lost() {
    let mut core = Core::new(TTL);
    core.apply(START, Event::Restore { worker: id("one"), ticket: ticket(0) });
    core.apply(START, Event::Restore { worker: id("gone"), ticket: ticket(1) });
    let (_, effects) =
        pass(&mut core, START, Duration::from_secs(5), &|| vec![beat("one", 1, &[0])]);
    assert_eq!(lost(&effects), [1]);
    assert_eq!(core.holder(ticket(0)).unwrap().0, id("one"));
}

#[test]
fn a_draining_worker_has_no_slots_to_fill() {
    let mut core = Core::new(TTL);
    let effects = core.apply(START, beat("one", 1, &[]));
    let slots = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Capacity(pools) => Some(pools[0].slots),
            _ => None,
        })
    };
    assert_eq!(slots(&effects), Some(4));
    let Event::Heartbeat(mut heartbeat) = beat("one", 1, &[]) else { unreachable!() };
    heartbeat.state = WorkerState::Draining;
    assert_eq!(slots(&core.apply(START, Event::Heartbeat(heartbeat))), Some(0));
}

#[test]
fn a_goodbye_overtakes_no_outcome_and_what_has_none_is_lost() {
    let mut core = Core::new(TTL);
    core.apply(START, beat("one", 1, &[]));
    core.apply(START, claim("one", 0));
    core.apply(START, claim("one", 1));
    let effects = core.apply(START, Event::Goodbye { worker: id("one"), boot: 1 });
    assert_eq!(lost(&effects), [] as [u32; 0]);
    assert!(core.workers(START).is_empty());
    core.apply(START, Event::Finished(vec![(ticket(0), id("one"), TTL)]));
    let (now, effects) = pass(&mut core, START, TTL, &Vec::new);
    assert_eq!(lost(&effects), [] as [u32; 0]);
    let (_, effects) = pass(&mut core, now, TTL * 2, &Vec::new);
    assert_eq!(lost(&effects), [1]);
}

#[test]
fn slots_that_no_machine_has_break_nothing() {
    let mut core = Core::new(TTL);
    let mut slots = 0;
    for name in ["one", "two", "three"] {
        let Event::Heartbeat(mut report) = beat(name, 1, &[]) else { unreachable!() };
        report.slots = u32::MAX;
        for effect in core.apply(START, Event::Heartbeat(report)) {
            if let Effect::Capacity(pools) = effect {
                slots = pools[0].slots;
            }
        }
    }
    assert_eq!(slots, 30_000);
}
