//! The coordinator over HTTP: an API, live events, health and metrics.
//!
//! - [`options`]: the address, the token, the limits, and why it does not start
//! - [`server`]: listening, connections, stopping
//! - [`router`]: every route in one table, and what the handlers share
//! - [`access`]: who may ask
//! - [`fault`]: refusals as JSON
//! - [`intake`]: bodies, paths and queries, bounded and with precise errors
//! - [`runs`], [`fleet`], [`blobs`], [`health`]: the handlers
//! - [`events`]: a run as it goes, as server-sent events
//! - [`metrics`], [`exposition`]: `/metrics`
//! - [`document`]: the OpenAPI description

mod access;
mod blobs;
mod document;
mod events;
mod exposition;
mod fault;
mod fleet;
mod health;
mod intake;
mod metrics;
mod options;
mod patience;
mod router;
mod runs;
mod server;

pub use document::openapi;
pub use options::{HttpError, HttpLimits, HttpOptions, RandomSource, Token, TokenError};
pub use router::routes;
pub use server::{HttpHandle, HttpServer, bind, serve};
