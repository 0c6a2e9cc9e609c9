//! A bus that loses, doubles, delays and reorders, by a seed, and can be cut off.
//!
//! Give each process of a simulation its own [`FaultyBus`] over one memory bus: what it sends is
//! subject to its faults, and cutting it partitions that process from all others.
//!
//! - `chaos`: the seeded decisions and the switches
//! - `bus`: the wrapped calls
//! - `queue`: the wrapped consumers and deliveries

mod bus;
mod chaos;
mod queue;

pub use bus::FaultyBus;
pub use chaos::{Direction, Faults, Toll};
