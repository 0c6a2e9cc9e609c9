//! Asking a coordinator: in this process, over NATS or over HTTP, with the same questions and the
//! same answers.
//!
//! - [`backend`]: what all ways have in common, and their errors
//! - [`bus`], [`http`] (with [`sse`]): the ways; a run on this machine goes over its own bus
//! - [`connect`]: from an address to one of them
//! - [`follow`]: submit a run and watch it to its end; `silence`: how long it is waited for
//! - [`pack`]: the working tree as an archive
//! - [`environment`], [`dotenv`], [`revision`]: the submitter's variables, and what is being
//!   checked

pub(crate) mod backend;
pub(crate) mod bus;
pub(crate) mod connect;
pub(crate) mod dotenv;
pub(crate) mod environment;
pub(crate) mod follow;
pub(crate) mod http;
pub(crate) mod pack;
pub(crate) mod revision;
mod silence;
mod sse;

pub(crate) use backend::{Backend, ClientError, Seen, Watch};
