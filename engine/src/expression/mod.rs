//! `if` and `fail_if`: JavaScript that sees a check's surroundings and nothing else.
//!
//! - `scope`: what an expression sees
//! - `prelude`: the helper functions of the language
//! - `javascript`: QuickJS with limits on memory, time and stack

mod javascript;
mod prelude;
mod scope;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use visor_protocol::event::Expression;

pub use scope::Scope;

use crate::plan::CheckIndex;

/// An expression with all that it sees. It can be evaluated anywhere, on any thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Whose expression.
    pub check: CheckIndex,
    /// Which of its expressions.
    pub which: Expression,
    /// Its text.
    pub source: Arc<str>,
    /// What it sees.
    pub scope: Scope,
}

/// Evaluates an expression to `true` or `false`.
///
/// It is stopped after a tenth of a second of processor time and at 16 MiB. What no wrapper sees,
/// operators on texts of a megabyte, can be made to stretch that to some seconds: it belongs on a
/// thread that may be held up, and whoever waits for it needs a deadline of their own.
///
/// # Errors
/// When the text is no expression, refers to something that does not exist, throws, or exceeds its
/// limits. The message is one for people.
pub fn evaluate(evaluation: &Evaluation) -> Result<Value, String> {
    javascript::evaluate(&evaluation.source, &evaluation.scope).map(Value::Bool)
}

/// What is wrong with the form of each text, where something is; the answers end early when there
/// are more texts than can be looked at in a moment.
pub(crate) fn check_syntax<'s>(sources: impl Iterator<Item = &'s str>) -> Vec<Option<String>> {
    javascript::check(sources)
}
