//! Why a check stands as it does.

use std::fmt::Write as _;

use visor_protocol::api::Reason;

use super::style::Style;
use super::text;

/// One paragraph for each check.
pub(crate) fn render(reasons: &[Reason], style: Style) -> String {
    if reasons.is_empty() {
        return "nothing waits: every check of this run is settled\n".into();
    }
    let mut out = String::new();
    for reason in reasons {
        if !out.is_empty() {
            out.push('\n');
        }
        let check = style.bold(&text::clean_line(&reason.check));
        let _ = writeln!(
            out,
            "{check} {}: {}",
            text::clean_line(&reason.state),
            text::clean_line(&reason.summary)
        );
        let mut facts: Vec<(String, String)> = Vec::new();
        if !reason.dependencies.is_empty() {
            let each = reason.dependencies.iter().map(|(name, state)| {
                format!("{} {}", text::clean_line(name), text::clean_line(state))
            });
            facts.push(("dependencies".into(), each.collect::<Vec<_>>().join(", ")));
        }
        for (name, fact) in &reason.facts {
            facts.push((text::clean_line(name), text::clean_line(fact)));
        }
        let facts = together(facts);
        let width = facts.iter().map(|(name, _)| text::width(name)).max().unwrap_or(0);
        for (name, fact) in facts {
            let _ = writeln!(out, "  {}  {fact}", style.dim(&text::pad(&name, width)));
        }
        if let Some(remedy) = &reason.remedy {
            let _ = writeln!(out, "  {} {}", style.cyan("would help:"), text::clean_line(remedy));
        }
    }
    out
}

/// Says what stands several times in a row once, with how often.
fn together(facts: Vec<(String, String)>) -> Vec<(String, String)> {
    facts
        .chunk_by(|one, next| one == next)
        .map(|same| {
            let (name, fact) = same[0].clone();
            match same.len() {
                1 => (name, fact),
                times => (name, format!("{fact} ×{times}")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use visor_protocol::api::Wait;

    use super::*;

    #[test]
    fn why_names_dependencies_facts_and_what_would_help() {
        let reason = Reason {
            check: "integration".into(),
            state: "waiting".into(),
            wait: Some(Wait::Slot),
            waits_for: Some("a slot in pool `default` (place 7 of 41)".into()),
            summary: "waiting 2.1 s for a slot in pool `default` (place 7 of 41)".into(),
            dependencies: vec![("lint".into(), "passed".into()), ("unit".into(), "passed".into())],
            facts: vec![("limits".into(), "none apply".into())],
            remedy: Some("one more worker in `default`".into()),
        };
        insta::assert_snapshot!(render(&[reason], Style::plain()), @r"
        integration waiting: waiting 2.1 s for a slot in pool `default` (place 7 of 41)
          dependencies  lint passed, unit passed
          limits        none apply
          would help: one more worker in `default`
        ");
    }

    #[test]
    fn attempts_that_ended_alike_are_one_line() {
        let mut reason = crate::render::samples::reason("scan", "image `x`");
        for why in ["image `x` is missing", "image `x` is missing", "worker lost"] {
            reason.facts.push(("earlier attempt".into(), why.into()));
        }
        insta::assert_snapshot!(render(&[reason], Style::plain()), @r"
        scan queued: waiting 2.1 s for image `x`
          earlier attempt  image `x` is missing ×2
          earlier attempt  worker lost
        ");
    }
}
