//! The files that jobs see. A packed tree is fetched by its hash, unpacked once, and copied for
//! each job; the copy is the job's own and goes with it.
//!
//! - [`store`]: fetching, keeping and handing out
//! - [`unpack`]: from an archive that nobody trusts to a tree that stays where it is put
//! - [`copy`]: private copies, and taking them away
//! - [`growth`]: how large a check has made its copy

pub mod copy;
pub mod growth;
pub mod store;
pub mod unpack;

pub use store::{LaidOut, WorkspaceError, Workspaces};
