//! NATS with JetStream, 2.9 or later.
//!
//! The server keeps what is queued; this client repairs everything around it. Connections come
//! back by themselves for ever, streams and consumers that a server lost are made again by whoever
//! needs them, and every call gives up at its deadline with the reason.
//!
//! The JetStream API is spoken here directly (`api`), with only those fields of an answer that are
//! needed: servers of different versions leave out different ones.
//!
//! - [`options`]: [`NatsOptions`], addresses and credentials
//! - `connect`: connecting, and what is made of connection events
//! - `link`: the connection and what is known of it
//! - `version`: what a server's version lacks
//! - `api`: requests to JetStream and why they fail
//! - `patience`: repeating until a deadline
//! - `streams`: the streams and consumers, and making them
//! - `store`: publishing what must be kept
//! - `pulls`, `consumer`, `delivery`: taking from a queue
//! - `subscription`: core subscriptions
//! - `blobs`: the object store
//! - `bus`: all of it behind the trait

mod api;
mod blobs;
mod bus;
mod connect;
mod consumer;
mod delivery;
mod link;
pub mod options;
mod patience;
mod pulls;
mod store;
mod streams;
mod subscription;
mod version;

pub use connect::connect;
pub use options::{Credentials, NatsOptions};
