//! One process: how long it took from start to end, and what it used.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How one process went.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// From before its start to after its end.
    pub(super) wall: Duration,
    /// The most memory it, or a process it waited for, had at one time. Never less than what we
    /// had when we started it, which is little.
    pub(super) peak_bytes: u64,
    /// What it printed.
    pub(super) output: String,
}

/// Runs a program; it has to succeed.
#[expect(clippy::disallowed_methods, reason = "wall time is what is measured")]
pub(super) fn run(command: &mut Command) -> Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begin = std::time::Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut output = String::new();
    // Little is written to stderr by a program that succeeds, so that reading stdout first cannot
    // leave it stuck.
    let mut stdout = child.stdout.take().context("no stdout")?;
    stdout.read_to_string(&mut output).with_context(|| format!("{name} prints no text"))?;
    let mut complaints = String::new();
    let mut stderr = child.stderr.take().context("no stderr")?;
    let _ = stderr.read_to_string(&mut complaints);
    let (status, peak_bytes) =
        wait(child.id()).with_context(|| format!("cannot wait for {name}"))?;
    let wall = begin.elapsed();
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        bail!("{name} failed (status {status:#x}): {output}{complaints}");
    }
    Ok(Ran { wall, peak_bytes, output })
}

/// Waits for a child; its raw status and its peak memory in bytes.
#[expect(unsafe_code, reason = "only wait4 tells a child's own peak memory")]
fn wait(id: u32) -> io::Result<(i32, u64)> {
    let id = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    let mut status = 0;
    loop {
        // SAFETY: all zeroes is a sound rusage, and both pointers are to locals that outlive the
        // call.
        let (waited, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(id, &raw mut status, 0, &raw mut usage), usage)
        };
        if waited == id {
            return Ok((status, u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_timed_and_one_that_fails_is_an_error() {
        let ran = run(Command::new("sh").args(["-c", "echo ok"])).unwrap();
        assert_eq!(ran.output, "ok\n");
        assert!(ran.peak_bytes > 100_000, "{ran:?}");
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}
