//! A worker on the memory bus, and the coordinator's part of the conversation.
#![expect(dead_code, reason = "each test file uses its own part of this")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{Attempt, ChannelId, CheckName, JobId, PoolName, RunId, Shard, WorkerId};
use visor_protocol::job::{Placement, Work, Workspace};
use visor_protocol::subject::{Pattern, Subject, WorkerTopic};
use visor_protocol::time::{Clock, SystemClock, Timestamp};
use visor_protocol::worker::{Control, Execution, Heartbeat, Report, Ticket};
use visor_protocol::{Job, Outcome};
use visor_providers::Registry;
use visor_transport::{Bus, Consumer, MemoryBus, Queue, Subscription};
use visor_worker::{Worker, WorkerConfig, WorkerHandle};

/// Generous: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// A job of the default pool.
pub(crate) fn job(seq: u32, work: Work) -> Job {
    Job {
        job: JobId { run: RunId::new(Timestamp::from_micros(1_000_000), 7), seq },
        attempt: Attempt::FIRST,
        shard: Shard(0),
        check: CheckName::new("check").unwrap(),
        channel: ChannelId::local(),
        pool: PoolName::default_pool(),
        work,
        env: BTreeMap::new(),
        timeout_ms: 60_000,
        placement: Placement::Pool,
        workspace: None,
        output_limit: 1024 * 1024,
        watched: false,
    }
}

pub(crate) fn command(seq: u32, exec: impl Into<String>) -> Job {
    job(seq, Work::Command { exec: exec.into() })
}

pub(crate) fn ticket(job: &Job) -> Ticket {
    Ticket { job: job.job, attempt: job.attempt }
}

/// A configuration that runs commands on this machine.
pub(crate) fn on_host(slots: u32) -> WorkerConfig {
    let id = WorkerId::new("w-test").unwrap();
    let mut config = WorkerConfig::new(id, PoolName::default_pool());
    config.slots = NonZeroU32::new(slots).unwrap();
    config.execution = Execution::Host;
    config
}

/// The coordinator's end of a bus with one worker on it.
pub(crate) struct Desk {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) worker: WorkerHandle,
    reports: Box<dyn Subscription>,
    results: Box<dyn Consumer>,
    enqueued: AtomicU32,
}

impl Desk {
    pub(crate) async fn open(config: WorkerConfig) -> Self {
        Self::open_on(MemoryBus::shared(), config).await
    }

    pub(crate) async fn open_on(bus: Arc<dyn Bus>, config: WorkerConfig) -> Self {
        Self::open_between(Arc::clone(&bus), bus, Registry::standard(), config).await
    }

    /// The worker has a way of its own to the bus, and providers of its own.
    pub(crate) async fn open_between(
        bus: Arc<dyn Bus>,
        workers: Arc<dyn Bus>,
        registry: Registry,
        config: WorkerConfig,
    ) -> Self {
        let reports = bus.subscribe(&Pattern::AllWorkers).await.unwrap();
        bus.ensure_queue(&Queue::Results(Shard(0))).await.unwrap();
        let results = bus.consume(&Queue::Results(Shard(0))).await.unwrap();
        let clock = Arc::new(SystemClock);
        let worker = Worker::start_with(config, registry, workers, clock).await.unwrap();
        Self { bus, worker, reports, results, enqueued: AtomicU32::new(0) }
    }

    pub(crate) async fn enqueue(&self, job: &Job) {
        let number = self.enqueued.fetch_add(1, Ordering::Relaxed);
        let payload = Envelope::new(job, now()).encode().unwrap();
        let queue = Queue::Jobs(job.pool.clone());
        self.bus.ensure_queue(&queue).await.unwrap();
        self.bus.enqueue(&queue, &format!("{number}"), payload).await.unwrap();
    }

    pub(crate) async fn order(&self, order: Control) {
        let subject = Subject::Worker(self.worker.id().clone(), WorkerTopic::Control);
        let payload = Envelope::new(order, now()).encode().unwrap();
        self.bus.publish(&subject, payload).await.unwrap();
    }

    /// The next message of outcomes.
    pub(crate) async fn outcomes(&mut self) -> Vec<Outcome> {
        if self.results.outstanding() == 0 {
            self.results.request(1);
        }
        let delivery = tokio::time::timeout(PATIENCE, self.results.next());
        let delivery = delivery.await.expect("no outcome came").expect("the bus is closed");
        let outcomes = Envelope::<Vec<Outcome>>::decode(delivery.payload()).unwrap().body;
        delivery.ack().await.unwrap();
        outcomes
    }

    /// The one outcome that is expected.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let mut outcomes = self.outcomes().await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0)
    }

    /// Runs one job to its outcome.
    pub(crate) async fn run(&mut self, job: &Job) -> Outcome {
        self.enqueue(job).await;
        self.outcome().await
    }

    pub(crate) async fn report(&mut self) -> Report {
        let message = tokio::time::timeout(PATIENCE, self.reports.next());
        let message = message.await.expect("no report came").expect("the bus is closed");
        Envelope::<Report>::decode(&message.payload).unwrap().body
    }

    /// Waits until the worker holds nothing, by what it says from now on.
    pub(crate) async fn nothing_is_held(&mut self) {
        while let Some(Some(_)) = self.reports.next().now_or_never() {}
        self.heartbeat(|heartbeat| heartbeat.held.is_empty()).await;
    }

    /// The next heartbeat that looks as wanted.
    pub(crate) async fn heartbeat(&mut self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let look = async {
            loop {
                if let Report::Heartbeat(heartbeat) = self.report().await
                    && wanted(&heartbeat)
                {
                    return *heartbeat;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("no such heartbeat came")
    }
}

/// Waits until the file is there and not empty, and reads it.
pub(crate) async fn file(path: &Path) -> String {
    let read = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the file was not written")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether a process runs: there, and not just a zombie somebody else has to reap.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// A packed tree of these files.
pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(crate) async fn packed(bus: &dyn Bus, files: &[(&str, &str)]) -> Workspace {
    let archive = archive(files);
    let bytes = archive.len() as u64;
    let hash = bus.put_blob(archive.into()).await.unwrap();
    Workspace::Archive { hash, bytes }
}
