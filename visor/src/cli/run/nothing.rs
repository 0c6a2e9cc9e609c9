//! A selection that leaves every check out: which flag would take some in.

use std::collections::BTreeSet;

use visor_engine::config::{Check, Config};
use visor_engine::plan::Exclusion;
use visor_protocol::CheckName;

use crate::render::text;

/// So many names are a help; more are a wall.
const NAMES: usize = 8;

/// Checks that were left out for one reason.
#[derive(Default)]
struct Out<'c> {
    number: usize,
    names: BTreeSet<&'c str>,
}

impl<'c> Out<'c> {
    fn add(&mut self, names: impl IntoIterator<Item = &'c String>) {
        self.number += 1;
        self.names.extend(names.into_iter().map(String::as_str));
    }

    fn names(&self, between: &str) -> String {
        let shown: Vec<String> =
            self.names.iter().take(NAMES).map(|name| text::clean_line(name)).collect();
        let more = if self.names.len() > NAMES { "…" } else { "" };
        format!("{}{more}", shown.join(between))
    }
}

/// Why nothing is selected, one part for each reason, and what would select something.
pub(super) fn said(config: &Config, excluded: &[(CheckName, Exclusion)]) -> String {
    let (mut tagged, mut other_tags, mut excluded_tags) =
        (Out::default(), Out::default(), Out::default());
    let (mut events, mut off, mut dependent) = (Out::default(), Out::default(), Out::default());
    let mut asked = 0;
    for (name, why) in excluded {
        let check = config.checks.get(name);
        let tags = check.into_iter().flat_map(|check: &Check| &check.tags);
        match why {
            // Whoever asked for a few checks knows that the others are not among them.
            Exclusion::NotNamed => continue,
            Exclusion::Tagged { .. } => tagged.add(tags),
            Exclusion::NoMatchingTag => other_tags.add(tags),
            Exclusion::ExcludedTag => excluded_tags.add(tags),
            Exclusion::Event => events.add(check.and_then(|c| c.on.as_ref()).into_iter().flatten()),
            Exclusion::SwitchedOff => off.add([]),
            Exclusion::Dependency { .. } => dependent.add([]),
        }
        asked += 1;
    }
    let mut parts = Vec::new();
    let mut part = |out: &Out<'_>, one: &str, many: &str, help: String| {
        let who = match out.number {
            0 => return,
            1 => format!("1 check {one}"),
            number if number == asked => format!("all {number} checks {many}"),
            number => format!("{number} checks {many}"),
        };
        parts.push(if help.is_empty() { who } else { format!("{who}: {help}") });
    };
    let add = format!("add --tags {}", tagged.names(","));
    part(&tagged, "has tags", "have tags", add);
    let instead = format!("--tags {} would select", other_tags.names(","));
    part(&other_tags, "has other tags", "have other tags", instead);
    let without = "--exclude-tags with other tags replaces what is excluded".to_owned();
    let names = excluded_tags.names(", ");
    let (one, many) =
        (format!("has a tag that is excluded ({names})"), "have a tag that is excluded");
    part(&excluded_tags, &one, &format!("{many} ({names})"), without);
    let event = format!("--event all, or one of {}", events.names(", "));
    part(&events, "is for other events", "are for other events", event);
    let empty = "by an empty `on` in the file".to_owned();
    part(&off, "is switched off", "are switched off", empty);
    part(&dependent, "depends on one left out", "depend on some left out", String::new());
    format!("nothing is selected: {}", parts.join("; "))
}
