//! The check-graph engine: what a `.visor.yaml` says, which of its checks run, in which order, and
//! what came of them.
//!
//! Nothing here waits, opens a file, reads a clock or rolls dice: events go in, effects come out,
//! and the same events in the same order give the same effects. Whoever drives a run (coordinator,
//! `visor run`, tests) carries the effects out.
//!
//! - [`config`]: a file's text becomes a checked [`config::Config`], or every mistake in it
//! - [`diagnostic`]: mistakes with their place, and how they are shown
//! - [`plan`]: the selected checks with their dependencies and everything resolved
//! - [`run`]: the state machine of one run
//! - [`expression`]: `if` and `fail_if`
//! - [`result`]: what a process wrote becomes issues, output and content

pub mod config;
pub mod diagnostic;
pub mod expression;
pub mod plan;
pub mod result;
pub mod run;
mod suggest;

pub use config::{Config, Loaded};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use expression::Evaluation;
pub use plan::{CheckIndex, Context, Plan, PlannedCheck};
pub use run::{Effect, Event, RunMachine};
