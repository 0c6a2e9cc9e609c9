//! One run: feeds the engine, commits what happened, and only then acts.
//!
//! - [`actor`]: messages in, commits and effects out
//! - [`tell`]: from journal events to notices

mod actor;
mod tell;

pub(crate) use actor::{Accepted, Arguments, BranchActor, Msg, Origin, UNRECOVERABLE};
