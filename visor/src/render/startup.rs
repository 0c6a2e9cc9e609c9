//! The block a service prints before anything else: what it is, where it keeps things, what it
//! talks to, and what that lacks.

use std::fmt::Write as _;
use std::time::Duration;

use super::style::Style;
use super::text;

/// The facts of a service, in the order they are shown.
#[derive(Debug, Default)]
pub(crate) struct Block {
    title: String,
    facts: Vec<(&'static str, String)>,
    notes: Vec<String>,
}

impl Block {
    /// A block for this role.
    pub(crate) fn new(role: &str) -> Self {
        let title = format!("visor {} · {role}", env!("CARGO_PKG_VERSION"));
        Self { title, ..Self::default() }
    }

    /// Adds a fact.
    pub(crate) fn fact(&mut self, name: &'static str, value: impl Into<String>) {
        self.facts.push((name, value.into()));
    }

    /// Adds something that is worse than it could be.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The text for standard error.
    pub(crate) fn render(&self, style: Style) -> String {
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = format!("{}\n", style.bold(&self.title));
        for (name, value) in &self.facts {
            let mut lines = value.lines();
            let name = style.dim(&format!("{name:<width$}"));
            let _ = writeln!(out, "  {name}  {}", text::clean_line(lines.next().unwrap_or("–")));
            for line in lines {
                let _ = writeln!(out, "  {:<width$}  {}", "", text::clean_line(line));
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "  {} {}", style.yellow("!"), text::clean_line(note));
        }
        out
    }
}

/// The line that follows the block when the service takes work.
pub(crate) fn ready(after: Duration) -> String {
    format!("ready in {}\n", text::duration(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_says_what_a_service_stands_on() {
        let mut block = Block::new("worker w-eu-1");
        block.fact("transport", "NATS 2.9.10 at nats://127.0.0.1:4222");
        block.fact("slots", "8 in pool default");
        block.note("NATS 2.9 has no per-key time to live: leases use the bucket's age");
        let text = block.render(Style::plain()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(text + &ready(Duration::from_millis(38)), @r"
        visor VERSION · worker w-eu-1
          transport  NATS 2.9.10 at nats://127.0.0.1:4222
          slots      8 in pool default
          ! NATS 2.9 has no per-key time to live: leases use the bucket's age
        ready in 38 ms
        ");
    }
}
