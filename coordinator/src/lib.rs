//! The coordinator: accepts runs, decides who goes next, keeps the journal, repairs what is lost.
//!
//! ```text
//! Root
//! ├── Dispatcher       fairness, token buckets, slots; hands jobs to the transport
//! ├── Fleet            workers, heartbeats, leases
//! └── Channels ── Channel ── Branch (run) ── Check (job)
//! ```
//!
//! Beside the tree: the journal's writer thread ([`store`]), the reader of the results queue
//! ([`results`]), the hub that tells the world ([`notice`]), and the API ([`api`], [`http`]).
//! Decisions live in the `core.rs` files, as plain values; the actors around them only carry
//! messages in and effects out.

pub mod api;
mod channel;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod fleet;
pub mod gauges;
pub mod http;
mod notice;
pub mod probe;
mod results;
mod root;
mod services;
pub mod store;

pub use api::ApiService;
pub use config::{CoordinatorConfig, FleetConfig, LeaseTiming};
pub use error::{StartError, Stopped};
pub use probe::{Probe, ProbePoint};
pub use root::{Coordinator, CoordinatorHandle};
