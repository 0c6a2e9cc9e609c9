//! What a follower has been told, and what is news to it.
//!
//! A follower is told the present state first, from a report, and then what happens, from notices.
//! The two overlap: a notice may be older than the report, or say what the report said. Followers
//! see each check move forward only, and each state once.

use std::collections::HashMap;

use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{Attempt, CheckName};
use visor_protocol::result::{CheckReport, CheckState, RunReport};

/// How far a check is: settled or not, in which attempt, in which state of it.
type Place = (bool, u32, u8);

fn place(state: CheckState, attempt: Option<Attempt>) -> Place {
    let rank = match state {
        CheckState::Waiting => 0,
        CheckState::Queued => 1,
        CheckState::Running => 2,
        CheckState::Passed | CheckState::Failed | CheckState::Skipped | CheckState::Cancelled => {
            return (true, 0, 0);
        }
    };
    (false, attempt.map_or(0, |attempt| attempt.0), rank)
}

/// What a follower has been told.
#[derive(Debug, Default)]
pub(super) struct Progress {
    is_accepted: bool,
    is_finished: bool,
    checks: HashMap<CheckName, Place>,
}

impl Progress {
    /// Takes a notice as told; false when it is none to be told.
    pub(super) fn take(&mut self, news: &News) -> bool {
        if self.is_finished {
            return false;
        }
        match news {
            News::RunAccepted { .. } => !std::mem::replace(&mut self.is_accepted, true),
            News::Check { check, state, attempt, .. } => {
                let to = place(*state, *attempt);
                match self.checks.get_mut(check) {
                    Some(from) if *from >= to => false,
                    Some(from) => {
                        *from = to;
                        true
                    }
                    None => {
                        self.checks.insert(check.clone(), to);
                        true
                    }
                }
            }
            News::RunFinished { .. } => {
                self.is_finished = true;
                true
            }
        }
    }

    /// The end of the run was told.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }
}

/// The present state as notices, as if all of it had just been said.
pub(super) fn as_notices(report: &RunReport) -> impl Iterator<Item = Notice> {
    let summary = &report.summary;
    let say = |at, what| Notice { run: summary.run, channel: summary.channel.clone(), at, what };
    let checks = u32::try_from(report.checks.len()).unwrap_or(u32::MAX);
    let accepted = say(summary.submitted_at, News::RunAccepted { checks });
    let checks = report.checks.iter().map(move |check| {
        let known = [check.finished_at, check.started_at, check.queued_at];
        let at = known.into_iter().flatten().next().unwrap_or(summary.submitted_at);
        say(at, of_check(check))
    });
    let finished = summary.state.is_finished().then(|| {
        let at = summary.finished_at.unwrap_or(summary.submitted_at);
        say(at, News::RunFinished { state: summary.state })
    });
    std::iter::once(accepted).chain(checks).chain(finished)
}

fn of_check(check: &CheckReport) -> News {
    let is_settled = check.state.is_settled();
    let ran = match (check.started_at, check.finished_at) {
        (Some(started), Some(finished)) if is_settled => Some(finished.since(started)),
        _ => None,
    };
    let by = if is_settled || check.state == CheckState::Running { &check.worker } else { &None };
    News::Check {
        check: check.name.clone(),
        state: check.state,
        attempt: check.job.map(|_| Attempt(check.attempts)),
        job: check.job,
        worker: by.clone(),
        started_at: check.started_at,
        ran_ms: ran.map(|ran| ran.as_secs_f64() * 1e3),
        issues: u32::try_from(check.result.issues.len()).unwrap_or(u32::MAX),
        why: why(check),
    }
}

fn why(check: &CheckReport) -> Option<String> {
    match check.state {
        CheckState::Waiting | CheckState::Running => None,
        // Why the attempt before came to nothing.
        CheckState::Queued => check.history.last().cloned(),
        CheckState::Passed | CheckState::Failed | CheckState::Skipped | CheckState::Cancelled => {
            check.why.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use visor_protocol::result::RunState;

    fn check(state: CheckState, attempt: Option<u32>) -> News {
        News::Check {
            check: CheckName::new("lint").unwrap(),
            state,
            attempt: attempt.map(Attempt),
            job: None,
            worker: None,
            started_at: None,
            ran_ms: None,
            issues: 0,
            why: None,
        }
    }

    #[test]
    fn what_is_older_than_what_was_told_is_no_news() {
        let mut progress = Progress::default();
        assert!(progress.take(&check(CheckState::Running, Some(1))));
        assert!(!progress.take(&check(CheckState::Queued, Some(1))));
        assert!(!progress.take(&check(CheckState::Running, Some(1))));
        assert!(!progress.take(&check(CheckState::Waiting, None)));
        assert!(progress.take(&check(CheckState::Passed, Some(1))));
        assert!(!progress.take(&check(CheckState::Failed, None)));
    }

    #[test]
    fn a_new_attempt_is_news_although_its_state_is_an_earlier_one() {
        let mut progress = Progress::default();
        assert!(progress.take(&check(CheckState::Running, Some(1))));
        assert!(progress.take(&check(CheckState::Queued, Some(2))));
        assert!(!progress.take(&check(CheckState::Running, Some(1))));
    }

    #[test]
    fn nothing_is_news_after_the_end() {
        let mut progress = Progress::default();
        assert!(progress.take(&News::RunAccepted { checks: 1 }));
        assert!(!progress.take(&News::RunAccepted { checks: 1 }));
        assert!(progress.take(&News::RunFinished { state: RunState::Passed }));
        assert!(!progress.take(&check(CheckState::Passed, Some(1))));
        assert!(progress.is_finished());
    }
}
