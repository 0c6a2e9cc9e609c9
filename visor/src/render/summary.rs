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
    /// Columns there are; none: lines are as long as they have to be.
    pub(crate) width: Option<usize>,
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
    view.critical();
    view.failed();
    view.last_line();
    view.out
}

/// How long a check ran; none when no worker had it.
pub(crate) fn ran(check: &CheckReport) -> Option<Duration> {
    let ran = check.finished_at?.since(check.started_at?);
    Some(ran).filter(|ran| !(ran.is_zero() && check.state == CheckState::Cancelled))
}

/// Why a check did not pass, in a few words; what kept it from running is told elsewhere.
pub(crate) fn why(check: &CheckReport) -> Option<String> {
    match check.fault {
        Some(_) => Some("could not be run".into()),
        None => check.why.as_deref().map(text::clean_line),
    }
}

/// How a run ended: `passed`, `failed: 1 critical issue`, `cancelled: nobody needs it`.
pub(crate) fn verdict_words(report: &RunReport) -> String {
    let note = report.summary.note.as_deref().map(text::clean_line);
    match (report.summary.state, note) {
        (RunState::Running, _) => "running".into(),
        (RunState::Passed, _) => "passed".into(),
        (RunState::Failed, Some(note)) => format!("failed: {note}"),
        (RunState::Failed, None) => "failed".into(),
        // Its note begins with the word.
        (RunState::Cancelled, Some(note)) => note,
        (RunState::Cancelled, None) => "cancelled".into(),
    }
}

/// `3 issues, 1 critical`; nothing when there are none.
pub(crate) fn issue_words(issues: &[&Issue]) -> Option<String> {
    let critical = issues.iter().filter(|issue| issue.severity == Severity::Critical).count();
    match (issues.len(), critical) {
        (0, _) => None,
        (all, 0) => Some(text::count(all as u64, "issue")),
        (all, critical) if all == critical => Some(text::count(all as u64, "critical issue")),
        (all, critical) => Some(format!("{all} issues, {critical} critical")),
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
    let own_fail_if = format!("{}_fail_if", check.name);
    let said_already = |issue: &Issue| {
        let own_end =
            ["command/execution_error", "command/timeout", "command/cancelled", "system/error"];
        check.why.is_some()
            && issue.line == 0
            && (issue.rule_id == own_fail_if
                || own_end.iter().any(|rule| issue.rule_id.ends_with(rule)))
    };
    check.result.issues.iter().filter(|issue| !said_already(issue)).collect()
}

struct View<'a> {
    report: &'a RunReport,
    options: &'a Options<'a>,
    name_width: usize,
    out: String,
}

/// How a part of a line is coloured.
type Paint = fn(Style, &str) -> String;

/// The check found what makes the run fail, whatever became of itself.
fn is_critical(check: &CheckReport) -> bool {
    check.result.issues.iter().any(|issue| issue.severity == Severity::Critical)
}

fn name_width(report: &RunReport) -> usize {
    let widths = report.checks.iter().map(|check| text::width(check.name.as_str()));
    widths.max().unwrap_or(0).clamp(8, NAME_MAX)
}

impl View<'_> {
    fn of(&self, state: CheckState) -> Vec<&CheckReport> {
        self.report.checks.iter().filter(|check| check.state == state).collect()
    }

    /// Columns there are beside what stands before; at least enough to read.
    fn room(&self, lead: usize) -> usize {
        self.options.width.map_or(usize::MAX, |width| width.saturating_sub(lead).max(24))
    }

    fn passed(&mut self) {
        let mut passed = self.of(CheckState::Passed);
        passed.retain(|check| !is_critical(check));
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
                for line in text::last_lines(&check.result.content, 5) {
                    for line in text::wrap(&line, self.room(6)) {
                        let _ = writeln!(lines, "      {line}");
                    }
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

    /// Checks that passed and found what makes the run fail all the same.
    fn critical(&mut self) {
        let mut lines = String::new();
        for check in self.of(CheckState::Passed).into_iter().filter(|check| is_critical(check)) {
            self.row(&mut lines, check);
            self.issues(&mut lines, check);
            self.again(&mut lines, check);
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
        let name = text::fill(&text::clean_line(check.name.as_str()), self.name_width);
        let took = ran(check).map(text::duration).unwrap_or_default();
        let lead = format!("  {} {name}  {took:<10} ", style.sign(check.state));
        let columns = text::width(&lead);
        // What does not fit behind the name and the time goes on below it.
        let room = self.room(columns);
        let (mut line, mut used) = (lead, 0);
        for (paint, part) in self.details(check) {
            for (number, words) in text::wrap(&part, room).into_iter().enumerate() {
                let width = text::width(&words);
                let gap = if used == 0 { 0 } else { 3 };
                if number > 0 || used + gap + width > room {
                    let _ = writeln!(out, "{}", line.trim_end());
                    (line, used) = (" ".repeat(columns), 0);
                } else {
                    line.push_str(&" ".repeat(gap));
                    used += gap;
                }
                line.push_str(&paint(style, &words));
                used += width;
            }
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }

    /// What is worth saying behind the time.
    fn details(&self, check: &CheckReport) -> Vec<(Paint, String)> {
        let plain: Paint = |_, text| text.to_owned();
        let mut parts = Vec::new();
        let why = why(check);
        match check.state {
            CheckState::Failed => {
                parts.push((Style::red as Paint, why.unwrap_or_else(|| "failed".into())));
            }
            CheckState::Skipped => {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                parts.push((plain, format!("skipped{why}")));
            }
            // Only what ends the whole run stops a check, and that is said of the run.
            CheckState::Cancelled => parts.push((plain, "cancelled".into())),
            CheckState::Waiting | CheckState::Queued | CheckState::Running | CheckState::Passed => {
            }
        }
        if check.state != CheckState::Cancelled {
            let paint = if is_critical(check) { Style::red } else { plain };
            parts.extend(issue_words(&telling_issues(check)).map(|words| (paint, words)));
        }
        if let Some(image) = &check.image {
            let image = text::short_digests(&text::clean_line(image));
            parts.push((Style::dim, format!("sandbox {image}")));
        }
        if self.options.places
            && ran(check).is_some()
            && let Some(worker) = &check.worker
        {
            parts.push((Style::dim, format!("on {worker}")));
        }
        if check.attempts > 1 {
            let why = check.history.last().map(|why| text::clean_line(why)).unwrap_or_default();
            parts.push((plain, format!("{} attempt: {why}", ordinal(check.attempts))));
        }
        parts
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
            let message = text::clean_line(&issue.message);
            let rule = text::clean_line(&issue.rule_id);
            let place = match place_width {
                0 => String::new(),
                width => format!("{}   ", text::fill(&place(issue), width)),
            };
            let lead = format!("      {place}{severity}  ");
            let mut columns = text::width(&lead);
            // Beside a long path there may be no room to read in: then the message goes below.
            let narrow = self.options.width.is_some_and(|width| columns + 32 > width);
            let mut line = lead;
            if narrow {
                let _ = writeln!(out, "{}", line.trim_end());
                columns = 8;
                line = " ".repeat(columns);
            }
            let room = self.room(columns);
            let filled = text::fill(&message, message_width);
            if text::width(&filled) + 2 + text::width(&rule) <= room {
                let _ = writeln!(out, "{line}{filled}  {}", style.dim(&rule));
                continue;
            }
            let mut lines = text::wrap(&message, room);
            // The rule behind the last words where it fits there, else below them.
            match lines.last_mut() {
                Some(last) if text::width(last) + 2 + text::width(&rule) <= room => {
                    *last = format!("{last}  {}", style.dim(&rule));
                }
                _ => lines.extend(text::wrap(&rule, room).iter().map(|part| style.dim(part))),
            }
            for words in lines {
                let _ = writeln!(out, "{line}{words}");
                line = " ".repeat(columns);
            }
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
        let lines = text::last_lines(&check.tail, TAIL_LINES);
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "      {}", self.options.style.dim("last lines of output:"));
        for line in lines.iter().flat_map(|line| text::wrap(line, self.room(8))) {
            let _ = writeln!(out, "        {line}");
        }
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
        self.again(out, check);
    }

    fn again(&self, out: &mut String, check: &CheckReport) {
        let name = text::clean_line(check.name.as_str());
        let again = format!("{} --check {}", self.options.again, text::shell_word(&name));
        let _ = writeln!(out, "      again: {again}\n");
    }

    fn last_line(&mut self) {
        let style = self.options.style;
        let summary = &self.report.summary;
        let of_skipped = self.of(CheckState::Skipped);
        let mut skipped: Vec<String> = Vec::new();
        if of_skipped.len() <= SKIPPED_NAMED {
            for check in of_skipped {
                // What kept the whole run from going on is said of the run, once.
                let of_run =
                    matches!(check.skipped, Some(SkipReason::RunTimeout | SkipReason::Cancelled));
                let name = text::clean_line(check.name.as_str());
                skipped.push(match why(check).filter(|_| !of_run) {
                    Some(why) => format!("{name}: {why}"),
                    None => name,
                });
            }
        }
        let skipped = match skipped.as_slice() {
            [] => String::new(),
            some => format!(" ({})", some.join("; ")),
        };
        // Failed checks speak for themselves; anything else that ended the run has to be said.
        let verdict = match summary.state {
            RunState::Failed if summary.counts.failed == 0 || summary.note.is_some() => {
                format!(" · {}", style.red(&verdict_words(self.report)))
            }
            RunState::Cancelled => format!(" · {}", style.yellow(&verdict_words(self.report))),
            RunState::Running | RunState::Passed | RunState::Failed => String::new(),
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
            "  {}: {counts}{skipped}{verdict}   {}",
            style.bold(&checks),
            style.dim(&took.unwrap_or_default()),
        );
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
