//! The coordinator of this process: asked directly, so nothing is encoded and nothing is too large.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use visor_coordinator::ApiService;
use visor_protocol::api::{Request, Response};
use visor_protocol::envelope::Envelope;
use visor_protocol::event::Notice;
use visor_protocol::ids::{ContentHash, RunId};
use visor_protocol::subject::Pattern;
use visor_protocol::worker::LogChunk;
use visor_transport::{Bus, Subscription};

use super::{Backend, ClientError, Seen, Watch};

/// Notices handed over in one go.
const TOGETHER: usize = 1_024;

/// Talks to the coordinator of this process.
pub(crate) struct LocalBackend {
    api: Arc<dyn ApiService>,
    bus: Arc<dyn Bus>,
}

impl LocalBackend {
    /// This coordinator, on this bus.
    pub(crate) fn new(api: Arc<dyn ApiService>, bus: Arc<dyn Bus>) -> Self {
        Self { api, bus }
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn place(&self) -> &str {
        "this machine"
    }

    async fn call(&self, request: Request) -> Result<Response, ClientError> {
        self.api.call(request).await.map_err(ClientError::Refused)
    }

    async fn watch(&self, run: RunId, logs: bool) -> Result<Box<dyn Watch>, ClientError> {
        let notices = self.api.notices();
        let logs = match logs {
            true => Some(self.bus.subscribe(&Pattern::LogsOfRun(run)).await?),
            false => None,
        };
        Ok(Box::new(LocalWatch { notices, logs }))
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, ClientError> {
        Ok(self.bus.has_blob(hash).await?)
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ClientError> {
        Ok(self.bus.put_blob(bytes).await?)
    }

    async fn close(&self) {}
}

struct LocalWatch {
    notices: broadcast::Receiver<Arc<Notice>>,
    logs: Option<Box<dyn Subscription>>,
}

#[async_trait]
impl Watch for LocalWatch {
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
                notice = self.notices.recv() => match notice {
                    Ok(notice) => return Some(Seen::Notices(self.gather(notice))),
                    // Asking for the run makes up for what was missed.
                    Err(RecvError::Lagged(_)) => return Some(Seen::Reconnected),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

impl LocalWatch {
    /// What has come meanwhile is handed over together.
    fn gather(&mut self, first: Arc<Notice>) -> Vec<Notice> {
        let mut notices = vec![Arc::unwrap_or_clone(first)];
        while notices.len() < TOGETHER {
            match self.notices.try_recv() {
                Ok(notice) => notices.push(Arc::unwrap_or_clone(notice)),
                Err(TryRecvError::Empty | TryRecvError::Lagged(_) | TryRecvError::Closed) => break,
            }
        }
        notices
    }
}
