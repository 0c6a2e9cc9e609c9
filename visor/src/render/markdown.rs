//! The result of a run as a Markdown document, for comments and job summaries.

use std::fmt::Write as _;

use visor_protocol::result::{CheckReport, CheckState, RunReport};

use super::style::state_word;
use super::summary::{count_words, issue_words, ran, telling_issues, verdict_words, why};
use super::text;

const TAIL_LINES: usize = 40;
/// A cell that is longer would push out everything else.
const CELL_MAX: usize = 4_000;
/// Comment fields of code hosts take about 64 KiB.
const MAX_BYTES: usize = 60_000;

/// The document.
pub(crate) fn render(report: &RunReport) -> String {
    let summary = &report.summary;
    let took = summary.finished_at.map(|at| text::duration(at.since(summary.submitted_at)));
    let mut out = format!("# Visor: {}\n\n", inline(&verdict_words(report)));
    let _ = writeln!(
        out,
        "{} · {}: {} · {}\n",
        inline(&summary.config),
        text::count(summary.counts.total(), "check"),
        count_words(report),
        took.unwrap_or_default(),
    );
    if report.checks.is_empty() {
        return out;
    }
    out.push_str("| Check | State | Time | Result |\n| --- | --- | ---: | --- |\n");
    for check in &report.checks {
        let _ = writeln!(
            out,
            "| {} | {} {} | {} | {} |",
            cell(check.name.as_str()),
            sign(check.state),
            state_word(check.state),
            ran(check).map(text::duration).unwrap_or_default(),
            cell(&result(check)),
        );
    }
    issues(&mut out, report);
    report.checks.iter().filter(|check| check.state == CheckState::Failed).for_each(|check| {
        failure(&mut out, check);
    });
    shorten(out)
}

fn sign(state: CheckState) -> &'static str {
    match state {
        CheckState::Passed => "✅",
        CheckState::Failed => "❌",
        CheckState::Skipped => "➖",
        CheckState::Cancelled => "⏹️",
        CheckState::Waiting | CheckState::Queued | CheckState::Running => "⏳",
    }
}

fn result(check: &CheckReport) -> String {
    let mut parts = Vec::new();
    parts.extend(why(check));
    parts.extend(issue_words(&telling_issues(check)));
    parts.join(", ")
}

fn issues(out: &mut String, report: &RunReport) {
    let with_issues: Vec<_> = report
        .checks
        .iter()
        .map(|check| (check, telling_issues(check)))
        .filter(|(_, issues)| !issues.is_empty())
        .collect();
    if with_issues.is_empty() {
        return;
    }
    out.push_str("\n## Issues\n\n| Severity | Where | What | Rule |\n| --- | --- | --- | --- |\n");
    for issue in with_issues.iter().flat_map(|(_, issues)| issues) {
        let place = match issue.line {
            0 => issue.file.clone(),
            line => format!("{}:{line}", issue.file),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            issue.severity.as_str(),
            cell(&place),
            cell(&issue.message),
            cell(&issue.rule_id),
        );
    }
}

fn failure(out: &mut String, check: &CheckReport) {
    let tail = text::last_lines(&check.tail, TAIL_LINES).join("\n");
    if tail.is_empty() && check.fault.is_none() {
        return;
    }
    let _ = writeln!(out, "\n## {}\n", inline(check.name.as_str()));
    if let Some(fault) = &check.fault {
        let _ = writeln!(out, "{} ({})", inline(&fault.message), inline(&fault.code));
    }
    if !tail.is_empty() {
        // A fence is longer than any run of backticks in what it holds.
        let longest = tail.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(3.max(longest + 1));
        let _ = writeln!(out, "{fence}text\n{tail}\n{fence}");
    }
}

/// One line of text in which nothing is markup.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for c in text::clean_line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Somebody's name in a log line must not notify them.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn cell(text: &str) -> String {
    inline(&text::truncate(&text::clean_line(text), CELL_MAX))
}

fn shorten(mut out: String) -> String {
    if out.len() > MAX_BYTES {
        // At a line's end, so that no table row is torn.
        let end = out.floor_char_boundary(MAX_BYTES);
        let end = out[..end].rfind('\n').map_or(end, |at| at + 1);
        let open = out[..end].lines().filter(|line| line.starts_with("```")).count() % 2 == 1;
        out.truncate(end);
        out.push_str(if open { "````````\n" } else { "" });
        out.push_str("\n*Shortened: `--output json` has everything.*\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use visor_protocol::result::RunState;

    use super::*;
    use crate::render::samples;

    #[test]
    fn markdown_has_a_verdict_a_table_the_issues_and_the_output_of_failures() {
        insta::assert_snapshot!(render(&samples::mixed()));
    }

    #[test]
    fn markup_in_names_and_output_stays_text() {
        let mut check = samples::check("<b>@me|x", CheckState::Failed, 5);
        check.tail = "```\nnot the end\n".into();
        let text = render(&samples::report(RunState::Failed, 5, vec![check]));
        assert!(text.contains(r"&lt;b&gt;&#64;me\|x"), "{text}");
        assert!(text.contains("````text\n```\nnot the end\n````"), "{text}");
    }

    #[test]
    fn a_document_of_many_checks_fits_a_comment() {
        let text = render(&samples::many(5_000));
        assert!(text.len() < 64 * 1024, "{}", text.len());
        assert!(text.ends_with("has everything.*\n"));
    }
}
