//! Containers: each check gets one of its own, closed wherever the check did not ask for an
//! opening, and removed when it ends.
//!
//! - [`engine`]: calls to the container engine, each with a deadline
//! - [`create`]: what a container looks like: the hardening is all here
//! - [`place`]: running one check in one container; `attend`: from its start to its end
//! - [`meter`]: what it used
//! - [`keeper`]: whether the engine and the images are there; containers that nobody needs any more
//! - [`images`]: what is known of the images
//! - [`life`]: telling containers of dead processes from those of living ones

mod attend;
pub mod create;
pub mod engine;
pub mod images;
pub mod keeper;
pub mod life;
pub mod meter;
pub mod place;

pub use engine::{Engine, EngineError};
pub use keeper::Sandboxes;
