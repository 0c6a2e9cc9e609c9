//! The journal in memory: for a run on one's own machine that nobody asked to survive.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use visor_protocol::api::DeadLetter;
use visor_protocol::event::Recorded;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunSummary;

use super::batch::{Line, RunWrite, decode, decode_events};
use super::{Backend, StoreError};

/// The journal in memory.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The writes of each run, with the place of their first event.
    events: BTreeMap<RunId, Vec<(u32, Vec<u8>)>>,
    summaries: BTreeMap<RunId, Line>,
    dead_letters: Vec<Vec<u8>>,
}

impl Backend for MemoryBackend {
    fn commit(&self, batches: &[Arc<RunWrite>]) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        for batch in batches {
            if !batch.events.is_empty() {
                let writes = state.events.entry(batch.run).or_default();
                writes.retain(|(first, _)| *first < batch.first);
                writes.push((batch.first, batch.events.clone()));
            }
            if let Some(line) = &batch.summary {
                state.summaries.insert(batch.run, line.clone());
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
        let mut history = Vec::new();
        for (_, events) in state.events.get(&run).into_iter().flatten() {
            decode_events(events, &mut history)?;
        }
        Ok(history)
    }

    fn summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        self.state.lock().summaries.get(&run).map(|line| decode(&line.summary)).transpose()
    }

    fn summaries(
        &self,
        limit: usize,
        wanted: &dyn Fn(&RunSummary) -> bool,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let state = self.state.lock();
        let mut found = Vec::new();
        for line in state.summaries.values().rev() {
            if found.len() >= limit {
                break;
            }
            let summary = decode(&line.summary)?;
            if wanted(&summary) {
                found.push(summary);
            }
        }
        Ok(found)
    }

    fn open_runs(&self) -> Result<Vec<RunId>, StoreError> {
        let state = self.state.lock();
        Ok(state.summaries.iter().filter(|(_, line)| line.is_open).map(|(run, _)| *run).collect())
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.state.lock().dead_letters.iter().rev().map(|bytes| decode(bytes)).collect()
    }

    fn prune(&self, keep: usize) -> Result<usize, StoreError> {
        let mut state = self.state.lock();
        let excess = state.summaries.len().saturating_sub(keep);
        let gone: Vec<RunId> = state
            .summaries
            .iter()
            .filter(|(_, line)| !line.is_open)
            .map(|(run, _)| *run)
            .take(excess)
            .collect();
        for run in &gone {
            state.events.remove(run);
            state.summaries.remove(run);
        }
        Ok(gone.len())
    }
}
