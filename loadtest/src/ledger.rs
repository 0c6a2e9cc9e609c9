//! The exact account of every run and check: what was sent, what was accepted, what settled, how
//! often. It takes facts in any order, twice, and late, and says in the end whether they add up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measure::{Latencies, Summary};

/// Microseconds since the beginning of the load; what happened before it counts as its beginning.
pub type Moment = u64;

/// A fact about one run (by its number) or one check of it (by its position).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fact {
    /// It was to be sent at this moment.
    Intended {
        /// Which run.
        run: u32,
        /// When it was to be sent.
        at: Moment,
    },
    /// It was sent, this long after it was to be.
    Sent {
        /// How much later than intended.
        lag: Duration,
    },
    /// The system took it.
    Accepted {
        /// Which run.
        run: u32,
    },
    /// The system refused it.
    Refused {
        /// Which run.
        run: u32,
    },
    /// No answer came. Whether it was taken shows only later.
    Unanswered {
        /// Which run.
        run: u32,
    },
    /// A worker started a check.
    Started {
        /// Which run.
        run: u32,
        /// Which of its checks.
        check: u32,
        /// When, by the worker's clock.
        at: Moment,
    },
    /// A check settled.
    Settled {
        /// Which run.
        run: u32,
        /// Which of its checks.
        check: u32,
        /// It passed.
        passed: bool,
        /// How long it ran, where that is known.
        ran: Option<Duration>,
        /// When it was settled, by the coordinator's clock.
        at: Moment,
    },
    /// A run finished.
    Finished {
        /// Which run.
        run: u32,
        /// It passed.
        passed: bool,
        /// When we knew.
        at: Moment,
    },
}

/// What is known of one check.
#[derive(Debug, Clone, Copy, Default)]
struct Check {
    started: Option<Moment>,
    settled: Settlement,
}

#[derive(Debug, Clone, Copy, Default)]
enum Settlement {
    #[default]
    Open,
    /// The system said so.
    Told { at: Moment, ran: Option<Duration> },
    /// We learned it by asking; the news of it may still come.
    Asked,
}

impl Check {
    fn is_settled(&self) -> bool {
        !matches!(self.settled, Settlement::Open)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Run {
    intended: Moment,
    known: bool,
    accepted: bool,
    refused: bool,
    unanswered: bool,
    finished: bool,
    /// We learned that by asking; the news of it may still come.
    asked: bool,
}

/// The account. Runs are numbered from 0 in the order in which they were to be sent.
#[derive(Debug)]
pub struct Ledger {
    checks_per_run: u32,
    runs: Vec<Run>,
    /// `checks_per_run` for each run.
    checks: Vec<Check>,
    counts: Counts,
    open: u64,
    first_settled: Option<Moment>,
    last_settled: Moment,
    send_lag: Latencies,
    submit_to_start: Latencies,
    finish_to_settled: Latencies,
    end_to_end: Latencies,
}

/// Runs and checks by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Runs that were to be sent.
    pub submitted: u64,
    /// Of these, refused with an answer: nothing is owed.
    pub refused: u64,
    /// Of these, never answered.
    pub unanswered: u64,
    /// Runs that finished and passed.
    pub settled: u64,
    /// Runs that finished and did not pass, and those refused.
    pub failed: u64,
    /// Runs that were accepted, or not answered, and never finished.
    pub missing: u64,
    /// Checks that settled.
    pub checks_settled: u64,
    /// Of these, those that did not pass.
    pub checks_failed: u64,
    /// Checks of finished runs of which nobody said that they settled.
    pub checks_missing: u64,
    /// Second finishes of a run and second settlements of a check.
    pub duplicates: u64,
    /// Facts about runs we never sent.
    pub foreign: u64,
}

impl Counts {
    /// Submitted is settled plus failed, nothing twice, nothing from elsewhere.
    pub fn adds_up(&self) -> bool {
        self.submitted == self.settled + self.failed
            && self.missing == 0
            && self.checks_missing == 0
            && self.duplicates == 0
    }
}

impl Ledger {
    /// An empty account of runs with this many checks each.
    pub fn new(checks_per_run: u32) -> Self {
        Self {
            checks_per_run,
            runs: Vec::new(),
            checks: Vec::new(),
            counts: Counts::default(),
            open: 0,
            first_settled: None,
            last_settled: 0,
            send_lag: Latencies::default(),
            submit_to_start: Latencies::default(),
            finish_to_settled: Latencies::default(),
            end_to_end: Latencies::default(),
        }
    }

    /// Takes a fact. Facts about one run may come in any order.
    pub fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Intended { run, at } => {
                self.grow(run);
                let slot = &mut self.runs[run as usize];
                slot.intended = at;
                slot.known = true;
                self.counts.submitted += 1;
                self.open += 1;
            }
            Fact::Sent { lag } => self.send_lag.add(lag),
            Fact::Accepted { run } => self.with_run(run, |run| run.accepted = true),
            Fact::Refused { run } => self.refused(run),
            Fact::Unanswered { run } => self.with_run(run, |run| run.unanswered = true),
            Fact::Started { run, check, at } => self.started(run, check, at),
            Fact::Settled { run, check, passed, ran, at } => {
                self.settled(run, check, passed, ran, at);
            }
            Fact::Finished { run, passed, at } => self.finished(run, passed, at),
        }
    }

    /// Takes a fact that we learned by asking, if it is news. The system's own word of it may still
    /// come, and is no second settlement then.
    pub fn fill_in(&mut self, fact: Fact) {
        match fact {
            Fact::Settled { run, check, .. } => {
                let Some((slot, _)) = self.slot(run, check) else { return };
                if !self.checks[slot].is_settled() {
                    self.take(fact);
                    self.checks[slot].settled = Settlement::Asked;
                }
            }
            Fact::Finished { run, .. } => {
                if self.runs.get(run as usize).is_some_and(|run| !run.finished) {
                    self.take(fact);
                    self.with_run(run, |run| run.asked = true);
                }
            }
            _ => self.take(fact),
        }
    }

    fn grow(&mut self, run: u32) {
        let len = run as usize + 1;
        if self.runs.len() < len {
            self.runs.resize(len, Run::default());
            self.checks.resize(len * self.checks_per_run as usize, Check::default());
        }
    }

    fn with_run(&mut self, run: u32, change: impl FnOnce(&mut Run)) {
        match self.runs.get_mut(run as usize).filter(|run| run.known) {
            Some(run) => change(run),
            None => self.counts.foreign += 1,
        }
    }

    fn refused(&mut self, run: u32) {
        let mut closed = false;
        self.with_run(run, |run| {
            closed = is_open(run);
            run.refused = true;
        });
        self.open -= u64::from(closed);
    }

    /// The place of a check in `checks`, with the moment its run was intended.
    fn slot(&mut self, run: u32, check: u32) -> Option<(usize, Moment)> {
        let known = self.runs.get(run as usize).filter(|run| run.known);
        let found = known.filter(|_| check < self.checks_per_run).map(|known| {
            (run as usize * self.checks_per_run as usize + check as usize, known.intended)
        });
        if found.is_none() {
            self.counts.foreign += 1;
        }
        found
    }

    fn started(&mut self, run: u32, check: u32, at: Moment) {
        let Some((slot, intended)) = self.slot(run, check) else { return };
        let check = &mut self.checks[slot];
        // A later attempt, or a notice that came twice, says nothing about the first start.
        if check.started.is_none() {
            check.started = Some(at);
            let check = *check;
            self.submit_to_start.add(micros(at.saturating_sub(intended)));
            self.measure_settlement(check);
        }
    }

    fn settled(&mut self, run: u32, check: u32, passed: bool, ran: Option<Duration>, at: Moment) {
        let Some((slot, _)) = self.slot(run, check) else { return };
        let told = Settlement::Told { at, ran };
        match std::mem::replace(&mut self.checks[slot].settled, told) {
            Settlement::Open => {}
            Settlement::Asked => return,
            Settlement::Told { .. } => {
                self.counts.duplicates += 1;
                return;
            }
        }
        self.counts.checks_settled += 1;
        self.counts.checks_failed += u64::from(!passed);
        self.first_settled = Some(self.first_settled.map_or(at, |first| first.min(at)));
        self.last_settled = self.last_settled.max(at);
        self.measure_settlement(self.checks[slot]);
    }

    /// Counts the way from the end on the worker, once everything about it is known.
    fn measure_settlement(&mut self, check: Check) {
        if let (Some(started), Settlement::Told { at, ran: Some(ran) }) =
            (check.started, check.settled)
        {
            let finished = micros(started) + ran;
            self.finish_to_settled.add(micros(at).saturating_sub(finished));
        }
    }

    fn finished(&mut self, run: u32, passed: bool, at: Moment) {
        let Some(slot) = self.runs.get_mut(run as usize).filter(|run| run.known) else {
            self.counts.foreign += 1;
            return;
        };
        if slot.finished {
            self.counts.duplicates += u64::from(!slot.asked);
            slot.asked = false;
            return;
        }
        self.open -= u64::from(is_open(slot));
        slot.finished = true;
        if passed {
            self.counts.settled += 1;
        } else {
            self.counts.failed += 1;
        }
        self.end_to_end.add(micros(at.saturating_sub(slot.intended)));
    }

    /// Runs that were to be sent.
    pub fn submitted_len(&self) -> u64 {
        self.counts.submitted
    }

    /// Runs that may still finish.
    pub fn open_len(&self) -> u64 {
        self.open
    }

    /// Checks that settled.
    pub fn settled_len(&self) -> u64 {
        self.counts.checks_settled
    }

    /// Which runs may still finish: accepted or unanswered, and not finished.
    pub fn open(&self) -> impl Iterator<Item = u32> {
        let open = self.runs.iter().enumerate().filter(|(_, run)| is_open(run));
        open.map(|(number, _)| u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// A check of a run of which nobody said that it settled, or none.
    pub fn unsettled(&self, run: u32) -> impl Iterator<Item = u32> {
        let first = run as usize * self.checks_per_run as usize;
        let slots = self.checks.get(first..first + self.checks_per_run as usize);
        let slots = slots.unwrap_or_default().iter().zip(0..);
        slots.filter(|(slot, _)| !slot.is_settled()).map(|(_, check)| check)
    }

    /// Runs with a settled check of which nobody said when it started.
    pub fn without_start(&self) -> impl Iterator<Item = u32> {
        let runs = self.checks.chunks(self.checks_per_run.max(1) as usize).zip(0_u32..);
        let unknown = |check: &Check| check.is_settled() && check.started.is_none();
        runs.filter(move |(checks, _)| checks.iter().any(unknown)).map(|(_, run)| run)
    }

    /// Finished runs with a check of which nobody said that it settled.
    pub fn incomplete(&self) -> impl Iterator<Item = u32> {
        let finished = self.runs.iter().zip(0..).filter(|(run, _)| run.finished);
        finished.map(|(_, run)| run).filter(|run| self.unsettled(*run).next().is_some())
    }

    /// The account as it stands.
    pub fn close(&self) -> Account {
        let mut counts = self.counts;
        for run in self.runs.iter().filter(|run| run.known) {
            counts.unanswered += u64::from(run.unanswered);
            if run.refused {
                counts.refused += 1;
                counts.failed += u64::from(!run.finished);
            }
            counts.missing += u64::from(is_open(run));
        }
        for run in self.incomplete() {
            counts.checks_missing += self.unsettled(run).count() as u64;
        }
        let span = self.first_settled.map_or(0, |first| self.last_settled.saturating_sub(first));
        Account {
            adds_up: counts.adds_up(),
            counts,
            settling: micros(span),
            until_last_settled: micros(self.last_settled),
            send_lag: self.send_lag.summary(),
            submit_to_start: self.submit_to_start.summary(),
            finish_to_settled: self.finish_to_settled.summary(),
            end_to_end: self.end_to_end.summary(),
        }
    }
}

fn is_open(run: &Run) -> bool {
    run.known && !run.finished && !run.refused
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// What an account comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Everything that was sent is accounted for, once.
    pub adds_up: bool,
    /// Runs and checks by what became of them.
    pub counts: Counts,
    /// From the first settled check to the last.
    pub settling: Duration,
    /// From the beginning to the last settled check.
    pub until_last_settled: Duration,
    /// How much later than intended runs were sent: the generator's own fault.
    pub send_lag: Summary,
    /// From the intended moment to the start on a worker.
    pub submit_to_start: Summary,
    /// From the end on a worker to the settlement by the coordinator.
    pub finish_to_settled: Summary,
    /// From the intended moment until we knew that the run was finished.
    pub end_to_end: Summary,
}

#[cfg(test)]
mod tests;
