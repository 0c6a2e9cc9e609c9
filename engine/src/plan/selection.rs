//! Which checks of a file run: by name, by event and by tag.
//!
//! Selection works on positions in the configuration and visits each check and each dependency a
//! fixed number of times.

use std::collections::VecDeque;
use std::sync::Arc;

use visor_protocol::CheckName;
use visor_protocol::api::Selection;

use crate::config::{Check, Config, EVENTS, TagFilter};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::suggest::nearest;

/// Why a check of the file does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// It was not named, and nothing that was named depends on it.
    NotNamed,
    /// It is switched off by an empty `on`.
    SwitchedOff,
    /// It does not run on the event of this run.
    Event,
    /// It has tags, and none were asked for.
    Tagged {
        /// Its tags.
        tags: Vec<String>,
    },
    /// None of its tags were asked for.
    NoMatchingTag,
    /// One of its tags was excluded.
    ExcludedTag,
    /// A check that it depends on does not run.
    Dependency {
        /// The entry of `depends_on`.
        on: String,
    },
}

/// What was selected.
pub(super) struct Selected {
    /// Positions in the configuration, in its order.
    pub(super) positions: Vec<usize>,
    /// The others.
    pub(super) excluded: Vec<(CheckName, Exclusion)>,
}

pub(super) fn select(config: &Config, selection: &Selection) -> Result<Selected, Diagnostics> {
    let mut mistakes = Diagnostics::new(Arc::clone(&config.source));
    let named = named(config, selection, &mut mistakes);
    if let Some(event) = selection.event.as_deref().filter(|event| *event != "all")
        && !EVENTS.contains(&event)
    {
        let near = nearest(event, EVENTS);
        mistakes.push(
            Diagnostic::error("visor::plan::unknown_event", format!("`{event}` is not an event"))
                .help(near.map_or_else(
                    || format!("one of {}", EVENTS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                )),
        );
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let wanted = Wanted::new(config, selection);
    let mut fates: Vec<Option<Exclusion>> = config
        .checks
        .values()
        .zip(&named)
        .map(
            |(check, named)| {
                if *named { wanted.excludes(check) } else { Some(Exclusion::NotNamed) }
            },
        )
        .collect();
    // With a tag filter a dependency that does not run is dropped; without one it takes along
    // whatever needs it.
    if !wanted.has_filter {
        drop_unsatisfied(config, &mut fates);
    }
    let mut positions = Vec::new();
    let mut excluded = Vec::new();
    for (position, (name, fate)) in config.checks.keys().zip(fates).enumerate() {
        match fate {
            None => positions.push(position),
            Some(why) => excluded.push((name.clone(), why)),
        }
    }
    Ok(Selected { positions, excluded })
}

/// Checks that were named, and all they depend on.
fn named(config: &Config, selection: &Selection, mistakes: &mut Diagnostics) -> Vec<bool> {
    if names_all(config, selection) {
        return vec![true; config.checks.len()];
    }
    let mut named = vec![false; config.checks.len()];
    let mut open = Vec::new();
    for name in &selection.checks {
        if let Some(position) = config.position(name) {
            open.push(position);
        } else {
            let near = nearest(name, config.checks.keys().map(CheckName::as_str));
            mistakes.push(
                Diagnostic::error(
                    "visor::plan::unknown_check",
                    format!("there is no check `{name}` in {}", config.source.name),
                )
                .maybe_help(near.map(|near| format!("did you mean `{near}`?"))),
            );
        }
    }
    while let Some(position) = open.pop() {
        if !std::mem::replace(&mut named[position], true) {
            let dependencies = config.checks[position].depends_on.iter();
            let options = dependencies.flat_map(|dependency| &dependency.options);
            open.extend(options.filter_map(|option| config.checks.get_index_of(option)));
        }
    }
    named
}

/// `all` makes every check a candidate, unless a check has that name; tags and events still decide.
fn names_all(config: &Config, selection: &Selection) -> bool {
    selection.checks.is_empty()
        || (selection.checks.iter().any(|name| name == "all") && config.position("all").is_none())
}

/// The filters of one run.
struct Wanted<'s> {
    event: Option<&'s str>,
    include: &'s [String],
    exclude: &'s [String],
    has_filter: bool,
    /// Checks were named one by one: whoever names a check wants it, tags or not.
    by_name: bool,
}

impl<'s> Wanted<'s> {
    fn new(config: &'s Config, selection: &'s Selection) -> Self {
        let TagFilter { include, exclude } = &config.tag_filter;
        let include = if selection.tags.is_empty() { include } else { &selection.tags };
        let exclude =
            if selection.exclude_tags.is_empty() { exclude } else { &selection.exclude_tags };
        Self {
            event: selection.event.as_deref().filter(|event| *event != "all"),
            include,
            exclude,
            has_filter: !include.is_empty() || !exclude.is_empty(),
            by_name: !names_all(config, selection),
        }
    }

    fn excludes(&self, check: &Check) -> Option<Exclusion> {
        if let Some(on) = &check.on {
            if on.is_empty() {
                return Some(Exclusion::SwitchedOff);
            }
            if self.event.is_some_and(|event| on.iter().all(|on| on != event)) {
                return Some(Exclusion::Event);
            }
        }
        if check.tags.is_empty() {
            return None;
        }
        let has = |wanted: &[String]| check.tags.iter().any(|tag| wanted.contains(tag));
        if !self.has_filter && !self.by_name {
            Some(Exclusion::Tagged { tags: check.tags.clone() })
        } else if has(self.exclude) {
            Some(Exclusion::ExcludedTag)
        } else if !self.include.is_empty() && !has(self.include) {
            Some(Exclusion::NoMatchingTag)
        } else {
            None
        }
    }
}

/// Removes checks of which a dependency has no option left, and what depends on them in turn.
fn drop_unsatisfied(config: &Config, fates: &mut [Option<Exclusion>]) {
    // For each check the (dependent, entry) pairs that name it.
    let mut used_by: Vec<Vec<(usize, usize)>> = vec![Vec::new(); config.checks.len()];
    let mut options_left: Vec<Vec<usize>> = Vec::with_capacity(config.checks.len());
    let mut open = VecDeque::new();
    for (position, check) in config.checks.values().enumerate() {
        let mut left = Vec::with_capacity(check.depends_on.len());
        for (entry, dependency) in check.depends_on.iter().enumerate() {
            let mut present = 0;
            for option in &dependency.options {
                if let Some(at) =
                    config.checks.get_index_of(option).filter(|at| fates[*at].is_none())
                {
                    used_by[at].push((position, entry));
                    present += 1;
                }
            }
            if present == 0 && fates[position].is_none() {
                open.push_back((position, entry));
            }
            left.push(present);
        }
        options_left.push(left);
    }
    while let Some((position, entry)) = open.pop_front() {
        if fates[position].is_some() {
            continue;
        }
        let dependency = &config.checks[position].depends_on[entry];
        let on: Vec<&str> = dependency.options.iter().map(CheckName::as_str).collect();
        fates[position] = Some(Exclusion::Dependency { on: on.join("|") });
        for (dependent, entry) in std::mem::take(&mut used_by[position]) {
            options_left[dependent][entry] -= 1;
            if options_left[dependent][entry] == 0 {
                open.push_back((dependent, entry));
            }
        }
    }
}
