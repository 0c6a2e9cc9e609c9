//! Finding issues in JSON, whatever a tool calls its fields.

use serde_json::{Map, Value};
use visor_protocol::issue::{Issue, Severity};

/// Issues of one check that are kept; a linter gone wild reports the same thing more often.
const MAX_ISSUES: usize = 10_000;

/// Takes the issues out of a value. What is left is the check's output, if anything is.
pub(super) fn extract(value: Value) -> (Vec<Issue>, Option<Value>) {
    match value {
        Value::Object(mut object) => {
            if let Some(Value::Array(items)) = object.get("issues")
                && items.iter().all(is_issue)
            {
                let issues = items.iter().take(MAX_ISSUES).filter_map(normalise).collect();
                object.remove("issues");
                let output = (!object.is_empty()).then_some(Value::Object(object));
                return (issues, output);
            }
            let value = Value::Object(object);
            if is_issue(&value) {
                let issues = normalise(&value).into_iter().collect();
                return (issues, None);
            }
            (Vec::new(), Some(value))
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(is_issue) => {
            (items.iter().take(MAX_ISSUES).filter_map(normalise).collect(), None)
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(has_issues) => {
            let lists = items.iter().filter_map(|item| item.get("issues")?.as_array());
            (lists.flatten().take(MAX_ISSUES).filter_map(normalise).collect(), None)
        }
        value => (Vec::new(), Some(value)),
    }
}

/// An object with an `issues` list of issues.
fn has_issues(value: &Value) -> bool {
    value.get("issues").and_then(Value::as_array).is_some_and(|list| list.iter().all(is_issue))
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

fn is_issue(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        TEXTS.iter().any(|key| object.get(*key).is_some_and(Value::is_string))
            && SIGNS.iter().any(|key| object.contains_key(*key))
    })
}

fn normalise(value: &Value) -> Option<Issue> {
    let object = value.as_object()?;
    let text = |keys: &[&str]| first_text(object, keys);
    let number = |keys: &[&str]| {
        keys.iter().find_map(|key| match object.get(*key)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        })
    };
    let line = number(&["line", "startLine", "lineNumber"]).unwrap_or(0);
    let mut issue = Issue::system(
        text(&["ruleId", "rule"]).unwrap_or_else(|| "command".into()),
        severity(text(&["severity", "level", "priority"]).as_deref()),
        text(&TEXTS)?,
    );
    issue.file = text(&["file", "path", "filename"]).unwrap_or_else(|| "system".into());
    issue.line = u32::try_from(line).unwrap_or(u32::MAX);
    issue.end_line = number(&["endLine"]).and_then(|line| u32::try_from(line).ok());
    issue.category = category(text(&["category", "type", "group"]).as_deref());
    issue.suggestion = text(&["suggestion"]);
    issue.replacement = text(&["replacement"]);
    Some(issue)
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
