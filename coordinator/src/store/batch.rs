//! What is written at once.

use visor_protocol::api::DeadLetter;
use visor_protocol::event::Recorded;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunSummary;

use super::StoreError;

/// One run's part of a commit, already encoded.
#[derive(Debug, Clone)]
pub struct RunWrite {
    /// Which run.
    pub run: RunId,
    /// The place of the first event in the run's history.
    pub first: u32,
    /// The events, encoded, in order.
    pub events: Vec<Vec<u8>>,
    /// The run's new line in the list, when it changed.
    pub summary: Option<Vec<u8>>,
    /// Whether the run is open from now on, when that changed.
    pub open: Option<bool>,
    /// A job given up on.
    pub dead_letters: Vec<Vec<u8>>,
}

impl RunWrite {
    /// An empty write for a run whose history has `first` events.
    pub fn new(run: RunId, first: u32) -> Self {
        Self { run, first, events: Vec::new(), summary: None, open: None, dead_letters: Vec::new() }
    }

    /// Appends an event.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn push(&mut self, event: &Recorded) -> Result<(), StoreError> {
        self.events.push(encode(event)?);
        Ok(())
    }

    /// Replaces the run's line in the list.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn set_summary(&mut self, summary: &RunSummary) -> Result<(), StoreError> {
        self.summary = Some(encode(summary)?);
        Ok(())
    }

    /// Adds a job given up on.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn push_dead_letter(&mut self, letter: &DeadLetter) -> Result<(), StoreError> {
        self.dead_letters.push(encode(letter)?);
        Ok(())
    }
}

/// How values stand in the store: MessagePack with named fields, like messages.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    rmp_serde::to_vec_named(value).map_err(|error| StoreError::Write { why: error.to_string() })
}

/// Reads what [`encode`] wrote.
pub(super) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes).map_err(|error| StoreError::Read { why: error.to_string() })
}
