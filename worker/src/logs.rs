//! Live output of jobs that somebody follows. Lossy on purpose: the record is in the outcome.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use visor_protocol::envelope::Envelope;
use visor_protocol::subject::Subject;
use visor_protocol::time::Clock;
use visor_protocol::worker::{LogChunk, Ticket};
use visor_providers::{LogSink, Stream};
use visor_transport::Bus;

/// Chunks that wait to be published. A bus that cannot keep up loses the ones after that.
const QUEUED_CHUNKS: usize = 2048;

/// Where live output goes on its way out.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue(mpsc::Sender<LogChunk>);

impl LogQueue {
    pub(crate) fn new() -> (Self, mpsc::Receiver<LogChunk>) {
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        (Self(sender), receiver)
    }

    /// Nothing waits to be published.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.capacity() == self.0.max_capacity()
    }

    /// The way out for one attempt.
    pub(crate) fn sink(&self, ticket: Ticket) -> Box<dyn LogSink> {
        Box::new(TicketLog { queue: self.0.clone(), ticket })
    }
}

struct TicketLog {
    queue: mpsc::Sender<LogChunk>,
    ticket: Ticket,
}

impl LogSink for TicketLog {
    fn chunk(&self, stream: Stream, offset: u64, bytes: Bytes) {
        let stderr = stream == Stream::Stderr;
        // Larger pieces than a message may be cannot come: the recorder flushes far below.
        let _ = self.queue.try_send(LogChunk { ticket: self.ticket, stderr, offset, bytes });
    }
}

/// Publishes chunks until every sender is gone.
pub(crate) async fn publish_logs(
    mut chunks: mpsc::Receiver<LogChunk>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
) {
    while let Some(chunk) = chunks.recv().await {
        let subject = Subject::Logs(chunk.ticket.job.run, chunk.ticket.job.seq);
        match Envelope::new(chunk, clock.now()).encode() {
            Ok(payload) => {
                if let Err(error) = bus.publish(&subject, payload).await {
                    tracing::debug!(%error, "live output not published");
                }
            }
            Err(error) => tracing::warn!(%error, "live output cannot be encoded"),
        }
    }
}
