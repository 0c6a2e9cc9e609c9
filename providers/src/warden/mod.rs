//! The warden: a helper process that cleans up when the process that runs checks is killed.
//!
//! SIGKILL cannot be caught, so somebody else must notice. The warden is this same program,
//! started with a hidden argument, in a session of its own. It holds the other end of a pipe; when
//! that closes, its owner is gone, and it kills what the owner left: process groups, everything
//! that carries the owner's mark, containers, and temporary directories.
//!
//! It is started only when something has run for a while, so short runs never pay for it.
//!
//! - [`client`]: the owner's side
//! - [`guard`]: the warden's side
//! - `engine`: the one call to a container engine that it needs

mod client;
mod engine;
mod guard;

pub use client::{
    Container, Directory, Group, enable, spawn_lazily, watch_container, watch_directory,
    watch_group,
};
pub use guard::{ARGUMENT, main};
