//! Whose container is it? Labels name the worker and the process behind each, so that whoever
//! comes later can tell the leftovers of the dead from what the living use.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;

use visor_protocol::ids::WorkerId;
use visor_protocol::worker::Ticket;

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

/// The labels of an attempt's container.
pub fn labels(worker: &WorkerId, boot: u64, ticket: Ticket) -> HashMap<String, String> {
    [
        (WORKER, worker.to_string()),
        (BOOT, boot.to_string()),
        (JOB, ticket.job.to_string()),
        (ATTEMPT, ticket.attempt.to_string()),
        (PROCESS, this_process().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
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

/// Whether a container's process is known to be dead. One from another machine, another boot or
/// another pid namespace cannot be judged from here.
pub fn is_dead(process: &str) -> bool {
    let mut parts = process.rsplitn(3, '/');
    let (started_at, pid, around) = (parts.next(), parts.next(), parts.next());
    let numbers =
        (started_at.and_then(|t| t.parse::<u64>().ok()), pid.and_then(|p| p.parse().ok()));
    match (numbers, around) {
        ((Some(started_at), Some(pid)), Some(around)) if around == surroundings() => {
            started(pid) != Some(started_at)
        }
        _ => false,
    }
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

    #[test]
    fn strangers_are_not_judged() {
        for name in ["", "x", "other-boot/pid:[1]/1/2", "a/b/c/d/e"] {
            assert!(!is_dead(name), "{name}");
        }
    }
}
