//! The top of a file.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;
use visor_protocol::CheckName;

use super::keys::{self, CHECK, TOP};
use super::model::{Check, Config, TagFilter};
use super::node::{Node, Value};
use super::reader::{Also, Key, Reader, clip};
use super::{check, graph, sandbox};
use crate::diagnostic::{Diagnostic, Diagnostics, Source};

/// Reads a whole file; none when there is nothing that could be a configuration.
///
/// `is_whole` says that every check of the file is in the tree, so that one that is not there does
/// not exist.
pub(super) fn read(
    source: &Arc<Source>,
    tree: &Node,
    is_whole: bool,
    found: &mut Diagnostics,
) -> Option<Config> {
    let mut reader = Reader::new(&source.text, found);
    match tree.value {
        Value::Map(_) => {}
        Value::Null => {
            reader.push(
                Diagnostic::error("visor::config::empty", "the file is empty")
                    .help("`visor init` writes one to start from"),
            );
            return None;
        }
        Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            reader.push(
                Diagnostic::error(
                    "visor::config::not_a_mapping",
                    "a configuration is a mapping with `version` and `checks`",
                )
                .label(tree.span(), format!("this is {}", tree.kind())),
            );
            return None;
        }
    }
    let entries: BTreeMap<&str, (Key<'_>, &Node)> =
        reader.entries(tree, "").into_iter().map(|(key, node)| (key.name, (key, node))).collect();
    for (key, node) in entries.values() {
        // `x-…` is where files keep what only their anchors are for.
        if !key.name.starts_with("x-") {
            keys::remark(&mut reader, TOP, key, node, "a configuration");
        }
    }
    let begins = tree.first_key();
    let config = Document { reader: &mut reader, entries: &entries, begins }.read(source);
    reader.check_expressions();
    // What an unread file would add is not known.
    if is_whole && !has_other_files(&entries) {
        graph::check(&config, &mut reader);
        graph::cycles(&config, &mut reader);
    }
    Some(config)
}

/// The checks of the file are not all that there are.
fn has_other_files(entries: &BTreeMap<&str, (Key<'_>, &Node)>) -> bool {
    ["extends", "include"]
        .iter()
        .any(|key| entries.get(key).is_some_and(|(_, node)| !keys::is_off(node)))
}

struct Document<'d, 'a> {
    reader: &'d mut Reader<'a>,
    entries: &'d BTreeMap<&'d str, (Key<'d>, &'d Node)>,
    /// The first key, where something is missing that is nowhere.
    begins: Range<usize>,
}

impl<'d> Document<'d, '_> {
    fn get(&self, name: &str) -> Option<(&'d Key<'d>, &'d Node)> {
        self.entries.get(name).map(|(key, node)| (key, *node))
    }

    /// The same for keys that may be left empty.
    fn given(&self, name: &str) -> Option<(&'d Key<'d>, &'d Node)> {
        self.get(name).filter(|(_, node)| !matches!(node.value, Value::Null))
    }

    fn read(mut self, source: &Arc<Source>) -> Config {
        let version = self.version();
        let sandboxes =
            sandbox::read(self.reader, self.given("sandboxes"), self.given("sandbox_defaults"));
        let sandbox = self
            .given("sandbox")
            .and_then(|(key, node)| sandbox::name(self.reader, key, node, sandboxes.as_ref()));
        let checks = self.checks(sandboxes.as_ref());
        Config {
            source: Arc::clone(source),
            version,
            checks,
            max_parallelism: self.max_parallelism(),
            fail_fast: self
                .given("fail_fast")
                .and_then(|(key, node)| self.reader.flag(key, node))
                .unwrap_or(false),
            fail_if: self
                .given("fail_if")
                .and_then(|(key, node)| check::expression(self.reader, key, node)),
            env: self.get("env").map(|(key, node)| self.reader.env(key, node)).unwrap_or_default(),
            tag_filter: self.tag_filter(),
            sandboxes: sandboxes.unwrap_or_default(),
            sandbox,
        }
    }

    fn version(&mut self) -> String {
        let Some((key, node)) = self.get("version") else {
            let near = self.reader.near(
                "version",
                self.entries
                    .keys()
                    .copied()
                    .filter(|name| TOP.iter().all(|(known, _)| known != name)),
            );
            self.reader.push(
                Diagnostic::error("visor::config::missing_version", "`version` is missing")
                    .label(self.begins.clone(), "the file begins here")
                    .help(near.map_or_else(
                        || "add a first line: version: \"1.0\"".to_owned(),
                        |near| {
                            format!(
                                "`{near}` looks like it; a first line `version: \"1.0\"` is needed"
                            )
                        },
                    )),
            );
            return String::new();
        };
        self.reader.text(key, node, Also::Numbers).unwrap_or_default()
    }

    fn max_parallelism(&mut self) -> Option<NonZeroU32> {
        let (key, node) = self.given("max_parallelism")?;
        let number = self.reader.number(key, node, 1..=100_000)?;
        u32::try_from(number).ok().and_then(NonZeroU32::new)
    }

    fn tag_filter(&mut self) -> TagFilter {
        let Some((key, node)) = self.given("tag_filter") else {
            return TagFilter::default();
        };
        let mut filter = TagFilter::default();
        if self.reader.is_map(key, node, "a mapping with `include` and `exclude`") {
            for (key, node) in self.reader.entries(node, "`tag_filter`") {
                match key.name {
                    "include" => filter.include = check::tags(self.reader, &key, node),
                    "exclude" => filter.exclude = check::tags(self.reader, &key, node),
                    _ => {
                        let known = [("include", keys::Fate::Read), ("exclude", keys::Fate::Read)];
                        keys::remark(self.reader, &known, &key, node, "`tag_filter`");
                    }
                }
            }
        }
        filter
    }

    /// `steps` is the newer name and wins where a file has both.
    fn checks(
        &mut self,
        sandboxes: Option<&BTreeMap<String, super::SandboxDefinition>>,
    ) -> IndexMap<CheckName, Check> {
        let (key, node) = match (self.get("steps"), self.get("checks")) {
            (Some(steps), Some((key, _))) => {
                self.reader.push(
                    Diagnostic::warning(
                        "visor::config::checks_and_steps",
                        "`checks` is ignored because the file has `steps` as well",
                    )
                    .label(key.span.clone(), "nothing of this runs")
                    .label(steps.0.span.clone(), "only this runs")
                    .help("put all of them under one of the two"),
                );
                steps
            }
            (Some(found), None) | (None, Some(found)) => found,
            (None, None) if has_other_files(self.entries) => return IndexMap::new(),
            (None, None) => {
                let near = self.reader.near("checks", self.entries.keys().copied());
                let diagnostic = Diagnostic::error(
                    "visor::config::missing_checks",
                    "the file has no `checks` (or `steps`)",
                )
                .label(self.begins.clone(), "the file begins here")
                .help(near.map_or_else(
                    || "put checks under `checks:`; `visor init` writes an example".to_owned(),
                    |near| format!("is `{near}` meant to be `checks`?"),
                ));
                self.reader.push(diagnostic);
                return IndexMap::new();
            }
        };
        if !self.reader.is_map(key, node, "a mapping of names to checks") {
            return IndexMap::new();
        }
        let entries = self.reader.entries(node, "");
        let mut checks = IndexMap::with_capacity(entries.len());
        if entries.is_empty() {
            self.reader.push(
                Diagnostic::warning("visor::config::no_checks", "the file has no checks")
                    .label(key.span.clone(), "nothing in here"),
            );
        }
        let mut entries = entries.into_iter().peekable();
        let mut is_flat = false;
        while let Some((key, node)) = entries.next() {
            if let Value::Null = node.value
                && let Ok(name) = CheckName::new(key.name)
            {
                let mut stray = Vec::new();
                while let Some((key, _)) = entries.next_if(|(key, node)| is_stray(key, node)) {
                    stray.push(key.name);
                }
                is_flat |= !stray.is_empty();
                check::is_nothing(self.reader, &key, &stray);
                checks.insert(name.clone(), check::placeholder(name, key.span.clone()));
                continue;
            }
            // Told of with the check before, of which a key that comes again is the rest.
            if is_flat && is_stray(&key, node) {
                continue;
            }
            let name = match CheckName::new(key.name) {
                Ok(name) => name,
                Err(error) => {
                    self.reader.push(
                        Diagnostic::error(
                            "visor::config::invalid_name",
                            format!("`{}` cannot be the name of a check", clip(key.name)),
                        )
                        .label(key.span.clone(), "this name")
                        .help(error.to_string()),
                    );
                    continue;
                }
            };
            if let Some(check) = check::read(self.reader, &key, node, name.clone(), sandboxes) {
                checks.insert(name, check);
            } else {
                // What depends on it should not be reported as depending on nothing.
                checks.insert(name.clone(), check::placeholder(name, key.span.clone()));
            }
        }
        checks
    }
}

/// A key of a check where the name of one belongs, as its value shows.
fn is_stray(key: &Key<'_>, node: &Node) -> bool {
    let is_check = matches!(node.value, Value::Map(_)) && key.name != "env";
    !is_check && CHECK.iter().any(|(known, _)| *known == key.name)
}
