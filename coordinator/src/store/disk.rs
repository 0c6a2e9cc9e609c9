//! The journal on disk, in redb.
//!
//! What a run writes at once is one value, keyed by the run and the place of its first event: a
//! run's history is one range, and runs sort by the time they were submitted. Every commit is one
//! transaction that is on the disk when it returns.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};
use visor_protocol::api::DeadLetter;
use visor_protocol::event::Recorded;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunSummary;

use super::batch::{Line, RunWrite, decode, decode_events};
use super::{Backend, StoreError};

const EVENTS: TableDefinition<'_, &[u8; 20], &[u8]> = TableDefinition::new("events");
/// One byte for whether the run is open, then its summary.
const SUMMARIES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("runs");
const DEAD_LETTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead_letters");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const PROBE: TableDefinition<'_, (), &[u8]> = TableDefinition::new("probe");

/// As much as a busy moment writes at once.
const PROBE_BYTES: usize = 256 * 1024;

/// The layout of the tables above.
const FORMAT: u64 = 2;

/// Runs removed by one call of `prune`, so that it never holds up the commits behind it.
const PRUNE_AT_ONCE: usize = 512;

/// redb keeps this much of the file in memory. The default of a gigabyte would let a small
/// coordinator grow far beyond what its work needs.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The journal in a directory.
pub struct DiskBackend {
    path: PathBuf,
    /// `None` while the file has to be opened again after an input/output error: redb refuses all
    /// work after one, and recovers when it is opened.
    database: RwLock<Option<Arc<Database>>>,
}

impl DiskBackend {
    /// Opens the journal in a directory, making both when they are not there.
    ///
    /// # Errors
    /// When the directory cannot be written, another process has the journal open, or it was
    /// written by a newer build.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory).map_err(|error| StoreError::Open {
            path: directory.display().to_string(),
            why: error.to_string(),
        })?;
        let path = directory.join("journal.redb");
        let database = open(&path)?;
        Ok(Self { path, database: RwLock::new(Some(Arc::new(database))) })
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.database
            .read()
            .clone()
            .ok_or_else(|| StoreError::Read { why: "the journal is being recovered".into() })
    }

    /// The database for writing, opened again when an earlier write broke it.
    fn writable(&self) -> Result<Arc<Database>, StoreError> {
        if let Some(database) = self.database.read().clone() {
            return Ok(database);
        }
        let mut slot = self.database.write();
        let database = Arc::new(open(&self.path)?);
        *slot = Some(Arc::clone(&database));
        tracing::info!(path = %self.path.display(), "journal opened again");
        Ok(database)
    }

    fn write(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let database = self.writable()?;
        let attempt = || -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            work(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        attempt().map_err(|error| {
            // Readers let go of their clones soon; the next write opens the file anew.
            *self.database.write() = None;
            StoreError::Write { why: error.to_string() }
        })
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let failed = |why: String| StoreError::Open { path: path.display().to_string(), why };
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(
        |error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => failed(
                "another process has it open; give each coordinator its own --data-dir".into(),
            ),
            other => failed(other.to_string()),
        },
    )?;
    let prepare = || -> Result<u64, redb::Error> {
        let transaction = database.begin_write()?;
        let format = {
            transaction.open_table(EVENTS)?;
            transaction.open_table(SUMMARIES)?;
            transaction.open_table(DEAD_LETTERS)?;
            let mut meta = transaction.open_table(META)?;
            let known = meta.get("format")?.map(|value| value.value());
            if known.is_none() {
                meta.insert("format", FORMAT)?;
            }
            known.unwrap_or(FORMAT)
        };
        transaction.commit()?;
        Ok(format)
    };
    let found = prepare().map_err(|error| failed(error.to_string()))?;
    if found != FORMAT {
        return Err(StoreError::Format { path: path.display().to_string(), found, known: FORMAT });
    }
    Ok(database)
}

fn event_key(run: RunId, place: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&run.to_bytes());
    key[16..].copy_from_slice(&place.to_be_bytes());
    key
}

/// Whether a run is open, and its summary.
fn split(line: &[u8]) -> (bool, &[u8]) {
    match line.split_first() {
        Some((open, summary)) => (*open == 1, summary),
        None => (false, line),
    }
}

fn read_error(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Read { why: error.into().to_string() }
}

impl Backend for DiskBackend {
    fn commit(&self, batches: &[Arc<RunWrite>]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut events = transaction.open_table(EVENTS)?;
            let mut summaries = transaction.open_table(SUMMARIES)?;
            let mut line = Vec::new();
            for batch in batches {
                if !batch.events.is_empty() {
                    events.insert(&event_key(batch.run, batch.first), batch.events.as_slice())?;
                }
                if let Some(Line { is_open, summary }) = &batch.summary {
                    line.clear();
                    line.push(u8::from(*is_open));
                    line.extend_from_slice(summary);
                    summaries.insert(&batch.run.to_bytes(), line.as_slice())?;
                }
                if !batch.dead_letters.is_empty() {
                    let mut letters = transaction.open_table(DEAD_LETTERS)?;
                    let next = letters.last()?.map_or(0, |(place, _)| place.value() + 1);
                    for (place, letter) in (next..).zip(&batch.dead_letters) {
                        letters.insert(place, letter.as_slice())?;
                    }
                }
            }
            Ok(())
        })
    }

    fn probe(&self) -> Result<(), StoreError> {
        let room = vec![0_u8; PROBE_BYTES];
        self.write(|transaction| {
            transaction.open_table(PROBE)?.insert((), room.as_slice())?;
            Ok(())
        })?;
        self.write(|transaction| {
            transaction.open_table(PROBE)?.remove(())?;
            Ok(())
        })
    }

    fn events(&self, run: RunId) -> Result<Vec<Recorded>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(read_error)?;
        let table = transaction.open_table(EVENTS).map_err(read_error)?;
        let (first, last) = (event_key(run, 0), event_key(run, u32::MAX));
        let range = table.range::<&[u8; 20]>(&first..=&last).map_err(read_error)?;
        let mut history = Vec::new();
        for entry in range {
            let (_, value) = entry.map_err(read_error)?;
            decode_events(value.value(), &mut history)?;
        }
        Ok(history)
    }

    fn summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(read_error)?;
        let table = transaction.open_table(SUMMARIES).map_err(read_error)?;
        let found = table.get(&run.to_bytes()).map_err(read_error)?;
        found.map(|line| decode(split(line.value()).1)).transpose()
    }

    fn summaries(
        &self,
        limit: usize,
        wanted: &dyn Fn(&RunSummary) -> bool,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(read_error)?;
        let table = transaction.open_table(SUMMARIES).map_err(read_error)?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(read_error)?.rev() {
            if found.len() >= limit {
                break;
            }
            let (_, value) = entry.map_err(read_error)?;
            let summary = decode(split(value.value()).1)?;
            if wanted(&summary) {
                found.push(summary);
            }
        }
        Ok(found)
    }

    fn open_runs(&self) -> Result<Vec<RunId>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(read_error)?;
        let table = transaction.open_table(SUMMARIES).map_err(read_error)?;
        let mut runs = Vec::new();
        for entry in table.iter().map_err(read_error)? {
            let (key, line) = entry.map_err(read_error)?;
            if split(line.value()).0 {
                runs.push(RunId::from_bytes(*key.value()));
            }
        }
        Ok(runs)
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(read_error)?;
        let table = transaction.open_table(DEAD_LETTERS).map_err(read_error)?;
        table
            .iter()
            .map_err(read_error)?
            .rev()
            .map(|entry| {
                let (_, value) = entry.map_err(read_error)?;
                decode(value.value())
            })
            .collect()
    }

    fn prune(&self, keep: usize) -> Result<usize, StoreError> {
        let gone = {
            let transaction = self.database()?.begin_read().map_err(read_error)?;
            let table = transaction.open_table(SUMMARIES).map_err(read_error)?;
            let excess = usize::try_from(table.len().map_err(read_error)?)
                .unwrap_or(usize::MAX)
                .saturating_sub(keep)
                .min(PRUNE_AT_ONCE);
            let mut gone = Vec::with_capacity(excess);
            for entry in table.iter().map_err(read_error)? {
                if gone.len() == excess {
                    break;
                }
                let (key, line) = entry.map_err(read_error)?;
                if !split(line.value()).0 {
                    gone.push(*key.value());
                }
            }
            gone
        };
        if gone.is_empty() {
            return Ok(0);
        }
        self.write(|transaction| {
            let mut events = transaction.open_table(EVENTS)?;
            let mut summaries = transaction.open_table(SUMMARIES)?;
            for key in &gone {
                let run = RunId::from_bytes(*key);
                let (first, last) = (event_key(run, 0), event_key(run, u32::MAX));
                events.retain_in::<&[u8; 20], _>(&first..=&last, |_, _| false)?;
                summaries.remove(key)?;
            }
            Ok(())
        })?;
        Ok(gone.len())
    }
}
