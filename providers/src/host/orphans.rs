//! What a command leaves behind: descendants that outlived their parents and so became children of
//! this process.
//!
//! The kernel gives orphans to the oldest living thread of the subreaper, so one read of that
//! thread's list of children finds them, and for the usual command there are none.
//!
//! An orphan whose environment names an attempt that has ended is killed. One that hides its
//! environment (`env -i`) belongs to some attempt that was under way when it started; it is killed
//! once all of those have ended.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use super::marker::{self, Origin};
use super::sys;

/// How long killed leftovers are waited for. The kernel needs well under a millisecond for each;
/// only a process stuck in a system call takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Families {
    /// Attempts under way, by a number of their own: two workers of one process may be given the
    /// same attempt.
    live: HashMap<u64, LiveJob>,
    last: u64,
    /// Children of ours that have nothing to do with checks.
    spared: HashSet<i32>,
    /// Leftovers that did not die in time; not waited for again.
    stuck: HashSet<i32>,
}

struct LiveJob {
    marker: String,
    started_ticks: u64,
    pid: Option<i32>,
}

fn families() -> MutexGuard<'static, Families> {
    static FAMILIES: OnceLock<Mutex<Families>> = OnceLock::new();
    // The maps stay consistent whatever panics between two of their methods.
    FAMILIES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes orphans of our descendants our children. Idempotent.
fn adopt() {
    static ADOPTING: OnceLock<()> = OnceLock::new();
    ADOPTING.get_or_init(|| {
        if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%error, "cannot become a subreaper: daemons of checks may stay behind");
        }
    });
}

/// Says that a process is not a leftover of a check. For those who start processes of their own,
/// in process groups of their own, in a process that also runs checks.
pub fn spare(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        families().spared.insert(pid);
    }
}

/// An attempt under way. Must be registered before its process is started.
pub(super) struct Family {
    number: u64,
}

impl Family {
    pub(super) fn begin(marker: String) -> Self {
        adopt();
        let live = LiveJob { marker, started_ticks: sys::boot_ticks(), pid: None };
        let mut families = families();
        families.last += 1;
        let number = families.last;
        families.live.insert(number, live);
        Self { number }
    }

    /// Its process is started.
    pub(super) fn started(&self, pid: i32) {
        if let Some(live) = families().live.get_mut(&self.number) {
            live.pid = Some(pid);
        }
    }

    /// Its process is reaped: kills what is left of it and waits until that is gone.
    pub(super) async fn clear(self) {
        drop(self);
        let mut deadline = None;
        let mut pause = Duration::from_micros(200);
        loop {
            let left = kill_leftovers();
            if left.is_empty() {
                return;
            }
            let now = Instant::now();
            if now >= *deadline.get_or_insert(now + PATIENCE) {
                tracing::warn!(pids = ?left, "killed leftovers of checks do not end");
                families().stuck.extend(left);
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        families().live.remove(&self.number);
    }
}

/// Reaps orphans of attempts under way that have ended by themselves, so that a long one cannot
/// fill the process table with them.
pub(super) fn tend() {
    kill_leftovers();
}

/// Kills orphans that belong to no attempt under way, reaps those that have ended, and returns
/// those that are still there.
fn kill_leftovers() -> Vec<i32> {
    let children = children();
    if children.is_empty() {
        return children;
    }
    let mut families = families();
    families.stuck.retain(|pid| children.contains(pid));
    let own_group = rustix::process::getpgrp().as_raw_nonzero().get();
    let mut left = Vec::new();
    for pid in children {
        if families.is_expected(pid) {
            continue;
        }
        let Some(stat) = Stat::read(pid) else { continue };
        if stat.is_zombie() {
            // Zombies have no environment left. One in our own group was started by somebody
            // else in this process, who will want its status.
            if stat.group != own_group && !families.could_be_a_new_command(&stat) {
                let _ = sys::reap(pid);
            }
            continue;
        }
        let leftover = match marker::origin(pid, marker::owner()) {
            Origin::Ours { job } => !families.is_live(&job),
            Origin::Nested => !families.could_descend_from_live(&stat),
            Origin::Unmarked => stat.group != own_group && !families.could_descend_from_live(&stat),
        };
        if leftover {
            kill(&stat);
            if !families.stuck.contains(&pid) {
                left.push(pid);
            }
        }
    }
    left
}

impl Families {
    fn is_expected(&self, pid: i32) -> bool {
        self.spared.contains(&pid) || self.live.values().any(|live| live.pid == Some(pid))
    }

    fn is_live(&self, marker: &str) -> bool {
        self.live.values().any(|live| live.marker == marker)
    }

    /// Whether an attempt under way was under way when this process started.
    fn could_descend_from_live(&self, stat: &Stat) -> bool {
        self.live.values().any(|live| live.started_ticks <= stat.started_ticks)
    }

    /// Whether it may be the process of an attempt whose id is not known yet.
    fn could_be_a_new_command(&self, stat: &Stat) -> bool {
        self.live
            .values()
            .any(|live| live.pid.is_none() && live.started_ticks <= stat.started_ticks)
    }
}

fn kill(stat: &Stat) {
    // It is our child and we have not reaped it, so the id is still its own.
    if let Some(pid) = Pid::from_raw(stat.pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        if stat.group == stat.pid {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: i32,
    state: u8,
    parent: i32,
    group: i32,
    started_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &text)
    }

    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        // The second field is the program's name in parentheses, and may contain anything.
        let after_name = text.iter().rposition(|&byte| byte == b')')? + 1;
        let rest = std::str::from_utf8(&text[after_name..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        // The start is the 22nd field of all; the group was the fifth.
        let started_ticks = fields.nth(16)?.parse().ok()?;
        Some(Self { pid, state, parent, group, started_ticks })
    }

    fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Children of this process' first thread, which is the one that gets the orphans.
fn children() -> Vec<i32> {
    static LIST: OnceLock<Option<File>> = OnceLock::new();
    let own = std::process::id();
    let path = || format!("/proc/self/task/{own}/children");
    let Some(list) = LIST.get_or_init(|| File::open(path()).ok()) else {
        return children_by_parent();
    };
    // Opened once and read from its start each time: one system call when there are none.
    let mut buffer = [0_u8; 4096];
    let text = match list.read_at(&mut buffer, 0) {
        Ok(0) => return Vec::new(),
        Ok(length) if length < buffer.len() => buffer[..length].to_vec(),
        Ok(_) | Err(_) => std::fs::read(path()).unwrap_or_default(),
    };
    let text = String::from_utf8_lossy(&text);
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The same, the long way, for kernels without such lists.
fn children_by_parent() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let is_child = |pid: &i32| Stat::read(*pid).is_some_and(|stat| stat.parent == own);
    marker::all_processes().into_iter().filter(is_child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_cannot_confuse_its_state() {
        let text = b"42 (a) S 1 (b) R 7 9 9 0 -1 1 2 3 4 5 6 7 8 9 10 11 12 13 777 15 16";
        let stat = Stat::parse(42, text).unwrap();
        assert_eq!(stat, Stat { pid: 42, state: b'R', parent: 7, group: 9, started_ticks: 777 });
        assert_eq!(Stat::parse(1, b"1 (x"), None);
        assert_eq!(Stat::parse(1, b"1 (x) R"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let own = i32::try_from(std::process::id()).unwrap();
        let stat = Stat::read(own).unwrap();
        assert!(!stat.is_zombie());
        assert!(stat.started_ticks <= sys::boot_ticks());
    }
}
