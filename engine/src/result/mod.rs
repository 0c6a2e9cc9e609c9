//! What a process wrote becomes issues, output and content.
//!
//! - `json`: finding JSON in a text
//! - `issues`: finding issues in JSON
//! - this file: how both come together with the way the process ended

mod issues;
mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use visor_protocol::issue::{Issue, Severity};
use visor_protocol::job::Work;
use visor_protocol::outcome::{Captured, End};
use visor_protocol::result::CheckResult;

use crate::plan::PlannedCheck;

pub(crate) use json::stated_error;

/// The kept bytes of an output stream.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// Kept bytes.
    pub bytes: &'a [u8],
    /// All bytes that were written; more than were kept when the stream was cut.
    pub total: u64,
}

impl<'a> From<&'a [u8]> for Stream<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, total: bytes.len() as u64 }
    }
}

impl<'a> From<&'a Captured> for Stream<'a> {
    fn from(captured: &'a Captured) -> Self {
        Self { bytes: &captured.inline, total: captured.total }
    }
}

impl<'a> Stream<'a> {
    fn is_cut(self) -> bool {
        (self.bytes.len() as u64) < self.total
    }

    fn text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes)
    }
}

/// Last bytes of standard error that go into the message of a failure.
const STDERR_IN_MESSAGE: usize = 2_000;

/// What a check came to.
///
/// Of a stream that was cut, what was kept is taken as text: half a JSON document means nothing.
pub fn interpret<'a>(
    check: &PlannedCheck,
    end: &End,
    stdout: impl Into<Stream<'a>>,
    stderr: impl Into<Stream<'a>>,
) -> CheckResult {
    let (stdout, stderr) = (stdout.into(), stderr.into());
    let mut result = match (&check.work, end) {
        (_, End::Infrastructure(fault)) => {
            let rule = "system/error";
            let issue =
                Issue::system(rule, Severity::Error, format!("{} [{}]", fault.message, fault.code));
            CheckResult { issues: vec![issue], ..CheckResult::default() }
        }
        (Work::Noop, _) => CheckResult::default(),
        (Work::Log { message, .. }, _) => {
            let output = (check.group == "chat").then(|| json!({ "text": message }));
            CheckResult { issues: Vec::new(), output, content: message.clone() }
        }
        (Work::Command { .. }, End::Exited { code: 0 }) => succeeded(stdout),
        (Work::Command { .. }, _) => failed(check, end, stdout, stderr),
    };
    if stdout.is_cut() || stderr.is_cut() {
        result.issues.push(cut(stdout, stderr));
    }
    for issue in &mut result.issues {
        issue.rule_id = format!("{}/{}", check.name, issue.rule_id);
        enrich(issue, check);
    }
    result
}

/// Adds to an issue whose rule id is already as it should be what the engine knows of its check.
pub(crate) fn prefixed(mut issue: Issue, check: &PlannedCheck) -> Issue {
    enrich(&mut issue, check);
    issue
}

fn enrich(issue: &mut Issue, check: &PlannedCheck) {
    issue.check_name = Some(check.name.to_string());
    issue.group = Some(check.group.clone());
    issue.schema.clone_from(&check.schema);
}

fn succeeded(stdout: Stream<'_>) -> CheckResult {
    let text = stdout.text();
    let text = text.trim();
    if stdout.is_cut() {
        let output = Some(Value::String(text.to_owned()));
        return CheckResult { issues: Vec::new(), output, content: text.to_owned() };
    }
    let parsed = json::parse(text);
    let content = if parsed.is_whole { String::new() } else { text.to_owned() };
    let unread = issues::unread(text, &parsed);
    let (mut issues, output) = issues::extract(parsed.value);
    issues.extend(unread);
    CheckResult { issues, output, content }
}

fn failed(check: &PlannedCheck, end: &End, stdout: Stream<'_>, stderr: Stream<'_>) -> CheckResult {
    let (rule, why) = match end {
        End::TimedOut => ("command/timeout", format!("timed out after {} ms", check.timeout_ms)),
        End::Exited { code } => ("command/execution_error", format!("exited with status {code}")),
        End::Signaled { signal } => {
            ("command/execution_error", format!("was ended by signal {signal}"))
        }
        End::OutOfMemory => {
            ("command/execution_error", "used more memory than its limit and was ended".to_owned())
        }
        End::OutOfDisk { limit } => {
            let why = format!("wrote more than {} MiB into its files and was ended", limit >> 20);
            ("command/execution_error", why)
        }
        End::Cancelled => ("command/cancelled", "was cancelled".to_owned()),
        End::Infrastructure(_) => ("system/error", "could not be run".to_owned()),
    };
    let errors = stderr.text();
    let errors = last(errors.trim(), STDERR_IN_MESSAGE);
    let message = if errors.is_empty() {
        format!("command {why}")
    } else {
        format!("command {why}: {errors}")
    };
    let mut output = Map::new();
    output.insert("error".into(), Value::Bool(true));
    match end {
        End::TimedOut => {
            output.insert("timeout".into(), Value::Bool(true));
        }
        End::Exited { code } => {
            output.insert("exit_code".into(), json!(code));
        }
        // What a shell would report.
        End::Signaled { signal } => {
            output.insert("exit_code".into(), json!(128_i64 + i64::from(*signal)));
        }
        End::OutOfMemory | End::OutOfDisk { .. } => {
            output.insert("exit_code".into(), json!(137));
        }
        End::Cancelled | End::Infrastructure(_) => {}
    }
    output.insert("message".into(), Value::String(message.clone()));
    output.insert("text".into(), Value::String(message.clone()));
    let written = stdout.text();
    let written = written.trim();
    if !written.is_empty() {
        output.insert("stdout".into(), Value::String(written.to_owned()));
    }
    let severity = if *end == End::Cancelled { Severity::Warning } else { Severity::Error };
    let mut first = Issue::system(rule, severity, message);
    first.file = "command".into();
    let mut issues = vec![first];
    // A linter says what it found and exits with 1.
    if !stdout.is_cut() {
        let parsed = json::parse(written);
        let unread = issues::unread(written, &parsed);
        issues.extend(issues::extract(parsed.value).0);
        issues.extend(unread);
    }
    CheckResult { issues, output: Some(Value::Object(output)), content: String::new() }
}

fn cut(stdout: Stream<'_>, stderr: Stream<'_>) -> Issue {
    let of = |stream: Stream<'_>, name: &str| {
        stream
            .is_cut()
            .then(|| format!("{} of {} bytes of its {name}", stream.bytes.len(), stream.total))
    };
    let parts: Vec<String> = [of(stdout, "standard output"), of(stderr, "standard error")]
        .into_iter()
        .flatten()
        .collect();
    let mut issue = Issue::system(
        "command/output_truncated",
        Severity::Warning,
        format!("the check wrote more than is kept: {} were looked at", parts.join(" and ")),
    );
    issue.file = "command".into();
    issue.suggestion = Some("write large results to a file of the workspace".into());
    issue
}

/// The end of a text, on a character boundary.
fn last(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
