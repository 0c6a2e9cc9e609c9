//! The checked configuration: every reference in it resolves, every number is within its limits.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;
use visor_protocol::CheckName;
use visor_protocol::job::{SandboxSpec, Work};

use crate::diagnostic::Source;

/// What a file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file.
    pub source: Arc<Source>,
    /// Its `version`, which is not interpreted.
    pub version: String,
    /// Its checks, in its order.
    pub checks: IndexMap<CheckName, Check>,
    /// Checks that may be under way at once.
    pub max_parallelism: Option<NonZeroU32>,
    /// Whether the first failure stops the run.
    pub fail_fast: bool,
    /// Evaluated after every check.
    pub fail_if: Option<Arc<str>>,
    /// Variables for all checks, references not yet resolved.
    pub env: BTreeMap<String, String>,
    /// The tags that are selected when the command line names none.
    pub tag_filter: TagFilter,
    /// Its sandboxes.
    pub sandboxes: BTreeMap<String, SandboxDefinition>,
    /// The sandbox of checks that name none.
    pub sandbox: Option<String>,
}

impl Config {
    /// The position of the check of this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        CheckName::new(name).ok().and_then(|name| self.checks.get_index_of(&name))
    }

    /// The sandbox that a check runs in: its own, or the file's. None for one that starts no
    /// program, and for one that runs wherever those without a sandbox do.
    pub fn sandbox_of(&self, check: &Check) -> Option<&SandboxDefinition> {
        let name = check.sandbox.as_ref().or(self.sandbox.as_ref())?;
        match &check.does {
            Does::Work(work) if work.is_process() => self.sandboxes.get(name),
            Does::Work(_) | Does::Unsupported => None,
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its name.
    pub name: CheckName,
    /// Its type as the file spells it.
    pub kind: String,
    /// What it does.
    pub does: Does,
    /// What must be settled before it runs.
    pub depends_on: Vec<Dependency>,
    /// The events it runs on; none means every event, an empty list that it is switched off.
    pub on: Option<Vec<String>>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its own variables, references not yet resolved.
    pub env: BTreeMap<String, String>,
    /// Milliseconds after which it is killed.
    pub timeout_ms: u64,
    /// The group its results are shown under.
    pub group: Option<String>,
    /// The schema its output follows: a name, or `custom`.
    pub schema: Option<String>,
    /// Dependents run even when it fails.
    pub continue_on_failure: bool,
    /// What depends on it in the world.
    pub criticality: Criticality,
    /// Whether it runs at all.
    pub if_condition: Option<Arc<str>>,
    /// Whether what it produced is a failure.
    pub fail_if: Option<Arc<str>>,
    /// The sandbox it runs in.
    pub sandbox: Option<String>,
    /// It may be run again when its worker was lost.
    pub idempotent: bool,
    /// Its name in the text.
    pub span: Range<usize>,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    /// This.
    Work(Work),
    /// Something that the language has and this build does not: it fails when it is its turn.
    Unsupported,
}

/// One entry of `depends_on`: satisfied when any of its options is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Names of checks that exist.
    pub options: Vec<CheckName>,
    /// The entry in the text.
    pub span: Range<usize>,
}

/// How much depends on a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Criticality {
    /// It changes the outside world.
    External,
    /// It changes what later checks rely on.
    Internal,
    /// It judges.
    #[default]
    Policy,
    /// It informs: its failure stops nothing.
    Info,
}

/// Tags that select checks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagFilter {
    /// Checks with one of these run.
    pub include: Vec<String>,
    /// Checks with one of these do not.
    pub exclude: Vec<String>,
}

/// A sandbox of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxDefinition {
    /// The container.
    pub spec: SandboxSpec,
    /// Its name in the text.
    pub span: Range<usize>,
}
