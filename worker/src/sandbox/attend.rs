//! One container from its start to its end: its output, its usage, its limits, and the ways in which
//! it is brought to an end.

use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::Instant;
use visor_protocol::outcome::{Fault, Usage};
use visor_providers::{GRACE, Recorder, Stop, Stream};

use super::engine::EngineError;
use super::meter::Meter;
use super::place::SandboxPlace;
use crate::workspace::growth::outgrown;

/// How long the output of a container that has ended is still listened to.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// How long a killed container may take to end before it is reported anyway.
const UNKILLABLE: Duration = Duration::from_secs(15);

/// How long the engine may take to say which process of this machine a container is.
const MEASURED: Duration = Duration::from_secs(5);

/// How long the engine may be down before what it ran counts as lost.
const DOWN: Duration = Duration::from_secs(10);

pub(super) type Output = Pin<Box<dyn futures::Stream<Item = Result<LogOutput, Error>> + Send>>;

/// A container that runs.
#[derive(Clone, Copy)]
pub(super) struct Attended<'a> {
    pub(super) client: &'a Docker,
    pub(super) name: &'a str,
    pub(super) id: &'a str,
    pub(super) timeout: Duration,
    pub(super) usage: &'a Mutex<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i64),
    Because(Ending),
}

/// How far ending the container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Asked to end.
    Asked(Ending),
    /// Killed.
    Killed(Ending),
}

/// Why it is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    TimedOut,
    Cancelled,
    OutOfDisk,
}

impl Phase {
    fn ending(self) -> Option<Ending> {
        match self {
            Self::Running => None,
            Self::Asked(ending) | Self::Killed(ending) => Some(ending),
        }
    }
}

impl SandboxPlace {
    /// Listens to a running container until its end, and brings that about where it must.
    pub(super) async fn attend(
        &self,
        attended: Attended<'_>,
        mut output: Output,
        recorder: &mut Recorder,
        stop: &Stop,
    ) -> Result<Ended, Fault> {
        let Attended { client, name, timeout, .. } = attended;
        let mut exit = std::pin::pin!(self.exit(client, name));
        let mut lost = std::pin::pin!(self.lost());
        let mut stopped = std::pin::pin!(stop.stopped());
        let mut outgrown = std::pin::pin!(self.outgrown());
        let mut measured = std::pin::pin!(measure(attended));
        // Not waited for: an engine that is slow to pass on a signal delays no limit.
        let mut signals = FuturesUnordered::new();
        let mut measuring = true;
        let mut step = Instant::now() + timeout;
        let mut phase = Phase::Running;
        let mut ended = None;
        let mut open = true;
        while ended.is_none() || open {
            let mut next = None;
            // Time limits first: they hold even against a flood of output.
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(step) => match (ended, phase) {
                    // The output stays open although the container has ended.
                    (Some(_), _) => break,
                    (None, Phase::Running) => next = Some(Phase::Asked(Ending::TimedOut)),
                    (None, Phase::Asked(ending)) => next = Some(Phase::Killed(ending)),
                    (None, Phase::Killed(ending)) => return Ok(Ended::Because(ending)),
                },
                () = &mut stopped, if phase == Phase::Running && ended.is_none() => {
                    next = Some(Phase::Asked(Ending::Cancelled));
                }
                // No grace: what it wrote until then would be written, too.
                () = &mut outgrown, if phase == Phase::Running && ended.is_none() => {
                    next = Some(Phase::Killed(Ending::OutOfDisk));
                }
                Some(()) = signals.next(), if !signals.is_empty() => {}
                // Before the exit, which the engine tells when there is nothing to measure left.
                () = &mut measured, if measuring => measuring = false,
                code = &mut exit, if ended.is_none() => {
                    // One that was to end is reported as such whatever the engine says of it.
                    ended = Some(match (phase.ending(), code) {
                        (Some(ending), _) => Ended::Because(ending),
                        (None, code) => Ended::Exited(code?),
                    });
                    step = Instant::now() + OUTPUT_GRACE;
                }
                fault = &mut lost, if ended.is_none() && phase == Phase::Running => {
                    return Err(fault);
                }
                () = flush_due(recorder) => recorder.flush(Instant::now()),
                chunk = output.next(), if open => match chunk {
                    Some(Ok(LogOutput::StdErr { message })) => {
                        recorder.push(Stream::Stderr, &message);
                    }
                    Some(Ok(
                        LogOutput::StdOut { message }
                        | LogOutput::Console { message }
                        | LogOutput::StdIn { message },
                    )) => recorder.push(Stream::Stdout, &message),
                    // Whether the container ended with it is for `exit` to say.
                    Some(Err(_)) | None => open = false,
                },
            }
            if let Some(next) = next {
                let (which, patience): (&[_], _) = match next {
                    Phase::Killed(_) => (&["SIGKILL"], UNKILLABLE),
                    // A stopped process cannot answer.
                    Phase::Running | Phase::Asked(_) => (&["SIGTERM", "SIGCONT"], GRACE),
                };
                (phase, step) = (next, Instant::now() + patience);
                signals.push(self.signal(client, name, which));
            }
        }
        // The loop ends only with an end.
        Ok(ended.unwrap_or(Ended::Because(Ending::TimedOut)))
    }

    /// Ends when the check has written more into its files than it may.
    async fn outgrown(&self) {
        match (&self.workspace, self.room) {
            (Some(path), Some(room)) => outgrown(path.clone(), room).await,
            _ => std::future::pending().await,
        }
    }

    /// The exit status, as the engine has it from the kernel: nothing that a check prints or
    /// writes can change it.
    async fn exit(&self, client: &Docker, name: &str) -> Result<i64, Fault> {
        let what = "wait for a container";
        // Asked after the start: a container that has ended by then is answered at once.
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut waiting = client.wait_container(name, Some(options));
        let engine = &self.sandboxes.engine;
        let error = match waiting.next().await {
            Some(Ok(answer)) => return Ok(answer.status_code),
            // The client's way to say that the status was not 0.
            Some(Err(Error::DockerContainerWaitError { code, error })) if error.is_empty() => {
                return Ok(code);
            }
            Some(Err(error)) => engine.explain(what, error),
            None => EngineError::Unreachable {
                socket: engine.socket().to_owned(),
                what,
                why: "the connection was closed".into(),
            },
        };
        if error.is_down() {
            engine.mark_down(&error);
        }
        Err(engine_lost(&error.to_string()))
    }

    /// Ends when the engine has been down for so long that what it ran counts as lost.
    async fn lost(&self) -> Fault {
        let mut state = self.sandboxes.engine.watch();
        loop {
            if state.wait_for(Option::is_some).await.is_err() {
                return std::future::pending().await;
            }
            let up = state.wait_for(Option::is_none);
            if tokio::time::timeout(DOWN, up).await.is_err() {
                let why = state.borrow().clone().unwrap_or_default();
                return engine_lost(&why);
            }
        }
    }

    /// Sends signals to the container's first process, which passes them on.
    async fn signal(&self, client: &Docker, name: &str, signals: &[&str]) {
        for signal in signals {
            let options = KillContainerOptions { signal: (*signal).to_owned() };
            let sent = client.kill_container(name, Some(options));
            if let Err(error) = self.sandboxes.engine.call("signal a container", sent).await {
                // It may have ended by itself in this moment. If not, removing it kills it.
                tracing::debug!(%error, container = name, signal, "not sent");
                return;
            }
        }
    }
}

/// Keeps what a container uses up to date until its end, where it can be seen.
async fn measure(attended: Attended<'_>) {
    let Attended { client, name, id, usage, .. } = attended;
    let mut meter = Meter::named(id);
    if meter.is_none() {
        let inspected = client.inspect_container(name, None::<InspectContainerOptions>);
        // No call of the usual kind: nothing depends on the answer.
        let inspected = tokio::time::timeout(MEASURED, inspected).await;
        let state = inspected.ok().and_then(|answer| answer.ok()?.state);
        meter = state.and_then(|state| Meter::of(state.pid?, id));
    }
    if let Some(meter) = meter {
        meter.follow(usage).await;
    }
}

fn engine_lost(why: &str) -> Fault {
    Fault {
        code: "visor::sandbox::engine_lost".into(),
        message: format!("the container engine was lost while the check ran: {why}"),
        retry: true,
    }
}

async fn flush_due(recorder: &Recorder) {
    match recorder.flush_due() {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
