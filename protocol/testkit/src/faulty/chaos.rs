//! The seeded decisions and the switches.

use std::ops::Range;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How often what goes wrong. Probabilities from 0 to 1 for each message.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// It never arrives. Of a call that waits for an answer, the answer may be what is lost.
    pub loss: f64,
    /// It arrives twice.
    pub duplication: f64,
    /// It arrives late, after what was sent later.
    pub delay: f64,
    /// How late.
    pub delays: Range<Duration>,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        let delays = Duration::ZERO..Duration::from_millis(1);
        Self { loss: 0.0, duplication: 0.0, delay: 0.0, delays }
    }

    /// A bad day: a twentieth lost, a twentieth doubled, a fifth late by up to half a second.
    pub fn rough() -> Self {
        let delays = Duration::from_millis(1)..Duration::from_millis(500);
        Self { loss: 0.05, duplication: 0.05, delay: 0.2, delays }
    }
}

/// Which way a cut goes, seen from the process that uses the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Nothing it sends arrives.
    Outgoing,
    /// Nothing reaches it.
    Incoming,
    /// Both.
    Both,
}

/// What went wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Toll {
    /// Messages lost, by chance or by a cut.
    pub lost: u64,
    /// Messages that arrived twice.
    pub doubled: u64,
    /// Messages that arrived late.
    pub delayed: u64,
}

pub(super) struct Chaos(Mutex<State>);

struct State {
    rng: StdRng,
    faults: Faults,
    outgoing_cut: bool,
    incoming_cut: bool,
    toll: Toll,
}

/// What becomes of a message: when each of its copies arrives. None means it is lost.
pub(super) type Fate = Vec<Duration>;

impl Chaos {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            faults,
            outgoing_cut: false,
            incoming_cut: false,
            toll: Toll::default(),
        }))
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    pub(super) fn set_cut(&self, direction: Direction, cut: bool) {
        let mut state = self.0.lock();
        if direction != Direction::Incoming {
            state.outgoing_cut = cut;
        }
        if direction != Direction::Outgoing {
            state.incoming_cut = cut;
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        let state = self.0.lock();
        state.outgoing_cut || state.incoming_cut
    }

    pub(super) fn toll(&self) -> Toll {
        self.0.lock().toll
    }

    /// What becomes of a message that this process sends.
    pub(super) fn sent(&self) -> Fate {
        let mut state = self.0.lock();
        if state.outgoing_cut { state.lose() } else { state.fate() }
    }

    /// What becomes of a message that comes to this process from a queue.
    pub(super) fn taken(&self) -> Fate {
        let mut state = self.0.lock();
        if state.incoming_cut { state.lose() } else { state.fate() }
    }

    /// Whether something that this process sends is lost, where twice or late makes no difference.
    pub(super) fn loses_sent(&self) -> bool {
        let mut state = self.0.lock();
        let loss = state.faults.loss;
        let lost = state.chance(loss) || state.outgoing_cut;
        state.toll.lost += u64::from(lost);
        lost
    }

    /// Whether an answer to this process is lost.
    pub(super) fn loses_answer(&self) -> bool {
        let mut state = self.0.lock();
        let loss = state.faults.loss;
        let lost = state.chance(loss) || state.incoming_cut;
        state.toll.lost += u64::from(lost);
        lost
    }

    /// Whether a message to this process is lost by a cut; chance had its turn with the sender.
    pub(super) fn cuts_incoming(&self) -> bool {
        let mut state = self.0.lock();
        state.toll.lost += u64::from(state.incoming_cut);
        state.incoming_cut
    }
}

impl State {
    /// Draws even where the answer is clear, so that a change of the faults does not shift every
    /// later decision of the same seed.
    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random::<f64>() < probability
    }

    fn lose(&mut self) -> Fate {
        self.toll.lost += 1;
        Vec::new()
    }

    fn fate(&mut self) -> Fate {
        let faults = self.faults.clone();
        let (lost, doubled) = (self.chance(faults.loss), self.chance(faults.duplication));
        let copies = [self.lateness(&faults), self.lateness(&faults)];
        if lost {
            return self.lose();
        }
        self.toll.doubled += u64::from(doubled);
        copies.into_iter().take(1 + usize::from(doubled)).collect()
    }

    fn lateness(&mut self, faults: &Faults) -> Duration {
        let (late, part) = (self.chance(faults.delay), self.rng.random::<f64>());
        if !late {
            return Duration::ZERO;
        }
        self.toll.delayed += 1;
        let span = faults.delays.end.saturating_sub(faults.delays.start);
        faults.delays.start + span.mul_f64(part)
    }
}
