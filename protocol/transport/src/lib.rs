//! The bus between coordinators, workers and clients: one trait, two things that have it.
//!
//! - [`bus`]: the trait and its types
//! - [`memory`]: within one process
//! - [`nats`]: NATS with JetStream, 2.9 or later

pub mod bus;
mod content;
pub mod memory;
pub mod nats;

pub use bus::{
    Bus, BusError, BusInfo, Consumer, Delivery, Message, Queue, QueueState, ReplyTo, Subscription,
};
pub use memory::{MemoryBus, MemoryOptions};
