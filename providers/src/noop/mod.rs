//! `type: noop`: a place where dependencies meet. Succeeds at once.

mod provider;

pub use provider::NoopProvider;
