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
        let generation = message.subject.rsplit_once('.').and_then(|(_, token)| token.parse().ok());
        self.pulls.ended(lane, generation.unwrap_or_default());
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
            self.start_repair(false);
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
        self.reset_lanes();
        self.start_repair(self.silences > 1);
        None
    }

    /// Leaves all lanes, so that what was asked for on them is void, and starts with new ones.
    fn reset_lanes(&mut self) {
        let old = std::mem::replace(&mut self.lanes, SelectAll::new());
        spawn_leaving(&self.link, old);
        self.inbox = self.link.client.new_inbox();
        self.has_lane = [false; LANES];
        self.pulls.forget();
    }

    fn start_repair(&mut self, rebuild: bool) {
        if self.repair.is_some() {
            return;
        }
        let (link, queue) = (Arc::clone(&self.link), self.queue.clone());
        self.repair = Some(tokio::spawn(async move {
            let until = link.deadline();
            if rebuild {
                link.rebuild_consumer(&queue, until).await
            } else {
                link.make(&Stored::Queue(queue), until).await
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
        let lanes = std::mem::replace(&mut self.lanes, SelectAll::new());
        if !self.link.closed.is_cancelled() {
            spawn_leaving(&self.link, lanes);
        }
        if let Some(repair) = self.repair.take() {
            repair.abort();
        }
    }
}

/// Ends subscriptions; what still comes on them goes to other consumers now rather than when its
/// time is over.
fn spawn_leaving(link: &Arc<Link>, lanes: SelectAll<Lane>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if lanes.is_empty() {
        return;
    }
    let (link, mut lanes) = (Arc::clone(link), lanes);
    runtime.spawn(async move {
        let leave = async {
            for lane in lanes.iter_mut() {
                if lane.subscriber.drain().await.is_err() {
                    return;
                }
            }
            while let Some((_, message)) = lanes.next().await {
                if let (None, Some(reply)) = (message.status, message.reply) {
                    let _ = link.send(reply.to_string(), AGAIN).await;
                }
            }
        };
        // A broken connection never says that the last message has come.
        let _ = tokio::time::timeout(link.options.deadline, leave).await;
    });
}

fn give_back(link: &Arc<Link>, reply: Subject) {
    let link = Arc::clone(link);
    tokio::spawn(async move {
        let _: Result<(), BusError> = link.send(reply.to_string(), Bytes::clone(&AGAIN)).await;
    });
}
