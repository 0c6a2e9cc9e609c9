//! An open-loop load generator for Visor: runs arrive when a seeded timetable says so, whatever
//! the system does, and every latency counts from the intended moment.
//!
//! - [`scenario`], [`arrivals`]: what is submitted, and when
//! - [`pace`], [`drive`]: keeping to the timetable
//! - [`target`]: the systems a load is put on
//! - [`book`], [`ledger`], [`measure`]: the exact account of every run, and its latencies
//! - [`session`]: the clock and the names of one load
//! - [`fixture`]: NATS, a coordinator and workers of our own
//! - [`worker_loss`]: how soon the jobs of a killed worker run again
//! - [`queue_floor`]: the bare queue that a fleet is measured against
//! - [`usage`], [`report`], [`progress`], [`say`]: what processes use, and what is shown

pub mod arrivals;
pub mod book;
pub mod drive;
pub mod fixture;
pub mod ledger;
pub mod measure;
pub mod pace;
pub mod progress;
pub mod queue_floor;
pub mod report;
pub mod say;
pub mod scenario;
pub mod session;
pub mod target;
pub mod usage;
pub mod worker_loss;
