//! Hands encoded jobs to the transport, many at once, and keeps at it while the transport is away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
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
    ticket: Ticket,
    queue: Queue,
    id: String,
    payload: Bytes,
}

/// What is to be handed over, in the order in which it was asked for.
#[derive(Default)]
struct Wanted {
    waiting: BTreeMap<u64, Publication>,
    /// The place of an attempt: in the line, or on its way once it has left it.
    place: HashMap<Ticket, u64>,
    next: u64,
}

/// The way to the transport. Cheap to clone.
///
/// It holds one publication for each attempt that the dispatcher has admitted and nobody has
/// withdrawn, so it is bounded by what the dispatcher admits: two rounds of slots at most.
#[derive(Clone, Default)]
pub(crate) struct Publisher {
    wanted: Arc<Mutex<Wanted>>,
    more: Arc<Notify>,
}

impl Publisher {
    pub(crate) fn start(bus: Arc<dyn Bus>, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let publisher = Self::default();
        tasks.spawn(run(bus, publisher.clone(), stop));
        publisher
    }

    /// Hands an attempt over. The first publication of an attempt has the same id however often
    /// it is asked for, also by a restarted coordinator, so the transport drops doubles; later
    /// ones are asked for because the first was lost, and take the place of one that still waits.
    pub(crate) fn publish(&self, queue: Queue, ticket: Ticket, publication: u32, payload: Bytes) {
        let id = format!("{}:{}:{publication}", ticket.job, ticket.attempt);
        let mut wanted = self.wanted.lock();
        let place = wanted.next;
        wanted.next += 1;
        if let Some(earlier) = wanted.place.insert(ticket, place) {
            wanted.waiting.remove(&earlier);
        }
        wanted.waiting.insert(place, Publication { ticket, queue, id, payload });
        drop(wanted);
        self.more.notify_one();
    }

    /// Nobody wants the attempt handed over any more. It may have been already.
    pub(crate) fn withdraw(&self, ticket: Ticket) {
        let mut wanted = self.wanted.lock();
        if let Some(place) = wanted.place.remove(&ticket) {
            wanted.waiting.remove(&place);
        }
    }

    /// The next that waits; it is on its way from now on.
    fn next(&self) -> Option<(u64, Publication)> {
        self.wanted.lock().waiting.pop_first()
    }

    fn is_wanted(&self, ticket: Ticket, place: u64) -> bool {
        self.wanted.lock().place.get(&ticket) == Some(&place)
    }

    fn done(&self, ticket: Ticket, place: u64) {
        let mut wanted = self.wanted.lock();
        if wanted.place.get(&ticket) == Some(&place) {
            wanted.place.remove(&ticket);
        }
    }
}

async fn run(bus: Arc<dyn Bus>, publisher: Publisher, stop: CancellationToken) {
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < IN_FLIGHT
            && let Some((place, publication)) = publisher.next()
        {
            under_way.push(publish(&*bus, &publisher, place, publication));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = publisher.more.notified(), if under_way.len() < IN_FLIGHT => {}
        }
    }
}

async fn publish(bus: &dyn Bus, publisher: &Publisher, place: u64, publication: Publication) {
    let Publication { ticket, queue, id, payload } = publication;
    let mut pause = FIRST_PAUSE;
    loop {
        match bus.enqueue(&queue, &id, payload.clone()).await {
            Ok(()) | Err(visor_transport::BusError::Closed) => break,
            Err(error) => {
                tracing::warn!(%error, job = %id, "job cannot be handed to the transport; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                if !publisher.is_wanted(ticket, place) {
                    return;
                }
            }
        }
    }
    publisher.done(ticket, place);
}

#[cfg(test)]
mod tests {
    use visor_protocol::ids::PoolName;
    use visor_testkit::build::run_id;
    use visor_testkit::eventually_some;
    use visor_testkit::faulty::{Direction, Faults, FaultyBus};
    use visor_transport::memory::MemoryBus;

    use super::*;

    fn ticket(seq: u32) -> Ticket {
        let job = visor_protocol::ids::JobId { run: run_id(1), seq };
        Ticket { job, attempt: visor_protocol::ids::Attempt::FIRST }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_withdrawn_while_the_transport_is_away_is_not_kept_and_never_goes() {
        let inner = MemoryBus::shared();
        let bus = FaultyBus::new(Arc::clone(&inner), 1, Faults::none());
        let queue = Queue::Jobs(PoolName::default_pool());
        bus.ensure_queue(&queue).await.unwrap();
        bus.cut(Direction::Both);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let publisher = Publisher::start(Arc::clone(&bus) as Arc<dyn Bus>, &tasks, stop.clone());
        for seq in 0..5_000 {
            let payload = Bytes::from_static(b"job");
            publisher.publish(queue.clone(), ticket(seq), 0, payload.clone());
            publisher.publish(queue.clone(), ticket(seq), 1, payload);
        }
        assert_eq!(publisher.wanted.lock().waiting.len(), 5_000);
        tokio::time::sleep(Duration::from_secs(10)).await;
        for seq in 10..5_000 {
            publisher.withdraw(ticket(seq));
        }
        assert!(publisher.wanted.lock().place.len() <= 10);
        bus.heal();
        eventually_some("the ten that are wanted have gone", async || {
            publisher.wanted.lock().place.is_empty().then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(inner.queue_state(&queue).await.unwrap().messages, 10);
        stop.cancel();
    }
}
