//! Finding issues in JSON, whatever a tool calls its fields.
//!
//! Of a list of issues everything is kept that can be: what is wrong with the others is said in an
//! issue of its own, so that no finding disappears without a word.

use serde_json::{Map, Value};
use visor_protocol::issue::{Issue, Severity};

use super::json::Parsed;

/// Issues of one check that are kept; a linter gone wild reports the same thing more often.
const MAX_ISSUES: usize = 10_000;
/// Malformed issues that are described; the rest is counted.
const MAX_DESCRIBED: usize = 3;
/// Characters of an issue without a message that stand for it.
const MAX_STAND_IN: usize = 200;

/// Takes the issues out of a value. What is left is the check's output, if anything is.
pub(super) fn extract(value: Value) -> (Vec<Issue>, Option<Value>) {
    let mut list = List::default();
    let output = list.take_from(value);
    (list.finish(), output)
}

/// What to say when a text has a list of issues that was not read: because it is no JSON, or
/// because another value of the text counts.
pub(super) fn unread(text: &str, parsed: &Parsed) -> Option<Issue> {
    const KEY: &str = "\"issues\"";
    let is_read = parsed.is_whole || lists_issues(&parsed.value);
    let key = text.find(KEY).filter(|_| !is_read)?;
    let after = text[key + KEY.len()..].trim_start().strip_prefix(':')?;
    let start = text[..key].rfind('{').filter(|_| after.trim_start().starts_with('['))?;
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
    let why = match values.next()? {
        Ok(_) => {
            "another JSON value of the output counts; print one value, or this one last".into()
        }
        Err(error) if error.is_eof() => "the JSON ends before it is complete".into(),
        Err(error) => {
            let before = text[..start].matches('\n').count();
            let line = before + error.line();
            format!("the JSON has a mistake in line {line} of the output")
        }
    };
    Some(malformed(format!("the check printed a list of `issues` that was not read: {why}")))
}

/// A value that [`extract`] takes a list of issues from.
fn lists_issues(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.get("issues").is_some_and(Value::is_array),
        Value::Array(items) => items.iter().any(lists_issues),
        _ => false,
    }
}

fn malformed(message: String) -> Issue {
    let mut issue = Issue::system("command/malformed_issues", Severity::Warning, message);
    issue.file = "command".into();
    issue.suggestion = Some("an issue has a `message`, a `severity`, a `file` and a `line`".into());
    issue
}

/// The issues of a value as they are read.
#[derive(Default)]
struct List {
    kept: Vec<Issue>,
    seen: usize,
    /// Complaints about the first malformed ones.
    described: Vec<String>,
    malformed: usize,
}

impl List {
    /// Reads a value; what is left of it is the output.
    fn take_from(&mut self, value: Value) -> Option<Value> {
        match value {
            Value::Object(mut object) => {
                match object.get("issues") {
                    Some(Value::Array(items)) if is_list(items) => self.take_all(items),
                    Some(Value::Array(items)) => {
                        self.malformed = items.len();
                        self.seen = items.len();
                        self.described
                            .push("none looks like an issue, all are left in the output".into());
                        return Some(Value::Object(object));
                    }
                    Some(one) if is_issue(one) => self.take(one),
                    _ => {
                        let value = Value::Object(object);
                        if is_issue(&value) {
                            self.take(&value);
                            return None;
                        }
                        return Some(value);
                    }
                }
                object.remove("issues");
                (!object.is_empty()).then_some(Value::Object(object))
            }
            Value::Array(items) if !items.is_empty() && items.iter().all(is_issue) => {
                self.take_all(&items);
                None
            }
            Value::Array(items) if !items.is_empty() && items.iter().all(has_issues) => {
                let lists = items.iter().filter_map(|item| item.get("issues")?.as_array());
                lists.for_each(|list| self.take_all(list));
                None
            }
            // Whether this is a list of issues is not sure: nothing is taken away.
            Value::Array(items) => {
                let issues = items.iter().filter(|item| is_issue(item)).count();
                if issues * 2 >= items.len() {
                    self.take_all(&items);
                }
                Some(Value::Array(items))
            }
            value => Some(value),
        }
    }

    fn take_all(&mut self, items: &[Value]) {
        items.iter().for_each(|item| self.take(item));
    }

    fn take(&mut self, item: &Value) {
        self.seen += 1;
        let (issue, complaint) = match item {
            Value::Object(object) => {
                let (issue, complaint) = normalise(object);
                (Some(issue), complaint)
            }
            Value::String(text) if !text.trim().is_empty() => {
                let issue = Issue::system("command", Severity::Warning, text.trim());
                (Some(issue), Some("is a text, which is taken as its message".into()))
            }
            _ => (None, Some("is no object, and is left out".to_owned())),
        };
        if let Some(complaint) = complaint {
            self.malformed += 1;
            if self.described.len() < MAX_DESCRIBED {
                self.described.push(format!("number {} {complaint}", self.seen));
            }
        }
        if self.kept.len() < MAX_ISSUES {
            self.kept.extend(issue);
        }
    }

    /// The issues, and what is to be said about those that are not as they should be.
    fn finish(mut self) -> Vec<Issue> {
        if self.malformed > 0 {
            let more = self.malformed.saturating_sub(self.described.len());
            // One sentence about all of them.
            let all =
                self.kept.is_empty() && self.described.len() == 1 && self.malformed == self.seen;
            let more = if more > 0 && !all { format!("; and {more} more") } else { String::new() };
            self.kept.push(malformed(format!(
                "{} of the {} issues that the check printed are malformed: {}{more}",
                self.malformed,
                self.seen,
                self.described.join("; "),
            )));
        }
        if self.seen > MAX_ISSUES {
            self.kept.push(malformed(format!(
                "the check printed {} issues, of which the first {MAX_ISSUES} are kept",
                self.seen
            )));
        }
        self.kept
    }
}

/// A list of issues, perhaps malformed ones: empty, or with one that cannot be anything else.
fn is_list(items: &[Value]) -> bool {
    let has_sign = |item: &Value| SURE_SIGNS.iter().any(|key| item.get(*key).is_some());
    items.is_empty() || items.iter().any(|item| is_issue(item) || has_sign(item))
}

/// An object with a list of issues.
fn has_issues(value: &Value) -> bool {
    value.get("issues").and_then(Value::as_array).is_some_and(|items| is_list(items))
}

const TEXTS: [&str; 4] = ["message", "text", "description", "summary"];
const SIGNS: [&str; 13] = [
    "file",
    "path",
    "filename",
    "line",
    "startLine",
    "lineNumber",
    "severity",
    "level",
    "priority",
    "ruleId",
    "rule",
    "category",
    "type",
];

/// Signs that nothing else in a list called `issues` has.
const SURE_SIGNS: [&str; 8] =
    ["severity", "ruleId", "rule", "line", "startLine", "lineNumber", "file", "filename"];

fn is_issue(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        TEXTS.iter().any(|key| object.get(*key).is_some_and(Value::is_string))
            && SIGNS.iter().any(|key| object.contains_key(*key))
    })
}

/// An issue, and what is wrong with it. What cannot be read is replaced, and nothing is dropped: a
/// critical finding without a message is still one.
fn normalise(object: &Map<String, Value>) -> (Issue, Option<String>) {
    let mut wrong = Vec::new();
    let severity =
        severity(word(object, &["severity", "level", "priority"], &mut wrong).as_deref());
    let rule = word(object, &["ruleId", "rule"], &mut wrong).unwrap_or_else(|| "command".into());
    let message = first_text(object, &TEXTS).unwrap_or_else(|| {
        wrong.push("has no message".to_owned());
        stand_in(object)
    });
    let mut issue = Issue::system(rule, severity, message);
    issue.file =
        word(object, &["file", "path", "filename"], &mut wrong).unwrap_or_else(|| "system".into());
    let line = number(object, &["line", "startLine", "lineNumber"], &mut wrong).unwrap_or(0);
    issue.line = u32::try_from(line).unwrap_or(u32::MAX);
    issue.end_line =
        number(object, &["endLine"], &mut wrong).and_then(|line| u32::try_from(line).ok());
    // These mean many things; another kind of value is no mistake.
    issue.category = category(first_text(object, &["category", "type", "group"]).as_deref());
    issue.suggestion = first_text(object, &["suggestion"]);
    issue.replacement = first_text(object, &["replacement"]);
    (issue, (!wrong.is_empty()).then(|| wrong.join(", ")))
}

/// A text; the first that is something else is complained about.
fn word(object: &Map<String, Value>, keys: &[&str], wrong: &mut Vec<String>) -> Option<String> {
    let found = first_text(object, keys);
    if found.is_none() {
        let odd = |key: &&&str| object.get(**key).is_some_and(|v| !v.is_null() && !v.is_string());
        wrong.extend(keys.iter().find(odd).map(|key| format!("has a `{key}` that is no text")));
    }
    found
}

/// A whole number, perhaps as text; the first that is something else is complained about.
fn number(object: &Map<String, Value>, keys: &[&str], wrong: &mut Vec<String>) -> Option<u64> {
    let found = keys.iter().find_map(|key| match object.get(*key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    });
    if found.is_none() {
        let odd = |key: &&&str| object.get(**key).is_some_and(|value| !value.is_null());
        wrong.extend(keys.iter().find(odd).map(|key| format!("has a `{key}` that is no number")));
    }
    found
}

/// What is shown of an issue without a message.
fn stand_in(object: &Map<String, Value>) -> String {
    let text = Value::Object(object.clone()).to_string();
    let mut short: String = text.chars().take(MAX_STAND_IN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn first_text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    let texts = keys.iter().filter_map(|key| object.get(*key)?.as_str());
    texts.map(str::trim).find(|text| !text.is_empty()).map(str::to_owned)
}

fn severity(word: Option<&str>) -> Severity {
    match word.map(str::to_lowercase).as_deref() {
        Some("critical") => Severity::Critical,
        Some("error" | "fatal" | "high") => Severity::Error,
        Some("info" | "low" | "minor") => Severity::Info,
        Some(_) | None => Severity::Warning,
    }
}

fn category(word: Option<&str>) -> String {
    match word.map(str::to_lowercase) {
        Some(word)
            if ["security", "performance", "style", "logic", "documentation"]
                .contains(&word.as_str()) =>
        {
            word
        }
        Some(_) | None => "logic".into(),
    }
}
