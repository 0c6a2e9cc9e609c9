//! One run: feeds the engine, commits what happened, and only then acts.
//!
//! - [`actor`]: messages in, events out
//! - [`commit`]: events to the journal, and only then acted on
//! - [`checks`]: the actors of the run's jobs
//! - [`tell`]: from journal events to notices

mod actor;
mod checks;
mod commit;
mod tell;

pub(crate) use actor::{Accepted, Arguments, BranchActor, Msg, Origin, UNRECOVERABLE};
