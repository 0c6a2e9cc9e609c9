//! Hands encoded jobs to the transport, many at once, and keeps at it while the transport is away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::worker::Ticket;
use visor_transport::{Bus, Queue};

/// Jobs on their way to the transport at once. JetStream's rate stops growing well before.
const IN_FLIGHT: usize = 256;

/// A transport that refuses is asked again after this pause, growing to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

struct Publication {
    queue: Queue,
    id: String,
    payload: Bytes,
}

/// The way to the transport. Cheap to clone.
///
/// Its queue is bounded by what the dispatcher admits: about two rounds of slots.
#[derive(Clone)]
pub(crate) struct Publisher {
    queue: mpsc::UnboundedSender<Publication>,
}

impl Publisher {
    pub(crate) fn start(bus: Arc<dyn Bus>, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (queue, publications) = mpsc::unbounded_channel();
        tasks.spawn(run(bus, publications, stop));
        Self { queue }
    }

    /// Hands an attempt over. The first publication of an attempt has the same id however often
    /// it is asked for, also by a restarted coordinator, so the transport drops doubles; later
    /// ones are asked for because the first was lost.
    pub(crate) fn publish(&self, queue: Queue, ticket: Ticket, publication: u32, payload: Bytes) {
        let id = format!("{}:{}:{publication}", ticket.job, ticket.attempt);
        // Closed only when the coordinator stops: the journal has the job.
        let _ = self.queue.send(Publication { queue, id, payload });
    }
}

async fn run(
    bus: Arc<dyn Bus>,
    mut publications: mpsc::UnboundedReceiver<Publication>,
    stop: CancellationToken,
) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            next = publications.recv(), if under_way.len() < IN_FLIGHT => match next {
                Some(publication) => under_way.push(publish(Arc::clone(&bus), publication)),
                None => return,
            },
        }
    }
}

async fn publish(bus: Arc<dyn Bus>, publication: Publication) {
    let Publication { queue, id, payload } = publication;
    let mut pause = FIRST_PAUSE;
    loop {
        match bus.enqueue(&queue, &id, payload.clone()).await {
            Ok(()) => return,
            Err(visor_transport::BusError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, job = %id, "job cannot be handed to the transport; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
