//! This machine as a place to run programs.
//!
//! The promise: when an attempt is reported, no process of it is left, whatever it did. It may
//! have forked daemons into sessions of their own, ignored SIGTERM, closed its pipes or left them
//! to others. Four things keep the promise, from cheap to dear:
//!
//! 1. every command leads a process group of its own, which is killed as a whole;
//! 2. this process is a child subreaper, so descendants that lose their parent become our children
//!    instead of init's, and every process carries its attempt in its environment ([`marker`]), so
//!    `orphans` can tell whose they are;
//! 3. the [warden](crate::warden) does the same when this process is killed;
//! 4. [`owners`] does it at the next start when even the warden was.
//!
//! - [`place`]: the [`Place`](crate::Place)
//! - `process`: one process: spawned, listened to, stopped, reaped
//! - `orphans`: what it left behind
//! - `sys`: calls that the standard library and rustix do not have

pub mod marker;
mod orphans;
pub mod owners;
pub mod place;
mod process;
pub(crate) mod sys;

pub use orphans::spare;
pub use place::HostPlace;
pub use sys::watch;
