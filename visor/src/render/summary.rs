//! The result of a run for people: what passed in short, what failed last and whole.

use std::fmt::Write as _;
use std::time::Duration;

use visor_protocol::issue::{Issue, Severity};
use visor_protocol::result::{CheckReport, CheckState, RunReport, RunState, SkipReason};

use super::style::Style;
use super::text;

/// How a run is shown.
pub(crate) struct Options<'a> {
    /// Colours or none.
    pub(crate) style: Style,
    /// Columns there are.
    pub(crate) width: usize,
    /// Every check with its output.
    pub(crate) verbose: bool,
    /// Only what failed.
    pub(crate) quiet: bool,
    /// The command that runs one check again, without the check.
    pub(crate) again: &'a str,
    /// The run can be looked at later with `visor runs`, given these further arguments.
    pub(crate) kept: Option<&'a str>,
    /// Where checks ran is worth saying: there was more than one place.
    pub(crate) places: bool,
}

/// More checks that passed than this are only counted.
const PASSED_SHOWN: usize = 20;
/// Issues of one check that are shown.
const ISSUES_SHOWN: usize = 10;
/// Skipped checks that are named in the last line.
const SKIPPED_NAMED: usize = 3;
/// Failed checks that are shown whole; further ones get one line.
const FAILED_WHOLE: usize = 20;
const TAIL_LINES: usize = 20;
const NAME_MAX: usize = 40;

/// The text for standard output.
pub(crate) fn render(report: &RunReport, options: &Options<'_>) -> String {
    let mut view = View { report, options, name_width: name_width(report), out: String::new() };
    view.passed();
    view.not_run();
    view.failed();
    view.last_line();
    view.out
}

/// How long a check ran.
pub(crate) fn ran(check: &CheckReport) -> Option<Duration> {
    Some(check.finished_at?.since(check.started_at?))
}

/// Why a check was not run, in words.
pub(crate) fn skip_words(reason: &SkipReason) -> String {
    match reason {
        SkipReason::IfCondition { condition, error: None } => {
            format!("`if: {}` is false", text::clean_line(condition))
        }
        SkipReason::IfCondition { condition, error: Some(error) } => {
            let (condition, error) = (text::clean_line(condition), text::clean_line(error));
            format!("`if: {condition}` cannot be evaluated: {error}")
        }
        SkipReason::DependencyFailed { dependencies } => {
            let names: Vec<_> = dependencies.iter().map(|name| text::clean_line(name)).collect();
            format!("{} failed", names.join(", "))
        }
        SkipReason::FailFast => "another check failed first".into(),
        SkipReason::Cancelled => "the run was cancelled".into(),
        SkipReason::RunTimeout => "the run's time was over".into(),
    }
}

/// `5 passed, 1 failed`: every state that occurs.
pub(crate) fn count_words(report: &RunReport) -> String {
    let counts = &report.summary.counts;
    let parts = [
        (counts.passed, "passed"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "skipped"),
        (counts.running, "running"),
        (counts.queued + counts.waiting, "waiting"),
    ];
    let parts: Vec<_> =
        parts.iter().filter(|part| part.0 > 0).map(|(n, word)| format!("{n} {word}")).collect();
    parts.join(", ")
}

/// Issues that say more than the check's own end does.
pub(crate) fn telling_issues(check: &CheckReport) -> Vec<&Issue> {
    let said_already = |issue: &Issue| {
        let own_end = ["command/execution_error", "command/timeout"];
        check.ended.is_some()
            && issue.line == 0
            && own_end.iter().any(|rule| issue.rule_id.ends_with(rule))
    };
    check.result.issues.iter().filter(|issue| !said_already(issue)).collect()
}

struct View<'a> {
    report: &'a RunReport,
    options: &'a Options<'a>,
    name_width: usize,
    out: String,
}

fn name_width(report: &RunReport) -> usize {
    let widths = report.checks.iter().map(|check| text::width(check.name.as_str()));
    widths.max().unwrap_or(0).clamp(8, NAME_MAX)
}

impl View<'_> {
    fn of(&self, state: CheckState) -> Vec<&CheckReport> {
        self.report.checks.iter().filter(|check| check.state == state).collect()
    }

    fn passed(&mut self) {
        let passed = self.of(CheckState::Passed);
        let everything = self.options.verbose || passed.len() <= PASSED_SHOWN;
        if self.options.quiet {
            return;
        }
        let mut lines = String::new();
        for check in passed {
            // Of many, only those that have something to say.
            let says = check.kind == "log" || !telling_issues(check).is_empty();
            if !everything && !says {
                continue;
            }
            self.row(&mut lines, check);
            if check.kind == "log" {
                for line in text::last_lines(&check.result.content, 5, self.options.width - 6) {
                    let _ = writeln!(lines, "      {line}");
                }
            }
            self.issues(&mut lines, check);
            if self.options.verbose && check.kind != "log" {
                self.tail(&mut lines, check);
            }
        }
        self.out.push_str(&lines);
    }

    /// Cancelled checks, and skipped ones when they are too many for the last line.
    fn not_run(&mut self) {
        let mut lines = String::new();
        for check in self.of(CheckState::Cancelled) {
            self.row(&mut lines, check);
        }
        let skipped = self.of(CheckState::Skipped);
        if !self.options.quiet && skipped.len() > SKIPPED_NAMED {
            let shown = if self.options.verbose { usize::MAX } else { PASSED_SHOWN };
            for check in skipped.iter().take(shown) {
                self.row(&mut lines, check);
            }
            if let Some(more) = skipped.len().checked_sub(shown).filter(|&more| more > 0) {
                let _ = writeln!(lines, "  … {more} more skipped (--verbose shows all)");
            }
        }
        self.out.push_str(&lines);
    }

    fn failed(&mut self) {
        let failed = self.of(CheckState::Failed);
        let mut lines = String::new();
        // The nearest to the prompt is whole: what does not fit is said first, in one line each.
        let brief = failed.len().saturating_sub(FAILED_WHOLE);
        for check in &failed[..brief] {
            self.row(&mut lines, check);
        }
        for check in &failed[brief..] {
            self.row(&mut lines, check);
            self.failure(&mut lines, check);
        }
        self.out.push_str(&lines);
    }

    fn row(&self, out: &mut String, check: &CheckReport) {
        let style = self.options.style;
        let name = text::pad(&text::clean_line(check.name.as_str()), self.name_width);
        let took = ran(check).map(text::duration).unwrap_or_default();
        let line =
            format!("  {} {name}  {:<10} {}", style.sign(check.state), took, self.detail(check));
        let line = text::truncate(line.trim_end(), self.options.width).into_owned();
        let _ = writeln!(out, "{line}");
    }

    /// What is worth saying behind the time.
    fn detail(&self, check: &CheckReport) -> String {
        let style = self.options.style;
        let mut parts = Vec::new();
        match check.state {
            CheckState::Failed => {
                let why = match (&check.fault, &check.ended) {
                    (Some(_), _) => "could not be run".to_owned(),
                    // A check can succeed as a process and fail by its `fail_if` or its issues.
                    (None, Some(ended)) if ended != "exit 0" => text::clean_line(ended),
                    (None, _) => "failed".to_owned(),
                };
                parts.push(style.red(&why));
            }
            CheckState::Cancelled => parts.push("cancelled".into()),
            CheckState::Skipped => {
                let why = check.skipped.as_ref().map(skip_words).unwrap_or_default();
                parts.push(format!("skipped: {why}"));
            }
            CheckState::Waiting | CheckState::Queued | CheckState::Running | CheckState::Passed => {
            }
        }
        let issues = telling_issues(check).len();
        if issues > 0 && check.state != CheckState::Cancelled {
            parts.push(text::count(issues as u64, "issue"));
        }
        if let Some(image) = &check.image {
            parts.push(style.dim(&format!("sandbox {}", text::clean_line(image))));
        }
        if self.options.places
            && let Some(worker) = &check.worker
        {
            parts.push(style.dim(&format!("on {worker}")));
        }
        if check.attempts > 1 {
            let why = check.history.last().map(|why| text::clean_line(why)).unwrap_or_default();
            parts.push(format!("{} attempt: {why}", ordinal(check.attempts)));
        }
        parts.join("   ")
    }

    fn issues(&self, out: &mut String, check: &CheckReport) {
        let style = self.options.style;
        let issues = telling_issues(check);
        let shown = if self.options.verbose { issues.len() } else { ISSUES_SHOWN };
        let place = |issue: &Issue| match (issue.file.as_str(), issue.line) {
            ("system" | "command" | "contract", 0) => String::new(),
            (file, 0) => text::clean_line(file),
            (file, line) => format!("{}:{line}", text::clean_line(file)),
        };
        let column = |of: &dyn Fn(&Issue) -> String, most: usize| {
            let widths = issues.iter().take(shown).map(|issue| text::width(&of(issue)));
            widths.max().unwrap_or(0).min(most)
        };
        let place_width = column(&place, 48);
        let message_width = column(&|issue| text::clean_line(&issue.message), 72);
        for issue in issues.iter().take(shown) {
            let severity = format!("{:<8}", issue.severity.as_str());
            let severity = match issue.severity {
                Severity::Error | Severity::Critical => style.red(&severity),
                Severity::Warning => style.yellow(&severity),
                Severity::Info => style.dim(&severity),
            };
            let message = text::pad(&text::clean_line(&issue.message), message_width);
            let rule = style.dim(&text::clean_line(&issue.rule_id));
            let place = match place_width {
                0 => String::new(),
                width => format!("{}   ", text::pad(&place(issue), width)),
            };
            let line = format!("      {place}{severity}  {message}  {rule}");
            let _ = writeln!(out, "{}", text::truncate(&line, self.options.width));
        }
        if let Some(more) = issues.len().checked_sub(shown).filter(|&more| more > 0) {
            let how = match self.options.kept {
                Some(further) => format!(
                    "visor runs show {}{further} --check {}",
                    self.report.summary.run.short(),
                    text::shell_word(check.name.as_str()),
                ),
                None => "--verbose shows all".into(),
            };
            let _ = writeln!(out, "      … {more} more: {how}");
        }
    }

    fn tail(&self, out: &mut String, check: &CheckReport) {
        let lines = text::last_lines(&check.tail, TAIL_LINES, self.options.width.max(48) - 8);
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "      {}", self.options.style.dim("last lines of output:"));
        lines.iter().for_each(|line| {
            let _ = writeln!(out, "        {line}");
        });
    }

    fn failure(&self, out: &mut String, check: &CheckReport) {
        if let Some(fault) = &check.fault {
            let _ =
                writeln!(out, "      {}", self.options.style.dim(&text::clean_line(&fault.code)));
            for line in text::clean(&fault.message).lines() {
                let _ = writeln!(out, "      {line}");
            }
        }
        self.issues(out, check);
        self.tail(out, check);
        let name = text::clean_line(check.name.as_str());
        let again = format!("{} --check {}", self.options.again, text::shell_word(&name));
        let _ = writeln!(out, "      again: {again}\n");
    }

    fn last_line(&mut self) {
        let style = self.options.style;
        let summary = &self.report.summary;
        let mut skipped: Vec<String> = Vec::new();
        let of_skipped = self.of(CheckState::Skipped);
        if !of_skipped.is_empty() && of_skipped.len() <= SKIPPED_NAMED {
            for check in of_skipped {
                let why = check.skipped.as_ref().map(skip_words).unwrap_or_default();
                skipped.push(format!("{}: {why}", text::clean_line(check.name.as_str())));
            }
        }
        let skipped = match skipped.as_slice() {
            [] => String::new(),
            some => format!(" ({})", some.join("; ")),
        };
        let word = match summary.state {
            RunState::Cancelled if summary.counts.cancelled == 0 => style.yellow(" · cancelled"),
            // Nothing failed by itself, and yet the run did: say so where people look.
            RunState::Failed if summary.counts.failed == 0 => style.red(" · failed"),
            RunState::Running | RunState::Passed | RunState::Failed | RunState::Cancelled => {
                String::new()
            }
        };
        let took = summary.finished_at.map(|at| text::duration(at.since(summary.submitted_at)));
        let counts = match count_words(self.report) {
            none if none.is_empty() => "nothing to do".to_owned(),
            some => some,
        };
        let counts = match summary.state {
            RunState::Passed => style.green(&counts),
            RunState::Failed => style.red(&counts),
            RunState::Running | RunState::Cancelled => style.yellow(&counts),
        };
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
        let checks = text::count(summary.counts.total(), "check");
        let _ = writeln!(
            self.out,
            "  {}: {counts}{skipped}{word}   {}",
            style.bold(&checks),
            style.dim(&took.unwrap_or_default()),
        );
        if let Some(note) = &summary.note {
            let _ = writeln!(self.out, "  {}", text::clean_line(note));
        }
    }
}

fn ordinal(number: u32) -> String {
    match number {
        1 => "first".into(),
        2 => "second".into(),
        3 => "third".into(),
        more => format!("{more}th"),
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
