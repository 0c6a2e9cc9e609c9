//! Outcomes on their way to the coordinator: gathered while one message is in flight, tried until
//! the bus has stored them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::Instant;
use visor_protocol::envelope::{Envelope, WireError};
use visor_protocol::ids::Shard;
use visor_protocol::outcome::{Captured, Outcome};
use visor_transport::{BusError, Queue};

use crate::ledger::Reported;
use crate::shared::Shared;

/// Outcomes in one message.
const BATCH: usize = 200;

/// Bytes of outcomes in one message; well below what a message may be.
const BATCH_BYTES: usize = 512 * 1024;

/// Outcomes that wait to be stored. When there are more, attempts wait with theirs, and keep their
/// slots.
pub(crate) const WAITING: usize = 4096;

/// The first pause after a failure, doubled up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Sends outcomes until every sender is gone, or until the worker must end and `flush` is over.
pub(crate) async fn send_results(shared: Arc<Shared>, mut waiting: mpsc::Receiver<Arc<Reported>>) {
    let mut sender = Sender { rng: StdRng::seed_from_u64(shared.boot), shared, batches: 0 };
    let mut gathered = Vec::with_capacity(BATCH);
    loop {
        let ended = sender.shared.ended.clone();
        tokio::select! {
            biased;
            count = waiting.recv_many(&mut gathered, BATCH) => if count == 0 { return },
            // Nothing waits, and nothing more will come.
            () = ended.cancelled() => return,
        }
        sender.send_all(&mut gathered).await;
    }
}

/// Whether outcomes got where they should be.
enum Stored {
    Yes,
    /// The worker ends before that.
    NotNow,
    /// Nothing that could be tried again would change it.
    Never,
}

struct Sender {
    shared: Arc<Shared>,
    rng: StdRng,
    batches: u64,
}

impl Sender {
    async fn send_all(&mut self, gathered: &mut Vec<Arc<Reported>>) {
        while let Some(first) = gathered.first() {
            let shard = first.shard;
            let mut bytes = 0;
            let mut batch = Vec::with_capacity(gathered.len());
            gathered.retain(|reported| {
                let fits = batch.is_empty() || bytes + reported.size() <= BATCH_BYTES;
                let taken = reported.shard == shard && fits;
                if taken {
                    bytes += reported.size();
                    batch.push(Arc::clone(reported));
                }
                !taken
            });
            self.send(shard, batch).await;
        }
    }

    async fn send(&mut self, shard: Shard, batch: Vec<Arc<Reported>>) {
        self.batches += 1;
        let id = format!("{}:{}:{}", self.shared.config.id, self.shared.boot, self.batches);
        let stored = match self.encode(&batch) {
            Ok(payload) => self.store(&Queue::Results(shard), &id, payload).await,
            Err(error) => {
                tracing::error!(%error, outcomes = batch.len(), "outcomes cannot be encoded");
                Stored::Never
            }
        };
        let now = Instant::now();
        let mut ledger = self.shared.ledger.lock();
        match stored {
            Stored::Yes => batch.into_iter().for_each(|reported| ledger.stored(now, reported)),
            // Not held any more, they count as lost with whoever waits for them, and run again.
            Stored::Never => batch.iter().for_each(|reported| ledger.abandon(reported.ticket())),
            Stored::NotNow => {}
        }
    }

    fn encode(&self, batch: &[Arc<Reported>]) -> Result<Bytes, WireError> {
        let now = self.shared.clock.now();
        let outcomes: Vec<&Outcome> = batch.iter().map(|reported| &reported.outcome).collect();
        match Envelope::new(outcomes, now).encode() {
            // Far above what the sizes promise; without its output it says the most important.
            Err(WireError::TooLarge { len }) => {
                tracing::error!(len, "an outcome is too large and goes without its output");
                let bare = |reported: &Arc<Reported>| Outcome {
                    stdout: Captured { inline: Bytes::new(), ..reported.outcome.stdout.clone() },
                    stderr: Captured { inline: Bytes::new(), ..reported.outcome.stderr.clone() },
                    ..reported.outcome.clone()
                };
                Envelope::new(batch.iter().map(bare).collect::<Vec<_>>(), now).encode()
            }
            encoded => encoded,
        }
    }

    /// Tries until it is stored, or never can be, or the worker must end first.
    async fn store(&mut self, queue: &Queue, id: &str, payload: Bytes) -> Stored {
        let mut pause = PAUSES.0;
        loop {
            let error = match self.shared.bus.enqueue(queue, id, payload.clone()).await {
                Ok(()) => return Stored::Yes,
                Err(error) => error,
            };
            match &error {
                BusError::Closed => {
                    tracing::warn!("the bus closed before every outcome was stored");
                    return Stored::NotNow;
                }
                BusError::TooLarge { .. } => {
                    tracing::error!(%error, "outcomes cannot be stored");
                    return Stored::Never;
                }
                BusError::Unavailable { .. } => {
                    // The queue may have been lost with the server's storage.
                    let _ = self.shared.bus.ensure_queue(queue).await;
                }
                BusError::Timeout { .. }
                | BusError::NoResponder { .. }
                | BusError::Connect { .. }
                | BusError::NoBlob { .. } => {}
            }
            tracing::warn!(%error, queue = %queue.subject(), "outcomes not stored yet");
            let jittered = pause.mul_f64(self.rng.random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = self.shared.ended.cancelled() => return Stored::NotNow,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}
