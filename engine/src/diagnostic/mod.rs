//! Mistakes with their place in a file, gathered rather than thrown: a person fixes all of them in
//! one go.
//!
//! - this file: [`Diagnostic`] and [`Diagnostics`]
//! - `render`: how they are shown

mod render;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

pub use render::Style;

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name shown to people.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// How bad a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing runs until it is corrected.
    Error,
    /// Something is probably not as meant; it runs all the same.
    Warning,
}

/// A place in the text and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is there.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable code, for example `visor::config::unknown_dependency`.
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// Where; the first is the place of the mistake, none when it is about no place in particular.
    pub labels: Vec<Label>,
    /// What was probably meant, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What it is about; further mistakes of the same code about the same thing join it.
    #[serde(skip)]
    about: Option<String>,
}

impl Diagnostic {
    /// A mistake that keeps the file from being run.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            level: Level::Error,
            message: message.into(),
            labels: Vec::new(),
            help: None,
            about: None,
        }
    }

    /// Something that is probably not as meant.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(code, message) }
    }

    /// Points at a place.
    #[must_use]
    pub fn label(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says what to do, when something is known.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }

    /// Mistakes of the same code about the same thing are shown as one: a check that was renamed is
    /// one mistake, however many others depend on it.
    #[must_use]
    pub(crate) fn about(mut self, thing: impl Into<String>) -> Self {
        self.about = Some(thing.into());
        self
    }

    fn position(&self) -> usize {
        self.labels.first().map_or(0, |label| label.span.start)
    }
}

/// At most this many mistakes of one file are kept; the rest is counted.
const KEPT: usize = 500;

/// Places at which mistakes about the same thing are shown; the rest is counted.
const LABELS: usize = 3;

/// All mistakes of one file, errors first, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    source: Arc<Source>,
    items: Vec<Diagnostic>,
    uncounted_errors: usize,
    uncounted_warnings: usize,
}

impl Diagnostics {
    /// None so far.
    pub fn new(source: Arc<Source>) -> Self {
        Self { source, items: Vec::new(), uncounted_errors: 0, uncounted_warnings: 0 }
    }

    /// Just this one.
    pub fn one(source: Arc<Source>, diagnostic: Diagnostic) -> Self {
        let mut all = Self::new(source);
        all.push(diagnostic);
        all
    }

    /// Adds one. Beyond some hundreds they are only counted, errors taking the place of warnings.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.items.len() < KEPT {
            self.items.push(diagnostic);
            return;
        }
        match diagnostic.level {
            Level::Warning => self.uncounted_warnings += 1,
            Level::Error => {
                if let Some(warning) =
                    self.items.iter_mut().rev().find(|item| item.level == Level::Warning)
                {
                    *warning = diagnostic;
                    self.uncounted_warnings += 1;
                } else {
                    self.uncounted_errors += 1;
                }
            }
        }
    }

    /// Adds those of another reading of the same file that are not here yet.
    pub(crate) fn add_new(&mut self, others: Self) {
        let key = |item: &Diagnostic| (item.code, item.position(), item.message.clone());
        let known: HashSet<_> = self.items.iter().map(key).collect();
        others.items.into_iter().filter(|item| !known.contains(&key(item))).for_each(|item| {
            self.push(item);
        });
    }

    /// Puts them in the order in which they are shown, and joins those about the same thing.
    pub(crate) fn settle(&mut self) {
        self.items.sort_by_key(|item| (item.level, item.position()));
        let mut first: HashMap<(&'static str, Level, String), usize> = HashMap::new();
        let mut joined: Vec<(Diagnostic, usize)> = Vec::with_capacity(self.items.len());
        for item in self.items.drain(..) {
            let Some(about) = &item.about else {
                joined.push((item, 0));
                continue;
            };
            match first.entry((item.code, item.level, about.clone())) {
                Entry::Vacant(entry) => {
                    entry.insert(joined.len());
                    joined.push((item, 0));
                }
                Entry::Occupied(entry) => {
                    let (one, more) = &mut joined[*entry.get()];
                    if one.labels.len() < LABELS {
                        one.labels.extend(item.labels);
                    } else {
                        *more += 1;
                    }
                }
            }
        }
        self.items = joined
            .into_iter()
            .map(|(mut item, more)| {
                if more > 0 {
                    let places = if more == 1 { "place" } else { "places" };
                    let more = format!("the same in {more} more {places}");
                    item.help = Some(match item.help {
                        Some(help) => format!("{help}; {more}"),
                        None => more,
                    });
                }
                item
            })
            .collect();
    }

    /// The file they are about.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.items.iter().filter(|item| item.level == Level::Error).count() + self.uncounted_errors
    }

    /// How many are warnings.
    pub fn warnings(&self) -> usize {
        self.items.iter().filter(|item| item.level == Level::Warning).count()
            + self.uncounted_warnings
    }

    /// Those that are no longer kept one by one.
    fn uncounted(&self) -> usize {
        self.uncounted_errors + self.uncounted_warnings
    }

    /// `1 error, 2 warnings`.
    pub fn summary(&self) -> String {
        let count = |n: usize, word: &str| match n {
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        match (self.errors(), self.warnings()) {
            (0, 0) => "no mistakes".into(),
            (errors, 0) => count(errors, "error"),
            (0, warnings) => count(warnings, "warning"),
            (errors, warnings) => {
                format!("{}, {}", count(errors, "error"), count(warnings, "warning"))
            }
        }
    }

    /// Line and column (from 1) of a diagnostic's first label.
    pub fn place(&self, diagnostic: &Diagnostic) -> Option<(usize, usize)> {
        self.place_of(diagnostic.labels.first()?)
    }

    /// Line and column (from 1) of a label.
    pub fn place_of(&self, label: &Label) -> Option<(usize, usize)> {
        line_and_column(&self.source.text, label.span.start)
    }

    /// All of them as text for people, ending in a newline.
    pub fn render(&self, style: Style, width: usize) -> String {
        render::render(self, style, width)
    }
}

/// Line and column (from 1) of a byte of a text.
pub(crate) fn line_and_column(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line each: `file:line:column: error: message [code] (help)`.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Line, usize::MAX).trim_end())
    }
}

impl std::error::Error for Diagnostics {}
