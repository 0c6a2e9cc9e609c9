//! A commented configuration. Written as text: a serializer knows nothing of comments.

use std::fmt::Write as _;

use super::detect::{Found, Suggestion};

/// The whole file.
pub(super) fn file(found: &Found) -> String {
    let mut out = format!(
        "# Checks of {}. `visor run` runs them, `visor validate` finds mistakes in this file.\n",
        found.language
    );
    for note in &found.notes {
        let _ = writeln!(out, "# Note: {note}.");
    }
    out.push_str(
        "version: \"1.0\"\n\n\
         # Checks under way at once.\n\
         max_parallelism: 4\n\n\
         checks:\n",
    );
    for (number, check) in found.checks.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        one(&mut out, check);
    }
    out.push_str(
        "\n  \
         # More of what a check can have:\n  \
         #\n  \
         # nightly:\n  \
         #   type: command\n  \
         #   exec: ./scripts/slow.sh\n  \
         #   tags: [slow]                  # runs with `visor run --tags slow`\n  \
         #   if: env.CI === 'true'         # a JavaScript expression\n  \
         #   env: { LEVEL: debug }\n  \
         #   continue_on_failure: true     # what depends on it runs all the same\n",
    );
    out
}

fn one(out: &mut String, check: &Suggestion) {
    let _ = writeln!(out, "  # {}.", check.why);
    let _ = writeln!(out, "  {}:", check.name);
    out.push_str("    type: command\n");
    if check.exec.contains('\n') {
        out.push_str("    exec: |\n");
        for line in check.exec.lines() {
            let _ = writeln!(out, "      {line}");
        }
    } else if check.exec.chars().all(|c| c.is_ascii_alphanumeric() || " -_./".contains(c)) {
        let _ = writeln!(out, "    exec: {}", check.exec);
    } else {
        let _ = writeln!(out, "    exec: '{}'", check.exec.replace('\'', "''"));
    }
    if let Some(name) = check.depends_on {
        let _ = writeln!(out, "    depends_on: [{name}]");
    }
    if check.timeout_ms > 0 {
        let minutes = check.timeout_ms / 60_000;
        let _ =
            writeln!(out, "    timeout: {} # milliseconds: {minutes} minutes", check.timeout_ms);
    }
}
