//! YAML as a tree in which every node knows its place.
//!
//! The shape as written is kept generic on purpose: a typed shape stops at the first thing that
//! does not fit, while this one lets the checker walk the whole file and gather every mistake.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use crate::diagnostic::{Diagnostic, Source};

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it stands: for an alias or a merged value, where it is used.
    used: Location,
    /// Where it was written.
    defined: Location,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(u64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Its place in the text; an opening bracket stands for a list or map.
    pub(super) fn span(&self) -> Range<usize> {
        range(self.used)
    }

    /// The text of a scalar exactly as it was written: `1.10` stays `1.10`.
    pub(super) fn scalar<'a>(&'a self, source: &'a str) -> Option<&'a str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                source.get(range(self.defined)).map(str::trim)
            }
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Keeps the last value of each key and reports the others.
    fn drop_duplicates(&mut self, source: &str, found: &mut Vec<Diagnostic>) {
        match &mut self.value {
            Value::List(items) => {
                items.iter_mut().for_each(|item| item.drop_duplicates(source, found));
            }
            Value::Map(entries) => {
                let mut first: HashMap<String, Range<usize>> = HashMap::new();
                let mut last: HashMap<String, usize> = HashMap::new();
                for (position, (key, _)) in entries.iter().enumerate() {
                    let Some(name) = key.scalar(source) else { continue };
                    last.insert(name.to_owned(), position);
                    if let Some(first) = first.get(name) {
                        found.push(duplicate(name, key.span()).label(first.clone(), "the first"));
                    } else {
                        first.insert(name.to_owned(), key.span());
                    }
                }
                let mut position = 0;
                entries.retain(|(key, _)| {
                    let kept = key
                        .scalar(source)
                        .and_then(|name| last.get(name))
                        .is_none_or(|last| *last == position);
                    position += 1;
                    kept
                });
                entries.iter_mut().for_each(|(_, value)| value.drop_duplicates(source, found));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number(_)
            | Value::Text(_) => {}
        }
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

fn range(location: Location) -> Range<usize> {
    let offset = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let start = offset(location.span().byte_offset());
    start..start + offset(location.span().byte_len())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced: used, defined } = Spanned::deserialize(deserializer)?;
        Ok(Self { used, defined, value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "no key takes a number where it would matter")]
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    #[expect(clippy::cast_precision_loss, reason = "no key takes a number where it would matter")]
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "no key takes a number where it would matter")]
    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

/// Values in one file, aliases expanded. A file at the size limit has room for 10 000 checks.
const MAX_NODES: usize = 250_000;
/// Levels of nesting; the language itself needs six.
const MAX_DEPTH: usize = 32;

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            // The number of values is what costs; one anchor used by every check is good style.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: duplicate_keys,
        // `on` is a key of every second check, not a truth value.
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    }
}

/// Reads a whole text.
///
/// The parser stops at the first duplicate key; the text is then read once more without that rule,
/// so that all duplicates and all other mistakes are found as well.
pub(super) fn parse(source: &Source) -> (Option<Node>, Vec<Diagnostic>) {
    let text = source.text.as_str();
    let error = match serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error))
    {
        Ok(node) => return (Some(node), Vec::new()),
        Err(error) => error,
    };
    if let Error::DuplicateMappingKey { .. } = error
        && let Ok(mut node) =
            serde_saphyr::from_str_with_options::<Node>(text, options(DuplicateKeyPolicy::LastWins))
    {
        let mut found = Vec::new();
        node.drop_duplicates(text, &mut found);
        // Numbers as keys are told apart by their value, which only the parser does.
        if found.is_empty() {
            found.push(explain(&error, text));
        }
        return (Some(node), found);
    }
    (None, vec![explain(&error, text)])
}

/// The parser's error in the words of this crate.
fn explain(error: &Error, text: &str) -> Diagnostic {
    let at = error.location().map_or(0..0, |location| place(location, text));
    let said = error.to_string();
    // The place is shown by the label.
    let said = said.split(" at line ").next().unwrap_or_default();
    let said: String = said.chars().take(300).collect();
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            duplicate(key.as_deref().unwrap_or("this key"), at)
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => too_complex(at),
        Error::MultipleDocuments { .. } => Diagnostic::error(
            "visor::config::syntax",
            "the file holds several YAML documents; a configuration is one",
        )
        .label(at, "the second one begins here")
        .help("remove the `---` line or put the rest into a file of its own"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => Diagnostic::error(
            "visor::config::syntax",
            "an alias refers to a value that contains it",
        )
        .label(at, "this alias"),
        _ if said.contains("recursion limit") => too_complex(at),
        _ => {
            let unclosed = said.contains("unclosed") || said.contains("end of stream");
            let help = unclosed.then(|| "is the file saved to its end?".to_owned());
            Diagnostic::error(
                "visor::config::syntax",
                format!("the file is not valid YAML: {said}"),
            )
            .label(at, "here")
            .maybe_help(help)
        }
    }
}

fn duplicate(key: &str, at: Range<usize>) -> Diagnostic {
    Diagnostic::error(
        "visor::config::duplicate_key",
        format!("`{key}` is given twice in one mapping"),
    )
    .label(at, "again here")
    .help("keep one of them")
}

fn too_complex(at: Range<usize>) -> Diagnostic {
    Diagnostic::error(
        "visor::config::too_complex",
        format!(
            "the file is nested deeper than {MAX_DEPTH} levels or its aliases expand to more than \
             {MAX_NODES} values"
        ),
    )
    .label(at, "here the limit is reached")
}

/// A place of the parser in bytes; some of its errors know only line and column.
fn place(location: Location, text: &str) -> Range<usize> {
    let found = if location.span().byte_offset().is_some() {
        range(location)
    } else {
        let line = usize::try_from(location.line()).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let rest = text.get(start..).unwrap_or_default();
        let within: usize = rest.chars().take(column).map(char::len_utf8).sum();
        start + within..start + within
    };
    let start = found.start.min(text.len());
    let end = found.end.clamp(start, text.len());
    if text.is_char_boundary(start) && text.is_char_boundary(end) { start..end } else { 0..0 }
}
