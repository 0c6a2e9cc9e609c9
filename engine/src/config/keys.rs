//! Every key of the language and what this build does with it.
//!
//! The full language has more than this build runs. A key that is left out silently would be a
//! trap, so each is listed: where everything that runs does the same without it, the file loads
//! with a warning; where the outcome of a run, its results or what it touches would be another one,
//! the file does not load, and is told what to write instead.

use super::node::{Node, Value};
use super::reader::{Key, Reader, clip};
use crate::diagnostic::Diagnostic;

/// Events that checks can be bound to.
pub const EVENTS: [&str; 13] = [
    "pr_opened",
    "pr_updated",
    "pr_closed",
    "issue_opened",
    "issue_comment",
    "manual",
    "schedule",
    "webhook_received",
    "slack_message",
    "telegram_message",
    "email_message",
    "whatsapp_message",
    "teams_message",
];

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is read.
    Read,
    /// It has no effect on a run by design.
    Quiet,
    /// It would do something in the full language; without it everything that runs, runs the same.
    Ignored,
    /// Without it a run would not come to what the file says; what to write instead.
    Needed(&'static str),
}

use Fate::{Ignored, Needed, Quiet, Read};

/// Keys at the top of a file.
pub(super) const TOP: &[(&str, Fate)] = &[
    ("version", Read),
    ("checks", Read),
    ("steps", Read),
    ("env", Read),
    ("max_parallelism", Read),
    ("fail_fast", Read),
    ("fail_if", Read),
    ("tag_filter", Read),
    ("sandboxes", Read),
    ("sandbox", Read),
    ("sandbox_defaults", Read),
    ("name", Quiet),
    ("description", Quiet),
    ("tests", Quiet),
    ("output", Quiet),
    ("extends", Needed(ONE_FILE)),
    ("include", Needed(ONE_FILE)),
    ("imports", Ignored),
    ("id", Ignored),
    ("inputs", Ignored),
    ("outputs", Ignored),
    ("on", Ignored),
    ("tools", Ignored),
    ("ai_model", Ignored),
    ("ai_provider", Ignored),
    ("ai_mcp_servers", Ignored),
    ("max_ai_concurrency", Ignored),
    ("failure_conditions", Needed("remove it, or write one `fail_if` in each check")),
    ("routing", Needed(ROUTING)),
    ("limits", Ignored),
    ("memory", Needed("remove it, or keep values in a file that commands read and write")),
    ("http_server", Ignored),
    ("mcp_server", Ignored),
    ("workspace", Needed("remove it: checks run in the current directory, on a fleet in a copy")),
    ("hooks", Needed("remove it, or write checks that the others depend on")),
    ("frontends", Ignored),
    ("slack", Ignored),
    ("telegram", Ignored),
    ("email", Ignored),
    ("whatsapp", Ignored),
    ("teams", Ignored),
    ("scheduler", Ignored),
    ("agent_protocol", Ignored),
    ("policy", Needed(POLICY)),
    ("task_tracking", Ignored),
    ("task_evaluate", Ignored),
    ("task_live_updates", Ignored),
    ("graceful_restart", Ignored),
    ("telemetry", Ignored),
];

/// Keys of a check of a type that this build runs.
pub(super) const CHECK: &[(&str, Fate)] = &[
    ("type", Read),
    ("exec", Read),
    ("command", Read),
    ("message", Read),
    ("level", Read),
    ("depends_on", Read),
    ("on", Read),
    ("tags", Read),
    ("env", Read),
    ("timeout", Read),
    ("group", Read),
    ("schema", Read),
    ("continue_on_failure", Read),
    ("criticality", Read),
    ("if", Read),
    ("fail_if", Read),
    ("sandbox", Read),
    ("idempotent", Read),
    ("name", Quiet),
    ("description", Quiet),
    ("output_format", Quiet),
    ("max_runs", Quiet),
    ("include_pr_context", Quiet),
    ("include_dependencies", Quiet),
    ("include_metadata", Quiet),
    ("triggers", Ignored),
    ("schedule", Ignored),
    ("reuse_ai_session", Ignored),
    ("session_mode", Ignored),
    ("template", Needed("remove it, or let the command print what is to be shown")),
    ("output_schema", Needed(OUTPUT_SCHEMA)),
    ("debounce", Needed(DEBOUNCE)),
    ("debounce_key", Needed(DEBOUNCE)),
    ("policy", Needed(POLICY)),
    ("stdin", Needed("remove it, or give the text in `exec`: `printf '…' | command`")),
    ("assume", Needed("remove it, or write the condition as `if`")),
    ("guarantee", Needed("remove it, or write its opposite as `fail_if`")),
    ("failure_conditions", Needed("remove it, or write one `fail_if`")),
    ("transform", Needed(TRANSFORM)),
    ("transform_js", Needed(TRANSFORM)),
    ("forEach", Needed(EACH)),
    ("fanout", Needed(EACH)),
    ("reduce", Needed(EACH)),
    ("retry", Needed(RETRY)),
    ("on_init", Needed("remove it, or write a check and depend on it")),
    ("on_success", Needed(ROUTING)),
    ("on_fail", Needed(RETRY)),
    ("on_finish", Needed(ROUTING)),
];

const ONE_FILE: &str = "remove it, and copy what it would bring into this file";
const ROUTING: &str = "remove it, or let further checks follow by `depends_on`";
const RETRY: &str =
    "remove it, or try again within `exec`: `for n in 1 2 3; do command && exit; done; exit 1`";
const POLICY: &str = "remove it, if everything in this file may run";
const OUTPUT_SCHEMA: &str = "remove it, or look at the fields of the output in `fail_if`";
const DEBOUNCE: &str = "remove it: every run of the check is made";
const TRANSFORM: &str = "remove it, or let the command itself print the JSON that is wanted";
const EACH: &str = "remove it, and write a check for each item, or loop within `exec`";

/// What to do about a `schema` that is more than a name.
pub(super) const SCHEMA: &str =
    "write the name of a schema, or look at the fields of the output in `fail_if`";

/// Keys of a sandbox.
pub(super) const SANDBOX: &[(&str, Fate)] = &[
    ("engine", Read),
    ("image", Read),
    ("workdir", Read),
    ("env_passthrough", Read),
    ("network", Read),
    ("read_only", Read),
    ("resources", Read),
    ("visor_path", Quiet),
    ("cache", Needed("remove it, and point the tool's cache below `/tmp` or the workspace")),
    ("dockerfile", Needed(BUILD)),
    ("dockerfile_inline", Needed(BUILD)),
    ("compose", Needed(COMPOSE)),
    ("service", Needed(COMPOSE)),
    ("bind_paths", Needed("remove it, and copy what is needed into the workspace or the image")),
];

const BUILD: &str = "remove it, build the image beforehand and name it as `image`";
const COMPOSE: &str = "remove it, start the services beforehand and name an `image`";

/// Types of checks that the language has and this build cannot run.
pub const OTHER_TYPES: [&str; 14] = [
    "ai",
    "claude-code",
    "mcp",
    "utcp",
    "script",
    "http",
    "http_input",
    "http_client",
    "memory",
    "github",
    "human-input",
    "workflow",
    "git-checkout",
    "a2a",
];

/// Types of checks that this build runs.
pub const TYPES: [&str; 4] = ["command", "log", "logger", "noop"];

/// The value switches its key off, so nobody misses the key.
pub(super) fn is_off(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty() || entries.iter().any(is_switch_off),
        Value::Bool(true) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => false,
    }
}

/// `enabled: false`, or `engine: disabled` as policies say it.
fn is_switch_off((key, value): &(Node, Node)) -> bool {
    let Value::Text(key) = &key.value else { return false };
    match &value.value {
        Value::Bool(false) => key == "enabled",
        Value::Text(text) => key == "engine" && text == "disabled",
        _ => false,
    }
}

/// Says what is to be said about a key, if anything. `of` is what the key belongs to: `a check`.
pub(super) fn remark(
    reader: &mut Reader<'_>,
    table: &[(&'static str, Fate)],
    key: &Key<'_>,
    node: &Node,
    of: &str,
) {
    let (name, span) = (key.name, key.span.clone());
    match table.iter().find(|(known, _)| *known == name).map(|(_, fate)| *fate) {
        Some(Fate::Read | Fate::Quiet) => {}
        Some(Fate::Ignored | Fate::Needed(_)) if is_off(node) => {}
        Some(Fate::Ignored) => reader.push(
            Diagnostic::warning(
                "visor::config::unsupported_key",
                format!("`{name}` is not supported by this version yet, and is ignored"),
            )
            .about(name)
            .label(span, "has no effect"),
        ),
        Some(Fate::Needed(instead)) => {
            reader.push(not_yet(name, of).label(span, NOT_YET).help(instead))
        }
        None => {
            let near = reader.near(name, table.iter().map(|(known, _)| *known));
            let label = near.map_or_else(|| "unknown".to_owned(), |near| format!("`{near}`?"));
            reader.push(
                Diagnostic::warning(
                    "visor::config::unknown_key",
                    format!("`{}` is not a key of {of}, and is ignored", clip(name)),
                )
                .about(name)
                .label(span, label),
            );
        }
    }
}

/// What is written at the place of something that this version does not have.
pub(super) const NOT_YET: &str = "not supported yet";

/// Something of the language that this version does not have and that makes a difference.
pub(super) fn not_yet(name: &str, of: &str) -> Diagnostic {
    Diagnostic::error(
        "visor::config::unsupported_key",
        format!(
            "`{name}` is not supported by this version yet, and {of} would not do the same without \
             it"
        ),
    )
    .about(name)
}
