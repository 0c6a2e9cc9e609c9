//! The state machine of one run.
//!
//! A check starts the moment its own dependencies are settled and a place is free; there are no
//! levels. What an event costs depends on the dependents of its check, not on the size of the run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use visor_protocol::event::Expression;
use visor_protocol::issue::{Issue, Severity};
use visor_protocol::outcome::{End, Fault};
use visor_protocol::result::{CheckResult, CheckState, Counts, RunState, SkipReason};

use super::cell::{Cell, Phase, Verdict};
use super::failure::{GLOBAL_FAIL_IF, is_critical, is_fatal};
use super::{Effect, Event};
use crate::expression::{Evaluation, Scope};
use crate::plan::{CheckIndex, Plan};
use crate::result::prefixed;

/// One run.
#[derive(Debug, Clone)]
pub struct RunMachine {
    pub(super) plan: Arc<Plan>,
    pub(super) cells: Vec<Cell>,
    /// Checks whose dependencies are settled and that wait for a place, in the order of the file.
    ready: BTreeSet<CheckIndex>,
    /// Checks that were settled and whose dependents do not know it yet.
    settled: VecDeque<CheckIndex>,
    /// Settled checks in the order in which they were settled.
    pub(super) history: Vec<CheckIndex>,
    /// Places in use: checks that run, and conditions that are being evaluated.
    under_way: usize,
    next_seq: u32,
    counts: Counts,
    critical: bool,
    stop: Option<Stop>,
    state: RunState,
}

/// Why nothing new is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    FailFast,
    TimedOut,
    Cancelled,
}

impl Stop {
    fn reason(self) -> SkipReason {
        match self {
            Self::FailFast => SkipReason::FailFast,
            Self::TimedOut => SkipReason::RunTimeout,
            Self::Cancelled => SkipReason::Cancelled,
        }
    }
}

impl RunMachine {
    /// A run that has not begun.
    pub fn new(plan: Arc<Plan>) -> Self {
        let cells: Vec<Cell> = plan
            .checks()
            .iter()
            .map(|check| Cell {
                phase: Phase::Waiting,
                unsettled: u32::try_from(check.waits_for.len()).unwrap_or(u32::MAX),
                result: Arc::default(),
                skipped: None,
                fault: None,
            })
            .collect();
        let counts =
            Counts { waiting: u32::try_from(cells.len()).unwrap_or(u32::MAX), ..Counts::default() };
        Self {
            plan,
            cells,
            ready: BTreeSet::new(),
            settled: VecDeque::new(),
            history: Vec::new(),
            under_way: 0,
            next_seq: 0,
            counts,
            critical: false,
            stop: None,
            state: RunState::Running,
        }
    }

    /// Begins.
    pub fn start(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.state == RunState::Running && self.history.is_empty() && self.next_seq == 0 {
            for place in 0..self.cells.len() {
                if self.cells[place].unsettled == 0 {
                    self.ready.insert(CheckIndex::of(place));
                }
            }
            self.go_on(&mut effects);
        }
        effects
    }

    /// Takes an event. One that does not fit the state of its check, because it came twice or too
    /// late, changes nothing.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Evaluated { check, which, value } => {
                self.evaluated(check, which, value, &mut effects);
            }
            Event::Started { check } => {
                if let Some(Phase::Queued { seq }) = self.phase(check) {
                    self.enter(check, Phase::Running { seq });
                }
            }
            Event::Requeued { check } => {
                if let Some(Phase::Running { seq }) = self.phase(check) {
                    self.enter(check, Phase::Queued { seq });
                }
            }
            Event::Settled { check, end, result } => self.ended(check, end, result, &mut effects),
            Event::Cancel => self.halt(Stop::Cancelled, &mut effects),
            Event::TimedOut => self.halt(Stop::TimedOut, &mut effects),
        }
        self.go_on(&mut effects);
        effects
    }

    /// How the run stands.
    pub fn state(&self) -> RunState {
        self.state
    }

    /// Checks in each state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How a check stands.
    ///
    /// # Panics
    /// When the index is not one of the plan.
    pub fn check_state(&self, check: CheckIndex) -> CheckState {
        self.cells[check.at()].phase.state()
    }

    /// What a check came to; empty until it has.
    ///
    /// # Panics
    /// When the index is not one of the plan.
    pub fn result(&self, check: CheckIndex) -> &Arc<CheckResult> {
        &self.cells[check.at()].result
    }

    /// Whether a check is settled and not because it was skipped.
    pub(crate) fn has_run(&self, check: CheckIndex) -> bool {
        matches!(
            self.check_state(check),
            CheckState::Passed | CheckState::Failed | CheckState::Cancelled
        )
    }

    /// Checks that were run and are settled, in the order in which they were.
    pub(crate) fn settled_in_order(&self) -> impl Iterator<Item = CheckIndex> + '_ {
        self.history.iter().copied().filter(|check| self.has_run(*check))
    }

    /// What is run.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    fn phase(&self, check: CheckIndex) -> Option<Phase> {
        self.cells.get(check.at()).map(|cell| cell.phase.clone())
    }

    fn enter(&mut self, check: CheckIndex, phase: Phase) {
        let cell = &mut self.cells[check.at()];
        let (from, to) = (cell.phase.state(), phase.state());
        cell.phase = phase;
        if from != to {
            self.counts.shift(from, to);
        }
    }

    /// Tells dependents of what was settled, and fills the free places.
    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        loop {
            while let Some(check) = self.settled.pop_front() {
                self.tell_dependents(check, effects);
            }
            if self.under_way >= self.plan.max_parallelism() {
                break;
            }
            let Some(check) = self.ready.pop_first() else { break };
            self.step(check, effects);
        }
        let finished = self.history.len() == self.cells.len() && self.under_way == 0;
        if finished && self.state == RunState::Running {
            self.state = self.verdict();
            effects.push(Effect::Finish { state: self.state });
        }
    }

    fn verdict(&self) -> RunState {
        match self.stop {
            Some(Stop::Cancelled) => RunState::Cancelled,
            Some(Stop::TimedOut | Stop::FailFast) => RunState::Failed,
            None if self.counts.failed > 0 || self.critical => RunState::Failed,
            None if self.counts.cancelled > 0 => RunState::Cancelled,
            None => RunState::Passed,
        }
    }

    fn tell_dependents(&mut self, settled: CheckIndex, effects: &mut Vec<Effect>) {
        let plan = Arc::clone(&self.plan);
        for dependent in &plan.check(settled).dependents {
            let cell = &mut self.cells[dependent.at()];
            cell.unsettled = cell.unsettled.saturating_sub(1);
            if cell.unsettled > 0 || cell.phase != Phase::Waiting {
                continue;
            }
            // Without a condition it is known already whether it runs; that needs no place.
            if plan.check(*dependent).if_condition.is_none()
                && let Some(reason) = self.blocked(*dependent)
            {
                self.skip(*dependent, reason, effects);
            } else {
                self.ready.insert(*dependent);
            }
        }
    }

    /// Does the next thing to a check for which there is a place.
    fn step(&mut self, index: CheckIndex, effects: &mut Vec<Effect>) {
        let plan = Arc::clone(&self.plan);
        let check = plan.check(index);
        if let Some(condition) = &check.if_condition
            && self.cells[index.at()].phase == Phase::Waiting
        {
            self.under_way += 1;
            self.enter(index, Phase::Condition);
            let evaluation = self.evaluation(index, Expression::If, condition, None);
            effects.push(Effect::Evaluate(Box::new(evaluation)));
        } else if let Some(reason) = self.blocked(index) {
            self.skip(index, reason, effects);
        } else if let Some(fault) = &check.unsupported {
            self.fail(index, fault, effects);
        } else {
            let seq = self.next_seq;
            self.next_seq += 1;
            self.under_way += 1;
            self.enter(index, Phase::Queued { seq });
            effects.push(Effect::Start { seq, check: index });
        }
    }

    /// Why a check whose dependencies are settled cannot run, if it cannot.
    fn blocked(&self, check: CheckIndex) -> Option<SkipReason> {
        let names = |options: &Vec<CheckIndex>| {
            let names = options.iter().map(|option| self.plan.check(*option).name.as_str());
            names.collect::<Vec<_>>().join("|")
        };
        let failed: Vec<String> = self
            .plan
            .check(check)
            .dependencies
            .iter()
            .filter(|options| !options.iter().any(|option| self.satisfies(*option)))
            .map(names)
            .collect();
        (!failed.is_empty()).then_some(SkipReason::DependencyFailed { dependencies: failed })
    }

    /// Whether dependents of a settled check may run.
    fn satisfies(&self, check: CheckIndex) -> bool {
        let cell = &self.cells[check.at()];
        let continues = self.plan.check(check).continue_on_failure;
        match &cell.phase {
            Phase::Settled(CheckState::Passed) => true,
            Phase::Settled(CheckState::Failed) => continues,
            Phase::Settled(CheckState::Skipped) => {
                continues && matches!(cell.skipped, Some(SkipReason::IfCondition { .. }))
            }
            Phase::Settled(_)
            | Phase::Waiting
            | Phase::Condition
            | Phase::Accepted
            | Phase::Queued { .. }
            | Phase::Running { .. }
            | Phase::Judged { .. } => false,
        }
    }

    fn evaluated(
        &mut self,
        check: CheckIndex,
        which: Expression,
        value: Result<Value, String>,
        effects: &mut Vec<Effect>,
    ) {
        let value = value.map(|value| is_true(&value));
        match (which, self.phase(check)) {
            (Expression::If, Some(Phase::Condition)) => {
                self.under_way -= 1;
                if value == Ok(true) {
                    self.enter(check, Phase::Accepted);
                    self.ready.insert(check);
                } else {
                    let condition = self.plan.check(check).if_condition.as_deref();
                    let condition = condition.unwrap_or_default().to_owned();
                    let reason = SkipReason::IfCondition { condition, error: value.err() };
                    self.skip(check, reason, effects);
                }
            }
            (Expression::FailIf, Some(Phase::Judged { end, own: Verdict::Pending, global })) => {
                self.enter(check, Phase::Judged { end, own: Verdict::Known(value), global });
                self.judge(check, effects);
            }
            (
                Expression::GlobalFailIf,
                Some(Phase::Judged { end, own, global: Verdict::Pending }),
            ) => {
                self.enter(check, Phase::Judged { end, own, global: Verdict::Known(value) });
                self.judge(check, effects);
            }
            (Expression::If | Expression::FailIf | Expression::GlobalFailIf, _) => {}
        }
    }

    /// A check came back.
    fn ended(
        &mut self,
        check: CheckIndex,
        end: End,
        result: CheckResult,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Phase::Queued { .. } | Phase::Running { .. }) = self.phase(check) else { return };
        self.under_way -= 1;
        self.cells[check.at()].result = Arc::new(result);
        if let End::Infrastructure(fault) = &end {
            self.cells[check.at()].fault = Some(fault.clone());
        }
        let judged = match end {
            End::Cancelled | End::Infrastructure(_) => false,
            End::Exited { .. }
            | End::Signaled { .. }
            | End::TimedOut
            | End::OutOfMemory
            | End::OutOfDisk { .. } => true,
        };
        let plan = Arc::clone(&self.plan);
        let global = plan.fail_if().filter(|_| judged);
        let own = plan.check(check).fail_if.as_ref().filter(|_| judged);
        let asked = |source: Option<&Arc<str>>| match source {
            Some(_) => Verdict::Pending,
            None => Verdict::Absent,
        };
        self.enter(check, Phase::Judged { end, own: asked(own), global: asked(global) });
        for (which, source) in [(Expression::GlobalFailIf, global), (Expression::FailIf, own)] {
            if let Some(source) = source {
                let result = Arc::clone(&self.cells[check.at()].result);
                let evaluation = self.evaluation(check, which, source, Some(result));
                effects.push(Effect::Evaluate(Box::new(evaluation)));
            }
        }
        self.judge(check, effects);
    }

    /// Settles a check that came back, once nothing about it is open any more.
    fn judge(&mut self, check: CheckIndex, effects: &mut Vec<Effect>) {
        let Some(Phase::Judged { end, own, global }) = self.phase(check) else { return };
        if own == Verdict::Pending || global == Verdict::Pending {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let planned = plan.check(check);
        let name = planned.name.as_str();
        let rules = [
            (global, plan.fail_if(), GLOBAL_FAIL_IF.to_owned(), "Global failure condition met"),
            (
                own,
                planned.fail_if.as_ref(),
                format!("{name}_fail_if"),
                "Check failure condition met",
            ),
        ];
        for (verdict, source, rule, message) in rules {
            let source = source.map_or("", |source| &**source);
            let issue = match verdict {
                Verdict::Absent | Verdict::Pending | Verdict::Known(Ok(false)) => continue,
                Verdict::Known(Ok(true)) => {
                    Issue::system(rule, Severity::Error, format!("{message}: {source}"))
                }
                // Taken as not met, as the language has it; but a slip should be seen.
                Verdict::Known(Err(error)) => Issue::system(
                    format!("{name}/expression/not_evaluated"),
                    Severity::Warning,
                    format!("`fail_if` could not be evaluated and counts as not met: {error}"),
                ),
            };
            let result = Arc::make_mut(&mut self.cells[check.at()].result);
            result.issues.push(prefixed(issue, planned));
        }
        let state = match end {
            End::Cancelled => CheckState::Cancelled,
            _ if is_fatal(name, &end, &self.cells[check.at()].result) => CheckState::Failed,
            _ => CheckState::Passed,
        };
        self.critical |= is_critical(&self.cells[check.at()].result);
        self.settle(check, state, effects);
    }

    /// Settles a check that this version cannot run.
    fn fail(&mut self, check: CheckIndex, fault: &Fault, effects: &mut Vec<Effect>) {
        let planned = self.plan.check(check);
        let issue = Issue::system(
            format!("{}/system/error", planned.name),
            Severity::Error,
            fault.message.clone(),
        );
        let issues = vec![prefixed(issue, planned)];
        let cell = &mut self.cells[check.at()];
        cell.result = Arc::new(CheckResult { issues, ..CheckResult::default() });
        cell.fault = Some(fault.clone());
        effects.push(Effect::Fail { check, fault: fault.clone() });
        self.settle(check, CheckState::Failed, effects);
    }

    fn skip(&mut self, check: CheckIndex, reason: SkipReason, effects: &mut Vec<Effect>) {
        self.cells[check.at()].skipped = Some(reason.clone());
        effects.push(Effect::Skip { check, reason });
        self.settle(check, CheckState::Skipped, effects);
    }

    fn settle(&mut self, check: CheckIndex, state: CheckState, effects: &mut Vec<Effect>) {
        self.enter(check, Phase::Settled(state));
        self.history.push(check);
        self.settled.push_back(check);
        if state == CheckState::Failed && self.plan.fail_fast() {
            self.halt(Stop::FailFast, effects);
        }
    }

    /// Starts nothing new. What is under way is stopped, unless only a failure is the reason.
    fn halt(&mut self, stop: Stop, effects: &mut Vec<Effect>) {
        if self.state.is_finished() {
            return;
        }
        let rank = |stop: Option<Stop>| match stop {
            None => 0,
            Some(Stop::FailFast) => 1,
            Some(Stop::TimedOut) => 2,
            Some(Stop::Cancelled) => 3,
        };
        if rank(self.stop) >= rank(Some(stop)) {
            return;
        }
        let stopped_before = rank(self.stop) >= 2;
        self.stop = Some(stop);
        self.ready.clear();
        for place in 0..self.cells.len() {
            let check = CheckIndex::of(place);
            match self.cells[place].phase {
                Phase::Waiting | Phase::Accepted => self.skip(check, stop.reason(), effects),
                Phase::Condition => {
                    self.under_way -= 1;
                    self.skip(check, stop.reason(), effects);
                }
                Phase::Queued { seq } | Phase::Running { seq } => {
                    if stop != Stop::FailFast && !stopped_before {
                        effects.push(Effect::Cancel { seq, check });
                    }
                }
                Phase::Judged { .. } | Phase::Settled(_) => {}
            }
        }
    }

    fn evaluation(
        &self,
        check: CheckIndex,
        which: Expression,
        source: &Arc<str>,
        result: Option<Arc<CheckResult>>,
    ) -> Evaluation {
        let scope = Scope::new(self, check, source, result);
        Evaluation { check, which, source: Arc::clone(source), scope }
    }
}

/// Truth as the expression language has it, for values that are not yet `true` or `false`.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
