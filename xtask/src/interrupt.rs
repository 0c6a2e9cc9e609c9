//! Waiting for a program while Ctrl-C and SIGTERM may come: whoever waits gets an error, so that
//! destructors run and nothing that was started stays behind.

use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process;

/// Somebody wants us to stop.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted; everything that was started is stopped")
    }
}

impl std::error::Error for Interrupted {}

/// After an interrupt a program has this long to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// The last signal that came, 0 while none has.
fn last_signal() -> Result<Arc<AtomicI32>> {
    static LAST: OnceLock<Arc<AtomicI32>> = OnceLock::new();
    if let Some(last) = LAST.get() {
        return Ok(Arc::clone(last));
    }
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
    let last = Arc::clone(LAST.get_or_init(Arc::default));
    let written = Arc::clone(&last);
    thread::spawn(move || {
        for signal in signals.forever() {
            written.store(signal, Ordering::SeqCst);
        }
    });
    Ok(last)
}

/// From now on signals do not end this process; [`check`] and [`run`] report them.
pub(crate) fn listen() -> Result<()> {
    last_signal().map(drop)
}

/// An error when somebody wants us to stop.
pub(crate) fn check() -> Result<()> {
    match last_signal()?.load(Ordering::SeqCst) {
        0 => Ok(()),
        _ => Err(Interrupted.into()),
    }
}

/// Runs a program to its end, or until somebody interrupts us.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    check()?;
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    wait(child)
}

/// Waits for a program that runs already.
pub(crate) fn wait(mut child: Child) -> Result<ExitStatus> {
    let pid = child.id();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more only when we gave up on the program.
        let _ = ended.send(child.wait());
    });
    let signals = last_signal()?;
    let mut interrupted_for = Duration::ZERO;
    let tick = Duration::from_millis(50);
    loop {
        match end.recv_timeout(tick) {
            Ok(status) => {
                let status = status.context("cannot wait for a program")?;
                check()?;
                return Ok(status);
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("lost track of process {pid}"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match signals.load(Ordering::SeqCst) {
            0 => continue,
            // From a terminal the program got the Ctrl-C itself; a second one would make a test
            // runner kill its tests instead of stopping them.
            SIGINT if interrupted_for < GRACE => {}
            _ if interrupted_for.is_zero() || interrupted_for == GRACE => process::terminate(pid),
            _ if interrupted_for > GRACE * 2 => {
                process::kill(pid);
                return Err(Interrupted.into());
            }
            _ => {}
        }
        interrupted_for += tick;
    }
}
