//! YAML as a tree in which every node knows its place.
//!
//! The shape as written is kept generic on purpose: a typed shape stops at the first thing that
//! does not fit, while this one lets the checker walk the whole file and gather every mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::syntax;
use crate::diagnostic::{Diagnostic, Source};

/// A value with its place.
#[derive(Debug)]
pub struct Node {
    /// Where it stands: for an alias or a merged value, where it is used.
    used: Location,
    /// Where it was written.
    defined: Location,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
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
    pub fn span(&self) -> Range<usize> {
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

    /// Reports keys that are given several times in one mapping; says how often at most.
    fn find_repeated(&self, source: &str, found: &mut Vec<Diagnostic>) -> usize {
        match &self.value {
            Value::List(items) => {
                let each = items.iter().map(|item| item.find_repeated(source, found));
                each.max().unwrap_or(1)
            }
            Value::Map(entries) => {
                let mut most = 1;
                for places in places(entries, source).values().filter(|places| places.len() > 1) {
                    most = most.max(places.len());
                    let spans: Vec<_> = places.iter().map(|at| entries[*at].0.span()).collect();
                    let name = entries[places[0]].0.scalar(source).unwrap_or_default();
                    found.push(syntax::repeated(name, &spans, source));
                }
                let each = entries.iter().map(|(_, value)| value.find_repeated(source, found));
                each.max().unwrap_or(1).max(most)
            }
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number(_)
            | Value::Text(_) => 1,
        }
    }

    /// The tree with one value for each key: the last, or the one so many before it as far as
    /// there are so many.
    pub(super) fn reading(&self, source: &str, before_last: usize) -> Self {
        let value = match &self.value {
            Value::List(items) => {
                Value::List(items.iter().map(|item| item.reading(source, before_last)).collect())
            }
            Value::Map(entries) => {
                let places = places(entries, source);
                let is_taken = |at: usize, key: &Self| {
                    let Some(same) = key.scalar(source).and_then(|name| places.get(name)) else {
                        return true;
                    };
                    same[same.len() - 1 - before_last.min(same.len() - 1)] == at
                };
                let taken = entries.iter().enumerate().filter(|(at, (key, _))| is_taken(*at, key));
                let read = taken.map(|(_, (key, value))| {
                    (key.reading(source, before_last), value.reading(source, before_last))
                });
                Value::Map(read.collect())
            }
            Value::Null => Value::Null,
            Value::Bool(flag) => Value::Bool(*flag),
            Value::Integer(number) => Value::Integer(*number),
            Value::Number(number) => Value::Number(*number),
            Value::Text(text) => Value::Text(text.clone()),
        };
        Self { used: self.used, defined: self.defined, value }
    }

    /// Whether one of the keys of this mapping is given several times.
    pub(super) fn repeats(&self, source: &str) -> bool {
        match &self.value {
            Value::Map(entries) => places(entries, source).values().any(|places| places.len() > 1),
            _ => false,
        }
    }

    /// The place of the first key of a mapping.
    pub(super) fn first_key(&self) -> Range<usize> {
        match &self.value {
            Value::Map(entries) => entries.first().map_or(0..0, |(key, _)| key.span()),
            _ => 0..0,
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
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

/// Where each key of a mapping is given.
fn places<'n>(entries: &'n [(Node, Node)], source: &'n str) -> BTreeMap<&'n str, Vec<usize>> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (key, _)) in entries.iter().enumerate() {
        if let Some(name) = key.scalar(source) {
            places.entry(name).or_default().push(at);
        }
    }
    places
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

/// What was made of a text.
pub(super) struct Parsed {
    /// The tree, a key that is given several times in it several times.
    pub(super) tree: Option<Node>,
    /// What is wrong with the text as YAML.
    pub(super) mistakes: Vec<Diagnostic>,
    /// How often the key is given that is given most often.
    pub(super) repeated: usize,
}

/// Reads a whole text.
///
/// The parser stops at the first key that is given twice; the text is then read once more without
/// that rule, so that all of them and all other mistakes are found as well.
pub(super) fn parse(source: &Source) -> Parsed {
    let text = source.text.as_str();
    let refused = |mistake| Parsed { tree: None, mistakes: vec![mistake], repeated: 1 };
    if let Some(mistake) = syntax::not_text(text) {
        return refused(mistake);
    }
    let error = match serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error))
    {
        Ok(node) => return Parsed { tree: Some(node), mistakes: Vec::new(), repeated: 1 },
        Err(error) => error,
    };
    if let Error::DuplicateMappingKey { .. } = error
        && let Ok(node) =
            serde_saphyr::from_str_with_options::<Node>(text, options(DuplicateKeyPolicy::LastWins))
    {
        let mut mistakes = Vec::new();
        let repeated = node.find_repeated(text, &mut mistakes);
        // Numbers as keys are told apart by their value, which only the parser does.
        if mistakes.is_empty() {
            mistakes.push(explain(&error, text));
        }
        return Parsed { tree: Some(node), mistakes, repeated };
    }
    refused(explain(&error, text))
}

/// The parser's error in the words of this crate.
fn explain(error: &Error, text: &str) -> Diagnostic {
    explain_at(error, error.location().map_or(0..0, |location| place(location, text)), text)
}

fn explain_at(error: &Error, at: Range<usize>, text: &str) -> Diagnostic {
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            syntax::repeated(key.as_deref().unwrap_or("this key"), &[at], "")
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(at),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => too_many(at),
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
        .label(at, "this alias")
        .help("write the value out here"),
        Error::AliasError { error, .. } => explain_at(error, at, text),
        _ => {
            let said = error.to_string();
            if said.contains("recursion limit") {
                return too_deep(at);
            }
            syntax::invalid(&said, at, text)
        }
    }
}

fn too_deep(at: Range<usize>) -> Diagnostic {
    Diagnostic::error(
        "visor::config::too_complex",
        format!("the file is nested deeper than {MAX_DEPTH} levels"),
    )
    .label(at, "here the limit is reached")
    .help("the language itself needs six levels: is a bracket never closed?")
}

fn too_many(at: Range<usize>) -> Diagnostic {
    Diagnostic::error(
        "visor::config::too_complex",
        format!("the file has more than {MAX_NODES} values once its aliases are filled in"),
    )
    .label(at, "here the limit is reached")
    .help("refer to fewer or smaller anchors, or split the file")
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
