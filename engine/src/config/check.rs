//! One check of a file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use visor_protocol::CheckName;
use visor_protocol::job::Work;

use super::keys::{self, CHECK, EVENTS, OTHER_TYPES, TYPES};
use super::model::{Check, Criticality, Dependency, Does, SandboxDefinition};
use super::node::{Node, Value};
use super::reader::{Also, Key, Reader, clip, list};
use super::sandbox;
use crate::diagnostic::Diagnostic;

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

/// What a check is, for whoever wrote something else.
const A_CHECK: &str = "a mapping with `type` and what the type needs";

/// Reports a check with nothing in it. Keys of a check that follow in its column are probably its
/// own.
pub(super) fn is_nothing(reader: &mut Reader<'_>, key: &Key<'_>, follow: &[&str]) {
    let help = match follow {
        [] => None,
        [one] => Some(format!("indent `{one}` under `{}`", clip(key.name))),
        [first, ..] => {
            let last = follow[follow.len() - 1];
            Some(format!("indent `{first}` to `{last}` under `{}`", clip(key.name)))
        }
    };
    reader.push(
        Diagnostic::error("visor::config::wrong_type", format!("{} must be {A_CHECK}", key.says()))
            .label(key.span.clone(), "nothing is given")
            .maybe_help(help),
    );
}

/// Reads one check; none when there is nothing to go by.
pub(super) fn read(
    reader: &mut Reader<'_>,
    key: &Key<'_>,
    node: &Node,
    name: CheckName,
    sandboxes: Option<&BTreeMap<String, SandboxDefinition>>,
) -> Option<Check> {
    if !reader.is_map(key, node, A_CHECK) {
        return None;
    }
    let owner = format!("check `{}`", clip(key.name));
    let mut fields = BTreeMap::new();
    for (field, value) in reader.entries(node, &owner) {
        fields.insert(field.name, (field, value));
    }
    let mut check = placeholder(name, key.span.clone());
    let span = key.span.clone();
    let mut fields = Fields { reader, fields, owner: &owner, span, sandboxes };
    let kind = fields.kind();
    fields.common(&mut check);
    match kind {
        Kind::Runs(kind) => {
            fields.remarks(Some(kind));
            fields.settings(&mut check);
            check.kind = kind.into();
            check.does = Does::Work(fields.work(&check).unwrap_or(Work::Noop));
        }
        Kind::Other(kind) => {
            fields.slips();
            fields.settings_of_others(&mut check);
            check.kind = kind;
            check.does = Does::Unsupported;
        }
        Kind::Unclear(guess) => {
            fields.remarks(guess);
            fields.settings(&mut check);
            fields.given_work();
        }
    }
    Some(check)
}

/// What is known of the type of a check.
enum Kind {
    /// This version runs it.
    Runs(&'static str),
    /// The language has it, and this version does not.
    Other(String),
    /// It is wrong or not given; perhaps it is this one. The other keys are read all the same.
    Unclear(Option<&'static str>),
}

impl Kind {
    /// The type of this name.
    fn of(name: &str) -> Option<Self> {
        if let Some(kind) = TYPES.into_iter().find(|kind| *kind == name) {
            return Some(Self::Runs(if kind == "logger" { "log" } else { kind }));
        }
        OTHER_TYPES.contains(&name).then(|| Self::Other(name.to_owned()))
    }
}

/// The keys of one check.
pub(super) struct Fields<'f, 'a> {
    pub(super) reader: &'f mut Reader<'a>,
    pub(super) fields: BTreeMap<&'f str, (Key<'f>, &'f Node)>,
    pub(super) owner: &'f str,
    span: Range<usize>,
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
    pub(super) fn given<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Reader<'a>, &Key<'_>, &Node) -> Option<T>,
    ) -> Option<T> {
        let (key, node) = self.fields.get(name)?;
        if let Value::Null = node.value { None } else { read(self.reader, key, node) }
    }

    fn kind(&mut self) -> Kind {
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
                    return Kind::Unclear(Some("command"));
                }
            }
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
                .label(self.span.clone(), "no `type`")
                .help(format!("types that run: {}", list(&["command", "log", "noop"]))),
            );
            return Kind::Other("ai".into());
        };
        let Some(name) = self.reader.some_text(key, node) else { return Kind::Unclear(None) };
        let kind = Kind::of(&name);
        match kind {
            Some(Kind::Other(_)) => self.reader.push(
                Diagnostic::warning(
                    "visor::config::unsupported_type",
                    format!(
                        "{} is of type `{name}`, which this version cannot run yet: it fails when \
                         it is its turn",
                        self.owner
                    ),
                )
                .about(name.as_str())
                .label(key.place_of(node), "not supported yet"),
            ),
            Some(Kind::Runs(_) | Kind::Unclear(_)) => {}
            None => return self.unknown_kind(&name, key.place_of(node)),
        }
        kind.unwrap_or(Kind::Unclear(None))
    }

    fn unknown_kind(&mut self, name: &str, place: Range<usize>) -> Kind {
        let near = self.reader.near(name, TYPES.into_iter().chain(OTHER_TYPES));
        self.reader.push(
            Diagnostic::error(
                "visor::config::unknown_type",
                format!("{} is of type `{}`, which does not exist", self.owner, clip(name)),
            )
            .label(place, "no such type")
            .help(near.map_or_else(
                || format!("types that run: {}", list(&["command", "log", "noop"])),
                |near| format!("did you mean `{near}`?"),
            )),
        );
        match near.and_then(Kind::of) {
            Some(Kind::Runs(kind)) => Kind::Unclear(Some(kind)),
            // Its keys are not known here.
            Some(Kind::Other(kind)) => Kind::Other(kind),
            Some(Kind::Unclear(_)) | None => Kind::Unclear(None),
        }
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
        check.schema = self.given("schema", schema);
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

    /// Keys that are unknown, known and not supported, or of another type.
    fn remarks(&mut self, kind: Option<&str>) {
        for (key, node) in self.fields.values() {
            keys::remark(self.reader, CHECK, key, node, "a check");
            let belongs_to = match key.name {
                "exec" | "command" => "command",
                "message" | "level" => "log",
                _ => continue,
            };
            if let Some(kind) = kind.filter(|kind| *kind != belongs_to && !keys::is_off(node)) {
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

    /// Keys of a check of another type, most of which are not known here, that look like slips.
    fn slips(&mut self) {
        for (key, _) in self.fields.values() {
            let known = |known: &str| CHECK.iter().any(|(name, _)| *name == known);
            // Short names of other types are near to many.
            if key.name.len() < 5 || known(key.name) {
                continue;
            }
            let read = CHECK.iter().filter(|(_, fate)| *fate == keys::Fate::Read);
            let Some(near) = self.reader.near(key.name, read.map(|(name, _)| *name)) else {
                continue;
            };
            if strsim::damerau_levenshtein(key.name, near) == 1 {
                self.reader.push(
                    Diagnostic::warning(
                        "visor::config::unknown_key",
                        format!("`{}` is probably not what is meant, and is ignored", key.name),
                    )
                    .about(key.name)
                    .label(key.span.clone(), format!("`{near}`?")),
                );
            }
        }
    }

    /// Where and how a check of a type that runs does so.
    fn settings(&mut self, check: &mut Check) {
        check.timeout_ms = self
            .given("timeout", |reader, key, node| {
                reader.milliseconds(key, node, 1..=MAX_TIMEOUT_MS)
            })
            .unwrap_or(DEFAULT_TIMEOUT_MS);
        self.settings_of_others(check);
    }

    /// The same for a check of another type, whose time may be counted in another unit.
    fn settings_of_others(&mut self, check: &mut Check) {
        check.env =
            self.get("env", |reader, key, node| Some(reader.env(key, node))).unwrap_or_default();
        check.idempotent = self.given("idempotent", Reader::flag).unwrap_or(true);
        let sandboxes = self.sandboxes;
        check.sandbox =
            self.given("sandbox", |reader, key, node| sandbox::name(reader, key, node, sandboxes));
    }
}

/// An expression: text, or a plain `true` or `false`.
pub(super) fn expression(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Option<Arc<str>> {
    let source: Arc<str> = reader.something(key, node, Also::Flags)?.into();
    reader.note_expression(key, node, &source);
    Some(source)
}

/// `schema`: the name of one; what would be checked against it is not yet.
fn schema(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Option<String> {
    let text = match node.value {
        Value::Map(_) => None,
        _ => Some(reader.some_text(key, node)?),
    };
    // A file, or a template that gives one.
    match text.filter(|text| !text.contains(['/', '{']) && !text.ends_with(".json")) {
        Some(name) => Some(name),
        None => {
            let diagnostic = keys::not_yet("schema", "a check").help(keys::SCHEMA);
            reader.push(diagnostic.label(key.place_of(node), keys::NOT_YET));
            None
        }
    }
}

/// `depends_on`: names, each possibly a group `a|b` of which one is enough.
fn dependencies(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> Vec<Dependency> {
    let mut found = Vec::new();
    // A check may be called `404`.
    for (text, span) in reader.texts(key, node, Also::Numbers) {
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
    for (event, span) in reader.texts(key, node, Also::Nothing) {
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
    for (tag, span) in reader.texts(key, node, Also::Nothing) {
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
