//! The coordinator over HTTP, asked by a real client over real connections.
//!
//! - [`site`]: a coordinator with scripted workers behind its HTTP side
//! - [`stub`]: a service that answers what a test wants, where a real one cannot be made to

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod access;
mod api;
mod connections;
mod document;
mod events;
mod metrics;
mod site;
mod stub;
