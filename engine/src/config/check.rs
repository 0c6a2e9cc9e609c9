//! One check of a file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use visor_protocol::CheckName;
use visor_protocol::job::{LogLevel, Work};

use super::document::is_off;
use super::keys::{self, CHECK, EVENTS, OTHER_TYPES, TYPES};
use super::model::{Check, Criticality, Dependency, Does, SandboxDefinition};
use super::node::{Node, Value};
use super::reader::{Key, Reader, clip, list};
use super::sandbox;
use crate::diagnostic::Diagnostic;
use crate::suggest::nearest;

/// Milliseconds after which a check is killed that does not say otherwise.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// A week: longer is a slip, and timers must not overflow.
const MAX_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;

/// A check that says nothing, for a name whose check could not be read.
pub(super) fn placeholder(name: CheckName, span: Range<usize>) -> Check {
    Check {
        name,
        kind: "noop".into(),
        does: Does::Work(Work::Noop),
        depends_on: Vec::new(),
        on: None,
        tags: Vec::new(),
        env: BTreeMap::new(),
        timeout_ms: DEFAULT_TIMEOUT_MS,
        group: None,
        schema: None,
        continue_on_failure: false,
        criticality: Criticality::default(),
        if_condition: None,
        fail_if: None,
        sandbox: None,
        idempotent: true,
        span,
    }
}

/// Reads one check; none when there is nothing to go by.
pub(super) fn read(
    reader: &mut Reader<'_>,
    key: &Key<'_>,
    node: &Node,
    name: CheckName,
    sandboxes: Option<&BTreeMap<String, SandboxDefinition>>,
) -> Option<Check> {
    if !reader.is_map(key, node, "a mapping with `type` and what the type needs") {
        return None;
    }
    let owner = format!("check `{}`", clip(key.name));
    let mut fields = BTreeMap::new();
    for (field, value) in reader.entries(node, &owner) {
        fields.insert(field.name, (field, value));
    }
    let mut check = placeholder(name, key.span.clone());
    let mut fields = Fields { reader, fields, owner: &owner, sandboxes };
    fields.kind(&mut check)?;
    fields.common(&mut check);
    if let Does::Work(_) = check.does {
        fields.remarks(&check.kind);
        fields.work(&mut check);
    }
    Some(check)
}

struct Fields<'f, 'a> {
    reader: &'f mut Reader<'a>,
    fields: BTreeMap<&'f str, (Key<'f>, &'f Node)>,
    owner: &'f str,
    sandboxes: Option<&'f BTreeMap<String, SandboxDefinition>>,
}

impl<'a> Fields<'_, 'a> {
    /// Reads a field with a method of the reader.
    fn get<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Reader<'a>, &Key<'_>, &Node) -> Option<T>,
    ) -> Option<T> {
        let (key, node) = self.fields.get(name)?;
        read(self.reader, key, node)
    }

    /// The same for fields that may be left empty.
    fn given<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Reader<'a>, &Key<'_>, &Node) -> Option<T>,
    ) -> Option<T> {
        let (key, node) = self.fields.get(name)?;
        if let Value::Null = node.value { None } else { read(self.reader, key, node) }
    }

    fn kind(&mut self, check: &mut Check) -> Option<()> {
        let Some((key, node)) = self.fields.get("type") else {
            // Without a type the language takes it as `ai`; whoever gives a command meant one.
            for field in ["exec", "command"] {
                if let Some((key, _)) = self.fields.get(field) {
                    self.reader.push(
                        Diagnostic::error(
                            "visor::config::missing_type",
                            format!("{} has `{field}` but no `type`", self.owner),
                        )
                        .label(key.span.clone(), "only a check of type `command` has this")
                        .help("add `type: command`"),
                    );
                    return None;
                }
            }
            check.kind = "ai".into();
            check.does = Does::Unsupported;
            self.reader.push(
                Diagnostic::warning(
                    "visor::config::unsupported_type",
                    format!(
                        "{} has no `type`, so it is of type `ai`, which this version cannot run \
                         yet: it fails when it is its turn",
                        self.owner
                    ),
                )
                .about("ai")
                .label(check.span.clone(), "no `type`")
                .help(format!("types that run: {}", list(&["command", "log", "noop"]))),
            );
            return Some(());
        };
        let kind = self.reader.some_text(key, node)?;
        if OTHER_TYPES.contains(&kind.as_str()) {
            self.reader.push(
                Diagnostic::warning(
                    "visor::config::unsupported_type",
                    format!(
                        "{} is of type `{kind}`, which this version cannot run yet: it fails when \
                         it is its turn",
                        self.owner
                    ),
                )
                .about(kind.as_str())
                .label(key.place_of(node), "not supported yet"),
            );
            check.does = Does::Unsupported;
        } else if !TYPES.contains(&kind.as_str()) {
            let near = self.reader.near(&kind, TYPES.into_iter().chain(OTHER_TYPES));
            self.reader.push(
                Diagnostic::error(
                    "visor::config::unknown_type",
                    format!("{} is of type `{}`, which does not exist", self.owner, clip(&kind)),
                )
                .label(key.place_of(node), "no such type")
                .help(near.map_or_else(
                    || format!("types that run: {}", list(&["command", "log", "noop"])),
                    |near| format!("did you mean `{near}`?"),
                )),
            );
            return None;
        }
        check.kind = if kind == "logger" { "log".into() } else { kind };
        Some(())
    }

    /// What every check has, whatever its type.
    fn common(&mut self, check: &mut Check) {
        if let Some((key, node)) = self.fields.get("depends_on") {
            check.depends_on = dependencies(self.reader, key, node);
        }
        check.on = self.given("on", |reader, key, node| Some(events(reader, key, node)));
        if let Some((key, node)) = self.fields.get("tags") {
            check.tags = tags(self.reader, key, node);
        }
        check.group = self.given("group", Reader::some_text);
        check.schema = self.given("schema", |reader, key, node| match node.value {
            Value::Map(_) => Some("custom".into()),
            _ => reader.some_text(key, node),
        });
        check.if_condition = self.given("if", expression);
        check.fail_if = self.given("fail_if", expression);
        check.criticality = self
            .given("criticality", |reader, key, node| {
                reader.word(
                    key,
                    node,
                    &[
                        ("external", Criticality::External),
                        ("internal", Criticality::Internal),
                        ("policy", Criticality::Policy),
                        ("info", Criticality::Info),
                    ],
                )
            })
            .unwrap_or_default();
        check.continue_on_failure = self
            .given("continue_on_failure", Reader::flag)
            .unwrap_or(check.criticality == Criticality::Info);
    }

    /// Keys that are unknown, or known and not supported.
    fn remarks(&mut self, kind: &str) {
        for (key, node) in self.fields.values() {
            if is_off(node) {
                continue;
            }
            keys::remark(self.reader, CHECK, key, "a check");
            let belongs_to = match key.name {
                "exec" | "command" => "command",
                "message" | "level" => "log",
                _ => continue,
            };
            if kind != belongs_to {
                self.reader.push(
                    Diagnostic::warning(
                        "visor::config::unknown_key",
                        format!("`{}` means nothing to a check of type `{kind}`", key.name),
                    )
                    .label(key.span.clone(), format!("only `{belongs_to}` has this")),
                );
            }
        }
    }

    /// What a check of a type that runs has.
    fn work(&mut self, check: &mut Check) {
        check.env =
            self.get("env", |reader, key, node| Some(reader.env(key, node))).unwrap_or_default();
        check.timeout_ms = self
            .given("timeout", |reader, key, node| reader.number(key, node, 1..=MAX_TIMEOUT_MS))
            .unwrap_or(DEFAULT_TIMEOUT_MS);
        check.idempotent = self.given("idempotent", Reader::flag).unwrap_or(true);
        let sandboxes = self.sandboxes;
        check.sandbox =
            self.given("sandbox", |reader, key, node| sandbox::name(reader, key, node, sandboxes));
        let work = match check.kind.as_str() {
            "command" => self.command(check),
            "log" => self.log(check),
            _ => Some(Work::Noop),
        };
        check.does = Does::Work(work.unwrap_or(Work::Noop));
    }

    fn command(&mut self, check: &Check) -> Option<Work> {
        if let (Some((exec, _)), Some((command, _))) =
            (self.fields.get("exec"), self.fields.get("command"))
        {
            self.reader.push(
                Diagnostic::error(
                    "visor::config::exec_and_command",
                    format!("{} has both `exec` and `command`", self.owner),
                )
                .label(command.span.clone(), "this one or")
                .label(exec.span.clone(), "this one")
                .help("they mean the same; keep `exec`"),
            );
            return None;
        }
        let name = if self.fields.contains_key("command") { "command" } else { "exec" };
        let Some((key, node)) = self.fields.get(name) else {
            let slip = self
                .fields
                .iter()
                .find(|(field, _)| CHECK.iter().all(|(known, _)| known != *field))
                .filter(|(field, _)| nearest(field, ["exec", "command"]).is_some());
            let help = slip.map_or_else(
                || "add `exec:` with the command line".to_owned(),
                |(field, _)| format!("is `{}` meant to be `exec`?", clip(field)),
            );
            self.reader.push(
                Diagnostic::error(
                    "visor::config::missing_exec",
                    format!("{} is of type `command` and has no `exec`", self.owner),
                )
                .label(check.span.clone(), "nothing to run")
                .help(help),
            );
            return None;
        };
        let exec = self.reader.some_text(key, node)?;
        if exec.contains("{{") || exec.contains("{%") {
            self.reader.push(
                Diagnostic::error(
                    "visor::config::unsupported_template",
                    format!(
                        "{} is a Liquid template, which this version cannot fill in yet",
                        key.says()
                    ),
                )
                .label(key.place_of(node), "has `{{` or `{%`")
                .help("pass values in `env` and write `$NAME`"),
            );
            return None;
        }
        Some(Work::Command { exec })
    }

    fn log(&mut self, check: &Check) -> Option<Work> {
        let level = self
            .given("level", |reader, key, node| {
                reader.word(
                    key,
                    node,
                    &[
                        ("debug", LogLevel::Debug),
                        ("info", LogLevel::Info),
                        ("warn", LogLevel::Warn),
                        ("warning", LogLevel::Warn),
                        ("error", LogLevel::Error),
                    ],
                )
            })
            .unwrap_or_default();
        let Some((key, node)) = self.fields.get("message") else {
            self.reader.push(
                Diagnostic::error(
                    "visor::config::missing_message",
                    format!("{} is of type `log` and has no `message`", self.owner),
                )
                .label(check.span.clone(), "nothing to say"),
            );
            return None;
        };
        let message = self.reader.text(key, node)?;
        if message.contains("{{") || message.contains("{%") {
            self.reader.push(
                Diagnostic::warning(
                    "visor::config::unsupported_template",
                    format!(
                        "{} is a Liquid template, which this version cannot fill in yet: it is \
                         shown as it is written",
                        key.says()
                    ),
                )
                .label(key.place_of(node), "has `{{` or `{%`"),
            );
        }
        Some(Work::Log { level, message })
    }
}

/// An expression: text, or a plain `true` or `false`.
pub(super) fn expression(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Option<Arc<str>> {
    let source: Arc<str> = reader.some_text(key, node)?.into();
    reader.note_expression(key, node, &source);
    Some(source)
}

/// `depends_on`: names, each possibly a group `a|b` of which one is enough.
fn dependencies(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Vec<Dependency> {
    let mut found = Vec::new();
    for (text, span) in reader.texts(key, node) {
        let options: Vec<CheckName> = text
            .split('|')
            .map(str::trim)
            .filter(|option| !option.is_empty())
            .filter_map(|option| CheckName::new(option).ok())
            .collect();
        if options.is_empty() {
            reader.push(
                Diagnostic::error(
                    "visor::config::invalid_value",
                    format!("{} names no check", key.says()),
                )
                .label(span, "nothing in here"),
            );
        } else {
            found.push(Dependency { options, span });
        }
    }
    found
}

fn events(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Vec<String> {
    let mut events = Vec::new();
    for (event, span) in reader.texts(key, node) {
        if EVENTS.contains(&event.as_str()) {
            events.push(event);
            continue;
        }
        let near = reader.near(&event, EVENTS);
        reader.push(
            Diagnostic::error(
                "visor::config::unknown_event",
                format!("`{}` is not an event", clip(&event)),
            )
            .label(span, "no such event")
            .help(near.map_or_else(
                || format!("events: {}", list(&EVENTS)),
                |near| format!("did you mean `{near}`?"),
            )),
        );
    }
    events
}

pub(super) fn tags(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Vec<String> {
    let mut tags = Vec::new();
    for (tag, span) in reader.texts(key, node) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if tag.starts_with(|c: char| c.is_ascii_alphanumeric()) && tag.chars().all(plain) {
            tags.push(tag);
        } else {
            reader.push(
                Diagnostic::error(
                    "visor::config::invalid_tag",
                    format!("`{}` cannot be a tag", clip(&tag)),
                )
                .label(span, "not a tag")
                .help("letters, digits, `-` and `_`, beginning with a letter or digit"),
            );
        }
    }
    tags
}
