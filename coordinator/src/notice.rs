//! Tells the world what happens: to watchers in this process, to whoever watches a run over the
//! bus, and to the event stream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::Subject;
use visor_protocol::envelope::Envelope;
use visor_protocol::event::Notice;
use visor_protocol::ids::{RunId, Shard};
use visor_protocol::time::{Clock, Timestamp};
use visor_transport::Bus;

use crate::gauges::Gauges;

/// Batches that wait to be told. Beyond that they are dropped and counted: watchers ask again.
const QUEUE: usize = 16_384;

/// Notices that a watcher in this process may be behind.
const BEHIND: usize = 16_384;

/// Notices in one message at most.
const TOGETHER: usize = 512;

struct Batch {
    notices: Vec<Notice>,
    watched: bool,
}

/// The hub. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NoticeHub {
    queue: mpsc::Sender<Batch>,
    local: broadcast::Sender<Arc<Notice>>,
    gauges: Arc<Gauges>,
}

impl NoticeHub {
    pub(crate) fn start(
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        shard: Shard,
        gauges: Arc<Gauges>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (queue, batches) = mpsc::channel(QUEUE);
        let (local, _) = broadcast::channel(BEHIND);
        tasks.spawn(run(bus, clock, shard, batches, stop));
        Self { queue, local, gauges }
    }

    /// Tells the world. `watched`: somebody follows the run over the bus.
    pub(crate) fn send(&self, notices: Vec<Notice>, watched: bool) {
        if notices.is_empty() {
            return;
        }
        if self.local.receiver_count() > 0 {
            for notice in &notices {
                let _ = self.local.send(Arc::new(notice.clone()));
            }
        }
        let count = notices.len() as u64;
        if self.queue.try_send(Batch { notices, watched }).is_err() {
            self.gauges.notices_dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Everything from now on. A receiver that falls behind is told how much it missed.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.local.subscribe()
    }
}

async fn run(
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    shard: Shard,
    mut batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => batch,
                None => return,
            },
            () = stop.cancelled() => {
                // What was said before the stop is still told.
                batches.close();
                match batches.recv().await {
                    Some(batch) => batch,
                    None => return,
                }
            }
        };
        let mut all = Vec::new();
        let mut watched = HashSet::new();
        let mut next = Some(first);
        while let Some(batch) = next {
            if batch.watched {
                watched.extend(batch.notices.first().map(|notice| notice.run));
            }
            all.extend(batch.notices);
            next = if all.len() < TOGETHER { batches.try_recv().ok() } else { None };
        }
        tell(&*bus, clock.now(), shard, &all, &watched).await;
    }
}

/// Tells those who watch a run what is about it, and the event stream everything.
async fn tell(
    bus: &dyn Bus,
    now: Timestamp,
    shard: Shard,
    all: &[Notice],
    watched: &HashSet<RunId>,
) {
    let everything = match Envelope::new(all, now).encode() {
        Ok(payload) => payload,
        Err(error) => {
            tracing::warn!(%error, "notices cannot be sent");
            return;
        }
    };
    let mut of_run: HashMap<RunId, Vec<&Notice>> = HashMap::new();
    for notice in all.iter().filter(|notice| watched.contains(&notice.run)) {
        of_run.entry(notice.run).or_default().push(notice);
    }
    for (run, notices) in of_run {
        let payload = if notices.len() == all.len() {
            Ok(everything.clone())
        } else {
            Envelope::new(notices, now).encode()
        };
        match payload {
            Ok(payload) => {
                if let Err(error) = bus.publish(&Subject::Run(run), payload).await {
                    tracing::debug!(%error, %run, "watchers were not told; they ask again");
                }
            }
            Err(error) => tracing::warn!(%error, %run, "notices cannot be sent"),
        }
    }
    if let Err(error) = bus.record(&Subject::Events(shard), everything).await {
        tracing::debug!(%error, "the event stream missed a batch");
    }
}
