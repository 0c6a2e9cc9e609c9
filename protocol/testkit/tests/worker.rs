//! The fake worker keeps to what real workers and coordinators agree on.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, in functions that clippy does not take for such"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use visor_protocol::envelope::Envelope;
use visor_protocol::ids::Shard;
use visor_protocol::job::Job;
use visor_protocol::outcome::{End, Outcome};
use visor_protocol::subject::{Pattern, Subject, WorkerTopic};
use visor_protocol::time::Clock;
use visor_protocol::worker::{Control, Report, Ticket, WorkerState};
use visor_testkit::build::{JobBuilder, ticket, worker_id};
use visor_testkit::{
    FakeWorker, FakeWorkerOptions, Faults, FaultyBus, Scripted, VirtualClock, eventually,
};
use visor_transport::{Bus, Consumer, MemoryBus, Queue, Subscription};

struct Coordinator {
    bus: Arc<dyn Bus>,
    clock: Arc<VirtualClock>,
    reports: Box<dyn Subscription>,
    results: Box<dyn Consumer>,
}

impl Coordinator {
    async fn new() -> Self {
        let bus = MemoryBus::shared();
        let reports = bus.subscribe(&Pattern::AllWorkers).await.unwrap();
        let mut results = bus.consume(&Queue::Results(Shard(0))).await.unwrap();
        results.request(1_000);
        Self { bus, clock: Arc::new(VirtualClock::new()), reports, results }
    }

    async fn worker(&self, options: FakeWorkerOptions) -> FakeWorker {
        let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(&self.clock);
        FakeWorker::start(options, Arc::clone(&self.bus), clock).await.unwrap()
    }

    async fn send(&self, job: &Job) -> Ticket {
        let payload = Envelope::new(job, self.clock.now()).encode().unwrap();
        let id = format!("{}:{}", job.job, job.attempt);
        self.bus.enqueue(&Queue::Jobs(job.pool.clone()), &id, payload).await.unwrap();
        ticket(job)
    }

    async fn order(&self, worker: &str, control: Control) {
        let subject = Subject::Worker(worker_id(worker), WorkerTopic::Control);
        let payload = Envelope::new(control, self.clock.now()).encode().unwrap();
        self.bus.publish(&subject, payload).await.unwrap();
    }

    async fn report(&mut self) -> Report {
        let message = self.reports.next().await.unwrap();
        Envelope::decode(&message.payload).unwrap().body
    }

    async fn outcomes(&mut self) -> Vec<Outcome> {
        let delivery = self.results.next().await.unwrap();
        let outcomes = Envelope::decode(delivery.payload()).unwrap().body;
        delivery.ack().await.unwrap();
        outcomes
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_claimed_run_and_reported() {
    let mut coordinator = Coordinator::new().await;
    let options = FakeWorkerOptions::new("w1", 2)
        .script(|job| Scripted::exit(job.job.seq as i32, Duration::from_secs(3)).printing("hi"));
    let worker = coordinator.worker(options).await;
    let sent = coordinator.send(&JobBuilder::new(1, 7).build()).await;
    let claimed = loop {
        if let Report::Claimed { tickets, .. } = coordinator.report().await {
            break tickets;
        }
    };
    assert_eq!(claimed.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [sent]);
    let outcomes = coordinator.outcomes().await;
    assert_eq!(outcomes.len(), 1);
    let outcome = &outcomes[0];
    assert_eq!(outcome.end, End::Exited { code: 7 });
    assert_eq!(outcome.stdout.inline, "hi");
    assert_eq!(outcome.finished_at.since(outcome.started_at), Duration::from_secs(3));
    assert_eq!(worker.executed(), [sent]);
    eventually("it holds nothing", || worker.held().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn it_beats_twice_a_second_and_names_what_it_holds() {
    let mut coordinator = Coordinator::new().await;
    let worker =
        coordinator.worker(FakeWorkerOptions::new("w1", 4).script(|_| Scripted::hang())).await;
    let sent = coordinator.send(&JobBuilder::new(1, 0).build()).await;
    eventually("it holds the job", || worker.held() == [sent]).await;
    let mut at = Vec::new();
    while at.len() < 4 {
        if let Report::Heartbeat(beat) = coordinator.report().await
            && beat.held == [sent]
        {
            at.push(coordinator.clock.now());
        }
    }
    assert!(at.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_millis(500)));

    worker.pause();
    tokio::time::sleep(Duration::from_secs(20)).await;
    worker.resume();
    let mut beats = 0;
    while let Ok(_report) =
        tokio::time::timeout(Duration::from_millis(100), coordinator.report()).await
    {
        beats += 1;
    }
    assert!(beats <= 2, "a held worker says nothing, but {beats} heartbeats came");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_taken_than_there_are_slots() {
    let coordinator = Coordinator::new().await;
    let worker =
        coordinator.worker(FakeWorkerOptions::new("w1", 3).script(|_| Scripted::hang())).await;
    for seq in 0..10 {
        coordinator.send(&JobBuilder::new(1, seq).build()).await;
    }
    eventually("its slots are full", || worker.held().len() == 3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(worker.executed().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_attempt_ends_as_cancelled_and_an_outcome_can_be_asked_for_again() {
    let mut coordinator = Coordinator::new().await;
    let worker =
        coordinator.worker(FakeWorkerOptions::new("w1", 3).script(|_| Scripted::hang())).await;
    let sent = coordinator.send(&JobBuilder::new(1, 0).build()).await;
    eventually("it holds the job", || worker.held() == [sent]).await;
    let cancel = Control::Cancel { tickets: vec![sent], reason: "test".into() };
    coordinator.order("w1", cancel).await;
    assert_eq!(coordinator.outcomes().await[0].end, End::Cancelled);
    coordinator.order("w1", Control::Resend { tickets: vec![sent] }).await;
    assert_eq!(coordinator.outcomes().await[0].end, End::Cancelled);
    assert_eq!(worker.cancelled(), [sent]);
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_finishes_what_it_holds_and_says_goodbye() {
    let mut coordinator = Coordinator::new().await;
    let options =
        FakeWorkerOptions::new("w1", 1).script(|_| Scripted::pass(Duration::from_secs(5)));
    let worker = coordinator.worker(options).await;
    let first = coordinator.send(&JobBuilder::new(1, 0).build()).await;
    eventually("it holds the job", || worker.held() == [first]).await;
    let second = coordinator.send(&JobBuilder::new(1, 1).build()).await;
    coordinator.order("w1", Control::Drain).await;
    worker.drain().await.unwrap();
    assert_eq!(coordinator.outcomes().await.len(), 1);
    let mut states = Vec::new();
    loop {
        match coordinator.report().await {
            Report::Heartbeat(beat) => states.push(beat.state),
            Report::Claimed { .. } => {}
            Report::Goodbye { .. } => break,
        }
    }
    assert_eq!(states.last(), Some(&WorkerState::Draining));
    let other = coordinator.worker(FakeWorkerOptions::new("w2", 1)).await;
    eventually("another takes what waits", || other.executed() == [second]).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_is_silent_and_its_unclaimed_jobs_go_to_others() {
    let coordinator = Coordinator::new().await;
    let worker =
        coordinator.worker(FakeWorkerOptions::new("w1", 1).script(|_| Scripted::hang())).await;
    coordinator.send(&JobBuilder::new(1, 0).build()).await;
    eventually("it holds the job", || worker.held().len() == 1).await;
    worker.kill().await;
    let second = coordinator.send(&JobBuilder::new(1, 1).build()).await;
    let other = coordinator.worker(FakeWorkerOptions::new("w2", 1)).await;
    eventually("another takes the next", || other.executed() == [second]).await;
}

#[tokio::test(start_paused = true)]
async fn every_outcome_arrives_over_a_bad_line() {
    let coordinator = Coordinator::new().await;
    let bus = FaultyBus::new(Arc::clone(&coordinator.bus), 11, Faults::rough());
    let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(&coordinator.clock);
    let options =
        FakeWorkerOptions::new("w1", 8).script(|_| Scripted::pass(Duration::from_millis(20)));
    let _worker = FakeWorker::start(options, bus, clock).await.unwrap();
    let mut wanted = BTreeSet::new();
    for seq in 0..200 {
        wanted.insert(coordinator.send(&JobBuilder::new(1, seq).build()).await);
    }
    let mut coordinator = coordinator;
    while !wanted.is_empty() {
        for Outcome { job, attempt, .. } in coordinator.outcomes().await {
            wanted.remove(&Ticket { job, attempt });
        }
    }
}
