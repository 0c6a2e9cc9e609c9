//! The floor that a fleet is measured against: the same queues with nothing around them. A message
//! goes through a work queue to a consumer that answers through another one; nobody decides,
//! nobody remembers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use visor_protocol::ids::{PoolName, Shard};
use visor_transport::{Bus, Queue};

use crate::arrivals::{Shape, Timetable, Until};
use crate::fixture::fleet::start_nats;
use crate::measure::{Latencies, Summary};
use crate::pace;

/// About what a job and its outcome weigh.
const PAYLOAD: usize = 400;
const GIVE_UP: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueFloor {
    /// Messages that went there and back.
    pub jobs: u64,
    /// Of these, each second.
    pub jobs_per_second: f64,
    /// From the intended moment to the consumer.
    pub there: Summary,
    /// From the consumer to whoever reads the answers.
    pub back: Summary,
}

/// How messages come.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many under way at once.
    InFlight(u32),
    /// So many a second, whatever becomes of the earlier ones.
    Rate(f64),
}

struct Shared {
    bus: Arc<dyn Bus>,
    jobs: Queue,
    results: Queue,
    begin: Instant,
    slots: Semaphore,
    there: Mutex<Latencies>,
    back: Mutex<Latencies>,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A payload that carries a moment.
    fn stamped(moment: u64) -> Bytes {
        let mut payload = vec![0; PAYLOAD];
        payload[..8].copy_from_slice(&moment.to_be_bytes());
        payload.into()
    }

    fn since(&self, payload: &[u8]) -> Duration {
        let stamp = payload.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Duration::from_micros(self.now().saturating_sub(stamp))
    }
}

/// Measures, on a NATS server of our own.
///
/// # Errors
/// When the server does not start or loses something.
pub async fn measure(pace: Pace, duration: Duration) -> Result<QueueFloor> {
    let folder: TempDir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (server, _url, bus) = start_nats(folder.path()).await?;
    let (jobs, results) = (Queue::Jobs(PoolName::default_pool()), Queue::Results(Shard::default()));
    bus.ensure_queue(&jobs).await?;
    bus.ensure_queue(&results).await?;
    let in_flight = match pace {
        Pace::InFlight(in_flight) => in_flight,
        // Enough that it never holds anything back.
        Pace::Rate(_) => 100_000,
    };
    let shared = Arc::new(Shared {
        bus: Arc::clone(&bus),
        jobs,
        results,
        begin: Instant::now(),
        slots: Semaphore::new(in_flight as usize),
        there: Mutex::default(),
        back: Mutex::default(),
    });
    let worker = AbortOnDropHandle::new(tokio::spawn(work(Arc::clone(&shared))));
    let reader = AbortOnDropHandle::new(tokio::spawn(read(Arc::clone(&shared))));
    let sent = send(&shared, pace, duration).await?;
    let all_back = shared.slots.acquire_many(in_flight);
    drop(timeout(GIVE_UP, all_back).await.context("messages were lost")??);
    let seconds = shared.begin.elapsed().as_secs_f64();
    drop((worker, reader));
    bus.close().await;
    drop(server);
    let (there, back) = (shared.there.lock().summary(), shared.back.lock().summary());
    Ok(QueueFloor { jobs: sent, jobs_per_second: sent as f64 / seconds, there, back })
}

async fn send(shared: &Arc<Shared>, pace: Pace, duration: Duration) -> Result<u64> {
    let mut sending = JoinSet::new();
    let mut sent = 0_u64;
    let mut due = match pace {
        Pace::InFlight(_) => None,
        Pace::Rate(rate) => {
            let until = Until { count: None, duration: Some(duration) };
            let timetable = Timetable::new(Shape::Poisson { rate }, until, 1)?;
            Some(pace::start(timetable, shared.begin))
        }
    };
    loop {
        let moment = match &mut due {
            Some(due) => match due.recv().await {
                Some(due) => u64::try_from(due.intended.as_micros()).unwrap_or(u64::MAX),
                None => break,
            },
            None if shared.begin.elapsed() >= duration => break,
            None => shared.now(),
        };
        timeout(GIVE_UP, shared.slots.acquire()).await.context("messages were lost")??.forget();
        while let Some(done) = sending.try_join_next() {
            done.context("a task ended badly")??;
        }
        let shared = Arc::clone(shared);
        sending.spawn(async move {
            let id = format!("floor:{sent}");
            shared.bus.enqueue(&shared.jobs, &id, Shared::stamped(moment)).await
        });
        sent += 1;
    }
    while let Some(done) = sending.join_next().await {
        done.context("a task ended badly")??;
    }
    Ok(sent)
}

/// Slots of the worker this stands for.
const SLOTS: u32 = 256;

async fn work(shared: Arc<Shared>) -> Result<()> {
    let mut consumer = shared.bus.consume(&shared.jobs).await?;
    let mut answering = JoinSet::new();
    let mut number = 0_u64;
    loop {
        while answering.try_join_next().is_some() {}
        let free = SLOTS.saturating_sub(u32::try_from(answering.len()).unwrap_or(SLOTS));
        let wanted = free.saturating_sub(consumer.outstanding());
        if wanted > 0 {
            consumer.request(wanted);
        } else if consumer.outstanding() == 0 {
            answering.join_next().await;
            continue;
        }
        let Some(delivery) = consumer.next().await else { return Ok(()) };
        let taken = shared.since(delivery.payload());
        shared.there.lock().add(taken);
        delivery.ack().await?;
        let id = format!("floor-answer:{number}");
        number += 1;
        let shared = Arc::clone(&shared);
        answering.spawn(async move {
            let answer = Shared::stamped(shared.now());
            shared.bus.enqueue(&shared.results, &id, answer).await
        });
    }
}

async fn read(shared: Arc<Shared>) -> Result<()> {
    let mut consumer = shared.bus.consume(&shared.results).await?;
    loop {
        let wanted = SLOTS.saturating_sub(consumer.outstanding());
        if wanted > SLOTS / 2 {
            consumer.request(wanted);
        }
        let Some(delivery) = consumer.next().await else { return Ok(()) };
        let taken = shared.since(delivery.payload());
        shared.back.lock().add(taken);
        delivery.ack().await?;
        shared.slots.add_permits(1);
    }
}
