//! Everything that people and programs are shown. Pure: facts, the time and the width come in,
//! text goes out; only [`terminal`] touches the process's streams.
//!
//! - [`style`], [`text`], [`table`]: colours, durations, widths, and making foreign text harmless
//! - [`terminal`]: what the streams can do, and writing to them
//! - [`progress`]: a run while it goes on
//! - [`summary`], [`markdown`], [`json`]: a run when it is over
//! - [`lists`], [`status`], [`why`]: what operators ask
//! - [`placement`]: where checks run, before they do
//! - [`startup`]: the block a service prints first

pub(crate) mod json;
pub(crate) mod lists;
pub(crate) mod markdown;
pub(crate) mod placement;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod startup;
pub(crate) mod status;
pub(crate) mod style;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod why;
