//! `type: log`: says something. The message is the check's standard output; where it is shown,
//! and from which level on, is the reader's choice.

mod provider;

pub use provider::LogProvider;
