//! Which checks of a configuration run, and all that is known about them beforehand.
//!
//! - `selection`: names, events and tags
//! - this file: the selected checks with their dependencies, environment and place resolved

mod selection;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use visor_protocol::CheckName;
use visor_protocol::api::Selection;
use visor_protocol::job::{Placement, SandboxSpec, Work};
use visor_protocol::outcome::Fault;

use crate::config::{self, Check, Config, Does};
use crate::diagnostic::Diagnostics;

pub use selection::Exclusion;

/// Checks that may be under way at once when neither the command line nor the file says.
pub const DEFAULT_PARALLELISM: usize = 10;

/// What is known about whoever started the run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// The submitter's environment: for expressions and for references in `env`.
    pub env: BTreeMap<String, String>,
    /// The branch that is checked.
    pub branch: Option<String>,
    /// The branch it will go into.
    pub base_branch: Option<String>,
    /// Files that differ between the two.
    pub files_changed: Vec<String>,
}

/// A check's position in [`Plan::checks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckIndex(pub u32);

impl CheckIndex {
    pub(crate) fn of(position: usize) -> Self {
        // A configuration of half a megabyte has fewer checks by four orders of magnitude.
        Self(u32::try_from(position).unwrap_or(u32::MAX))
    }

    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// One selected check.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCheck {
    /// Its name.
    pub name: CheckName,
    /// The group its results are shown under.
    pub group: String,
    /// Its type.
    pub kind: String,
    /// The schema its output follows.
    pub schema: Option<String>,
    /// What it does.
    pub work: Work,
    /// Why it cannot be run by this version, when it cannot.
    pub unsupported: Option<Fault>,
    /// Its variables: the file's, its own over them, and those that its sandbox lets through.
    pub env: BTreeMap<String, String>,
    /// Milliseconds after which it is killed.
    pub timeout_ms: u64,
    /// Where it runs.
    pub placement: Placement,
    /// It may be run again when its worker was lost.
    pub idempotent: bool,
    /// Dependents run even when it fails.
    pub continue_on_failure: bool,
    /// Whether it runs at all.
    pub if_condition: Option<Arc<str>>,
    /// Whether what it produced is a failure.
    pub fail_if: Option<Arc<str>>,
    /// What it depends on: of each entry one option must be satisfied. Only selected checks.
    pub dependencies: Vec<Vec<CheckIndex>>,
    /// The checks it depends on, each once.
    pub(crate) waits_for: Vec<CheckIndex>,
    /// The checks that depend on it, each once.
    pub(crate) dependents: Vec<CheckIndex>,
}

/// What runs.
#[derive(Debug, Clone)]
pub struct Plan {
    checks: Vec<PlannedCheck>,
    by_name: HashMap<CheckName, CheckIndex>,
    excluded: Vec<(CheckName, Exclusion)>,
    max_parallelism: usize,
    fail_fast: bool,
    fail_if: Option<Arc<str>>,
    event: Option<String>,
    env: Arc<BTreeMap<String, String>>,
    branch: Option<String>,
    base_branch: Option<String>,
    files_changed: Arc<Vec<String>>,
}

impl Plan {
    /// Selects checks and resolves what they refer to.
    ///
    /// # Errors
    /// When the selection names checks, tags or events that cannot be.
    pub fn new(
        config: &Arc<Config>,
        selection: &Selection,
        context: &Context,
    ) -> Result<Self, Diagnostics> {
        let selected = selection::select(config, selection)?;
        // Position in the configuration → position in the plan.
        let mut places: Vec<Option<CheckIndex>> = vec![None; config.checks.len()];
        for (place, position) in selected.positions.iter().enumerate() {
            places[*position] = Some(CheckIndex::of(place));
        }
        let base = Environment::new(config, context);
        let mut checks: Vec<PlannedCheck> = selected
            .positions
            .iter()
            .map(|position| base.plan(config, &config.checks[*position], &places))
            .collect();
        for place in 0..checks.len() {
            for dependency in checks[place].waits_for.clone() {
                checks[dependency.at()].dependents.push(CheckIndex::of(place));
            }
        }
        let max_parallelism = selection
            .max_parallelism
            .or(config.max_parallelism.map(std::num::NonZeroU32::get))
            .map_or(DEFAULT_PARALLELISM, |max| max.max(1) as usize);
        let names = checks.iter().map(|check| check.name.clone());
        Ok(Self {
            by_name: names.zip(0..).map(|(name, at)| (name, CheckIndex(at))).collect(),
            checks,
            excluded: selected.excluded,
            max_parallelism,
            fail_fast: selection.fail_fast.unwrap_or(config.fail_fast),
            fail_if: config.fail_if.clone(),
            event: selection.event.clone(),
            env: Arc::new(base.seen),
            branch: context.branch.clone(),
            base_branch: context.base_branch.clone(),
            files_changed: Arc::new(context.files_changed.clone()),
        })
    }

    /// The selected checks in the order of the file.
    pub fn checks(&self) -> &[PlannedCheck] {
        &self.checks
    }

    /// One of them.
    ///
    /// # Panics
    /// When the index is not one of this plan.
    pub fn check(&self, index: CheckIndex) -> &PlannedCheck {
        &self.checks[index.at()]
    }

    /// Where a check of this name stands.
    pub fn find(&self, name: &str) -> Option<CheckIndex> {
        CheckName::new(name).ok().and_then(|name| self.by_name.get(&name).copied())
    }

    /// The checks of the file that do not run, and why not.
    pub fn excluded(&self) -> &[(CheckName, Exclusion)] {
        &self.excluded
    }

    /// Checks that may be under way at once.
    pub fn max_parallelism(&self) -> usize {
        self.max_parallelism
    }

    /// Whether the first failure stops the run.
    pub fn fail_fast(&self) -> bool {
        self.fail_fast
    }

    /// Whether anything in it has to be evaluated.
    pub fn has_expressions(&self) -> bool {
        self.fail_if.is_some()
            || self
                .checks
                .iter()
                .any(|check| check.if_condition.is_some() || check.fail_if.is_some())
    }

    /// Evaluated after every check.
    pub(crate) fn fail_if(&self) -> Option<&Arc<str>> {
        self.fail_if.as_ref()
    }

    pub(crate) fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    pub(crate) fn env(&self) -> &Arc<BTreeMap<String, String>> {
        &self.env
    }

    pub(crate) fn branches(&self) -> (Option<&str>, Option<&str>) {
        (self.branch.as_deref(), self.base_branch.as_deref())
    }

    pub(crate) fn files_changed(&self) -> &Arc<Vec<String>> {
        &self.files_changed
    }
}

/// The variables that all checks share.
struct Environment<'c> {
    /// The submitter's.
    submitter: &'c BTreeMap<String, String>,
    /// The file's, resolved.
    file: BTreeMap<String, String>,
    /// Both, as expressions see them.
    seen: BTreeMap<String, String>,
}

impl<'c> Environment<'c> {
    fn new(config: &Config, context: &'c Context) -> Self {
        let value_of = |name: &str| context.env.get(name).map(String::as_str);
        let file: BTreeMap<String, String> = config
            .env
            .iter()
            .map(|(name, value)| (name.clone(), config::resolve(value, value_of)))
            .collect();
        let mut seen = context.env.clone();
        seen.extend(file.clone());
        Self { submitter: &context.env, file, seen }
    }

    fn plan(&self, config: &Config, check: &Check, places: &[Option<CheckIndex>]) -> PlannedCheck {
        let dependencies: Vec<Vec<CheckIndex>> = check
            .depends_on
            .iter()
            .map(|dependency| {
                let options = dependency.options.iter();
                let place = |option| config.checks.get_index_of(option).and_then(|at| places[at]);
                options.filter_map(place).collect::<Vec<_>>()
            })
            .filter(|options| !options.is_empty())
            .collect();
        let mut waits_for: Vec<CheckIndex> = dependencies.iter().flatten().copied().collect();
        waits_for.sort_unstable();
        waits_for.dedup();
        let (work, unsupported) = match &check.does {
            Does::Work(work) => (work.clone(), None),
            Does::Unsupported => (Work::Noop, Some(unsupported(check))),
        };
        let sandbox = config.sandbox_of(check);
        let mut env = sandbox.map_or_else(BTreeMap::new, |sandbox| self.passed(&sandbox.spec));
        // Only programs have an environment.
        if work.is_process() {
            env.extend(self.file.clone());
            for (name, value) in &check.env {
                let value_of = |name: &str| self.seen.get(name).map(String::as_str);
                env.insert(name.clone(), config::resolve(value, value_of));
            }
        }
        PlannedCheck {
            name: check.name.clone(),
            group: check.group.clone().unwrap_or_else(|| check.name.to_string()),
            kind: check.kind.clone(),
            schema: check.schema.clone(),
            work,
            unsupported,
            env,
            timeout_ms: check.timeout_ms,
            placement: sandbox.map_or(Placement::Pool, |sandbox| {
                Placement::Sandbox(Box::new(sandbox.spec.clone()))
            }),
            idempotent: check.idempotent,
            continue_on_failure: check.continue_on_failure,
            if_condition: check.if_condition.clone(),
            fail_if: check.fail_if.clone(),
            dependencies,
            waits_for,
            dependents: Vec::new(),
        }
    }

    /// The submitter's variables that a sandbox lets in. A name may end in `*`.
    fn passed(&self, spec: &SandboxSpec) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for name in &spec.env_passthrough {
            if let Some(prefix) = name.strip_suffix('*') {
                let matching = self.submitter.range(prefix.to_owned()..);
                let matching = matching.take_while(|(name, _)| name.starts_with(prefix));
                env.extend(matching.map(|(name, value)| (name.clone(), value.clone())));
            } else if let Some(value) = self.submitter.get(name) {
                env.insert(name.clone(), value.clone());
            }
        }
        env
    }
}

fn unsupported(check: &Check) -> Fault {
    Fault {
        code: "visor::check::unsupported_type".into(),
        message: format!(
            "checks of type `{}` cannot be run by this version yet; those of type `command`, `log` \
             and `noop` can",
            check.kind
        ),
        retry: false,
    }
}
