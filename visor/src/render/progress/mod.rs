//! A run while it goes on.
//!
//! - [`model`]: what is known of each check, and the frame that shows it; pure
//! - [`screen`]: where it is shown: redrawn in place, as plain lines, or not at all
//! - [`logs`]: output of checks as it comes, one prefixed line at a time

mod frame;
pub(crate) mod logs;
pub(crate) mod model;
pub(crate) mod screen;
