//! What targets have in common.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use visor_protocol::api::{Priority, Revision, Submission};

use crate::scenario::Scenario;
use crate::session::{Channels, RunIds};

/// The runs of a scenario, as they are submitted.
pub(super) struct Submissions {
    pub(super) ids: RunIds,
    channels: Channels,
    template: Submission,
}

impl Submissions {
    pub(super) fn new(ids: RunIds, channels: Channels, scenario: &Scenario) -> Self {
        let template = Submission {
            run: ids.id(0),
            channel: channels.of(0),
            config: scenario.config(),
            selection: scenario.selection(),
            revision: Revision::default(),
            workspace: None,
            env: BTreeMap::new(),
            priority: Priority::Normal,
            pool: None,
            timeout_ms: None,
            watched: false,
        };
        Self { ids, channels, template }
    }

    /// The run with this number.
    pub(super) fn of(&self, run: u32) -> Submission {
        let (id, channel) = (self.ids.id(run), self.channels.of(run));
        Submission { run: id, channel, ..self.template.clone() }
    }
}

/// Faults seen so far, by kind.
#[derive(Default)]
pub(super) struct Faults(Mutex<BTreeMap<String, u64>>);

impl Faults {
    pub(super) fn count(&self, kind: impl Into<String>) {
        *self.0.lock().entry(kind.into()).or_default() += 1;
    }

    pub(super) fn list(&self) -> Vec<(String, u64)> {
        self.0.lock().iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    }
}
