//! The worker's part of the conversation: claims, outcomes, orders, drains.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use support::{Desk, command, job, on_host, ticket};
use visor_protocol::Job;
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{Attempt, PoolName};
use visor_protocol::job::{LogLevel, Work};
use visor_protocol::outcome::{End, INLINE_OUTPUT_BYTES};
use visor_protocol::subject::Pattern;
use visor_protocol::worker::{Control, LogChunk, Report, WorkerState};
use visor_providers::provider::{Finished, Provider};
use visor_providers::{Place, Recorder, Registry, Stop};
use visor_testkit::faulty::Direction;
use visor_testkit::{Faults, FaultyBus};
use visor_transport::{Bus, MemoryBus, Queue};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_claimed_run_and_reported() {
    let mut desk = Desk::open(on_host(2)).await;
    let job = command(1, "echo out; echo err >&2; exit 3");
    let outcome = desk.run(&job).await;
    assert_eq!(outcome.end, End::Exited { code: 3 });
    assert_eq!(
        (&outcome.stdout.inline[..], &outcome.stderr.inline[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let claimed = loop {
        if let Report::Claimed { tickets, .. } = desk.report().await {
            break tickets;
        }
    };
    assert_eq!(claimed[0].0, ticket(&job));
    let heartbeat = desk.heartbeat(|heartbeat| heartbeat.held.is_empty()).await;
    assert_eq!(heartbeat.state, WorkerState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_of_many_is_reported_once() {
    let mut desk = Desk::open(on_host(4)).await;
    let jobs = 20_000;
    for seq in 0..jobs {
        let work = match seq % 2 {
            0 => Work::Noop,
            _ => Work::Log { level: LogLevel::Info, message: format!("{seq}") },
        };
        desk.enqueue(&job(seq, work)).await;
    }
    let mut seen = HashSet::new();
    while seen.len() < jobs as usize {
        for outcome in desk.outcomes().await {
            assert!(seen.insert(outcome.job), "{} came twice", outcome.job);
            assert_eq!(outcome.end, End::Exited { code: 0 });
        }
    }
    desk.worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_delivered_twice_runs_once_and_is_reported_again() {
    let mut desk = Desk::open(on_host(2)).await;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let job = command(1, format!("echo ran >> {}", log.display()));
    let first = desk.run(&job).await;
    // Held until the bus has said that the outcome is stored; until then nothing is reported twice.
    desk.nothing_is_held().await;
    let second = desk.run(&job).await;
    assert_eq!(first, second);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "ran\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_sent_again_when_asked_for() {
    let mut desk = Desk::open(on_host(2)).await;
    let job = command(1, "echo once");
    let first = desk.run(&job).await;
    desk.nothing_is_held().await;
    desk.order(Control::Resend { tickets: vec![ticket(&job)] }).await;
    assert_eq!(desk.outcome().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_command_is_killed() {
    let mut desk = Desk::open(on_host(2)).await;
    let job = command(1, "sleep 1000");
    desk.enqueue(&job).await;
    desk.heartbeat(|heartbeat| heartbeat.held == [ticket(&job)]).await;
    desk.order(Control::Cancel { tickets: vec![ticket(&job)], reason: "test".into() }).await;
    assert_eq!(desk.outcome().await.end, End::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_comes_before_its_job_keeps_it_from_running() {
    let mut desk = Desk::open(on_host(1)).await;
    let cancelled = command(1, "echo must not run");
    desk.heartbeat(|heartbeat| heartbeat.state == WorkerState::Ready).await;
    desk.order(Control::Cancel { tickets: vec![ticket(&cancelled)], reason: "test".into() }).await;
    // Orders and jobs travel apart; a job in between shows that the order has arrived.
    desk.order(Control::Report).await;
    let slow = desk.run(&command(2, "sleep 0.2")).await;
    assert_eq!(slow.end, End::Exited { code: 0 });
    let outcome = desk.run(&cancelled).await;
    assert_eq!((outcome.end, outcome.stdout.total), (End::Cancelled, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_attempt_ends_the_earlier_one() {
    let mut desk = Desk::open(on_host(2)).await;
    let first = command(1, "sleep 1000");
    let mut second = command(1, "echo second");
    second.attempt = Attempt(2);
    desk.enqueue(&first).await;
    desk.heartbeat(|heartbeat| heartbeat.held == [ticket(&first)]).await;
    desk.enqueue(&second).await;
    let mut ends = Vec::new();
    while ends.len() < 2 {
        ends.extend(
            desk.outcomes().await.into_iter().map(|outcome| (outcome.attempt.0, outcome.end)),
        );
    }
    ends.sort_by_key(|(attempt, _)| *attempt);
    assert_eq!(ends, [(1, End::Cancelled), (2, End::Exited { code: 0 })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_the_queue_is_dropped_and_work_goes_on() {
    let mut desk = Desk::open(on_host(1)).await;
    let queue = Queue::Jobs(PoolName::default_pool());
    for (id, junk) in [("a", &b"\xff\x00junk"[..]), ("b", b""), ("c", &[0x81; 1000])] {
        desk.bus.enqueue(&queue, id, bytes::Bytes::copy_from_slice(junk)).await.unwrap();
    }
    assert_eq!(desk.run(&job(1, Work::Noop)).await.end, End::Exited { code: 0 });
    let state = desk.bus.queue_state(&queue).await.unwrap();
    assert_eq!(state.messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_are_taken_than_there_are_slots() {
    let mut desk = Desk::open(on_host(2)).await;
    for seq in 0..5 {
        desk.enqueue(&command(seq, "sleep 1000")).await;
    }
    desk.heartbeat(|heartbeat| heartbeat.held.len() == 2).await;
    let later = desk.heartbeat(|_| true).await;
    assert_eq!(later.held.len(), 2);
    let state = desk.bus.queue_state(&Queue::Jobs(PoolName::default_pool())).await.unwrap();
    assert_eq!((state.messages, state.unacknowledged), (3, 0));
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_held_and_takes_nothing_new() {
    let mut desk = Desk::open(on_host(1)).await;
    desk.enqueue(&command(1, "sleep 0.3; echo finished")).await;
    desk.heartbeat(|heartbeat| heartbeat.held.len() == 1).await;
    desk.enqueue(&command(2, "echo must not run")).await;
    desk.order(Control::Drain).await;
    desk.heartbeat(|heartbeat| heartbeat.state == WorkerState::Draining).await;
    desk.worker.closed().await;
    assert_eq!(&desk.outcome().await.stdout.inline[..], b"finished\n");
    let state = desk.bus.queue_state(&Queue::Jobs(PoolName::default_pool())).await.unwrap();
    assert_eq!(state.messages, 1, "the second job stays for another worker");
    while !matches!(desk.report().await, Report::Goodbye { .. }) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_hands_back_what_ran() {
    let mut desk = Desk::open(on_host(1)).await;
    let job = command(1, "sleep 1000");
    desk.enqueue(&job).await;
    desk.heartbeat(|heartbeat| heartbeat.held.len() == 1).await;
    desk.worker.stop().await;
    let End::Infrastructure(fault) = desk.outcome().await.end else { panic!("no fault") };
    assert_eq!((fault.code.as_str(), fault.retry), ("visor::worker::stopped", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_travels_as_a_blob_and_its_end_inline() {
    let mut desk = Desk::open(on_host(1)).await;
    let outcome = desk.run(&command(1, "seq 1 100000")).await;
    let stdout = outcome.stdout;
    let blob = desk.bus.get_blob(stdout.blob.unwrap(), 1 << 24).await.unwrap();
    assert_eq!((stdout.total, stdout.kept), (588_895, 588_895));
    assert_eq!(blob.len(), 588_895);
    assert!(stdout.inline.len() <= INLINE_OUTPUT_BYTES && blob.ends_with(&stdout.inline));
    assert!(stdout.inline.ends_with(b"100000\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_job_shows_its_output_as_it_comes() {
    let desk = Desk::open(on_host(1)).await;
    let mut job = command(1, "echo early; echo error >&2; sleep 1000");
    job.watched = true;
    let mut logs = desk.bus.subscribe(&Pattern::LogsOfRun(job.job.run)).await.unwrap();
    desk.enqueue(&job).await;
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        let message = tokio::time::timeout(support::PATIENCE, logs.next()).await.unwrap().unwrap();
        let chunk = Envelope::<LogChunk>::decode(&message.payload).unwrap().body;
        assert_eq!((chunk.ticket, chunk.offset), (ticket(&job), 0));
        seen.insert((chunk.stderr, chunk.bytes));
    }
    assert!(seen.contains(&(false, "early\n".into())) && seen.contains(&(true, "error\n".into())));
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_say_what_the_machine_does() {
    let mut desk = Desk::open(on_host(3)).await;
    let heartbeat = desk.heartbeat(|heartbeat| heartbeat.host.memory_total_bytes > 0).await;
    assert_eq!((heartbeat.slots, heartbeat.pool), (3, PoolName::default_pool()));
    assert!(heartbeat.host.memory_used_bytes < heartbeat.host.memory_total_bytes);
}

/// Fails as the code of a provider should never do.
struct Panics;

#[async_trait::async_trait]
impl Provider for Panics {
    fn kind(&self) -> &'static str {
        "noop"
    }

    fn at_once(&self, job: &Job, _: &mut Recorder) -> Option<End> {
        assert!(job.job.seq > 0, "at once");
        None
    }

    async fn run(&self, _: &Job, _: &dyn Place, _: Recorder, _: &Stop) -> Finished {
        panic!("later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_attempt_alone() {
    let bus = MemoryBus::shared();
    let mut registry = Registry::standard();
    registry.add(Arc::new(Panics));
    let workers = Arc::clone(&bus);
    let mut desk = Desk::open_between(bus, workers, registry, on_host(1)).await;
    for (seq, said) in [(0, "at once"), (1, "later")] {
        let outcome = desk.run(&job(seq, Work::Noop)).await;
        let End::Infrastructure(fault) = outcome.end else { panic!("{:?}", outcome.end) };
        assert_eq!(fault.code, "visor::worker::panic");
        assert!(fault.message.contains(said) && fault.retry, "{fault:?}");
    }
    assert_eq!(desk.run(&command(2, "true")).await.end, End::Exited { code: 0 });
}

#[tokio::test(start_paused = true)]
async fn no_outcome_is_lost_on_a_bus_that_loses_doubles_and_reorders() {
    let bus = MemoryBus::shared();
    let faulty = FaultyBus::new(Arc::clone(&bus), 7, Faults::rough());
    let mut desk = Desk::open_between(bus, faulty, Registry::standard(), on_host(4)).await;
    for seq in 0..200 {
        desk.enqueue(&job(seq, Work::Noop)).await;
    }
    let mut seen = HashSet::new();
    while seen.len() < 200 {
        seen.extend(desk.outcomes().await.into_iter().map(|outcome| outcome.job));
    }
    desk.heartbeat(|heartbeat| heartbeat.held.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_while_the_worker_is_cut_off() {
    let bus = MemoryBus::shared();
    let faulty = FaultyBus::new(Arc::clone(&bus), 7, Faults::none());
    let workers: Arc<dyn Bus> = Arc::<FaultyBus>::clone(&faulty);
    let mut desk = Desk::open_between(bus, workers, Registry::standard(), on_host(1)).await;
    desk.heartbeat(|heartbeat| heartbeat.state == WorkerState::Ready).await;
    faulty.cut(Direction::Outgoing);
    let job = job(1, Work::Noop);
    desk.enqueue(&job).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    faulty.heal();
    assert_eq!(desk.outcome().await.job, job.job);
    desk.heartbeat(|heartbeat| heartbeat.held.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_comes_again_is_claimed_and_held_back_until_nobody_objects() {
    let bus = MemoryBus::shared();
    let directory = tempfile::tempdir().unwrap();
    let path = |seq: u32| directory.path().join(seq.to_string());
    let queue = Queue::Jobs(PoolName::default_pool());
    bus.ensure_queue(&queue).await.unwrap();
    for seq in [1, 2] {
        let job = command(seq, format!("touch {}", path(seq).display()));
        let payload = Envelope::new(job, support::now()).encode().unwrap();
        bus.enqueue(&queue, &format!("{seq}"), payload).await.unwrap();
    }
    // Somebody had them, and did not take them.
    let mut other = bus.consume(&queue).await.unwrap();
    other.request(2);
    for _ in 0..2 {
        other.next().await.unwrap().nack(Duration::ZERO).await.unwrap();
    }
    drop(other);
    let mut config = on_host(2);
    config.timings.second_thought = Duration::from_secs(3);
    let mut desk = Desk::open_on(bus, config).await;
    let mut claimed = HashSet::new();
    while claimed.len() < 2 {
        if let Report::Claimed { tickets, .. } = desk.report().await {
            claimed.extend(tickets.into_iter().map(|(ticket, _)| ticket));
        }
    }
    let first = ticket(&command(1, ""));
    desk.order(Control::Cancel { tickets: vec![first], reason: "it is over".into() }).await;
    let mut ends = [desk.outcome().await, desk.outcome().await].map(|it| (it.job.seq, it.end));
    ends.sort_by_key(|(seq, _)| *seq);
    assert_eq!(ends, [(1, End::Cancelled), (2, End::Exited { code: 0 })]);
    assert!(!path(1).exists() && path(2).exists());
    desk.worker.stop().await;
}
