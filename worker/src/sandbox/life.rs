//! Whose container is it? Labels name the process behind each, so that whoever comes later can tell
//! the leftovers of the dead from what the living use.
//!
//! A process is judged by what can be known of it from here: one of this machine and pid namespace
//! by itself; one that shares our data directory, perhaps from within another container, by its
//! entry there; and any other when its container has outlived the time of its check.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use visor_protocol::ids::WorkerId;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;
use visor_providers::host::{marker, owners};

/// The worker's name.
pub const WORKER: &str = "visor.worker";
/// Which life of the worker.
pub const BOOT: &str = "visor.boot";
/// The job.
pub const JOB: &str = "visor.job";
/// The attempt.
pub const ATTEMPT: &str = "visor.attempt";
/// The process, unique on its machine for ever.
pub const PROCESS: &str = "visor.process";
/// Its entry in its data directory.
pub const OWNER: &str = "visor.owner";
/// That directory, where there is one.
pub const DATA: &str = "visor.data";
/// When the container is gone, whatever has become of its worker: microseconds since 1970.
pub const UNTIL: &str = "visor.until";

/// How long after its time limit a container may still be there: for its grace, for an engine that
/// is slow to remove it, and for clocks that differ.
const MARGIN: Duration = Duration::from_secs(120);

/// The data directory that a worker shares with others.
#[derive(Debug, Clone)]
pub struct Home {
    owners: PathBuf,
    id: String,
}

impl Home {
    /// The directory where the workers of a data directory enter themselves.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(owners: PathBuf) -> std::io::Result<Self> {
        let id = owners::id(&owners)?;
        Ok(Self { owners, id })
    }
}

/// The labels of an attempt's container, which has so much time.
pub fn labels(
    (worker, boot): (&WorkerId, u64),
    ticket: Ticket,
    home: Option<&Home>,
    (now, timeout): (Timestamp, Duration),
) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = [
        (WORKER, worker.to_string()),
        (BOOT, boot.to_string()),
        (JOB, ticket.job.to_string()),
        (ATTEMPT, ticket.attempt.to_string()),
        (PROCESS, this_process().to_owned()),
        (OWNER, marker::owner().to_owned()),
        (UNTIL, (now + timeout.saturating_add(MARGIN)).as_micros().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    labels.extend(home.map(|home| (DATA.to_owned(), home.id.clone())));
    labels
}

/// Whether nobody needs a container any more that is not of this worker's life.
pub fn is_orphan(labels: &HashMap<String, String>, home: Option<&Home>, now: Timestamp) -> bool {
    let of = |label| labels.get(label).map_or("", String::as_str);
    let overdue = || of(UNTIL).parse().is_ok_and(|until: u64| now > Timestamp::from_micros(until));
    match home.filter(|home| home.id == of(DATA)) {
        _ if is_near(of(PROCESS)) => is_dead(of(PROCESS)) || overdue(),
        Some(home) => !owners::is_alive(&home.owners, of(OWNER)) || overdue(),
        None => overdue(),
    }
}

/// The ticket in a container's labels.
pub fn ticket(labels: &HashMap<String, String>) -> Option<Ticket> {
    let job = labels.get(JOB)?.parse().ok()?;
    let attempt = visor_protocol::Attempt(labels.get(ATTEMPT)?.parse().ok()?);
    Some(Ticket { job, attempt })
}

/// This process: the machine's boot, the pid namespace, the pid, and when it started.
pub fn this_process() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let pid = std::process::id();
        format!("{}/{pid}/{}", surroundings(), started(pid).unwrap_or(0))
    })
}

/// Whether a container's process is of this boot of this machine, and of our pid namespace.
fn is_near(process: &str) -> bool {
    process.strip_prefix(surroundings()).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a process that is near is dead.
fn is_dead(process: &str) -> bool {
    let mut parts = process.rsplitn(3, '/');
    let started_at = parts.next().and_then(|ticks| ticks.parse::<u64>().ok());
    let pid = parts.next().and_then(|pid| pid.parse().ok());
    pid.is_none_or(|pid| started_at.is_none() || started(pid) != started_at)
}

fn surroundings() -> &'static str {
    static AROUND: OnceLock<String> = OnceLock::new();
    AROUND.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{}/{}", boot.trim(), namespace.display())
    })
}

/// When a process started, in ticks since the machine's boot; nothing when there is none.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field may contain anything; the start is the twentieth after it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_not_taken_for_dead() {
        assert!(!is_dead(this_process()));
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let name = format!("{}/{}/{}", surroundings(), child.id(), started(child.id()).unwrap());
        assert!(!is_dead(&name));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_dead(&name));
    }

    fn container(labels: &[(&str, &str)]) -> HashMap<String, String> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn strangers_are_left_alone_until_their_time_is_over() {
        let now = Timestamp::from_micros(1_000_000);
        for process in ["", "x", "other-boot/pid:[1]/1/2", "a/b/c/d/e"] {
            assert!(!is_orphan(&container(&[(PROCESS, process)]), None, now), "{process}");
            for (until, orphan) in [("1000001", false), ("999999", true), ("soon", false)] {
                let labels = container(&[(PROCESS, process), (UNTIL, until)]);
                assert_eq!(is_orphan(&labels, None, now), orphan, "{process} {until}");
            }
        }
    }

    #[test]
    fn whoever_shares_our_data_directory_is_known_by_its_entry() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path().to_owned()).unwrap();
        let claimed = owners::claim(directory.path()).unwrap();
        let now = Timestamp::from_micros(1);
        let judge = |data: &str, owner: &str| {
            let labels = [(PROCESS, "other/pid:[1]/1/2"), (DATA, data), (OWNER, owner)];
            is_orphan(&container(&labels), Some(&home), now)
        };
        assert!(!judge(&home.id, marker::owner()));
        assert!(judge(&home.id, "gone") && !judge("another", "gone"));
        drop(claimed);
        assert!(judge(&home.id, marker::owner()));
    }
}
