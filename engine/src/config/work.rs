//! What a check of a type that runs does.

use visor_protocol::job::{LogLevel, Work};

use super::check::Fields;
use super::keys::CHECK;
use super::model::Check;
use super::reader::{Also, clip};
use crate::diagnostic::Diagnostic;
use crate::suggest::nearest;

impl Fields<'_, '_> {
    /// What a check of this type needs.
    pub(super) fn work(&mut self, check: &Check) -> Option<Work> {
        match check.kind.as_str() {
            "command" => self.command(check),
            "log" => self.log(check),
            _ => Some(Work::Noop),
        }
    }

    /// What is there of the keys of any type, where the type is not clear.
    pub(super) fn given_work(&mut self) {
        if self.has_one_command() == Some(true) {
            self.exec();
        }
        self.level();
        if self.fields.contains_key("message") {
            self.message();
        }
    }

    /// Whether there is a command line; none when there are two.
    fn has_one_command(&mut self) -> Option<bool> {
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
        Some(self.fields.contains_key("exec") || self.fields.contains_key("command"))
    }

    fn command(&mut self, check: &Check) -> Option<Work> {
        if !self.has_one_command()? {
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
        }
        self.exec().map(|exec| Work::Command { exec })
    }

    fn exec(&mut self) -> Option<String> {
        let (key, node) = self.fields.get("command").or_else(|| self.fields.get("exec"))?;
        // `true` and `false` are commands.
        let exec = self.reader.something(key, node, Also::Flags)?;
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
        Some(exec)
    }

    fn level(&mut self) -> LogLevel {
        self.given("level", |reader, key, node| {
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
        .unwrap_or_default()
    }

    fn log(&mut self, check: &Check) -> Option<Work> {
        let level = self.level();
        if !self.fields.contains_key("message") {
            self.reader.push(
                Diagnostic::error(
                    "visor::config::missing_message",
                    format!("{} is of type `log` and has no `message`", self.owner),
                )
                .label(check.span.clone(), "nothing to say"),
            );
            return None;
        }
        self.message().map(|message| Work::Log { level, message })
    }

    fn message(&mut self) -> Option<String> {
        let (key, node) = self.fields.get("message")?;
        let message = self.reader.text(key, node, Also::Nothing)?;
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
        Some(message)
    }
}
