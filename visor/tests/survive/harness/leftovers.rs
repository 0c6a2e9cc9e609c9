//! Processes, files and directories that should be gone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::{getpid, set_child_subreaper};

/// Programs of the servers that tests run beside a fleet, by the names the kernel has for them.
const SERVERS: [&str; 4] = ["nats-server", "dockerd", "containerd", "containerd-shim"];

/// Services that run: what they have started is theirs still.
static RUNNING: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// Makes whatever loses its parent a child of this process, and so impossible to overlook: however
/// it was started, and whatever it did to its environment, its session and its directory.
pub(crate) fn adopt() {
    set_child_subreaper(Some(getpid())).unwrap();
}

/// A service runs, or does so no more.
pub(super) fn running(pid: u32, runs: bool) {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let running = running.get_or_insert_default();
    if runs {
        running.insert(pid);
    } else {
        running.remove(&pid);
    }
}

/// Descendants of this process that belong to no service that runs, with their command lines.
pub(crate) fn strays() -> Vec<String> {
    let mut children = HashMap::<u32, Vec<(u32, String)>>::new();
    for pid in pids() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name stands in parentheses and may contain anything.
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        let name = name.split_once('(').map_or("", |(_, name)| name).to_owned();
        let mut fields = rest.split_ascii_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok())
            && !matches!(state, Some("Z" | "X"))
        {
            children.entry(parent).or_default().push((pid, name));
        }
    }
    let running =
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    let mut found = Vec::new();
    let mut open = vec![std::process::id()];
    while let Some(parent) = open.pop() {
        for (pid, name) in children.remove(&parent).unwrap_or_default() {
            if running.contains(&pid) {
                continue;
            }
            if !SERVERS.contains(&name.as_str()) {
                found.push(describe(pid));
            }
            // Also below a server: a container is one of its engine's.
            open.push(pid);
        }
    }
    found
}

/// The processes in whose environment this text stands, with their command lines.
pub(crate) fn processes(text: &str) -> Vec<String> {
    let own = std::process::id();
    let has = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        contains(&environ, text.as_bytes())
    };
    pids().into_iter().filter(|pid| *pid != own).filter(has).map(describe).collect()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn describe(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}

/// How the environment of everything that a process of ours started begins.
pub(crate) fn owned_by(pid: u32) -> String {
    format!("VISOR_OWNER={pid:x}-")
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Everything below a directory, empty directories included, but for these paths in it.
pub(crate) fn entries(under: &Path, expected: &[&str]) -> Vec<PathBuf> {
    let expected: Vec<PathBuf> = expected.iter().map(|name| under.join(name)).collect();
    let mut found = Vec::new();
    let mut open = vec![under.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            if !expected.contains(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
