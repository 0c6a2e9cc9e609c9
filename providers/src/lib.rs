//! What checks do: one provider for each type of check, and the host as a place to run programs.
//!
//! A provider turns a rendered [`Job`](visor_protocol::Job) into a [`Finished`]. Providers that run
//! programs are handed a [`Place`] to run them in; whether that is this machine ([`host`]) or a
//! sandbox is the worker's decision.
//!
//! - [`provider`], [`registry`]: the trait, and all that there are
//! - [`command`], [`log`], [`noop`]: the providers
//! - [`place`]: where programs run
//! - [`recorder`], [`capture`]: bounded output, and its live stream
//! - [`host`]: programs as processes of this machine, none of which outlives its check
//! - [`warden`]: the helper that cleans up when the process that runs checks is killed

pub mod capture;
pub mod command;
pub mod host;
pub mod log;
pub mod noop;
pub mod place;
pub mod provider;
pub mod recorder;
pub mod registry;
pub mod warden;

pub use capture::Output;
pub use place::{GRACE, Place, Ran, ShellCommand, Stop};
pub use provider::{Finished, Provider};
pub use recorder::{LogSink, Recorder, Stream};
pub use registry::Registry;
