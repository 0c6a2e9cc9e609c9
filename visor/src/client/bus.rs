//! The coordinator on the other side of a bus: of NATS, or of this process's own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use visor_protocol::api::{Reply, Request, Response};
use visor_protocol::envelope::Envelope;
use visor_protocol::event::Notice;
use visor_protocol::ids::{ContentHash, RunId, Shard};
use visor_protocol::subject::{Pattern, Subject};
use visor_protocol::time::{Clock, SystemClock};
use visor_protocol::worker::LogChunk;
use visor_transport::{Bus, Subscription};

use super::{Backend, ClientError, Seen, Watch};

/// A coordinator answers from memory; one that takes longer is in trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A report of a hundred thousand checks with their output is smaller.
const MAX_ANSWER_BYTES: u64 = 512 * 1024 * 1024;

/// Talks over a bus.
pub(crate) struct BusBackend {
    bus: Arc<dyn Bus>,
    place: String,
}

impl BusBackend {
    /// Over this bus, which people know by this name.
    pub(crate) fn new(bus: Arc<dyn Bus>, place: String) -> Self {
        Self { bus, place }
    }
}

#[async_trait]
impl Backend for BusBackend {
    fn place(&self) -> &str {
        &self.place
    }

    async fn call(&self, request: Request) -> Result<Response, ClientError> {
        let subject = Subject::Api(Shard(0), request.operation());
        let question = Envelope::new(request, SystemClock.now()).encode()?;
        let answer = self.bus.request(&subject, question, ANSWER_WITHIN).await?;
        match Envelope::<Reply>::decode(&answer)?.body {
            // Too large for a message: the answer lies in the blob store.
            Ok(Response::Stored { hash, bytes }) if bytes <= MAX_ANSWER_BYTES => {
                let answer = self.bus.get_blob(hash, bytes).await?;
                Envelope::<Reply>::decode_stored(&answer)?.body.map_err(ClientError::Refused)
            }
            answer => answer.map_err(ClientError::Refused),
        }
    }

    async fn watch(&self, run: RunId, logs: bool) -> Result<Box<dyn Watch>, ClientError> {
        let notices = self.bus.subscribe(&Pattern::One(Subject::Run(run))).await?;
        let logs = match logs {
            true => Some(self.bus.subscribe(&Pattern::LogsOfRun(run)).await?),
            false => None,
        };
        Ok(Box::new(BusWatch { notices, logs }))
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, ClientError> {
        Ok(self.bus.has_blob(hash).await?)
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ClientError> {
        Ok(self.bus.put_blob(bytes).await?)
    }

    async fn close(&self) {
        self.bus.close().await;
    }
}

struct BusWatch {
    notices: Box<dyn Subscription>,
    logs: Option<Box<dyn Subscription>>,
}

#[async_trait]
impl Watch for BusWatch {
    async fn next(&mut self) -> Option<Seen> {
        loop {
            // Logs first: what a check wrote is shown before the news that it ended.
            let log = async {
                match &mut self.logs {
                    Some(logs) => logs.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = log => match message {
                    Some(message) => match Envelope::<LogChunk>::decode(&message.payload) {
                        Ok(chunk) => return Some(Seen::Log(chunk.body)),
                        Err(error) => tracing::warn!(%error, "unreadable log chunk"),
                    },
                    None => self.logs = None,
                },
                message = self.notices.next() => {
                    match Envelope::<Vec<Notice>>::decode(&message?.payload) {
                        Ok(notices) => return Some(Seen::Notices(notices.body)),
                        Err(error) => tracing::warn!(%error, "unreadable notice"),
                    }
                }
            }
        }
    }
}
