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
    /// The events, encoded one after the other. They are stored as one value: a run of one check
    /// is two of them instead of five.
    pub events: Vec<u8>,
    /// The run's new line in the list, when it changed.
    pub summary: Option<Line>,
    /// A job given up on.
    pub dead_letters: Vec<Vec<u8>>,
}

/// A run's line in the list.
#[derive(Debug, Clone)]
pub struct Line {
    /// The run is not finished.
    pub is_open: bool,
    /// Its summary, encoded.
    pub summary: Vec<u8>,
}

impl RunWrite {
    /// An empty write for a run whose history has `first` events.
    pub fn new(run: RunId, first: u32) -> Self {
        Self { run, first, events: Vec::new(), summary: None, dead_letters: Vec::new() }
    }

    /// Appends an event.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn push(&mut self, event: &Recorded) -> Result<(), StoreError> {
        rmp_serde::encode::write_named(&mut self.events, event)
            .map_err(|error| StoreError::Write { why: error.to_string() })
    }

    /// Replaces the run's line in the list.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn set_summary(&mut self, summary: &RunSummary) -> Result<(), StoreError> {
        let is_open = !summary.state.is_finished();
        self.summary = Some(Line { is_open, summary: encode(summary)? });
        Ok(())
    }

    /// The run ends with this.
    pub(super) fn is_end(&self) -> bool {
        self.summary.as_ref().is_some_and(|line| !line.is_open)
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

/// Reads the events of one write.
pub(super) fn decode_events(
    mut bytes: &[u8],
    history: &mut Vec<Recorded>,
) -> Result<(), StoreError> {
    while !bytes.is_empty() {
        let event = rmp_serde::from_read(&mut bytes)
            .map_err(|error| StoreError::Read { why: error.to_string() })?;
        history.push(event);
    }
    Ok(())
}
