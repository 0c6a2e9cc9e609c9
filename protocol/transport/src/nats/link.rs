//! The connection, and what is known of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::client::{Request, Statistics};
use async_nats::connection::State;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::{Done, Failure};
use super::options::NatsOptions;
use super::streams::Stored;
use crate::BusError;

pub(super) struct Link {
    pub(super) client: Client,
    pub(super) options: NatsOptions,
    pub(super) closed: CancellationToken,
    statistics: Arc<Statistics>,
    connects: watch::Receiver<u64>,
    ensured: Mutex<Ensured>,
    /// Held by whoever makes streams.
    pub(super) making: tokio::sync::Mutex<()>,
    /// Consumers that were dropped and whose requests still stand at the server.
    pub(super) leaving: TaskTracker,
}

/// What was found or made on the server since the connection stands. A new connection may lead to
/// a server that has lost everything.
#[derive(Default)]
struct Ensured {
    epoch: u64,
    things: HashSet<Stored>,
}

impl Link {
    pub(super) fn new(
        client: Client,
        options: NatsOptions,
        connects: watch::Receiver<u64>,
    ) -> Self {
        let statistics = client.statistics();
        let (closed, ensured) = (CancellationToken::new(), Mutex::default());
        let (making, leaving) = (tokio::sync::Mutex::default(), TaskTracker::new());
        Self { client, options, closed, statistics, connects, ensured, making, leaving }
    }

    /// Which connection stands: the number of times that one was made. What was sent over an
    /// earlier one and not answered never will be.
    pub(super) fn epoch(&self) -> u64 {
        self.statistics.connects.load(Ordering::Acquire)
    }

    /// Says when a new connection was made.
    pub(super) fn connects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until there is a connection.
    pub(super) async fn connected(&self, until: Instant) -> Result<(), Failure> {
        // The client says first that it has connected and a moment later that it is so.
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let mut connects = self.connects();
        while !self.is_connected() {
            if Instant::now() >= until {
                return Err(Failure::Silent);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                Ok(()) = connects.changed() => {}
                () = self.closed.cancelled() => return Err(Failure::Disconnected),
            }
        }
        Ok(())
    }

    pub(super) fn open(&self) -> Result<(), BusError> {
        if self.closed.is_cancelled() { Err(BusError::Closed) } else { Ok(()) }
    }

    /// Whether a payload may travel.
    pub(super) fn fits(&self, subject: &str, payload: &Bytes) -> Result<(), BusError> {
        let limit = self.client.max_payload();
        if payload.len() <= limit {
            return Ok(());
        }
        Err(BusError::TooLarge { subject: subject.to_owned(), len: payload.len(), limit })
    }

    /// Publishes, waiting at most a call's deadline for room in the client's buffer.
    pub(super) async fn send(&self, subject: String, payload: Bytes) -> Result<(), BusError> {
        self.open()?;
        let within = self.options.deadline;
        let what = || format!("publish on `{subject}`");
        match tokio::time::timeout(within, self.client.publish(subject.clone(), payload)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unavailable { what: what(), why: error.to_string() }),
            Err(_) => Err(BusError::Timeout { what: what(), within }),
        }
    }

    /// Waits until the server has taken in what was sent before. It tells nobody that a
    /// subscription stands, but it answers in order, and at once where nobody listens.
    pub(super) async fn settle(&self) {
        const WITHIN: Duration = Duration::from_secs(1);
        let request = Request::new().timeout(Some(WITHIN));
        let asked = self.client.send_request("visor.v1.nobody", request);
        let _ = tokio::time::timeout(WITHIN, asked).await;
    }

    /// Whether JetStream is anywhere within reach, if not on this server.
    pub(super) async fn has_jetstream(&self) -> bool {
        let within = self.options.deadline / 2;
        self.call::<Done>("INFO", &Value::Null, within).await.is_ok()
    }

    /// Waits for dropped consumers to be rid of what still comes, writes out what waits, and ends
    /// everything.
    pub(super) async fn close(&self) {
        if self.closed.is_cancelled() {
            return;
        }
        // Without a connection there is nothing to wait for.
        if self.is_connected() {
            self.leaving.close();
            let _ = tokio::time::timeout(self.options.deadline, self.leaving.wait()).await;
            let _ = tokio::time::timeout(self.options.deadline, self.client.flush()).await;
        }
        self.closed.cancel();
        let _ = tokio::time::timeout(self.options.deadline, self.client.drain()).await;
    }

    /// A text that nobody else uses.
    pub(super) fn unique(&self) -> String {
        let inbox = self.client.new_inbox();
        inbox.rsplit_once('.').map_or(inbox.clone(), |(_, token)| token.to_owned())
    }

    pub(super) fn is_ensured(&self, thing: &Stored) -> bool {
        let ensured = self.ensured.lock();
        ensured.epoch == self.epoch() && ensured.things.contains(thing)
    }

    pub(super) fn mark_ensured(&self, epoch: u64, thing: Stored) {
        let mut ensured = self.ensured.lock();
        if ensured.epoch != epoch {
            *ensured = Ensured { epoch, things: HashSet::new() };
        }
        ensured.things.insert(thing);
    }

    pub(super) fn forget_ensured(&self) {
        self.ensured.lock().things.clear();
    }

    /// When a call that starts now gives up.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.options.deadline
    }

    /// How long one try of a call may take, so that a lost answer leaves time for another.
    pub(super) fn try_timeout(&self, until: Instant) -> Duration {
        let left = until.saturating_duration_since(Instant::now());
        left.min(self.options.deadline * 2 / 5)
    }
}
