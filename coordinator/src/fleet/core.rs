//! Leases and workers. An event and the time go in, effects come out.
//!
//! A lease is the right of one worker to one attempt. It is granted by the first claim, kept by
//! the worker's heartbeats, and lost when the worker falls silent or no longer names the attempt.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use visor_protocol::api::WorkerInfo;
use visor_protocol::ids::WorkerId;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::{Heartbeat, Ticket, WorkerState};

use crate::dispatch::core::PoolCapacity;

/// What happens to the fleet.
#[derive(Debug)]
pub enum Event {
    /// A worker reports its whole state.
    Heartbeat(Box<Heartbeat>),
    /// A worker has taken attempts; when each started.
    Claimed {
        /// Who.
        worker: WorkerId,
        /// In which life.
        boot: u64,
        /// What.
        tickets: Vec<(Ticket, Timestamp)>,
    },
    /// A worker stops and holds nothing. What it last reported may still be on its way: outcomes
    /// and goodbyes travel apart.
    Goodbye {
        /// Who.
        worker: WorkerId,
        /// In which life.
        boot: u64,
    },
    /// The outcomes of these have arrived: from whom, and how long the work ran.
    Finished(Vec<(Ticket, WorkerId, Duration)>),
    /// The journal says that this worker held the attempt before the coordinator started.
    Restore {
        /// Who.
        worker: WorkerId,
        /// What.
        ticket: Ticket,
    },
    /// The attempt is no longer wanted by anybody here.
    Forget(Ticket),
    /// Time went by. `connected` is false while the transport cannot be reached: silence then
    /// says nothing about the workers.
    Sweep {
        /// Whether the transport can be reached.
        connected: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The attempt runs on this worker since then.
    Started {
        /// Which.
        ticket: Ticket,
        /// Who.
        worker: WorkerId,
        /// When, by the worker's clock.
        at: Timestamp,
    },
    /// The worker that held the attempt is gone, or has forgotten it.
    Lost {
        /// Which.
        ticket: Ticket,
        /// Who held it.
        worker: WorkerId,
        /// Why, in words.
        why: String,
    },
    /// Ask the worker for outcomes that should have arrived.
    Resend {
        /// Whom.
        worker: WorkerId,
        /// Which.
        tickets: Vec<Ticket>,
    },
    /// Tell the worker to stop attempts that are another's.
    Cancel {
        /// Whom.
        worker: WorkerId,
        /// Which.
        tickets: Vec<Ticket>,
        /// Why.
        why: &'static str,
    },
    /// These no longer take a slot.
    Released(Vec<(Ticket, Duration)>),
    /// The slots of the pools have changed.
    Capacity(Vec<PoolCapacity>),
    /// A worker joined.
    Joined(WorkerId),
    /// A worker is gone.
    Gone {
        /// Who.
        worker: WorkerId,
        /// Why, in words.
        why: String,
    },
}

struct Worker {
    last: Heartbeat,
    heard_at: Timestamp,
    leases: HashSet<Ticket>,
    ended: VecDeque<Timestamp>,
}

#[derive(Debug)]
struct Lease {
    worker: WorkerId,
    /// When the worker last named it.
    named_at: Timestamp,
    /// The worker was asked for its outcome.
    asked: bool,
}

/// The fleet's state.
pub struct Core {
    ttl: Duration,
    workers: BTreeMap<WorkerId, Worker>,
    leases: HashMap<Ticket, Lease>,
    swept_at: Option<Timestamp>,
    /// No lease expires before this: we, or the transport, were away.
    patient_until: Timestamp,
    /// Attempts whose outcome came a moment ago. Reports and outcomes travel apart, so a claim or
    /// a heartbeat that names one of these may still be on its way, and must not grant it again.
    finished: HashSet<Ticket>,
    finished_order: VecDeque<(Timestamp, Ticket)>,
}

/// How long a finished attempt is remembered.
const FINISHED_KEPT: Duration = Duration::from_secs(3);

/// A sweep this much later than the one before means that we stood still ourselves.
const STOOD_STILL: Duration = Duration::from_millis(700);

impl Core {
    /// An empty fleet whose leases live this long without a heartbeat.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            workers: BTreeMap::new(),
            leases: HashMap::new(),
            swept_at: None,
            patient_until: Timestamp::default(),
            finished: HashSet::new(),
            finished_order: VecDeque::new(),
        }
    }

    /// Takes an event, answers with what is to be done.
    pub fn apply(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Heartbeat(heartbeat) => self.heartbeat(now, *heartbeat, &mut effects),
            Event::Claimed { worker, boot, tickets } => {
                self.claimed(now, &worker, boot, &tickets, &mut effects);
            }
            Event::Goodbye { worker, boot } => {
                if self.workers.get(&worker).is_some_and(|known| known.last.boot == boot) {
                    self.part(now, &worker, &mut effects);
                }
            }
            Event::Finished(outcomes) => {
                let mut released = Vec::with_capacity(outcomes.len());
                for (ticket, by, ran) in outcomes {
                    // A second worker with the same attempt was told to stop, and says that it
                    // did: the first goes on.
                    if self.leases.get(&ticket).is_some_and(|lease| lease.worker != by) {
                        continue;
                    }
                    released.push((ticket, ran));
                    if self.finished.insert(ticket) {
                        self.finished_order.push_back((now, ticket));
                    }
                    if let Some(lease) = self.drop_lease(ticket)
                        && let Some(worker) = self.workers.get_mut(&lease.worker)
                    {
                        worker.ended.push_back(now);
                        worker.forget_old(now);
                    }
                }
                if !released.is_empty() {
                    effects.push(Effect::Released(released));
                }
            }
            Event::Restore { worker, ticket } => {
                self.leases.insert(ticket, Lease { worker, named_at: now, asked: false });
            }
            Event::Forget(ticket) => _ = self.drop_lease(ticket),
            Event::Sweep { connected } => self.sweep(now, connected, &mut effects),
        }
        effects
    }

    /// Who holds an attempt, and when it was last heard of.
    pub fn holder(&self, ticket: Ticket) -> Option<(WorkerId, Timestamp)> {
        self.leases.get(&ticket).map(|lease| (lease.worker.clone(), lease.named_at))
    }

    /// The workers, for a list.
    pub fn workers(&self, now: Timestamp) -> Vec<WorkerInfo> {
        let info = |worker: &Worker| WorkerInfo {
            worker: worker.last.worker.clone(),
            pool: worker.last.pool.clone(),
            slots: worker.last.slots,
            busy: u32::try_from(worker.leases.len()).unwrap_or(u32::MAX),
            state: worker.last.state.clone(),
            execution: worker.last.execution,
            images: worker.last.images.clone(),
            host: worker.last.host,
            jobs_last_minute: u32::try_from(
                worker.ended.iter().filter(|at| now.since(**at) < MINUTE).count(),
            )
            .unwrap_or(u32::MAX),
            version: worker.last.version.clone(),
            since: worker.last.since,
            silent_ms: u64::try_from(now.since(worker.heard_at).as_millis()).unwrap_or(u64::MAX),
        };
        self.workers.values().map(info).collect()
    }

    fn heartbeat(&mut self, now: Timestamp, heartbeat: Heartbeat, effects: &mut Vec<Effect>) {
        let id = heartbeat.worker.clone();
        if self.workers.get(&id).is_some_and(|known| known.last.boot > heartbeat.boot) {
            return; // a late message of an earlier life
        }
        if self.workers.get(&id).is_some_and(|known| known.last.boot < heartbeat.boot) {
            self.remove(&id, "it was restarted", effects);
        }
        let held: HashSet<Ticket> = heartbeat.held.iter().copied().collect();
        let capacity_before = self.workers.get(&id).map(|worker| worker.takes());
        match self.workers.get_mut(&id) {
            Some(worker) => {
                worker.last = heartbeat;
                worker.heard_at = now;
                worker.forget_old(now);
            }
            None => {
                let leases = self
                    .leases
                    .iter()
                    .filter(|(_, lease)| lease.worker == id)
                    .map(|(ticket, _)| *ticket)
                    .collect();
                let worker =
                    Worker { last: heartbeat, heard_at: now, leases, ended: VecDeque::new() };
                self.workers.insert(id.clone(), worker);
                effects.push(Effect::Joined(id.clone()));
            }
        }
        let mut foreign = Vec::new();
        for ticket in &held {
            match self.leases.get_mut(ticket) {
                Some(lease) if lease.worker == id => {
                    lease.named_at = now;
                    lease.asked = false;
                }
                Some(_) => foreign.push(*ticket),
                None => self.grant(*ticket, &id, now, now, effects),
            }
        }
        if !foreign.is_empty() {
            foreign.sort_unstable();
            effects.push(Effect::Cancel {
                worker: id.clone(),
                tickets: foreign,
                why: "another worker has it",
            });
        }
        self.ask_for_unnamed(&id, now, effects);
        if capacity_before != self.workers.get(&id).map(Worker::takes) {
            effects.push(Effect::Capacity(self.capacity()));
        }
    }

    /// Attempts the worker no longer names: their outcome is on its way, or was lost.
    fn ask_for_unnamed(&mut self, id: &WorkerId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get(id) else { return };
        let (mut ask, mut lost) = (Vec::new(), Vec::new());
        for ticket in &worker.leases {
            let Some(lease) = self.leases.get_mut(ticket) else { continue };
            let unnamed = now.since(lease.named_at);
            if unnamed >= self.ttl * 2 {
                lost.push(*ticket);
            } else if unnamed >= self.ttl / 2 && !lease.asked {
                lease.asked = true;
                ask.push(*ticket);
            }
        }
        if !ask.is_empty() {
            ask.sort_unstable();
            effects.push(Effect::Resend { worker: id.clone(), tickets: ask });
        }
        lost.sort_unstable();
        for ticket in lost {
            self.drop_lease(ticket);
            effects.push(Effect::Lost {
                ticket,
                worker: id.clone(),
                why: format!("{id} no longer has it, and its report did not arrive"),
            });
        }
    }

    fn claimed(
        &mut self,
        now: Timestamp,
        id: &WorkerId,
        boot: u64,
        tickets: &[(Ticket, Timestamp)],
        effects: &mut Vec<Effect>,
    ) {
        // A claim of an unknown worker is kept: its first heartbeat was overtaken or lost.
        if self.workers.get(id).is_some_and(|known| known.last.boot > boot) {
            return;
        }
        let mut foreign = Vec::new();
        for (ticket, at) in tickets {
            match self.leases.get_mut(ticket) {
                Some(lease) if lease.worker == *id => lease.named_at = now,
                Some(_) => foreign.push(*ticket),
                None => self.grant(*ticket, id, *at, now, effects),
            }
        }
        if !foreign.is_empty() {
            effects.push(Effect::Cancel {
                worker: id.clone(),
                tickets: foreign,
                why: "another worker has it",
            });
        }
    }

    fn grant(
        &mut self,
        ticket: Ticket,
        worker: &WorkerId,
        at: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.finished.contains(&ticket) {
            return;
        }
        self.leases.insert(ticket, Lease { worker: worker.clone(), named_at: now, asked: false });
        if let Some(known) = self.workers.get_mut(worker) {
            known.leases.insert(ticket);
        }
        effects.push(Effect::Started { ticket, worker: worker.clone(), at });
    }

    fn drop_lease(&mut self, ticket: Ticket) -> Option<Lease> {
        let lease = self.leases.remove(&ticket)?;
        if let Some(worker) = self.workers.get_mut(&lease.worker) {
            worker.leases.remove(&ticket);
        }
        Some(lease)
    }

    fn remove(&mut self, id: &WorkerId, why: &str, effects: &mut Vec<Effect>) {
        let known = self.workers.remove(id);
        let mut leases: Vec<Ticket> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.worker == *id)
            .map(|(ticket, _)| *ticket)
            .collect();
        leases.sort_unstable();
        for ticket in leases {
            self.leases.remove(&ticket);
            effects.push(Effect::Lost {
                ticket,
                worker: id.clone(),
                why: format!("{id} was lost: {why}"),
            });
        }
        if known.is_some() {
            effects.push(Effect::Gone { worker: id.clone(), why: why.to_owned() });
            effects.push(Effect::Capacity(self.capacity()));
        }
    }

    /// A worker has ended in order. Its leases stay a little: each has an outcome that is stored
    /// and only has to be read. What has none is found by the sweep.
    fn part(&mut self, now: Timestamp, id: &WorkerId, effects: &mut Vec<Effect>) {
        self.workers.remove(id);
        for lease in self.leases.values_mut().filter(|lease| lease.worker == *id) {
            lease.named_at = now;
        }
        effects.push(Effect::Gone { worker: id.clone(), why: "it said goodbye".into() });
        effects.push(Effect::Capacity(self.capacity()));
    }

    fn sweep(&mut self, now: Timestamp, connected: bool, effects: &mut Vec<Effect>) {
        // Reports that came while we stood still wait behind this sweep: give them time.
        let stood_still = self.swept_at.is_some_and(|before| now.since(before) > STOOD_STILL);
        self.swept_at = Some(now);
        while let Some((at, ticket)) = self.finished_order.front().copied()
            && now.since(at) > FINISHED_KEPT
        {
            self.finished_order.pop_front();
            self.finished.remove(&ticket);
        }
        if !connected || stood_still {
            self.patient_until = now + self.ttl;
        }
        if now < self.patient_until {
            return;
        }
        let silent: Vec<(WorkerId, Duration)> = self
            .workers
            .iter()
            .map(|(id, worker)| (id.clone(), now.since(worker.heard_at)))
            .filter(|(_, silence)| *silence > self.ttl)
            .collect();
        for (id, silence) in silent {
            self.remove(&id, &format!("silent for {:.1} s", silence.as_secs_f64()), effects);
        }
        // Leases of workers that never said a word in this life of ours, or have ended.
        let orphans: HashSet<WorkerId> = self
            .leases
            .values()
            .filter(|lease| {
                !self.workers.contains_key(&lease.worker)
                    && now.since(lease.named_at) > self.ttl * 2
            })
            .map(|lease| lease.worker.clone())
            .collect();
        let mut orphans: Vec<WorkerId> = orphans.into_iter().collect();
        orphans.sort_unstable();
        for id in orphans {
            self.remove(&id, "it is not there, and its report did not arrive", effects);
        }
    }

    fn capacity(&self) -> Vec<PoolCapacity> {
        let mut pools: BTreeMap<_, PoolCapacity> = BTreeMap::new();
        for worker in self.workers.values() {
            let pool = worker.last.pool.clone();
            let capacity = pools.entry(pool.clone()).or_insert(PoolCapacity {
                pool,
                slots: 0,
                ready: 0,
                not_ready: 0,
            });
            match worker.takes() {
                0 => capacity.not_ready += 1,
                slots => {
                    capacity.slots = capacity.slots.saturating_add(slots);
                    capacity.ready += 1;
                }
            }
        }
        pools.into_values().collect()
    }
}

/// Slots of one worker that count: as many as `visor worker` can be given. A report that claims more
/// is none to fill a queue for.
const MAX_SLOTS: u32 = 10_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Ends that are remembered for the rate of the last minute.
const ENDED_KEPT: usize = 100_000;

impl Worker {
    /// Slots that may be filled.
    fn takes(&self) -> u32 {
        match self.last.state {
            WorkerState::Ready => self.last.slots.min(MAX_SLOTS),
            WorkerState::Draining | WorkerState::NotReady { .. } => 0,
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.ended.len() > ENDED_KEPT
            || self.ended.front().is_some_and(|at| now.since(*at) >= MINUTE)
        {
            self.ended.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
