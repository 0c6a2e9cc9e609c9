//! Calls that neither the standard library nor rustix has.
#![expect(unsafe_code, reason = "a few calls on plain data, each with its argument")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use visor_protocol::outcome::Usage;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Signaled(i32),
}

fn micros(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
}

fn peak_bytes(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}

/// Our own largest resident set so far.
fn own_peak_bytes() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type, and a zeroed `rusage` is a valid one.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    peak_bytes(&usage)
}

/// Reaps a child that has ended; `None` while it has not.
pub(crate) fn reap(pid: i32) -> io::Result<Option<(Status, Usage)>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the right types, and a zeroed `rusage` is valid.
    let (reaped, usage) = unsafe {
        let reaped = libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr());
        (reaped, usage.assume_init())
    };
    match reaped {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => {
            let ended = if libc::WIFSIGNALED(status) {
                Status::Signaled(libc::WTERMSIG(status))
            } else {
                Status::Exited(libc::WEXITSTATUS(status))
            };
            // A child spawned by vfork starts with its parent's high-water mark. What does not
            // exceed ours says nothing about the child.
            let peak = peak_bytes(&usage);
            let usage = Usage {
                peak_memory_bytes: if peak > own_peak_bytes() { peak } else { 0 },
                user_micros: micros(usage.ru_utime),
                system_micros: micros(usage.ru_stime),
            };
            Ok(Some((ended, usage)))
        }
    }
}

/// Clock ticks since the machine started, as process start times are counted in `/proc`.
pub(crate) fn boot_ticks() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to memory of the right type, and a zeroed `timespec` is valid.
    let (time, per_second) = unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, time.as_mut_ptr());
        (time.assume_init(), libc::sysconf(libc::_SC_CLK_TCK))
    };
    let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * per_second + nanos * per_second / 1_000_000_000
}

/// Ignores a signal from now on.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: ignoring a signal installs no handler that could run.
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// Lets the runtime wake us when the descriptor becomes readable.
///
/// # Errors
/// When the descriptor is none that can be waited for.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped, and an `AsyncFd` gives out no way to
    // replace it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
