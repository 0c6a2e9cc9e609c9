//! What processes use: from the kernel when they end, from `/proc` while they run.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::process::Child;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// How a process ended, and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its exit status, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its largest resident set; never less than ours when we started it, whose memory it shared
    /// for a moment.
    pub peak_bytes: u64,
    /// CPU time, in user mode and in the kernel, with that of its own children.
    pub cpu_micros: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("no status"),
        }
    }
}

/// Waits for a process and what it used.
///
/// # Errors
/// When it cannot be waited for.
#[expect(unsafe_code, reason = "only wait4 tells a child's own peak memory")]
pub fn wait(child: Child) -> io::Result<Status> {
    let id = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    loop {
        // SAFETY: all zeroes is a sound rusage, and both pointers are to locals that outlive the
        // call.
        let (waited, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(id, &raw mut status, 0, &raw mut usage), usage)
        };
        if waited == id {
            let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
            let cpu = micros(usage.ru_utime) + micros(usage.ru_stime);
            return Ok(Status {
                code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
                signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
                peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
                cpu_micros: u64::try_from(cpu).unwrap_or(0),
            });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What a running process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Its resident set.
    pub resident_bytes: u64,
    /// Its largest so far.
    pub peak_bytes: u64,
    /// CPU time so far.
    pub cpu_micros: u64,
}

/// What the process of this id uses; `None` when it is gone.
pub fn sample(id: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(Sample {
        resident_bytes: kilobytes(&status, "VmRSS:")?,
        peak_bytes: kilobytes(&status, "VmHWM:")?,
        cpu_micros: cpu_micros(&stat)?,
    })
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn cpu_micros(stat: &str) -> Option<u64> {
    // The name may contain anything; the numbers begin behind its closing parenthesis.
    let mut numbers = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = numbers.next()?.parse::<u64>().ok()? + numbers.next()?.parse::<u64>().ok()?;
    // The kernel reports hundredths of a second to everybody, whatever it counts itself.
    Some(ticks * 10_000)
}

/// Processes that come and go, together.
#[derive(Debug, Default)]
pub struct Watched(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<u32, u64>,
    total: Crowd,
}

/// What they used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Crowd {
    /// Processes that ended.
    pub ended: u64,
    /// The largest resident set of any one.
    pub largest_bytes: u64,
    /// The largest sum of all resident sets that was seen at one time.
    pub together_bytes: u64,
    /// CPU time of all.
    pub cpu_micros: u64,
}

impl Watched {
    /// One more runs.
    pub fn add(&self, id: u32) {
        self.0.lock().running.insert(id, 0);
    }

    /// It runs no more.
    pub fn remove(&self, id: u32) {
        self.0.lock().running.remove(&id);
    }

    /// What it used. Its peak counts where it is above ours: below, it may be ours.
    pub fn ended(&self, status: &Status) {
        let ours = sample(std::process::id()).map_or(u64::MAX, |ours| ours.peak_bytes);
        let mut state = self.0.lock();
        state.total.ended += 1;
        if status.peak_bytes > ours {
            state.total.largest_bytes = state.total.largest_bytes.max(status.peak_bytes);
        }
        state.total.cpu_micros += status.cpu_micros;
    }

    /// Looks at all that run now.
    pub fn look(&self) {
        let ids: Vec<u32> = self.0.lock().running.keys().copied().collect();
        let samples: Vec<Sample> = ids.iter().filter_map(|id| sample(*id)).collect();
        let together = samples.iter().map(|one| one.resident_bytes).sum();
        let largest = samples.iter().map(|one| one.peak_bytes).max().unwrap_or(0);
        let mut state = self.0.lock();
        state.total.largest_bytes = state.total.largest_bytes.max(largest);
        state.total.together_bytes = state.total.together_bytes.max(together);
    }

    /// What they used so far.
    pub fn total(&self) -> Crowd {
        self.0.lock().total
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_ended_tells_its_status_and_peak_memory() {
        let child = Command::new("sh").args(["-c", "exit 7"]).stdin(Stdio::null()).spawn().unwrap();
        let status = wait(child).unwrap();
        assert_eq!(status.code, Some(7));
        assert!((100_000..1_000_000_000).contains(&status.peak_bytes), "{status:?}");
        assert_eq!(status.to_string(), "exit 7");
    }

    #[test]
    fn a_running_process_is_seen_and_one_that_never_was_is_not() {
        let us = sample(std::process::id()).unwrap();
        assert!(us.resident_bytes > 0 && us.peak_bytes >= us.resident_bytes, "{us:?}");
        assert_eq!(sample(u32::MAX), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_reader() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20";
        assert_eq!(cpu_micros(stat), Some(420_000));
    }
}
