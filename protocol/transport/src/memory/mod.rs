//! The bus within one process.
//!
//! Nothing leaves the process, so nothing survives it but blobs, where a folder is given for them:
//! whoever needs durability keeps a journal.
//! It works under paused time and on either runtime of tokio, and starts no task per message.
//!
//! - [`bus`]: [`MemoryBus`] and its options
//! - `core`: publish, subscribe, request and answer
//! - `queue`: a work queue, its redelivery and its consumers
//! - `ledger`: the bookkeeping of a work queue, free of locks and tasks
//! - `dedupe`: message ids seen of late
//! - `blobs`: bytes by their hash
//! - `folder`: the same in a directory, for a server that is started again
//! - `events`: the latest recorded events

mod blobs;
pub mod bus;
mod core;
mod dedupe;
mod events;
mod folder;
mod ledger;
mod queue;

pub use bus::{MemoryBus, MemoryOptions};
