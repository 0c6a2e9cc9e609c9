//! A worker that runs nothing: it takes jobs off the bus as a real one does and reports for each
//! what a script says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{PoolName, Shard, WorkerId};
use visor_protocol::job::Job;
use visor_protocol::outcome::{Captured, End, Outcome, Usage};
use visor_protocol::subject::{Pattern, Subject, WorkerTopic};
use visor_protocol::time::{Clock, Timestamp};
use visor_protocol::worker::{
    Control, Execution, Heartbeat, HostUsage, Report, Ticket, WorkerState,
};
use visor_transport::{Bus, BusError, Consumer, Delivery, Queue, Subscription};

use crate::build::{ticket, worker_id};

const HEARTBEAT: Duration = Duration::from_millis(500);

/// Outcomes kept for a coordinator that asks for them again.
const KEPT: usize = 4_096;

/// Before outcomes are sent again.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Outcomes in one message.
const BATCH: usize = 200;

/// What a [`FakeWorker`] does with a job.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// How long the job takes.
    pub after: Duration,
    /// How it ends; `None` means never, until it is cancelled.
    pub end: Option<End>,
    /// What it prints.
    pub stdout: Bytes,
}

impl Scripted {
    /// Ends well after this time.
    pub fn pass(after: Duration) -> Self {
        Self::exit(0, after)
    }

    /// Ends with this status after this time.
    pub fn exit(code: i32, after: Duration) -> Self {
        Self::end(End::Exited { code }, after)
    }

    /// Ends so after this time.
    pub fn end(end: End, after: Duration) -> Self {
        Self { after, end: Some(end), stdout: Bytes::new() }
    }

    /// Never ends by itself.
    pub fn hang() -> Self {
        Self { after: Duration::ZERO, end: None, stdout: Bytes::new() }
    }

    /// Prints this.
    #[must_use]
    pub fn printing(mut self, stdout: impl Into<Bytes>) -> Self {
        self.stdout = stdout.into();
        self
    }
}

/// The script of a [`FakeWorker`].
pub type Script = Arc<dyn Fn(&Job) -> Scripted + Send + Sync>;

/// How a [`FakeWorker`] is.
#[derive(Clone)]
pub struct FakeWorkerOptions {
    /// Its id.
    pub worker: WorkerId,
    /// Which life of it this is.
    pub boot: u64,
    /// Its pool.
    pub pool: PoolName,
    /// Jobs at once.
    pub slots: u32,
    /// What it does with each job.
    pub script: Script,
}

impl FakeWorkerOptions {
    /// A worker of the default pool that ends every job well and at once.
    ///
    /// # Panics
    /// When the name is none that a worker may have.
    #[track_caller]
    pub fn new(name: &str, slots: u32) -> Self {
        Self {
            worker: worker_id(name),
            boot: 1,
            pool: PoolName::default_pool(),
            slots,
            script: Arc::new(|_| Scripted::pass(Duration::ZERO)),
        }
    }

    /// With this script.
    #[must_use]
    pub fn script(mut self, script: impl Fn(&Job) -> Scripted + Send + Sync + 'static) -> Self {
        self.script = Arc::new(script);
        self
    }
}

/// A running fake worker. Dropping it kills it.
pub struct FakeWorker {
    orders: watch::Sender<Orders>,
    shared: Arc<Shared>,
    task: JoinHandle<Result<(), BusError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orders {
    Run,
    Pause,
    Drain,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    executed: Vec<Ticket>,
    cancelled: Vec<Ticket>,
    held: Vec<Ticket>,
}

impl FakeWorker {
    /// Starts it.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn start(
        options: FakeWorkerOptions,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BusError> {
        let control = Subject::Worker(options.worker.clone(), WorkerTopic::Control);
        let orders_in = bus.subscribe(&Pattern::One(control)).await?;
        let consumer = bus.consume(&Queue::Jobs(options.pool.clone())).await?;
        let (orders, ordered) = watch::channel(Orders::Run);
        let shared = Arc::<Shared>::default();
        let body = Body {
            since: clock.now(),
            options,
            bus,
            clock,
            shared: Arc::clone(&shared),
            running: BTreeMap::new(),
            finishing: FuturesUnordered::new(),
            unsent: VecDeque::new(),
            sending: None,
            in_flight: Vec::new(),
            kept: VecDeque::new(),
            draining: false,
        };
        let task = tokio::spawn(body.live(consumer, orders_in, ordered));
        Ok(Self { orders, shared, task })
    }

    /// Ends it at once, without a word, as `kill -9` would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.wait().await;
    }

    /// Holds it: it hears and says nothing, and its jobs do not go on. As SIGSTOP would.
    pub fn pause(&self) {
        self.orders.send_replace(Orders::Pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.orders.send_replace(Orders::Run);
    }

    /// Has it finish what it holds and stop.
    ///
    /// # Errors
    /// When the bus failed meanwhile.
    pub async fn drain(self) -> Result<(), BusError> {
        self.orders.send_replace(Orders::Drain);
        self.wait().await
    }

    async fn wait(mut self) -> Result<(), BusError> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    /// Every attempt it took, in order.
    pub fn executed(&self) -> Vec<Ticket> {
        self.shared.seen.lock().executed.clone()
    }

    /// Every attempt it was told to cancel while it held it.
    pub fn cancelled(&self) -> Vec<Ticket> {
        self.shared.seen.lock().cancelled.clone()
    }

    /// The attempts it holds.
    pub fn held(&self) -> Vec<Ticket> {
        self.shared.seen.lock().held.clone()
    }

    /// Whether it has ended.
    pub fn is_stopped(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Running {
    shard: Shard,
    started_at: Timestamp,
    scripted: Scripted,
}

struct Body {
    options: FakeWorkerOptions,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    since: Timestamp,
    running: BTreeMap<Ticket, Running>,
    finishing: FuturesUnordered<BoxFuture<'static, Ticket>>,
    unsent: VecDeque<(Shard, Outcome)>,
    sending: Option<BoxFuture<'static, Result<(), BusError>>>,
    in_flight: Vec<(Shard, Outcome)>,
    kept: VecDeque<(Shard, Outcome)>,
    draining: bool,
}

impl Body {
    async fn live(
        mut self,
        consumer: Box<dyn Consumer>,
        mut control: Box<dyn Subscription>,
        mut orders: watch::Receiver<Orders>,
    ) -> Result<(), BusError> {
        let mut consumer = Some(consumer);
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = *orders.borrow_and_update();
            match order {
                Orders::Run => {}
                Orders::Drain => self.draining = true,
                Orders::Pause => {
                    if orders.changed().await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            }
            self.note_held();
            if self.draining && self.is_idle() {
                let report = Report::Goodbye {
                    worker: self.options.worker.clone(),
                    boot: self.options.boot,
                };
                return self.report(report).await;
            }
            if self.draining {
                // What was requested and not looked at goes to other workers.
                consumer = None;
            }
            if let Some(consumer) = &mut consumer {
                self.want(consumer.as_mut());
            }
            self.send_outcomes();
            tokio::select! {
                biased;
                changed = orders.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                Some(sent) = OptionFuture::from(self.sending.as_mut()) => {
                    if matches!(sent, Err(BusError::Closed)) {
                        return sent;
                    }
                    self.sent(&sent);
                }
                _ = heartbeat.tick() => self.beat().await?,
                message = control.next() => {
                    let Some(message) = message else { return Ok(()) };
                    self.obey(&message.payload).await?;
                }
                Some(ticket) = self.finishing.next() => self.finish(ticket, None),
                Some(delivery) = OptionFuture::from(consumer.as_mut().map(|from| from.next())) => {
                    let Some(delivery) = delivery else { return Ok(()) };
                    self.take(delivery).await?;
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.unsent.is_empty() && self.in_flight.is_empty()
    }

    /// Asks for exactly as many jobs as it has free slots.
    fn want(&self, consumer: &mut dyn Consumer) {
        let busy = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let free = self.options.slots.saturating_sub(busy);
        consumer.request(free.saturating_sub(consumer.outstanding()));
    }

    async fn take(&mut self, delivery: Box<dyn Delivery>) -> Result<(), BusError> {
        let Ok(Envelope { body: job, .. }) = Envelope::<Job>::decode(delivery.payload()) else {
            return delivery.ack().await;
        };
        let ticket = ticket(&job);
        let started_at = self.clock.now();
        let known = self.running.contains_key(&ticket);
        if !known {
            let scripted = (self.options.script)(&job);
            if scripted.end.is_some() {
                let after = scripted.after;
                self.finishing
                    .push(async move { sleep(after).await }.map(move |()| ticket).boxed());
            }
            self.shared.seen.lock().executed.push(ticket);
            self.running.insert(ticket, Running { shard: job.shard, started_at, scripted });
            self.note_held();
        }
        self.report(Report::Claimed {
            worker: self.options.worker.clone(),
            boot: self.options.boot,
            tickets: vec![(ticket, started_at)],
        })
        .await?;
        delivery.ack().await
    }

    async fn obey(&mut self, payload: &Bytes) -> Result<(), BusError> {
        let Ok(Envelope { body, .. }) = Envelope::<Control>::decode(payload) else { return Ok(()) };
        match body {
            Control::Cancel { tickets, .. } => {
                for ticket in tickets {
                    if self.running.contains_key(&ticket) {
                        self.shared.seen.lock().cancelled.push(ticket);
                        self.finish(ticket, Some(End::Cancelled));
                    }
                }
                Ok(())
            }
            Control::Resend { tickets } => {
                let wanted = self.kept.iter().filter(|(_, outcome)| {
                    tickets.contains(&Ticket { job: outcome.job, attempt: outcome.attempt })
                });
                self.unsent.extend(wanted.cloned());
                Ok(())
            }
            Control::Drain => {
                self.draining = true;
                self.beat().await
            }
            Control::Report => self.beat().await,
        }
    }

    fn finish(&mut self, ticket: Ticket, instead: Option<End>) {
        let Some(Running { shard, started_at, scripted }) = self.running.remove(&ticket) else {
            return;
        };
        let outcome = Outcome {
            job: ticket.job,
            attempt: ticket.attempt,
            worker: self.options.worker.clone(),
            started_at,
            finished_at: self.clock.now(),
            end: instead.or(scripted.end).unwrap_or(End::Cancelled),
            stdout: Captured::whole(scripted.stdout),
            stderr: Captured::default(),
            usage: Usage::default(),
            image: None,
        };
        self.unsent.push_back((shard, outcome));
    }

    /// Starts the next message of outcomes, of one shard, while none is on its way.
    fn send_outcomes(&mut self) {
        if self.sending.is_some() {
            return;
        }
        if self.in_flight.is_empty() {
            let Some(&(shard, _)) = self.unsent.front() else { return };
            while self.in_flight.len() < BATCH
                && self.unsent.front().is_some_and(|(next, _)| *next == shard)
            {
                self.in_flight.extend(self.unsent.pop_front());
            }
        }
        let shard = self.in_flight[0].0;
        let outcomes: Vec<Outcome> =
            self.in_flight.iter().map(|(_, outcome)| outcome.clone()).collect();
        let payload = self.encode(outcomes);
        // A message repeated after a lost answer must be stored: it may hold what is asked for
        // again. So it has no id.
        let bus = Arc::clone(&self.bus);
        let enqueue = async move {
            let sent = bus.enqueue(&Queue::Results(shard), "", payload).await;
            if sent.is_err() {
                sleep(AFTER_FAILURE).await;
            }
            sent
        };
        self.sending = Some(enqueue.boxed());
    }

    fn sent(&mut self, sent: &Result<(), BusError>) {
        self.sending = None;
        if sent.is_ok() {
            self.kept.extend(self.in_flight.drain(..));
            let excess = self.kept.len().saturating_sub(KEPT);
            self.kept.drain(..excess);
        }
    }

    async fn beat(&mut self) -> Result<(), BusError> {
        let report = Report::Heartbeat(Box::new(Heartbeat {
            worker: self.options.worker.clone(),
            boot: self.options.boot,
            pool: self.options.pool.clone(),
            slots: self.options.slots,
            held: self.held(),
            state: if self.draining { WorkerState::Draining } else { WorkerState::Ready },
            execution: Execution::Host,
            images: Vec::new(),
            host: HostUsage::default(),
            version: "fake".into(),
            since: self.since,
        }));
        self.report(report).await
    }

    /// Running, or finished and not yet stored by the bus.
    fn held(&self) -> Vec<Ticket> {
        let unsent = self.unsent.iter().chain(&self.in_flight);
        let finished =
            unsent.map(|(_, outcome)| Ticket { job: outcome.job, attempt: outcome.attempt });
        self.running.keys().copied().chain(finished).collect()
    }

    fn note_held(&self) {
        self.shared.seen.lock().held = self.held();
    }

    async fn report(&mut self, report: Report) -> Result<(), BusError> {
        let subject = Subject::Worker(self.options.worker.clone(), WorkerTopic::Heartbeat);
        match self.bus.publish(&subject, self.encode(report)).await {
            Err(BusError::Closed) => Err(BusError::Closed),
            // A lost report is repaired by the next.
            _ => Ok(()),
        }
    }

    fn encode(&self, body: impl Serialize) -> Bytes {
        Envelope::new(body, self.clock.now()).encode().expect("small messages can be encoded")
    }
}
