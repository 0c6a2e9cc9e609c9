//! Which results are failures.
//!
//! The language decides it by the text of rule ids: what runs a check marks its own failures there,
//! and files rely on results that do not count as failures (a transform that broke, a contract that
//! was violated). How a process ended is known better, so that counts first.

use visor_protocol::issue::{Issue, Severity};
use visor_protocol::outcome::End;
use visor_protocol::result::CheckResult;

/// The rule id of the file's own `fail_if`, which is reported and stops nothing.
pub(super) const GLOBAL_FAIL_IF: &str = "global_fail_if";

/// Whether the check failed.
pub fn is_fatal(check: &str, end: &End, result: &CheckResult) -> bool {
    match end {
        End::Exited { code: 0 } => result.issues.iter().any(|issue| marks_failure(check, issue)),
        End::Exited { .. }
        | End::Signaled { .. }
        | End::TimedOut
        | End::Cancelled
        | End::OutOfMemory
        | End::OutOfDisk { .. }
        | End::Infrastructure(_) => true,
    }
}

/// Whether an issue says that its check failed.
fn marks_failure(check: &str, issue: &Issue) -> bool {
    let id = issue.rule_id.as_str();
    if id == GLOBAL_FAIL_IF {
        return false;
    }
    // The prefix is the check's name, and a check may well be named `timeout`.
    let own = id.strip_prefix(check).and_then(|rest| rest.strip_prefix('/')).unwrap_or(id);
    own == "error"
        || own.ends_with("/error")
        || own == "execution_error"
        || own.starts_with("execution_error/")
        || own.contains("/execution_error")
        || own.contains("timeout")
        || own.ends_with("_fail_if")
}

/// Whether an issue is so bad that the run fails whatever became of its check.
pub(super) fn is_critical(result: &CheckResult) -> bool {
    result.issues.iter().any(|issue| issue.severity == Severity::Critical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(check: &str, rule: &str) -> bool {
        let issues = vec![Issue::system(rule, Severity::Error, "…")];
        let result = CheckResult { issues, ..CheckResult::default() };
        is_fatal(check, &End::Exited { code: 0 }, &result)
    }

    #[test]
    fn rule_ids_of_runners_are_failures_and_those_of_findings_are_not() {
        for rule in [
            "lint/command/execution_error",
            "lint/command/timeout",
            "lint/webhook/error",
            "lint/error",
            "lint_fail_if",
            "lint/style/error",
            "lint/performance/missing-timeout",
        ] {
            assert!(fails("lint", rule), "{rule}");
        }
        for rule in [
            "lint/command/transform_error",
            "lint/contract/guarantee_failed",
            "lint/style/errors",
            "global_fail_if",
        ] {
            assert!(!fails("lint", rule), "{rule}");
        }
    }

    #[test]
    fn a_check_named_timeout_is_not_a_failure_by_its_name() {
        assert!(!fails("timeout", "timeout/style/long-line"));
        assert!(!fails("a/execution_error", "a/execution_error/style/long-line"));
    }
}
