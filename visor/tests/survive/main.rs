//! What a fleet survives: real processes of the real binary, a real NATS server, real Docker where
//! it says so. Each test is one sentence, has a fleet of its own, and ends by reading the journal:
//! every check settled exactly once, and nothing left over.
//!
//! - [`harness`]: a fleet to break, a client, the journal, what may be left behind
//! - the other modules: what is done to it

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops at what it did not expect, and shows the logs of what it started"
)]

mod harness;

mod coordinator_killed;
mod disk_full;
mod docker_restarted;
mod draining;
mod garbage;
mod nats_wiped;
mod nothing_left;
mod same_everywhere;
mod sandboxes_killed;
mod worker_killed;
mod worker_paused;
