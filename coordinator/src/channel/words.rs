//! How checks and runs ended, as people are told it. Said in one place, so that notices, reports
//! and `visor why` say the same.

use visor_engine::CheckIndex;
use visor_protocol::issue::Severity;
use visor_protocol::outcome::End;
use visor_protocol::result::{CheckResult, CheckState, SkipReason};

use super::book::RunBook;

/// How an attempt ended, for people.
pub(crate) fn in_words(end: &End) -> String {
    match end {
        End::Exited { code } => format!("exit {code}"),
        End::Signaled { signal } => format!("signal {signal}"),
        End::TimedOut => "timed out".into(),
        End::Cancelled => "cancelled".into(),
        End::OutOfMemory => "out of memory".into(),
        End::OutOfDisk { .. } => "out of disk".into(),
        End::Infrastructure(fault) => fault.code.clone(),
    }
}

impl RunBook {
    /// Why a check did not pass; none while it may.
    pub(crate) fn why(&self, check: CheckIndex) -> Option<String> {
        match self.check_state(check) {
            CheckState::Waiting | CheckState::Queued | CheckState::Running | CheckState::Passed => {
                None
            }
            CheckState::Skipped => {
                Some(self.why_skipped(self.engine().report(check).skipped.as_ref()?))
            }
            CheckState::Cancelled => Some(match self.note() {
                Some(note) if !note.starts_with("cancelled") => note.to_owned(),
                Some(_) | None => "the run was cancelled".into(),
            }),
            CheckState::Failed => {
                match self.job_of(check).and_then(|(_, entry)| entry.end.as_ref()) {
                    Some(end) => Some(self.why_failed(check, end)),
                    None => self.engine().report(check).fault.map(|fault| fault.message),
                }
            }
        }
    }

    /// Why a check was skipped.
    pub(crate) fn why_skipped(&self, reason: &SkipReason) -> String {
        match reason {
            SkipReason::IfCondition { condition, error: None } => {
                format!("`if: {condition}` is false")
            }
            SkipReason::IfCondition { condition, error: Some(error) } => {
                format!("`if: {condition}` cannot be evaluated: {error}")
            }
            SkipReason::DependencyFailed { dependencies } => {
                let skipped = |name: &&String| {
                    let check = self.plan.find(name);
                    check.map(|check| self.check_state(check)) == Some(CheckState::Skipped)
                };
                let (skipped, failed): (Vec<_>, Vec<_>) = dependencies.iter().partition(skipped);
                let names = |names: &[&String]| {
                    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
                };
                match (failed.as_slice(), skipped.as_slice()) {
                    (failed, []) => format!("{} failed", names(failed)),
                    ([], [one]) => format!("{one} was skipped"),
                    ([], skipped) => format!("{} were skipped", names(skipped)),
                    (failed, [one]) => format!("{} failed, {one} was skipped", names(failed)),
                    (failed, skipped) => {
                        format!("{} failed, {} were skipped", names(failed), names(skipped))
                    }
                }
            }
            SkipReason::FailFast => "another check failed first".into(),
            SkipReason::Cancelled => "the run was cancelled".into(),
            SkipReason::RunTimeout => "the run's time was over".into(),
        }
    }

    fn why_failed(&self, check: CheckIndex, end: &End) -> String {
        let planned = self.plan.check(check);
        match end {
            End::Infrastructure(fault) => fault.message.clone(),
            End::TimedOut => format!("timed out after {}", limit(planned.timeout_ms)),
            End::Signaled { signal } => match signal_name(*signal) {
                Some(name) => format!("signal {signal} ({name})"),
                None => in_words(end),
            },
            End::OutOfDisk { limit } => {
                format!("wrote more than {} MiB into its files", limit >> 20)
            }
            // The process succeeded: an expression or an issue said otherwise.
            End::Exited { code: 0 } => self.why_judged_failed(check),
            End::Exited { .. } | End::Cancelled | End::OutOfMemory => in_words(end),
        }
    }

    fn why_judged_failed(&self, check: CheckIndex) -> String {
        let planned = self.plan.check(check);
        let own = format!("{}_fail_if", planned.name);
        let issues = &self.engine().result(check).issues;
        if issues.iter().any(|issue| issue.rule_id == own) {
            return format!(
                "`fail_if: {}` is true",
                planned.fail_if.as_deref().unwrap_or_default()
            );
        }
        let fatal = issues.iter().find(|issue| {
            let alone = CheckResult { issues: vec![(*issue).clone()], ..CheckResult::default() };
            visor_engine::run::is_fatal(planned.name.as_str(), &End::Exited { code: 0 }, &alone)
        });
        match fatal {
            Some(issue) => format!("it reported `{}`", issue.rule_id),
            None => "failed".into(),
        }
    }

    /// Why the run failed although no check did.
    pub(super) fn why_without_failure(&self) -> Option<String> {
        if self.engine().counts().failed > 0 {
            return None;
        }
        let issues = |check| &self.engine().result(check).issues;
        let critical: usize = (0..)
            .zip(self.plan.checks())
            .map(|(index, _)| {
                let issues = issues(CheckIndex(index)).iter();
                issues.filter(|issue| issue.severity == Severity::Critical).count()
            })
            .sum();
        match critical {
            0 => None,
            1 => Some("1 critical issue".into()),
            some => Some(format!("{some} critical issues")),
        }
    }
}

/// A time limit with the unit in which people write it.
fn limit(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ if millis.is_multiple_of(60_000) => format!("{} min", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{} s", millis / 1_000),
        _ => format!("{} s", millis as f64 / 1e3),
    }
}

/// The name of a signal that ends processes.
fn signal_name(signal: i32) -> Option<&'static str> {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_in_the_unit_it_was_probably_written_in() {
        let said = [300, 1_500, 5_000, 60_000, 90_000].map(limit);
        assert_eq!(said, ["300 ms", "1.5 s", "5 s", "1 min", "90 s"]);
    }
}
