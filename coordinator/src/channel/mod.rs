//! Channels, their runs, and the jobs of the runs.
//!
//! ```text
//! Channels ── Channel (one for each tenant or repository with open runs)
//!                └─ Branch (one for each open run; owns its engine and its journal)
//!                      └─ Check (one for each job under way; owns its attempts)
//! ```
//!
//! - [`channels`], [`channel`](self::one): open runs, rebuild those that fall over
//! - [`branch`]: feeds the engine, commits, then acts
//! - [`check`]: the attempts at one job
//! - [`book`]: what is known of a run, as a pure function of its journal
//! - [`plans`]: configurations and plans kept ready
//! - [`recent`]: runs that ended a moment ago
//! - [`words`]: how checks and runs ended, as people are told it
//! - [`directory`]: where the actor of a run or job is

pub(crate) mod book;
pub(crate) mod branch;
pub(crate) mod channels;
pub(crate) mod check;
pub(crate) mod directory;
pub(crate) mod one;
pub(crate) mod plans;
pub(crate) mod recent;
mod words;
