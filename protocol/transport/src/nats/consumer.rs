//! Taking from a queue: long-standing requests for messages on a durable pull consumer.
//!
//! Everything happens within [`Consumer::next`]; there is no task of its own, only one that repairs
//! when something is missing, so that a caller who drops the future and calls again loses nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{StatusCode, Subject, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::SelectAll;
use futures::{FutureExt, Stream, StreamExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::delivery::{AGAIN, NatsDelivery};
use super::link::Link;
use super::pulls::{LANES, Plan, Pulls};
use super::streams::{Stored, consumer_name};
use crate::{BusError, Consumer, Delivery, Queue};

const FIRST_HOLD: Duration = Duration::from_millis(20);
const LONGEST_HOLD: Duration = Duration::from_secs(1);

pub(super) struct NatsConsumer {
    link: Arc<Link>,
    queue: Queue,
    /// Where requests go.
    next_subject: String,
    inbox: String,
    lanes: SelectAll<Lane>,
    has_lane: [bool; LANES],
    pulls: Pulls,
    outstanding: u32,
    connects: watch::Receiver<u64>,
    epoch: u64,
    /// When something was last heard for this consumer, or asked for after silence.
    heard: Instant,
    /// Silences in a row.
    silences: u32,
    /// No request before this: the last one was refused.
    hold: Option<Instant>,
    hold_for: Duration,
    repair: Option<JoinHandle<Result<(), BusError>>>,
}

/// One subscription, with its number.
struct Lane {
    index: usize,
    subscriber: Subscriber,
}

impl Stream for Lane {
    type Item = (usize, async_nats::Message);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let index = self.index;
        self.subscriber.poll_next_unpin(cx).map(|next| next.map(|message| (index, message)))
    }
}

/// What to do about a queue that may be damaged.
#[derive(Debug, Clone, Copy)]
enum Repair {
    /// Look whether it is there, unless somebody did since the connection stands.
    Ensure,
    /// Make what is missing.
    Make,
    /// Make its consumer anew if it does not deliver what waits.
    Rebuild,
}

/// What [`NatsConsumer::next`] was woken by.
enum Woken {
    Message(usize, async_nats::Message),
    Repaired(Result<(), BusError>),
    Tick,
    Closed,
}

impl NatsConsumer {
    pub(super) fn new(link: Arc<Link>, queue: Queue) -> Self {
        let stream = Stored::Queue(queue.clone()).stream();
        Self {
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", consumer_name(&queue)),
            inbox: link.client.new_inbox(),
            lanes: SelectAll::new(),
            has_lane: [false; LANES],
            pulls: Pulls::new(),
            outstanding: 0,
            connects: link.connects(),
            epoch: link.epoch(),
            heard: Instant::now(),
            silences: 0,
            hold: None,
            hold_for: FIRST_HOLD,
            repair: None,
            queue,
            link,
        }
    }

    /// Sends what requests are due. When to look again.
    async fn pull(&mut self) -> Result<Option<Instant>, BusError> {
        let now = Instant::now();
        let epoch = self.link.epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.pulls.forget();
            self.heard = now;
            self.hold = None;
            // The server that answers now may have lost everything. Asked for messages of a
            // consumer it does not have, it says nothing at all.
            self.start_repair(Repair::Ensure);
        }
        self.pulls.expire(now);
        if self.repair.is_some() || !self.link.is_connected() {
            return Ok(None);
        }
        if let Some(until) = self.hold {
            if now < until {
                return Ok(Some(until));
            }
            self.hold = None;
        }
        loop {
            match self.pulls.plan(now, self.outstanding, self.link.options.pull_expiry) {
                Plan::Rest => return Ok(None),
                Plan::Wait(until) => return Ok(Some(until)),
                Plan::Pull { lane, generation, batch } => {
                    if self.pulls.open() == batch {
                        // The first after a rest: silence is counted from here.
                        self.heard = now;
                    }
                    self.send_pull(lane, generation, batch).await?;
                }
            }
        }
    }

    async fn send_pull(
        &mut self,
        lane: usize,
        generation: u64,
        batch: u32,
    ) -> Result<(), BusError> {
        let (client, options) = (&self.link.client, &self.link.options);
        let unavailable = |why: String| BusError::Unavailable {
            what: format!("asking for messages of `{}`", self.queue.subject()),
            why,
        };
        if !self.has_lane[lane] {
            let subscriber = client
                .subscribe(format!("{}.{lane}.*", self.inbox))
                .await
                .map_err(|error| unavailable(error.to_string()))?;
            self.lanes.push(Lane { index: lane, subscriber });
            self.has_lane[lane] = true;
        }
        let request = json!({
            "batch": batch,
            "expires": u64::try_from(options.pull_expiry.as_nanos()).unwrap_or(u64::MAX),
            "idle_heartbeat": u64::try_from(options.pull_heartbeat.as_nanos()).unwrap_or(u64::MAX),
        });
        let reply = format!("{}.{lane}.{generation}", self.inbox);
        client
            .publish_with_reply(self.next_subject.clone(), reply, request.to_string().into())
            .await
            .map_err(|error| unavailable(error.to_string()))
    }

    /// Takes note of a message; the delivery, when it is one.
    fn take(&mut self, lane: usize, message: async_nats::Message) -> Option<Box<dyn Delivery>> {
        self.heard = Instant::now();
        if let Some(status) = message.status {
            self.note(lane, status, &message);
            return None;
        }
        let reply = message.reply?;
        self.pulls.delivered(lane);
        self.silences = 0;
        self.hold_for = FIRST_HOLD;
        if self.outstanding == 0 {
            // A request thought to be lost was filled after all.
            give_back(&self.link, reply);
            return None;
        }
        self.outstanding -= 1;
        let link = Arc::clone(&self.link);
        Some(Box::new(NatsDelivery { link, payload: message.payload, reply }))
    }

    /// What the server says about a request.
    fn note(&mut self, lane: usize, status: StatusCode, message: &async_nats::Message) {
        if status == StatusCode::IDLE_HEARTBEAT {
            self.silences = 0;
            self.hold_for = FIRST_HOLD;
            return;
        }
        self.pulls.ended(lane, generation(&message.subject));
        if status == StatusCode::TIMEOUT || status == StatusCode::NOT_FOUND {
            // It stood for its time; the rest is asked for anew.
            self.silences = 0;
            self.hold_for = FIRST_HOLD;
            return;
        }
        // 503: nobody serves the consumer. 409: it was deleted, or lost its leader, or is full.
        let description = message.description.as_deref().unwrap_or_default();
        tracing::debug!(%status, description, queue = %self.queue.subject(), "request ended");
        self.hold = Some(Instant::now() + self.hold_for);
        self.hold_for = (self.hold_for * 2).min(LONGEST_HOLD);
        if status == StatusCode::NO_RESPONDERS || description.contains("Deleted") {
            self.start_repair(Repair::Make);
        }
    }

    /// Notices silence: the server promised a sign of life for every standing request.
    fn watch(&mut self, now: Instant) -> Option<Instant> {
        if self.pulls.open() == 0 || !self.link.is_connected() {
            return None;
        }
        let silent_at = self.heard + 2 * self.link.options.pull_heartbeat + Duration::from_secs(1);
        if now < silent_at {
            return Some(silent_at);
        }
        self.silences += 1;
        self.heard = now;
        self.leave_lanes();
        self.start_repair(if self.silences > 1 { Repair::Rebuild } else { Repair::Make });
        None
    }

    /// Leaves all lanes with whatever still comes on them, and starts with new ones.
    fn leave_lanes(&mut self) {
        let lanes = std::mem::replace(&mut self.lanes, SelectAll::new());
        let pulls = std::mem::replace(&mut self.pulls, Pulls::new());
        self.inbox = self.link.client.new_inbox();
        self.has_lane = [false; LANES];
        if pulls.open() == 0 || self.link.closed.is_cancelled() {
            return;
        }
        // Outside of a runtime the process is about to end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let link = Arc::clone(&self.link);
            self.link.leaving.spawn_on(bounce(link, lanes, pulls), &runtime);
        }
    }

    fn start_repair(&mut self, repair: Repair) {
        if self.repair.is_some() {
            return;
        }
        let (link, queue) = (Arc::clone(&self.link), self.queue.clone());
        self.repair = Some(tokio::spawn(async move {
            let until = link.deadline();
            match repair {
                Repair::Ensure => link.ensure(&Stored::Queue(queue), until).await,
                Repair::Make => link.make(&Stored::Queue(queue), until).await,
                Repair::Rebuild => link.rebuild_consumer(&queue, until).await,
            }
        }));
    }

    /// Waits for a message or for whatever else needs a look.
    async fn wait(&mut self, again: Option<Instant>) -> Woken {
        let has_lanes = !self.lanes.is_empty();
        if has_lanes && let Some(Some((lane, message))) = self.lanes.next().now_or_never() {
            return Woken::Message(lane, message);
        }
        let deadlines = [again, self.pulls.next_deadline(), self.watch(Instant::now())];
        let tick = deadlines.into_iter().flatten().min();
        tokio::select! {
            biased;
            Some((lane, message)) = self.lanes.next(), if has_lanes => {
                Woken::Message(lane, message)
            }
            Some(repaired) = async { Some(self.repair.as_mut()?.await) } => {
                self.repair = None;
                Woken::Repaired(repaired.unwrap_or(Err(BusError::Closed)))
            }
            Ok(()) = self.connects.changed() => Woken::Tick,
            () = self.link.closed.cancelled() => Woken::Closed,
            () = async {
                match tick {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => Woken::Tick,
        }
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    fn request(&mut self, max: u32) {
        self.outstanding = self.outstanding.saturating_add(max);
    }

    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        loop {
            let again = match self.pull().await {
                Ok(again) => again,
                // The client has ended for good.
                Err(_) if self.link.closed.is_cancelled() => return None,
                Err(error) => {
                    tracing::warn!(%error, "asking again");
                    self.pulls.forget();
                    let hold = Instant::now() + LONGEST_HOLD;
                    self.hold = Some(hold);
                    Some(hold)
                }
            };
            match self.wait(again).await {
                Woken::Message(lane, message) => {
                    if let Some(delivery) = self.take(lane, message) {
                        return Some(delivery);
                    }
                }
                Woken::Repaired(Ok(())) | Woken::Tick => {}
                Woken::Repaired(Err(error)) => {
                    tracing::warn!(queue = %self.queue.subject(), %error, "cannot repair the queue");
                }
                Woken::Closed => return None,
            }
        }
    }

    fn outstanding(&self) -> u32 {
        self.outstanding
    }
}

impl Drop for NatsConsumer {
    fn drop(&mut self) {
        self.leave_lanes();
        if let Some(repair) = self.repair.take() {
            repair.abort();
        }
    }
}

/// Hands what still comes on left lanes to other consumers at once.
///
/// A request cannot be taken back, and a message that is on its way when its subscription ends is
/// lost until its `ack_wait` is over. So the lanes stay until their requests have ended.
async fn bounce(link: Arc<Link>, mut lanes: SelectAll<Lane>, mut pulls: Pulls) {
    let epoch = link.epoch();
    while link.epoch() == epoch
        && let Some(until) = pulls.next_deadline()
    {
        let Ok(next) = tokio::time::timeout_at(until, lanes.next()).await else {
            pulls.expire(Instant::now());
            continue;
        };
        let Some((lane, message)) = next else { return };
        match (message.status, message.reply) {
            (Some(StatusCode::IDLE_HEARTBEAT), _) => {}
            (Some(_), _) => pulls.ended(lane, generation(&message.subject)),
            (None, Some(reply)) => {
                pulls.delivered(lane);
                // Lost with the connection, it comes again like anything lost.
                let _ = link.send(reply.to_string(), AGAIN).await;
            }
            (None, None) => {}
        }
    }
}

/// Which request a status is about, from the address it was sent to.
fn generation(subject: &Subject) -> u64 {
    let token = subject.rsplit_once('.').map(|(_, token)| token);
    token.and_then(|token| token.parse().ok()).unwrap_or_default()
}

fn give_back(link: &Arc<Link>, reply: Subject) {
    let link = Arc::clone(link);
    tokio::spawn(async move {
        let _: Result<(), BusError> = link.send(reply.to_string(), Bytes::clone(&AGAIN)).await;
    });
}
