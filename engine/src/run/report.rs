//! A run as it is shown: what the engine knows of each check. Times, workers and attempts belong to
//! whoever carries the run out.

use visor_protocol::outcome::Usage;
use visor_protocol::result::CheckReport;

use super::cell::Phase;
use super::machine::RunMachine;
use crate::plan::CheckIndex;

impl RunMachine {
    /// What is known of every check, in the order of the file.
    pub fn reports(&self) -> Vec<CheckReport> {
        (0..self.cells.len()).map(|place| self.report(CheckIndex::of(place))).collect()
    }

    /// What is known of one check.
    ///
    /// # Panics
    /// When the index is not one of the plan.
    pub fn report(&self, index: CheckIndex) -> CheckReport {
        let planned = self.plan.check(index);
        let cell = &self.cells[index.at()];
        CheckReport {
            name: planned.name.clone(),
            group: planned.group.clone(),
            kind: planned.kind.clone(),
            state: self.check_state(index),
            job: None,
            result: cell.result.as_ref().clone(),
            skipped: cell.skipped.clone(),
            waits_for: self.waits_for(index),
            ended: None,
            why: None,
            fault: cell.fault.clone(),
            tail: String::new(),
            attempts: 0,
            history: Vec::new(),
            worker: None,
            image: None,
            next_attempt_at: None,
            queued_at: None,
            started_at: None,
            finished_at: None,
            usage: Usage::default(),
        }
    }

    /// Names of the checks that a waiting check waits for; none when it waits for a place.
    ///
    /// # Panics
    /// When the index is not one of the plan.
    pub fn waits_for(&self, index: CheckIndex) -> Vec<String> {
        if self.cells[index.at()].phase != Phase::Waiting {
            return Vec::new();
        }
        let dependencies = self.plan.check(index).waits_for.iter();
        let open = dependencies.filter(|check| !self.check_state(**check).is_settled());
        open.map(|check| self.plan.check(*check).name.to_string()).collect()
    }
}
