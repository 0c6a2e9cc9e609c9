//! The roles of this program, composed from coordinator, worker and transport.
//!
//! - [`embedded`]: all in this process, for one run
//! - [`serve`]: one machine's server
//! - [`coordinator`], [`worker`]: the parts of a fleet
//! - [`common`], [`facts`], [`http`], [`lifetime`], [`nats`], [`signals`]: what they share

pub(crate) mod common;
pub(crate) mod coordinator;
pub(crate) mod embedded;
mod facts;
mod http;
mod lifetime;
pub(crate) mod nats;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod worker;
