//! `type: command`: a shell command line, run in the place the worker chose.

mod provider;

pub use provider::CommandProvider;
