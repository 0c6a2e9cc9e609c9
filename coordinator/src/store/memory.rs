//! The journal in memory: for a run on one's own machine that nobody asked to survive.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use visor_protocol::api::DeadLetter;
use visor_protocol::event::Recorded;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunSummary;

use super::batch::{RunWrite, decode};
use super::{Backend, StoreError};

/// The journal in memory.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: BTreeMap<RunId, Vec<Vec<u8>>>,
    summaries: BTreeMap<RunId, Vec<u8>>,
    open: BTreeSet<RunId>,
    dead_letters: Vec<Vec<u8>>,
}

impl Backend for MemoryBackend {
    fn commit(&self, batches: &[RunWrite]) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        for batch in batches {
            let events = state.events.entry(batch.run).or_default();
            events.truncate(batch.first as usize);
            events.extend(batch.events.iter().cloned());
            if let Some(summary) = &batch.summary {
                state.summaries.insert(batch.run, summary.clone());
            }
            match batch.open {
                Some(true) => _ = state.open.insert(batch.run),
                Some(false) => _ = state.open.remove(&batch.run),
                None => {}
            }
            state.dead_letters.extend(batch.dead_letters.iter().cloned());
        }
        Ok(())
    }

    fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn events(&self, run: RunId) -> Result<Vec<Recorded>, StoreError> {
        let state = self.state.lock();
        state.events.get(&run).into_iter().flatten().map(|bytes| decode(bytes)).collect()
    }

    fn summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        self.state.lock().summaries.get(&run).map(|bytes| decode(bytes)).transpose()
    }

    fn summaries(
        &self,
        limit: usize,
        wanted: &dyn Fn(&RunSummary) -> bool,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let state = self.state.lock();
        let mut found = Vec::new();
        for bytes in state.summaries.values().rev() {
            if found.len() >= limit {
                break;
            }
            let summary = decode(bytes)?;
            if wanted(&summary) {
                found.push(summary);
            }
        }
        Ok(found)
    }

    fn open_runs(&self) -> Result<Vec<RunId>, StoreError> {
        Ok(self.state.lock().open.iter().copied().collect())
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.state.lock().dead_letters.iter().rev().map(|bytes| decode(bytes)).collect()
    }

    fn prune(&self, keep: usize) -> Result<usize, StoreError> {
        let mut state = self.state.lock();
        let excess = state.summaries.len().saturating_sub(keep);
        let gone: Vec<RunId> = state
            .summaries
            .keys()
            .filter(|run| !state.open.contains(run))
            .take(excess)
            .copied()
            .collect();
        for run in &gone {
            state.events.remove(run);
            state.summaries.remove(run);
        }
        Ok(gone.len())
    }
}
