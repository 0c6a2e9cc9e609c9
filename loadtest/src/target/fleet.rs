//! A coordinator and workers, over the bus: requests to submit, the event stream for what became
//! of each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use visor_protocol::api::{FleetStatus, Reply, Request, Response};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{CheckName, Shard};
use visor_protocol::result::{CheckState, RunState};
use visor_protocol::subject::{Pattern, Subject};
use visor_protocol::time::{Clock, SystemClock};
use visor_protocol::{Envelope, Timestamp};
use visor_transport::{Bus, BusError};

use super::common::{Faults, Submissions};
use super::{Target, facts_of};
use crate::book::Book;
use crate::ledger::Fact;
use crate::scenario::Scenario;
use crate::session::{Channels, LoadClock, RunIds};

/// A coordinator answers from memory; one that takes longer is in trouble, and the run unanswered.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A fleet behind a bus.
pub struct FleetTarget {
    bus: Arc<dyn Bus>,
    clock: LoadClock,
    submissions: Submissions,
    faults: Faults,
}

impl FleetTarget {
    /// Puts a scenario's runs on the fleet behind this bus.
    pub fn new(
        bus: Arc<dyn Bus>,
        clock: LoadClock,
        ids: RunIds,
        channels: Channels,
        scenario: &Scenario,
    ) -> Self {
        let submissions = Submissions::new(ids, channels, scenario);
        Self { bus, clock, submissions, faults: Faults::default() }
    }

    fn bring(&self, notices: Vec<Notice>, book: &Book) {
        for notice in notices {
            let Some(run) = self.submissions.ids.number(notice.run) else { continue };
            let at = self.clock.moment(notice.at);
            let fact = match notice.what {
                News::RunAccepted { .. } => continue,
                News::Check { check, state, job, started_at, ran_ms, .. } => {
                    let check = job.map_or_else(|| position(&check), |job| job.seq);
                    match state {
                        CheckState::Waiting | CheckState::Queued => continue,
                        CheckState::Running => Fact::Started { run, check, at },
                        CheckState::Passed
                        | CheckState::Failed
                        | CheckState::Skipped
                        | CheckState::Cancelled => {
                            // The start of a quick check is often told with its end only.
                            if let Some(at) = started_at {
                                let at = self.clock.moment(at);
                                book.take(Fact::Started { run, check, at });
                            }
                            let passed = state == CheckState::Passed;
                            let ran = ran_ms
                                .and_then(|ran| Duration::try_from_secs_f64(ran / 1_000.0).ok());
                            Fact::Settled { run, check, passed, ran, at }
                        }
                    }
                }
                News::RunFinished { state } => {
                    let passed = state == RunState::Passed;
                    // When we know, by our own clock: what a client waits for.
                    Fact::Finished { run, passed, at: self.clock.now() }
                }
            };
            book.take(fact);
        }
    }
}

/// A check that never became a job is known by its name, which in copies ends with its position.
fn position(check: &CheckName) -> u32 {
    check.as_str().trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

#[async_trait]
impl Target for FleetTarget {
    fn describe(&self) -> String {
        format!("fleet over {}", self.bus.info().name)
    }

    async fn send(&self, run: u32, book: &Book) {
        let submission = self.submissions.of(run);
        let fact = match call(&*self.bus, Request::Submit(Box::new(submission))).await {
            Ok(Ok(_)) => Fact::Accepted { run },
            Ok(Err(refusal)) => {
                self.faults.count(refusal.code);
                Fact::Refused { run }
            }
            Err(error) => {
                self.faults.count(kind(&error));
                Fact::Unanswered { run }
            }
        };
        book.take(fact);
    }

    async fn listen(&self, book: &Book) {
        let pattern = Pattern::One(Subject::Events(Shard(0)));
        let mut subscription = match self.bus.subscribe(&pattern).await {
            Ok(subscription) => subscription,
            Err(error) => {
                // Every run will be asked for instead.
                self.faults.count(format!("events: {error}"));
                return;
            }
        };
        while let Some(message) = subscription.next().await {
            match Envelope::<Vec<Notice>>::decode(&message.payload) {
                Ok(envelope) => self.bring(envelope.body, book),
                Err(_) => self.faults.count("events: undecodable"),
            }
        }
    }

    async fn ask(&self, run: u32) -> Vec<Fact> {
        let request = Request::Run { run: self.submissions.ids.id(run).to_string() };
        match call(&*self.bus, request).await {
            Ok(Ok(Response::Run(report))) => facts_of(run, &report, &self.clock),
            _ => Vec::new(),
        }
    }

    fn faults(&self) -> Vec<(String, u64)> {
        self.faults.list()
    }
}

fn kind(error: &BusError) -> &'static str {
    match error {
        BusError::Timeout { .. } => "no answer in time",
        BusError::NoResponder { .. } => "nobody answers",
        BusError::Unavailable { .. } | BusError::Connect { .. } => "transport unavailable",
        BusError::TooLarge { .. } => "too large",
        BusError::NoBlob { .. } => "no blob",
        BusError::Closed => "transport closed",
    }
}

/// One question to the coordinator.
///
/// # Errors
/// When no answer comes. A refusal is an answer.
pub async fn call(bus: &dyn Bus, request: Request) -> Result<Reply, BusError> {
    let subject = Subject::Api(Shard(0), request.operation());
    let unreadable = |why: String| BusError::Unavailable { what: "the answer".into(), why };
    let question = Envelope::new(request, SystemClock.now())
        .encode()
        .map_err(|error| unreadable(error.to_string()))?;
    let answer = bus.request(&subject, question, ANSWER_WITHIN).await?;
    let envelope =
        Envelope::<Reply>::decode(&answer).map_err(|error| unreadable(error.to_string()))?;
    Ok(envelope.body)
}

/// The fleet in short.
///
/// # Errors
/// When it does not answer.
pub async fn status(bus: &dyn Bus) -> Result<FleetStatus> {
    match call(bus, Request::Status).await.context("the fleet does not answer")? {
        Ok(Response::Status(status)) => Ok(*status),
        Ok(_) => bail!("the coordinator answers something else than asked"),
        Err(refusal) => bail!("the coordinator refuses to tell its status: {refusal}"),
    }
}

/// How far the coordinator's clock is ahead of ours, as well as one exchange can tell: moments
/// that others report are only worth something when it is near 0.
///
/// # Errors
/// When the coordinator does not answer.
pub async fn clock_offset(bus: &dyn Bus) -> Result<f64> {
    let question = Envelope::new(Request::Status, SystemClock.now()).encode()?;
    let subject = Subject::Api(Shard(0), Request::Status.operation());
    let mut best: Option<(Duration, f64)> = None;
    for _ in 0..5 {
        let before = SystemClock.now();
        let answer = bus.request(&subject, question.clone(), ANSWER_WITHIN).await?;
        let after = SystemClock.now();
        let theirs = Envelope::<Reply>::decode(&answer)?.sent_at;
        let trip = after.since(before);
        let millis = |at: Timestamp| at.as_micros() as f64 / 1_000.0;
        let offset = millis(theirs) - f64::midpoint(millis(before), millis(after));
        if best.is_none_or(|(shortest, _)| trip < shortest) {
            best = Some((trip, offset));
        }
    }
    Ok(best.map_or(0.0, |(_, offset)| offset))
}
