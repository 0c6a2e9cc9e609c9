//! What an expression sees.
//!
//! Results are shared, not copied: a scope is cheap to make even in a run of thousands of checks.
//! Only what the text mentions is handed to JavaScript.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use visor_protocol::CheckName;
use visor_protocol::issue::{Issue, Severity};
use visor_protocol::result::CheckResult;

use crate::plan::CheckIndex;
use crate::run::RunMachine;

/// What an expression sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    check: CheckName,
    group: String,
    schema: Option<String>,
    event: Option<String>,
    branch: Option<String>,
    base_branch: Option<String>,
    files_changed: Arc<Vec<String>>,
    env: Arc<BTreeMap<String, String>>,
    outputs: Vec<(CheckName, Arc<CheckResult>)>,
    result: Option<Arc<CheckResult>>,
}

impl Scope {
    pub(crate) fn new(
        run: &RunMachine,
        check: CheckIndex,
        source: &str,
        result: Option<Arc<CheckResult>>,
    ) -> Self {
        let plan = run.plan();
        let planned = plan.check(check);
        let (branch, base_branch) = plan.branches();
        let named =
            |index: &CheckIndex| (plan.check(*index).name.clone(), Arc::clone(run.result(*index)));
        let outputs = match Mentions::of(source) {
            Mentions::Nothing => Vec::new(),
            Mentions::Names(names) => {
                let known = names.iter().filter_map(|name| plan.find(name));
                let settled = known.filter(|index| run.has_run(*index));
                settled.map(|index| named(&index)).collect()
            }
            Mentions::Anything => run.settled_in_order().map(|index| named(&index)).collect(),
        };
        Self {
            check: planned.name.clone(),
            group: planned.group.clone(),
            schema: planned.schema.clone(),
            event: plan.event().map(str::to_owned),
            branch: branch.map(str::to_owned),
            base_branch: base_branch.map(str::to_owned),
            files_changed: Arc::clone(plan.files_changed()),
            env: Arc::clone(plan.env()),
            outputs,
            result,
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(check: CheckName, result: Arc<CheckResult>) -> Self {
        Self {
            group: check.to_string(),
            check,
            schema: None,
            event: None,
            branch: None,
            base_branch: None,
            files_changed: Arc::default(),
            env: Arc::default(),
            outputs: Vec::new(),
            result: Some(result),
        }
    }

    /// The names that the text mentions, with their values.
    pub(super) fn values(&self, source: &str) -> Map<String, Value> {
        let mut values = Map::new();
        let mut give = |name: &str, value: &dyn Fn() -> Value| {
            if source.contains(name) {
                values.insert(name.to_owned(), value());
            }
        };
        let no_issues = Vec::new();
        let issues = self.result.as_ref().map_or(&no_issues, |result| &result.issues);
        give("output", &|| self.result.as_ref().map_or(Value::Null, |result| merged(result)));
        give("outputs", &|| self.outputs());
        give("issues", &|| json!(issues));
        for (name, severity) in COUNTS {
            give(name, &|| json!(count(issues, severity)));
        }
        give("totalIssues", &|| json!(issues.len()));
        give("metadata", &|| self.metadata(issues));
        give("checkName", &|| json!(self.check));
        give("schema", &|| json!(self.schema));
        give("group", &|| json!(self.group));
        give("debug", &|| Value::Null);
        give("branch", &|| json!(self.branch.as_deref().unwrap_or("unknown")));
        give("baseBranch", &|| json!(self.base_branch.as_deref().unwrap_or("main")));
        give("filesChanged", &|| json!(self.files_changed));
        give("filesCount", &|| json!(self.files_changed.len()));
        give("event", &|| {
            let event = self.event.as_deref().unwrap_or("manual");
            json!({ "event_name": event, "name": event })
        });
        give("env", &|| json!(self.env));
        give("inputs", &|| json!({}));
        give("conversation", &|| Value::Null);
        values
    }

    /// `outputs.x` is what `x` produced, or its whole result when it produced nothing.
    fn outputs(&self) -> Value {
        let outputs = self.outputs.iter().map(|(name, result)| {
            let output = match &result.output {
                Some(output) => output.clone(),
                None => json!(result),
            };
            (name.to_string(), output)
        });
        Value::Object(outputs.collect())
    }

    fn metadata(&self, issues: &[Issue]) -> Value {
        let mut metadata = Map::new();
        metadata.insert("checkName".into(), json!(self.check));
        metadata.insert("schema".into(), json!(self.schema));
        metadata.insert("group".into(), json!(self.group));
        for (name, severity) in COUNTS {
            metadata.insert(name.into(), json!(count(issues, severity)));
        }
        metadata.insert("totalIssues".into(), json!(issues.len()));
        Value::Object(metadata)
    }
}

const COUNTS: [(&str, Severity); 4] = [
    ("criticalIssues", Severity::Critical),
    ("errorIssues", Severity::Error),
    ("warningIssues", Severity::Warning),
    ("infoIssues", Severity::Info),
];

fn count(issues: &[Issue], severity: Severity) -> usize {
    issues.iter().filter(|issue| issue.severity == severity).count()
}

/// What `fail_if` sees as `output`: the fields of the result, and over them those of what the check
/// produced.
fn merged(result: &CheckResult) -> Value {
    let mut fields = match json!(result) {
        Value::Object(fields) => fields,
        other => return other,
    };
    match &result.output {
        None => {}
        Some(Value::Object(output)) => fields.extend(output.clone()),
        Some(Value::Array(items)) => {
            let error = items.iter().find_map(|item| item.get("error"));
            if let Some(error) = error {
                fields.insert("error".into(), error.clone());
            }
            fields.insert("items".into(), Value::Array(items.clone()));
        }
        Some(Value::String(text)) => match serde_json::from_str(text.trim()) {
            Ok(Value::Object(output)) => fields.extend::<Map<String, Value>>(output),
            _ => {
                if let Some(error) = crate::result::stated_error(text) {
                    fields.insert("error".into(), Value::Bool(error));
                }
            }
        },
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) => {}
    }
    Value::Object(fields)
}

/// Which results a text refers to through `outputs`.
#[derive(Debug, PartialEq, Eq)]
enum Mentions<'s> {
    Nothing,
    /// `outputs.lint`, `outputs["unit-tests"]`
    Names(Vec<&'s str>),
    /// It uses `outputs` in a way that could mean any of them.
    Anything,
}

impl<'s> Mentions<'s> {
    fn of(source: &'s str) -> Self {
        let mut names = Vec::new();
        let mut rest = source;
        while let Some(at) = rest.find("outputs") {
            rest = &rest[at + "outputs".len()..];
            match member(rest) {
                Some(name) => names.push(name),
                None => return Self::Anything,
            }
        }
        if names.is_empty() { Self::Nothing } else { Self::Names(names) }
    }
}

/// The member that is read where `text` goes on after the name of an object.
fn member(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let bracket = text.strip_prefix("?.[").or_else(|| text.strip_prefix('['));
    if let Some(inner) = bracket {
        let inner = inner.trim_start();
        let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (name, after) = inner[1..].split_once(quote)?;
        return (!name.contains('\\') && after.trim_start().starts_with(']')).then_some(name);
    }
    let name = text.strip_prefix("?.").or_else(|| text.strip_prefix('.'))?.trim_start();
    let end = name.find(|c| !is_name(c)).unwrap_or(name.len());
    // `outputs.history` and the methods of objects are not checks, or not only.
    (end > 0 && name[..end] != *"history").then_some(&name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_members_are_recognised_and_everything_else_means_any_check() {
        let names = |source| match Mentions::of(source) {
            Mentions::Names(names) => names,
            other => panic!("{other:?}"),
        };
        assert_eq!(names("outputs.lint.ok && outputs?.a"), ["lint", "a"]);
        assert_eq!(names("outputs['unit-tests'].x == outputs [ \"b\" ]"), ["unit-tests", "b"]);
        assert_eq!(Mentions::of("output.ok"), Mentions::Nothing);
        for source in
            ["Object.keys(outputs)", "outputs[name]", "outputs['a' + b]", "outputs.history.x"]
        {
            assert_eq!(Mentions::of(source), Mentions::Anything, "{source}");
        }
    }
}
