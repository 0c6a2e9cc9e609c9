//! Publish, subscribe, request and answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use visor_protocol::ids::RunId;
use visor_protocol::subject::{Pattern, Subject};

use crate::{BusError, Message, ReplyTo, Subscription};

const INBOX: &str = "_INBOX.";

#[derive(Debug)]
pub(super) struct Core {
    routes: RwLock<Routes>,
    replies: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    next_id: AtomicU64,
    dropped: AtomicU64,
    limits: Limits,
}

/// How far a subscriber may fall behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Who hears what. Patterns that name a subject or a run are looked up, so a thousand watched
/// runs cost a publisher no more than one.
#[derive(Debug, Default)]
struct Routes {
    exact: HashMap<Subject, Vec<Listener>>,
    logs: HashMap<RunId, Vec<Listener>>,
    broad: Vec<(Pattern, Listener)>,
    closed: bool,
}

#[derive(Debug)]
struct Listener {
    id: u64,
    sender: mpsc::Sender<Message>,
    backlog: Arc<Backlog>,
}

#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Core {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            routes: RwLock::default(),
            replies: Mutex::default(),
            next_id: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            limits,
        }
    }

    /// Messages that subscribers lost because they were too far behind.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Hands the message to everybody who listens; how many there are.
    pub(super) fn publish(
        &self,
        subject: &Subject,
        payload: &Bytes,
        reply: Option<&ReplyTo>,
    ) -> usize {
        let routes = self.routes.read();
        let exact = routes.exact.get(subject).map(Vec::as_slice).unwrap_or_default();
        let logs = match subject {
            Subject::Logs(run, _) => routes.logs.get(run).map(Vec::as_slice).unwrap_or_default(),
            _ => &[],
        };
        let broad = routes.broad.iter().filter(|(pattern, _)| pattern.matches(subject));
        let mut heard = 0;
        for listener in exact.iter().chain(logs).chain(broad.map(|(_, listener)| listener)) {
            heard += 1;
            self.offer(
                listener,
                Message {
                    subject: Some(subject.clone()),
                    payload: payload.clone(),
                    reply: reply.cloned(),
                },
            );
        }
        heard
    }

    fn offer(&self, listener: &Listener, message: Message) {
        let len = message.payload.len();
        let backlog = &listener.backlog;
        let behind = backlog.bytes.fetch_add(len, Ordering::Relaxed);
        let fits = behind == 0 || behind + len <= self.limits.bytes;
        let sent = fits && listener.sender.try_send(message).is_ok();
        if !sent {
            backlog.bytes.fetch_sub(len, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            let lost = backlog.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::warn!(lost, "a subscriber is too slow and loses messages");
            }
        }
    }

    /// Listens; the listening ends when the subscription is dropped.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        pattern: &Pattern,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let (sender, receiver) = mpsc::channel(self.limits.messages);
        let backlog = Arc::<Backlog>::default();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let listener = Listener { id, sender, backlog: Arc::clone(&backlog) };
        let mut routes = self.routes.write();
        if routes.closed {
            return Err(BusError::Closed);
        }
        match pattern {
            Pattern::One(subject) => {
                routes.exact.entry(subject.clone()).or_default().push(listener);
            }
            Pattern::LogsOfRun(run) => routes.logs.entry(*run).or_default().push(listener),
            Pattern::AllWorkers | Pattern::AllResults | Pattern::AllJobs | Pattern::AllEvents => {
                routes.broad.push((pattern.clone(), listener))
            }
        }
        drop(routes);
        let (core, pattern) = (Arc::clone(self), pattern.clone());
        Ok(Box::new(MemorySubscription { core, pattern, id, receiver, backlog }))
    }

    fn unsubscribe(&self, pattern: &Pattern, id: u64) {
        let mut routes = self.routes.write();
        match pattern {
            Pattern::One(subject) => {
                if let Some(listeners) = routes.exact.get_mut(subject) {
                    listeners.retain(|listener| listener.id != id);
                    if listeners.is_empty() {
                        routes.exact.remove(subject);
                    }
                }
            }
            Pattern::LogsOfRun(run) => {
                if let Some(listeners) = routes.logs.get_mut(run) {
                    listeners.retain(|listener| listener.id != id);
                    if listeners.is_empty() {
                        routes.logs.remove(run);
                    }
                }
            }
            Pattern::AllWorkers | Pattern::AllResults | Pattern::AllJobs | Pattern::AllEvents => {
                routes.broad.retain(|(_, listener)| listener.id != id)
            }
        }
    }

    /// Sends a request and waits for the first answer.
    pub(super) async fn request(
        &self,
        subject: &Subject,
        payload: &Bytes,
        within: Duration,
    ) -> Result<Bytes, BusError> {
        let (sender, receiver) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.replies.lock().insert(id, sender);
        let _forget = Forget { core: self, id };
        if self.publish(subject, payload, Some(&ReplyTo(format!("{INBOX}{id}")))) == 0 {
            return Err(if self.routes.read().closed {
                BusError::Closed
            } else {
                BusError::NoResponder { subject: subject.to_string() }
            });
        }
        match tokio::time::timeout(within, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(BusError::Closed),
            Err(_) => Err(BusError::Timeout { what: format!("request on `{subject}`"), within }),
        }
    }

    /// Answers a request. Whoever has given up waiting is not told.
    pub(super) fn respond(&self, to: &ReplyTo, payload: Bytes) {
        let waiting = to.0.strip_prefix(INBOX).and_then(|id| id.parse().ok());
        if let Some(sender) = waiting.and_then(|id: u64| self.replies.lock().remove(&id)) {
            let _ = sender.send(payload);
        }
    }

    /// Ends every subscription and every waiting request.
    pub(super) fn close(&self) {
        *self.routes.write() = Routes { closed: true, ..Routes::default() };
        self.replies.lock().clear();
    }
}

/// Forgets a request that is answered, given up or cancelled.
struct Forget<'a> {
    core: &'a Core,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.core.replies.lock().remove(&self.id);
    }
}

struct MemorySubscription {
    core: Arc<Core>,
    pattern: Pattern,
    id: u64,
    receiver: mpsc::Receiver<Message>,
    backlog: Arc<Backlog>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Message> {
        let message = self.receiver.recv().await?;
        self.backlog.bytes.fetch_sub(message.payload.len(), Ordering::Relaxed);
        Some(message)
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        self.core.unsubscribe(&self.pattern, self.id);
    }
}
