//! How processes are told apart: two variables in the environment of everything we start.
//!
//! A process cannot take them out of what `/proc` shows of it except by starting another program
//! without them; `orphans` deals with those that do.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use visor_protocol::worker::Ticket;

use super::sys;

/// The processes of ours, one within the other, that started a program: a check may itself run
/// this program.
pub const OWNER: &str = "VISOR_OWNER";

/// The attempt that started a program.
pub const JOB: &str = "VISOR_JOB";

/// Largest environment that is read of a process. The kernel allows several megabytes; ours come
/// wherever they come, so this is generous.
const MAX_ENVIRON_BYTES: u64 = 8 * 1024 * 1024;

/// Names this life of this process, among all on this machine.
pub fn owner() -> &'static str {
    static OWNER: OnceLock<String> = OnceLock::new();
    OWNER.get_or_init(|| {
        let random = RandomState::new().build_hasher().finish();
        format!("{:x}-{:x}-{random:016x}", std::process::id(), sys::boot_ticks())
    })
}

/// The value of [`OWNER`] for programs that we start.
pub(super) fn owner_chain() -> &'static str {
    static CHAIN: OnceLock<String> = OnceLock::new();
    CHAIN.get_or_init(|| match std::env::var(OWNER) {
        Ok(outer) if !outer.is_empty() && outer.len() < 4096 => format!("{outer},{}", owner()),
        _ => owner().to_owned(),
    })
}

/// The value of [`JOB`] for programs of an attempt.
pub fn job(ticket: Ticket) -> String {
    format!("{}.{}", ticket.job, ticket.attempt)
}

/// What a process' environment says about where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing of this owner: it was started without our variables, or may not be looked at.
    Unmarked,
    /// Started by this owner, for this attempt.
    Ours { job: String },
    /// Started by a program of ours that was started by this owner.
    Nested,
}

/// Looks at a process' environment for the marks of `owner`.
pub(crate) fn origin(pid: i32, owner: &str) -> Origin {
    use std::io::Read;
    let mut environ = Vec::new();
    let read = std::fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(MAX_ENVIRON_BYTES).read_to_end(&mut environ));
    if read.is_err() {
        return Origin::Unmarked;
    }
    origin_in(&environ, owner)
}

fn origin_in(environ: &[u8], owner: &str) -> Origin {
    let value = |name: &str| {
        environ.split(|&byte| byte == 0).find_map(|entry| {
            entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        })
    };
    let Some(chain) = value(OWNER) else { return Origin::Unmarked };
    let mut links = chain.rsplit(|&byte| byte == b',');
    if links.next() != Some(owner.as_bytes()) {
        let nested = links.any(|link| link == owner.as_bytes());
        return if nested { Origin::Nested } else { Origin::Unmarked };
    }
    let job = value(JOB).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    Origin::Ours { job }
}

/// Whether a process, or one that it descends from, was started by `owner`.
pub(crate) fn belongs_to(pid: i32, owner: &str) -> bool {
    origin(pid, owner) != Origin::Unmarked
}

/// The ids of all processes there are.
pub(crate) fn all_processes() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_every_outer_owner_is_found() {
        let environ = b"A=1\0VISOR_OWNER=one,two\0VISOR_JOB=j.1\0";
        assert_eq!(origin_in(environ, "two"), Origin::Ours { job: "j.1".into() });
        assert_eq!(origin_in(environ, "one"), Origin::Nested);
        assert_eq!(origin_in(environ, "three"), Origin::Unmarked);
        assert_eq!(origin_in(b"A=VISOR_OWNER=one\0", "one"), Origin::Unmarked);
        assert_eq!(origin_in(b"", "one"), Origin::Unmarked);
    }
}
