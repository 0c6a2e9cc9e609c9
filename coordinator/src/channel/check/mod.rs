//! One job: the attempts at it, until one settles it.
//!
//! - [`core`]: what an event means for the job, in plain values
//! - [`actor`]: renders the job, asks for a slot, hands it over, tells the branch

mod actor;
mod core;
mod render;

pub(crate) use actor::{Arguments, CheckActor, Msg};
pub(crate) use core::Tries;
pub(crate) use render::Source;
