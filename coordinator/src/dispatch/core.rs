//! The dispatcher's decisions. An event and the time go in, effects come out; nothing here waits,
//! logs or reads a clock.
//!
//! The transport's queue is kept shallow: no more jobs are handed over than workers have slots,
//! so order, fairness and cancellation are decided here, where everything is known. Very short
//! jobs are an exception: there the way to the worker takes longer than the work, and up to one
//! further round is handed over ahead.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use visor_protocol::api::{LimitStatus, PoolStatus, Priority};
use visor_protocol::ids::{ChannelId, JobId, PoolName};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

use super::buckets::{Buckets, Waiters};
use super::line::WaitingLine;
use crate::config::LimitRule;

/// What token buckets and shares are decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey {
    /// The job's channel.
    pub channel: ChannelId,
    /// Its provider.
    pub provider: &'static str,
    /// The credential it uses, by name.
    pub credential: Option<String>,
}

/// A job that wants a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which attempt at which job.
    pub ticket: Ticket,
    /// Where it wants to run.
    pub pool: PoolName,
    /// Whom it goes before.
    pub priority: Priority,
    /// What limits and shares are decided by.
    pub key: JobKey,
    /// Its channel's weight.
    pub weight: u32,
    /// Since when it waits.
    pub since: Timestamp,
}

/// What happens to the dispatcher.
#[derive(Debug)]
pub enum Event {
    /// A job wants a slot.
    Submit(Waiting),
    /// A worker has the job already: it takes a slot without having waited.
    Adopt(Waiting),
    /// Nobody wants the job any more.
    Withdraw(Ticket),
    /// Workers have taken these.
    Claimed(Vec<Ticket>),
    /// These are over; how long the work ran, where it did.
    Released(Vec<(Ticket, Option<Duration>)>),
    /// The slots of ready workers of a pool, and workers by readiness.
    Capacity(Vec<PoolCapacity>),
    /// Time went by. `connected` is false while the transport cannot be reached: what nobody
    /// takes then is not lost.
    Tick {
        /// Whether the transport can be reached.
        connected: bool,
    },
}

/// What a pool's workers can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolCapacity {
    /// Which pool.
    pub pool: PoolName,
    /// Slots of the ready workers.
    pub slots: u32,
    /// Workers that take work.
    pub ready: u32,
    /// Workers that do not.
    pub not_ready: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Hand the attempt to the transport; the number counts how often that was asked for.
    Admit(Ticket, u32),
}

/// Where a waiting job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitInfo {
    /// The pool.
    pub pool: PoolName,
    /// Already handed to the transport, and taken by nobody yet.
    pub handed_over: bool,
    /// Place in its channel's line, from 1.
    pub place: u32,
    /// Jobs waiting for the pool.
    pub waiting: u32,
    /// The pool's slots.
    pub slots: u32,
    /// Slots in use.
    pub in_flight: u32,
    /// Workers that take work.
    pub ready_workers: u32,
    /// The bucket that holds it back, and until when.
    pub blocked: Option<(String, Timestamp)>,
    /// Slots its channel has, and its fair share.
    pub share: (u32, u32),
    /// Whom it goes before.
    pub priority: Priority,
    /// Since when it waits.
    pub since: Timestamp,
}

/// Work that takes less than this is shorter than the way to the worker.
const WAY_TO_WORKER: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Pool {
    slots: u32,
    ready: u32,
    not_ready: u32,
    in_flight: HashMap<JobId, InFlight>,
    claimed: u32,
    line: WaitingLine,
    waiting: u32,
    mean_run_micros: Option<f64>,
}

struct InFlight {
    waiting: Waiting,
    handed_over_at: Timestamp,
    claimed: bool,
    publications: u32,
}

/// The dispatcher's state.
pub struct Core {
    pools: BTreeMap<PoolName, Pool>,
    waiting: HashMap<JobId, Waiting>,
    in_flight: HashMap<JobId, PoolName>,
    buckets: Buckets,
    unclaimed: Duration,
}

impl Core {
    /// An empty dispatcher with these limits. A job that nobody takes for `unclaimed`, with a slot
    /// free, is handed over again.
    pub fn new(limits: &[LimitRule], unclaimed: Duration) -> Self {
        Self {
            pools: BTreeMap::new(),
            waiting: HashMap::new(),
            in_flight: HashMap::new(),
            buckets: Buckets::new(limits),
            unclaimed,
        }
    }

    /// Takes an event, answers with what is to be done.
    pub fn apply(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Submit(waiting) => {
                let pool = waiting.pool.clone();
                self.submit(waiting);
                self.fill(&pool, now, &mut effects);
            }
            Event::Adopt(waiting) => self.adopt(waiting, now),
            Event::Withdraw(ticket) => {
                self.withdraw(ticket);
                if let Some(pool) = self.release(ticket, None) {
                    self.fill(&pool, now, &mut effects);
                }
            }
            Event::Claimed(tickets) => {
                for ticket in tickets {
                    self.claim(ticket, now);
                }
            }
            Event::Released(tickets) => {
                let mut touched: Vec<PoolName> = Vec::new();
                for (ticket, ran) in tickets {
                    if let Some(pool) = self.release(ticket, ran)
                        && !touched.contains(&pool)
                    {
                        touched.push(pool);
                    }
                }
                for pool in touched {
                    self.fill(&pool, now, &mut effects);
                }
            }
            Event::Capacity(pools) => {
                for pool in &mut self.pools.values_mut() {
                    (pool.slots, pool.ready, pool.not_ready) = (0, 0, 0);
                }
                for capacity in &pools {
                    let pool = self.pools.entry(capacity.pool.clone()).or_default();
                    (pool.slots, pool.ready, pool.not_ready) =
                        (capacity.slots, capacity.ready, capacity.not_ready);
                }
                for capacity in pools {
                    self.fill(&capacity.pool, now, &mut effects);
                }
            }
            Event::Tick { connected } => {
                self.buckets.forget_idle(now);
                self.pools.retain(|_, pool| pool.is_of_use());
                let names: Vec<PoolName> = self.pools.keys().cloned().collect();
                for name in names {
                    self.hand_over_again(&name, now, connected, &mut effects);
                    self.fill(&name, now, &mut effects);
                }
            }
        }
        effects
    }

    /// When a job that a bucket holds back may go: the next time a tick is of use.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.pools.values().filter_map(|pool| pool.line.next_wake()).min()
    }

    /// Where a job stands that no worker has yet.
    pub fn explain(&self, job: JobId) -> Option<WaitInfo> {
        let (waiting, handed_over) = match self.waiting.get(&job) {
            Some(waiting) => (waiting, false),
            None => {
                let pool = self.pools.get(self.in_flight.get(&job)?)?;
                (&pool.in_flight.get(&job)?.waiting, true)
            }
        };
        let pool = self.pools.get(&waiting.pool)?;
        let is_waiting = |ticket: Ticket| waits(&self.waiting, ticket);
        let (place, blocked) = pool.line.find(waiting, &is_waiting).unwrap_or((0, None));
        let total = pool.line.total_weight().max(1);
        Some(WaitInfo {
            pool: waiting.pool.clone(),
            handed_over,
            place,
            waiting: pool.waiting,
            slots: pool.slots,
            in_flight: count(pool.in_flight.len()),
            ready_workers: pool.ready,
            blocked: blocked.map(|blocked| (blocked.limit, blocked.until)),
            share: (
                pool.line.under_way(&waiting.key.channel),
                pool.slots.saturating_mul(waiting.weight).div_ceil(total),
            ),
            priority: waiting.priority,
            since: waiting.since,
        })
    }

    /// The pools, for a list.
    pub fn pools(&self) -> Vec<PoolStatus> {
        let status = |(name, pool): (&PoolName, &Pool)| PoolStatus {
            pool: name.clone(),
            ready: pool.ready,
            not_ready: pool.not_ready,
            slots: pool.slots,
            in_flight: count(pool.in_flight.len()),
            waiting: pool.waiting,
        };
        self.pools.iter().filter(|(_, pool)| pool.is_of_use()).map(status).collect()
    }

    /// Limits that hold somebody back.
    pub fn limits(&self) -> Vec<LimitStatus> {
        let mut waiters = Waiters::new();
        let is_waiting = |ticket: Ticket| waits(&self.waiting, ticket);
        for pool in self.pools.values() {
            pool.line.blocked(&is_waiting, &mut waiters);
        }
        let mut limits: Vec<LimitStatus> =
            waiters.into_iter().map(|(limit, waiting)| LimitStatus { limit, waiting }).collect();
        limits.sort_by(|a, b| a.limit.cmp(&b.limit));
        limits
    }

    /// Since when the job waits that has waited longest.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.values().map(|waiting| waiting.since).min()
    }

    fn submit(&mut self, waiting: Waiting) {
        let job = waiting.ticket.job;
        if self.in_flight.contains_key(&job) || self.waiting.contains_key(&job) {
            return; // asked for twice, for example by a branch that was rebuilt
        }
        let needs = self.buckets.line_of(&waiting.key);
        let pool = self.pools.entry(waiting.pool.clone()).or_default();
        pool.waiting += 1;
        pool.line.push(waiting.clone(), needs);
        self.waiting.insert(job, waiting);
    }

    fn adopt(&mut self, waiting: Waiting, now: Timestamp) {
        let job = waiting.ticket.job;
        if self.in_flight.contains_key(&job) {
            return self.claim(waiting.ticket, now);
        }
        self.withdraw(waiting.ticket);
        let pool = self.pools.entry(waiting.pool.clone()).or_default();
        pool.line.charge(&waiting.key.channel, waiting.weight);
        pool.claimed += 1;
        self.in_flight.insert(job, waiting.pool.clone());
        pool.in_flight
            .insert(job, InFlight { waiting, handed_over_at: now, claimed: true, publications: 0 });
    }

    /// Takes a job out of the line. Its entry there is dropped when it is met.
    fn withdraw(&mut self, ticket: Ticket) {
        if waits(&self.waiting, ticket)
            && let Some(waiting) = self.waiting.remove(&ticket.job)
            && let Some(pool) = self.pools.get_mut(&waiting.pool)
        {
            pool.waiting = pool.waiting.saturating_sub(1);
            let left = &self.waiting;
            pool.line.withdrawn(pool.waiting, &|ticket| waits(left, ticket));
        }
    }

    fn claim(&mut self, ticket: Ticket, now: Timestamp) {
        if let Some(waiting) = self.waiting.get(&ticket.job).cloned() {
            if waiting.ticket == ticket {
                self.adopt(waiting, now);
            }
            return;
        }
        let Some(name) = self.in_flight.get(&ticket.job) else { return };
        let Some(pool) = self.pools.get_mut(name) else { return };
        if let Some(job) = pool.in_flight.get_mut(&ticket.job)
            && job.waiting.ticket == ticket
            && !job.claimed
        {
            job.claimed = true;
            pool.claimed += 1;
        }
    }

    /// Frees the slot of an attempt; says in which pool.
    fn release(&mut self, ticket: Ticket, ran: Option<Duration>) -> Option<PoolName> {
        let name = self.in_flight.get(&ticket.job)?.clone();
        let pool = self.pools.get_mut(&name)?;
        if pool.in_flight.get(&ticket.job)?.waiting.ticket != ticket {
            return None;
        }
        let job = pool.in_flight.remove(&ticket.job)?;
        self.in_flight.remove(&ticket.job);
        if job.claimed {
            pool.claimed = pool.claimed.saturating_sub(1);
        }
        if let Some(ran) = ran {
            let micros = ran.as_secs_f64() * 1e6;
            // A moving mean over about the last twenty jobs: quick to notice that long ones came.
            pool.mean_run_micros =
                Some(pool.mean_run_micros.map_or(micros, |mean| mean + (micros - mean) / 20.0));
        }
        pool.line.release(&job.waiting.key.channel);
        Some(name)
    }

    fn fill(&mut self, name: &PoolName, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let limit = pool.slots.saturating_add(pool.ahead());
        while count(pool.in_flight.len()) < limit && pool.waiting > 0 {
            let waiting = &self.waiting;
            let Some(next) = pool.line.pop(&self.buckets, now, &|ticket| waits(waiting, ticket))
            else {
                return;
            };
            let ticket = next.ticket;
            self.waiting.remove(&ticket.job);
            pool.waiting -= 1;
            self.in_flight.insert(ticket.job, name.clone());
            pool.in_flight.insert(
                ticket.job,
                InFlight { waiting: next, handed_over_at: now, claimed: false, publications: 1 },
            );
            effects.push(Effect::Admit(ticket, 0));
        }
    }

    /// The transport may have lost a message, or a worker died with one in its hands. A second
    /// message costs little: whoever comes second is told to stop.
    fn hand_over_again(
        &mut self,
        name: &PoolName,
        now: Timestamp,
        connected: bool,
        effects: &mut Vec<Effect>,
    ) {
        let unclaimed = self.unclaimed;
        let Some(pool) = self.pools.get_mut(name) else { return };
        let slot_free = pool.claimed < pool.slots;
        for (job, entry) in &mut pool.in_flight {
            if entry.claimed {
                continue;
            }
            if !connected || !slot_free {
                // Waiting is not being lost: the time counts from when it could have been taken.
                entry.handed_over_at = now;
            } else if now.since(entry.handed_over_at) >= patience(unclaimed, entry.publications) {
                entry.handed_over_at = now;
                effects.push(Effect::Admit(
                    Ticket { job: *job, attempt: entry.waiting.ticket.attempt },
                    entry.publications,
                ));
                entry.publications += 1;
            }
        }
    }
}

impl Pool {
    /// It has workers or jobs: a name that somebody mistyped is forgotten with its last job.
    fn is_of_use(&self) -> bool {
        self.ready + self.not_ready > 0 || self.waiting > 0 || !self.in_flight.is_empty()
    }

    /// Jobs handed over beyond the slots.
    fn ahead(&self) -> u32 {
        let Some(mean) = self.mean_run_micros else { return 0 };
        let part = (WAY_TO_WORKER.as_secs_f64() * 1e6 / mean.max(1.0)).min(1.0);
        // Only where it helps: a job of 20 ms gains nothing from being handed over early.
        if part < 0.1 { 0 } else { (f64::from(self.slots) * part) as u32 }
    }
}

/// Each handing-over is given twice the time of the one before, up to half a minute: a transport
/// in trouble is not helped by ever more doubles.
fn patience(unclaimed: Duration, publications: u32) -> Duration {
    let doublings = publications.saturating_sub(1).min(4);
    (unclaimed * (1 << doublings)).min(unclaimed.max(Duration::from_secs(30)))
}

fn waits(waiting: &HashMap<JobId, Waiting>, ticket: Ticket) -> bool {
    waiting.get(&ticket.job).is_some_and(|waiting| waiting.ticket == ticket)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
