//! Every key of the language and what this build does with it.
//!
//! The full language has more than this build runs. A key that is left out silently would be a
//! trap, so each is listed: where leaving it out is harmless the file loads with a warning, where
//! it would change what a check does the file does not load.

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
    /// Without it a check would not do what the file says.
    Needed,
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
    ("extends", Needed),
    ("include", Needed),
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
    ("failure_conditions", Needed),
    ("routing", Ignored),
    ("limits", Ignored),
    ("memory", Ignored),
    ("http_server", Ignored),
    ("mcp_server", Ignored),
    ("workspace", Ignored),
    ("hooks", Ignored),
    ("frontends", Ignored),
    ("slack", Ignored),
    ("telegram", Ignored),
    ("email", Ignored),
    ("whatsapp", Ignored),
    ("teams", Ignored),
    ("scheduler", Ignored),
    ("agent_protocol", Ignored),
    ("policy", Ignored),
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
    ("template", Ignored),
    ("output_schema", Ignored),
    ("debounce", Ignored),
    ("debounce_key", Ignored),
    ("policy", Ignored),
    ("reuse_ai_session", Ignored),
    ("session_mode", Ignored),
    ("stdin", Ignored),
    ("assume", Needed),
    ("guarantee", Needed),
    ("failure_conditions", Needed),
    ("transform", Needed),
    ("transform_js", Needed),
    ("forEach", Needed),
    ("fanout", Needed),
    ("on_init", Needed),
    ("on_success", Needed),
    ("on_fail", Needed),
    ("on_finish", Needed),
];

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
    ("cache", Ignored),
    ("dockerfile", Needed),
    ("dockerfile_inline", Needed),
    ("compose", Needed),
    ("service", Needed),
    ("bind_paths", Needed),
];

/// Types of checks that the language has and this build cannot run.
pub(super) const OTHER_TYPES: [&str; 14] = [
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
pub(super) const TYPES: [&str; 4] = ["command", "log", "logger", "noop"];

/// Says what is to be said about a key, if anything. `of` is what the key belongs to: `a check`.
pub(super) fn remark(
    reader: &mut Reader<'_>,
    table: &[(&'static str, Fate)],
    key: &Key<'_>,
    of: &str,
) {
    let (name, span) = (key.name, key.span.clone());
    match table.iter().find(|(known, _)| *known == name).map(|(_, fate)| *fate) {
        Some(Fate::Read | Fate::Quiet) => {}
        Some(Fate::Ignored) => reader.push(
            Diagnostic::warning(
                "visor::config::unsupported_key",
                format!("`{name}` is not supported by this version yet, and is ignored"),
            )
            .about(name)
            .label(span, "has no effect"),
        ),
        Some(Fate::Needed) => reader.push(
            Diagnostic::error(
                "visor::config::unsupported_key",
                format!(
                    "`{name}` is not supported by this version yet, and {of} would not do the same \
                     without it"
                ),
            )
            .about(name)
            .label(span, "not supported yet"),
        ),
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
