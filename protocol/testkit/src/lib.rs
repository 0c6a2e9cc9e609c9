//! What tests need: time that can be moved, a bus that misbehaves, real servers, things to send.
//!
//! - [`clock`]: the [`VirtualClock`]
//! - [`wait`]: waiting with [`eventually`] and its like
//! - [`build`]: submissions, jobs and ids
//! - [`faulty`]: the [`FaultyBus`], seeded loss, duplication, delay and partitions over any bus
//! - [`worker`]: the [`FakeWorker`], a worker that follows a script
//! - [`docker`]: the [`docker::DockerEngine`], a real container engine
//! - [`nats`]: the [`nats::NatsServer`], a real server on a free port

pub mod build;
pub mod clock;
pub mod docker;
pub mod faulty;
pub mod nats;
pub mod wait;
pub mod worker;

pub use clock::VirtualClock;
pub use faulty::{Faults, FaultyBus};
pub use wait::{eventually, eventually_some};
pub use worker::{FakeWorker, FakeWorkerOptions, Scripted};
