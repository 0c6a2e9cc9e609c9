//! What is known of a run's checks. Notices may be lost or come twice; the report that is asked
//! for now and then puts everything right.

use std::collections::HashMap;
use std::time::Duration;

use visor_protocol::api::Reason;
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{Attempt, JobId, WorkerId};
use visor_protocol::result::{CheckState, Counts, RunReport};

/// A run as somebody watches it. Times are counted from the moment the watching began.
#[derive(Debug)]
pub(crate) struct Model {
    pub(super) heading: String,
    pub(super) places: bool,
    pub(super) checks: Vec<Check>,
    pub(super) counts: Counts,
    index: HashMap<String, usize>,
    jobs: HashMap<JobId, usize>,
}

/// One check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) state: CheckState,
    pub(crate) dependencies: Vec<String>,
    pub(crate) since: Duration,
    pub(crate) ran: Option<Duration>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) issues: u32,
    pub(crate) why: Option<String>,
    /// What it waits for beyond its dependencies, as far as somebody asked.
    pub(crate) waits_for: Option<String>,
}

/// A check went from one state to another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its place in the order of the file.
    pub(crate) check: usize,
    pub(crate) to: CheckState,
}

impl Model {
    /// A run of these checks (each with what it depends on), in the order of its file.
    pub(crate) fn new(
        heading: String,
        places: bool,
        checks: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Self {
        let mut model = Self {
            heading,
            places,
            checks: Vec::new(),
            counts: Counts::default(),
            index: HashMap::new(),
            jobs: HashMap::new(),
        };
        for (name, dependencies) in checks {
            model.insert(name, dependencies, Duration::ZERO);
        }
        model
    }

    fn insert(&mut self, name: String, dependencies: Vec<String>, since: Duration) -> usize {
        let at = self.checks.len();
        self.index.insert(name.clone(), at);
        self.counts.add(CheckState::Waiting);
        self.checks.push(Check {
            name,
            state: CheckState::Waiting,
            dependencies,
            since,
            ran: None,
            worker: None,
            attempt: None,
            issues: 0,
            why: None,
            waits_for: None,
        });
        at
    }

    /// A check by its place.
    pub(crate) fn check(&self, at: usize) -> &Check {
        &self.checks[at]
    }

    /// How many checks stand so.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The check whose job this is.
    pub(crate) fn check_of(&self, job: JobId) -> Option<&Check> {
        self.jobs.get(&job).map(|&at| &self.checks[at])
    }

    /// Takes a notice that arrived at `now`; says what changed by it.
    pub(crate) fn apply(&mut self, notice: &Notice, now: Duration) -> Option<Change> {
        let News::Check { check, state, attempt, job, worker, ran_ms, issues, why, .. } =
            &notice.what
        else {
            return None;
        };
        let at = match self.index.get(check.as_str()) {
            Some(&at) => at,
            None => self.insert(check.to_string(), Vec::new(), now),
        };
        if let Some(job) = job {
            self.jobs.insert(*job, at);
        }
        let entry = &mut self.checks[at];
        // What is settled stays so, whatever a late or repeated notice says.
        if entry.state.is_settled() {
            return None;
        }
        entry.issues = *issues;
        entry.worker = worker.clone().or_else(|| entry.worker.take());
        entry.attempt = attempt.or(entry.attempt);
        entry.why = why.clone();
        entry.ran = ran_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok());
        self.shift(at, *state, now)
    }

    fn shift(&mut self, at: usize, to: CheckState, now: Duration) -> Option<Change> {
        let entry = &mut self.checks[at];
        if entry.state == to {
            return None;
        }
        self.counts.shift(entry.state, to);
        entry.waits_for = None;
        entry.state = to;
        entry.since = now;
        Some(Change { check: at, to })
    }

    /// Takes the whole present state; says what changed by it.
    pub(crate) fn sync(&mut self, report: &RunReport, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        for check in &report.checks {
            let at = match self.index.get(check.name.as_str()) {
                Some(&at) => at,
                None => self.insert(check.name.to_string(), Vec::new(), now),
            };
            if let Some(job) = check.job {
                self.jobs.insert(job, at);
            }
            let entry = &mut self.checks[at];
            // The answer may be older than the notices that came meanwhile.
            if entry.state.is_settled() {
                continue;
            }
            entry.worker = check.worker.clone();
            entry.attempt = (check.attempts > 0).then_some(Attempt(check.attempts));
            entry.issues = u32::try_from(check.result.issues.len()).unwrap_or(u32::MAX);
            entry.why.clone_from(&check.why);
            entry.ran = super::super::summary::ran(check);
            changes.extend(self.shift(at, check.state, now));
        }
        changes
    }

    /// Takes what checks wait for, as the coordinator sees it.
    pub(crate) fn explain(&mut self, reasons: &[Reason]) {
        for reason in reasons {
            if let Some(&at) = self.index.get(reason.check.as_str()) {
                self.checks[at].waits_for.clone_from(&reason.waits_for);
            }
        }
    }

    /// What a check waits for: dependencies that are not settled, or a place to run.
    pub(crate) fn waits_for(&self, check: &Check) -> String {
        let open: Vec<&str> = check
            .dependencies
            .iter()
            .filter(|name| {
                let state = self.index.get(name.as_str()).map(|&at| self.checks[at].state);
                state.is_some_and(|state| !state.is_settled())
            })
            .map(String::as_str)
            .collect();
        match open.as_slice() {
            [] => match (&check.waits_for, &check.why) {
                (Some(what), _) => format!("waits for {what}"),
                (None, Some(why)) => format!("waits: {why}"),
                // Who knows has not been asked yet; a guess would send people the wrong way.
                (None, None) => "waiting".into(),
            },
            names if names.len() > 4 => {
                format!("waits for {} and {} more", names[..3].join(", "), names.len() - 3)
            }
            names => format!("waits for {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    pub(crate) fn news(check: &str, state: CheckState) -> Notice {
        Notice {
            run: samples::run_id(),
            channel: visor_protocol::ChannelId::local(),
            at: samples::start(),
            what: News::Check {
                check: samples::name(check),
                state,
                attempt: None,
                job: None,
                worker: None,
                started_at: None,
                ran_ms: None,
                issues: 0,
                why: None,
            },
        }
    }

    fn model() -> Model {
        let checks = [("a".to_owned(), vec![]), ("b".to_owned(), vec!["a".to_owned()])];
        Model::new("visor.yaml".into(), false, checks)
    }

    #[test]
    fn a_late_notice_does_not_reopen_a_settled_check() {
        let mut model = model();
        assert!(model.apply(&news("a", CheckState::Passed), Duration::ZERO).is_some());
        assert_eq!(model.apply(&news("a", CheckState::Running), Duration::ZERO), None);
        assert_eq!(model.counts().passed, 1);
        assert_eq!(model.counts().total(), 2);
    }

    #[test]
    fn a_report_repairs_what_lost_notices_left_out() {
        let mut model = model();
        let report = samples::report(
            visor_protocol::result::RunState::Running,
            5,
            vec![
                samples::check("a", CheckState::Passed, 5),
                samples::check("b", CheckState::Running, 5),
            ],
        );
        let changes = model.sync(&report, Duration::ZERO);
        assert_eq!(changes.len(), 2);
        assert_eq!((model.counts().passed, model.counts().running), (1, 1));
        assert_eq!(model.sync(&report, Duration::ZERO), vec![]);
    }

    #[test]
    fn a_waiting_check_names_what_it_waits_for() {
        let mut model = model();
        assert_eq!(model.waits_for(model.check(1)), "waits for a");
        model.apply(&news("a", CheckState::Passed), Duration::ZERO);
        assert_eq!(model.waits_for(model.check(1)), "waiting", "nobody was asked yet");
        model.explain(&[samples::reason("b", "a worker: pool `gpu` has none")]);
        let told = model.waits_for(model.check(1));
        assert_eq!(told, "waits for a worker: pool `gpu` has none");
    }
}
