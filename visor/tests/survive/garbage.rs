//! Messages that are none, on every subject.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use visor_protocol::api::{Request, Response};
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{Attempt, JobId, PoolName, RunId, Shard, WorkerId};
use visor_protocol::outcome::{Captured, End, Outcome, Usage};
use visor_protocol::subject::{ApiOperation, Subject, WorkerTopic};
use visor_protocol::time::{Clock, SystemClock};
use visor_protocol::worker::{Control, Execution, Heartbeat, HostUsage, Report};
use visor_protocol::worker::{Ticket, WorkerState};
use visor_transport::Queue;

use crate::harness::{Checks, Fleet, until, until_some};

const WORKER: &str = "w-1";

/// Bytes that are no message of any kind, each broken in a way of its own.
fn junk() -> Vec<Bytes> {
    let now = SystemClock.now();
    let mut rng = StdRng::seed_from_u64(7);
    let mut random = |len| {
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        Bytes::from(bytes)
    };
    let whole = Envelope::new(Request::Status, now).encode().unwrap();
    let newer = Envelope { v: 9, ..Envelope::new("a shape of next year", now) };
    let wrong = Envelope::new(BTreeMap::from([("not", "this")]), now);
    let mut all = vec![
        Bytes::new(),
        random(1),
        random(100),
        random(1_000_000),
        Bytes::from(vec![b'{'; 1_000]),
        // An array in an array in an array …
        Bytes::from(vec![0x91; 200_000]),
        // A map, an array and bytes of four thousand million entries that do not follow.
        Bytes::from_static(&[0xdf, 0xff, 0xff, 0xff, 0xff]),
        Bytes::from_static(&[0xdd, 0xff, 0xff, 0xff, 0xff]),
        Bytes::from_static(&[0xc6, 0xff, 0xff, 0xff, 0xff]),
        newer.encode().unwrap(),
        wrong.encode().unwrap(),
    ];
    all.extend((1..whole.len()).step_by(7).map(|cut| whole.slice(..cut)));
    all
}

/// Well-formed messages of somebody who knows nothing, or means ill.
fn nonsense(stranger: &WorkerId, run: RunId) -> (Vec<Report>, Vec<Outcome>, Vec<Control>) {
    let now = SystemClock.now();
    let ticket = |seq| Ticket { job: JobId { run, seq }, attempt: Attempt(u32::MAX) };
    let beat = Heartbeat {
        worker: stranger.clone(),
        boot: u64::MAX,
        pool: PoolName::default_pool(),
        slots: u32::MAX,
        held: (0..500).map(ticket).collect(),
        state: WorkerState::Ready,
        execution: Execution::Host,
        images: Vec::new(),
        host: HostUsage {
            cpu_percent: f32::NAN,
            memory_used_bytes: u64::MAX,
            memory_total_bytes: 0,
        },
        version: "x".repeat(10_000),
        since: now,
    };
    let other = WorkerId::new(format!("{stranger}-2")).unwrap();
    let reports = vec![
        Report::Heartbeat(Box::new(Heartbeat { worker: other, ..beat.clone() })),
        Report::Heartbeat(Box::new(beat)),
        Report::Claimed {
            worker: stranger.clone(),
            boot: u64::MAX,
            tickets: (0..100).map(|seq| (ticket(seq), now)).collect(),
        },
        Report::Goodbye { worker: WorkerId::new("w-unknown").unwrap(), boot: 0 },
    ];
    let outcome = |seq| Outcome {
        job: JobId { run, seq },
        attempt: Attempt(u32::MAX),
        worker: stranger.clone(),
        started_at: now,
        finished_at: visor_protocol::Timestamp::default(),
        end: End::Exited { code: i32::MIN },
        stdout: Captured { total: u64::MAX, kept: u64::MAX, ..Captured::default() },
        stderr: Captured::default(),
        usage: Usage { peak_memory_bytes: u64::MAX, ..Usage::default() },
        image: None,
    };
    let tickets: Vec<Ticket> = (0..100).map(ticket).collect();
    let orders = vec![
        Control::Cancel { tickets: tickets.clone(), reason: "x".repeat(10_000) },
        Control::Resend { tickets },
        Control::Report,
    ];
    (reports, [0, 1, u32::MAX].map(outcome).to_vec(), orders)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_subject_is_rejected_once_and_everything_goes_on() {
    let test = "garbage_on_every_subject_is_rejected_once_and_everything_goes_on";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker(WORKER, 4).await;
    let checks = Checks::new(fleet.dir(), 40, "sleep 0.5");
    fleet.client.submit(&checks.submission()).await;
    until("the run is under way", || checks.ended() >= 4).await;

    let worker = WorkerId::new(WORKER).unwrap();
    let pool = PoolName::default_pool();
    let bus = &fleet.client.bus;
    let subjects = [
        Subject::Run(checks.run),
        Subject::Logs(checks.run, 0),
        Subject::Worker(worker.clone(), WorkerTopic::Heartbeat),
        Subject::Worker(worker.clone(), WorkerTopic::Control),
        Subject::Api(Shard(0), ApiOperation::Submit),
        Subject::Api(Shard(0), ApiOperation::Read),
        Subject::Api(Shard(0), ApiOperation::Operate),
    ];
    let before = fleet.metric("visor_messages_rejected_total").await;
    let junk = junk();
    for (n, bytes) in junk.iter().enumerate() {
        for subject in &subjects {
            bus.publish(subject, bytes.clone()).await.unwrap();
        }
        for queue in [Queue::Jobs(pool.clone()), Queue::Results(Shard(0))] {
            bus.enqueue(&queue, &format!("junk-{n}"), bytes.clone()).await.unwrap();
        }
        bus.record(&Subject::Events(Shard(0)), bytes.clone()).await.unwrap();
    }
    let stranger = WorkerId::new("w-stranger").unwrap();
    for run in [checks.run, RunId::from_bytes([0xff; 16])] {
        let now = SystemClock.now();
        let (reports, outcomes, orders) = nonsense(&stranger, run);
        for report in reports {
            let subject = Subject::Worker(stranger.clone(), WorkerTopic::Heartbeat);
            let bytes = Envelope::new(report, now).encode().unwrap();
            bus.publish(&subject, bytes).await.unwrap();
        }
        for order in orders {
            let subject = Subject::Worker(worker.clone(), WorkerTopic::Control);
            let bytes = Envelope::new(order, now).encode().unwrap();
            bus.publish(&subject, bytes).await.unwrap();
        }
        let bytes = Envelope::new(outcomes, now).encode().unwrap();
        bus.enqueue(&Queue::Results(Shard(0)), &format!("nonsense-{run}"), bytes).await.unwrap();
    }
    // A question that can be read, on the subject of another.
    let drain = Envelope::new(Request::Drain { worker }, SystemClock.now()).encode().unwrap();
    bus.publish(&Subject::Api(Shard(0), ApiOperation::Read), drain).await.unwrap();

    fleet.client.passes(checks.run).await;
    checks.assert_ran_once();
    fleet.queues_are_empty().await;
    // Each on its heartbeat subject, three API subjects and in the results queue.
    let expected = before + 5.0 * junk.len() as f64;
    until_some("all of it is counted", async || {
        (fleet.metric("visor_messages_rejected_total").await >= expected).then_some(())
    })
    .await;
    let rejected = fleet.metric("visor_messages_rejected_total").await - before;
    assert!(rejected <= expected - before, "{rejected}: nothing is rejected twice");
    // The stranger is forgotten, and what it said changed nothing.
    until_some("the stranger is gone", async || {
        match fleet.client.insist(Request::Workers).await {
            Ok(Response::Workers(workers)) => (workers.len() == 1).then_some(()),
            other => panic!("{other:?}"),
        }
    })
    .await;
    let next = Checks::new(fleet.dir(), 8, "true");
    fleet.client.submit(&next.submission()).await;
    fleet.client.passes(next.run).await;
    fleet.end(&[(checks.run, 40), (next.run, 8)]).await;
}
