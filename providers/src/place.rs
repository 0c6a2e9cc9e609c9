//! Where programs run. The worker chooses the place; a provider only says what to run.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use visor_protocol::outcome::{End, Fault, Usage};
use visor_protocol::worker::Ticket;

use crate::recorder::Recorder;

/// Between asking a command to end and making it. The same everywhere, so that a check that cleans
/// up after itself can do so wherever it runs.
pub const GRACE: Duration = Duration::from_secs(2);

/// A shell command line to run.
#[derive(Debug)]
pub struct ShellCommand<'a> {
    /// The attempt it belongs to: processes and containers carry it, so that nothing of it can
    /// stay behind unnoticed.
    pub ticket: Ticket,
    /// The text given to `sh -c`.
    pub exec: &'a str,
    /// Variables added to the place's environment.
    pub env: &'a BTreeMap<String, String>,
    /// How long it may run.
    pub timeout: Duration,
}

/// Tells a running attempt to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// One that nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Somebody asked.
    pub fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until somebody asks.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }
}

/// What came of running a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// What it used.
    pub usage: Usage,
    /// The image it ran in.
    pub image: Option<String>,
}

impl Ran {
    /// It never ran.
    pub fn fault(code: &str, message: impl Into<String>, retry: bool) -> Self {
        let fault = Fault { code: code.into(), message: message.into(), retry };
        Self { end: End::Infrastructure(fault), usage: Usage::default(), image: None }
    }
}

/// Somewhere programs can run.
#[async_trait]
pub trait Place: Send + Sync {
    /// Runs the command to its end, its deadline or the order to stop, whichever comes first, and
    /// returns when no process of it is left. Output goes to the recorder as it comes.
    async fn run(&self, command: ShellCommand<'_>, recorder: &mut Recorder, stop: &Stop) -> Ran;
}
