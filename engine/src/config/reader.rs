//! Reading values out of the tree. Whatever does not fit is recorded with its place, and reading
//! goes on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::node::{Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::suggest::nearest;

/// Reads one file.
pub struct Reader<'a> {
    text: &'a str,
    found: &'a mut Diagnostics,
    suggestions_left: u32,
    expressions: Vec<Expression>,
}

/// An expression of the file, to be looked at together with the others.
struct Expression {
    source: Arc<str>,
    /// The key in words.
    says: String,
    /// What becomes of its check when it cannot be evaluated.
    consequence: &'static str,
    span: Range<usize>,
}

/// A file that needs more suggestions than this is no file of ours, and comparing costs time.
const SUGGESTIONS: u32 = 200;

/// What a key takes as it is written, beside text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Also {
    /// Nothing: `tags: 5` is a slip.
    Nothing,
    /// Numbers: `version: 1.0`.
    Numbers,
    /// `true` and `false`, which are expressions and commands as well.
    Flags,
    /// Both: `CI: true` and `PORT: 80` are variables.
    Scalars,
}

impl Also {
    fn takes(self, value: &Value) -> bool {
        match value {
            Value::Text(_) => true,
            Value::Integer(_) | Value::Number(_) => matches!(self, Self::Numbers | Self::Scalars),
            Value::Bool(_) => matches!(self, Self::Flags | Self::Scalars),
            Value::Null | Value::List(_) | Value::Map(_) => false,
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Nothing => "text",
            Self::Numbers => "text or a number",
            Self::Flags => "text, `true` or `false`",
            Self::Scalars => "text, a number, `true` or `false`",
        }
    }
}

/// A key of a mapping.
pub struct Key<'a> {
    /// As it is written.
    pub name: &'a str,
    /// Where.
    pub span: Range<usize>,
    /// The whole entry in words, for example `` `timeout` of check `lint` ``.
    pub owner: &'a str,
}

impl Key<'_> {
    /// The entry in words: `` `timeout` of check `lint` ``.
    pub fn says(&self) -> String {
        if self.owner.is_empty() {
            format!("`{}`", self.name)
        } else {
            format!("`{}` of {}", self.name, self.owner)
        }
    }

    /// The value's place, or the key's when the value has none that can be shown.
    pub fn place_of(&self, node: &Node) -> Range<usize> {
        match &node.value {
            Value::List(_) | Value::Map(_) | Value::Null => self.span.clone(),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {
                let span = node.span();
                if span.is_empty() { self.span.clone() } else { span }
            }
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, found: &'a mut Diagnostics) -> Self {
        Self { text, found, suggestions_left: SUGGESTIONS, expressions: Vec::new() }
    }

    /// Remembers an expression for [`Reader::check_expressions`].
    pub(super) fn note_expression(&mut self, key: &Key<'_>, node: &Node, source: &Arc<str>) {
        self.expressions.push(Expression {
            source: Arc::clone(source),
            says: key.says(),
            consequence: match key.name {
                "if" => "the check would always be skipped",
                _ => "it would never be met",
            },
            span: key.place_of(node),
        });
    }

    /// Reports expressions that cannot be right whatever they see.
    pub(super) fn check_expressions(&mut self) {
        if self.expressions.is_empty() {
            return;
        }
        let expressions = std::mem::take(&mut self.expressions);
        let sources = expressions.iter().map(|expression| &*expression.source);
        for (expression, wrong) in expressions.iter().zip(crate::expression::check_syntax(sources))
        {
            let Some(why) = wrong else { continue };
            let Expression { says, consequence, span, .. } = expression;
            self.push(
                Diagnostic::warning(
                    "visor::config::expression_syntax",
                    format!("{says} is no valid expression, so {consequence}: {}", clip(&why)),
                )
                .label(span.clone(), "this expression"),
            );
        }
    }

    /// What was probably meant.
    pub fn near<'c>(
        &mut self,
        written: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        self.suggestions_left = self.suggestions_left.checked_sub(1)?;
        nearest(written, candidates)
    }

    /// Records a mistake.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// The entries of a mapping.
    pub fn entries<'n>(&mut self, node: &'n Node, owner: &'n str) -> Vec<(Key<'n>, &'n Node)>
    where
        'a: 'n,
    {
        let entries: &[(Node, Node)] = match &node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        let mut readable = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if let Some(name) = key.scalar(self.text) {
                readable.push((Key { name, span: key.span(), owner }, value));
            } else if matches!(key.value, Value::Null) {
                readable.push((Key { name: "null", span: key.span(), owner }, value));
            } else {
                self.push(
                    Diagnostic::error("visor::config::wrong_type", "a key must be a plain name")
                        .label(key.span(), format!("this is {}", key.kind())),
                );
            }
        }
        readable
    }

    /// Records that another kind of value belongs there.
    pub fn wrong_type(&mut self, key: &Key<'_>, node: &Node, expected: &str) {
        let found = node.kind();
        let label = match node.value {
            Value::Null => "nothing is given".to_owned(),
            _ => format!("this is {found}"),
        };
        let quoted = expected.contains("text").then(|| self.in_quotes(node)).flatten();
        self.push(
            Diagnostic::error(
                "visor::config::wrong_type",
                format!("{} must be {expected}", key.says()),
            )
            .label(key.place_of(node), label)
            .maybe_help(quoted),
        );
    }

    /// How a number or truth value would be text.
    fn in_quotes(&self, node: &Node) -> Option<String> {
        match node.value {
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                let written = node.scalar(self.text)?;
                Some(format!("if the text is meant, write it in quotes: \"{}\"", clip(written)))
            }
            Value::Null | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Records that the value is not one of those allowed.
    pub fn invalid(&mut self, key: &Key<'_>, node: &Node, message: String, label: &str) {
        self.push(
            Diagnostic::error("visor::config::invalid_value", message)
                .label(key.place_of(node), label),
        );
    }

    /// Text, or what else the key takes, as it is written.
    pub fn text(&mut self, key: &Key<'_>, node: &Node, also: Also) -> Option<String> {
        let text = node.scalar(self.text).filter(|_| also.takes(&node.value)).map(str::to_owned);
        if text.is_none() {
            self.wrong_type(key, node, also.says());
        }
        text
    }

    /// Text with something in it.
    pub fn some_text(&mut self, key: &Key<'_>, node: &Node) -> Option<String> {
        self.something(key, node, Also::Nothing)
    }

    /// The same for keys that take more than text.
    pub(super) fn something(&mut self, key: &Key<'_>, node: &Node, also: Also) -> Option<String> {
        let text = self.text(key, node, also)?;
        if text.trim().is_empty() {
            self.invalid(key, node, format!("{} is empty", key.says()), "nothing in here");
            return None;
        }
        if text.contains('\0') {
            let message = format!("{} contains a NUL character", key.says());
            self.invalid(key, node, message, "no program can be given that");
            return None;
        }
        Some(text)
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &Key<'_>, node: &Node) -> Option<bool> {
        if let Value::Bool(flag) = node.value {
            return Some(flag);
        }
        self.wrong_type(key, node, "`true` or `false`");
        None
    }

    /// A whole number within limits.
    pub fn number(
        &mut self,
        key: &Key<'_>,
        node: &Node,
        limits: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        match node.value {
            Value::Integer(number) if limits.contains(&number) => Some(number),
            Value::Integer(_) | Value::Number(_) => {
                let message = format!(
                    "{} must be a whole number from {} to {}",
                    key.says(),
                    limits.start(),
                    limits.end()
                );
                self.invalid(key, node, message, "out of range");
                None
            }
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_type(key, node, "a whole number");
                None
            }
        }
    }

    /// A time in milliseconds, which is a whole number: many write `30s` as they do elsewhere.
    pub(super) fn milliseconds(
        &mut self,
        key: &Key<'_>,
        node: &Node,
        limits: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let Value::Text(text) = &node.value else { return self.number(key, node, limits) };
        let number = in_milliseconds(text).filter(|number| limits.contains(number));
        let help = number.map_or_else(
            || "milliseconds: 10 seconds are 10000".to_owned(),
            |number| format!("milliseconds: write {number}"),
        );
        self.push(
            Diagnostic::error(
                "visor::config::wrong_type",
                format!("{} must be a whole number", key.says()),
            )
            .label(key.place_of(node), "this is text")
            .help(help),
        );
        None
    }

    /// Texts: one, or a list of them. Nothing is an empty list.
    pub fn texts(&mut self, key: &Key<'_>, node: &Node, also: Also) -> Vec<(String, Range<usize>)> {
        let items = match &node.value {
            Value::Null => return Vec::new(),
            Value::List(items) => items.as_slice(),
            one if also.takes(one) => {
                let text = node.scalar(self.text).unwrap_or_default().to_owned();
                return vec![(text, key.place_of(node))];
            }
            _ => {
                self.wrong_type(key, node, "text or a list of texts");
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            if let Some(text) = item.scalar(self.text).filter(|_| also.takes(&item.value)) {
                texts.push((text.to_owned(), item.span()));
            } else {
                let quoted = self.in_quotes(item);
                self.push(
                    Diagnostic::error(
                        "visor::config::wrong_type",
                        format!("{} must be a list of texts", key.says()),
                    )
                    .label(
                        if item.span().is_empty() { key.span.clone() } else { item.span() },
                        format!("this is {}", item.kind()),
                    )
                    .maybe_help(quoted),
                );
            }
        }
        texts
    }

    /// One of some words.
    pub fn word<T: Copy>(
        &mut self,
        key: &Key<'_>,
        node: &Node,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key, node, Also::Nothing)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = self.near(&text, all.iter().copied()).map_or_else(
                || format!("one of {}", list(&all)),
                |word| format!("did you mean `{word}`?"),
            );
            self.push(
                Diagnostic::error(
                    "visor::config::invalid_value",
                    format!("`{}` is not a value of {}", clip(&text), key.says()),
                )
                .label(key.place_of(node), "not known")
                .help(help),
            );
        }
        found
    }

    /// Variables: names and single values.
    pub(super) fn env(&mut self, key: &Key<'_>, node: &Node) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        match &node.value {
            Value::Null => {}
            Value::Map(_) => {
                let owner = key.says();
                for (name, value) in self.entries(node, &owner) {
                    if name.name.is_empty() || name.name.contains(['=', '\0']) {
                        self.push(
                            Diagnostic::error(
                                "visor::config::invalid_value",
                                format!("`{}` cannot be the name of a variable", clip(name.name)),
                            )
                            .label(name.span, "names have no `=` and are not empty"),
                        );
                    } else if let Value::Null = value.value {
                        env.insert(name.name.to_owned(), String::new());
                    } else if let Some(text) = self.text(&name, value, Also::Scalars) {
                        if text.contains('\0') {
                            let message = format!("{} contains a NUL character", name.says());
                            self.invalid(&name, value, message, "no program can be given that");
                        } else {
                            env.insert(name.name.to_owned(), text);
                        }
                    }
                }
            }
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_) => self.wrong_type(key, node, "a mapping of names to values"),
        }
        env
    }

    /// Expects a mapping; anything else is reported.
    pub fn is_map(&mut self, key: &Key<'_>, node: &Node, what: &str) -> bool {
        let is_map = matches!(node.value, Value::Map(_));
        if !is_map {
            self.wrong_type(key, node, what);
        }
        is_map
    }
}

/// What `10s`, `1.5 min` and the like are in milliseconds.
fn in_milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "msec" | "millis" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hr" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    // Three places are as fine as milliseconds are.
    let thousandths: u64 = match part {
        "" => 0,
        _ => format!("{part:0<3}").get(..3)?.parse().ok()?,
    };
    whole.checked_add(thousandths * factor / 1_000)
}

/// `` `a`, `b` or `c` ``
pub(super) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

/// Text of the file inside a message: short, on one line.
pub(super) fn clip(text: &str) -> String {
    let mut clipped: String =
        text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        clipped.push('…');
    }
    clipped
}
