//! Logs and traces of every process: one [`init`] at its start, one [`Guard`] until its end.
//!
//! - [`config`]: [`TelemetryConfig`] and what the environment says
//! - [`fields`]: the names of fields, spelled once
//! - `log`: log lines for people and for programs
//! - `otlp`: traces to a collector, only where one is named
//! - [`trace`]: carrying a trace from one process to another
//! - `start`: putting it together

pub mod config;
pub mod fields;
mod log;
mod otlp;
mod start;
pub mod trace;

pub use config::{Color, LogFormat, OtlpConfig, Output, TelemetryConfig};
pub use start::{Guard, TelemetryError, init, subscriber};
