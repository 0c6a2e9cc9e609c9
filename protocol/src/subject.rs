//! Subjects, spelled and parsed in one place. The `v1` is the version of the layout, not of the
//! messages, which carry their own.

use std::fmt;
use std::str::FromStr;

use crate::ids::{PoolName, RunId, Shard, WorkerId};

/// What may be said to a worker or by it, as the last token of its subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerTopic {
    /// From the worker: heartbeats, claims, farewell.
    Heartbeat,
    /// To the worker: cancel, drain, resend.
    Control,
}

/// The operations of the request/reply API. Each has its own subject so that a server's
/// permissions can tell readers, submitters and operators apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiOperation {
    /// Submit a run.
    Submit,
    /// Read runs, workers, status, logs and reasons.
    Read,
    /// Cancel, drain and the like.
    Operate,
}

/// Every subject there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Job attempts for a pool; stored in `VISOR_JOBS`.
    Jobs(PoolName),
    /// Outcomes for a shard's leader; stored in `VISOR_RESULTS`.
    Results(Shard),
    /// The domain events of a shard; stored in `VISOR_EVENTS`.
    Events(Shard),
    /// The live events of one run, for whoever watches it.
    Run(RunId),
    /// Log chunks of one job (its position in the run).
    Logs(RunId, u32),
    /// A worker's two subjects.
    Worker(WorkerId, WorkerTopic),
    /// Requests to whoever leads a shard.
    Api(Shard, ApiOperation),
}

/// Several subjects at once, for subscribing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Exactly this one.
    One(Subject),
    /// The reports of all workers.
    AllWorkers,
    /// The logs of all jobs of a run.
    LogsOfRun(RunId),
    /// The results of all shards.
    AllResults,
    /// The jobs of all pools.
    AllJobs,
    /// The events of all shards.
    AllEvents,
}

/// A subject that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a subject of this system")]
pub struct UnknownSubject {
    /// The subject as it came, shortened.
    pub text: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jobs(pool) => write!(f, "visor.v1.jobs.{pool}"),
            Self::Results(shard) => write!(f, "visor.v1.results.{shard}"),
            Self::Events(shard) => write!(f, "visor.v1.events.{shard}"),
            Self::Run(run) => write!(f, "visor.v1.run.{run}"),
            Self::Logs(run, seq) => write!(f, "visor.v1.logs.{run}.{seq}"),
            Self::Worker(id, WorkerTopic::Heartbeat) => write!(f, "visor.v1.worker.{id}.hb"),
            Self::Worker(id, WorkerTopic::Control) => write!(f, "visor.v1.worker.{id}.ctl"),
            Self::Api(shard, operation) => {
                let operation = match operation {
                    ApiOperation::Submit => "submit",
                    ApiOperation::Read => "read",
                    ApiOperation::Operate => "operate",
                };
                write!(f, "visor.v1.api.{shard}.{operation}")
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(subject) => subject.fmt(f),
            Self::AllWorkers => f.write_str("visor.v1.worker.*.hb"),
            Self::LogsOfRun(run) => write!(f, "visor.v1.logs.{run}.*"),
            Self::AllResults => f.write_str("visor.v1.results.*"),
            Self::AllJobs => f.write_str("visor.v1.jobs.*"),
            Self::AllEvents => f.write_str("visor.v1.events.>"),
        }
    }
}

impl Pattern {
    /// Whether a subject is among those meant.
    pub fn matches(&self, subject: &Subject) -> bool {
        match self {
            Self::One(one) => one == subject,
            Self::AllWorkers => matches!(subject, Subject::Worker(_, WorkerTopic::Heartbeat)),
            Self::LogsOfRun(run) => matches!(subject, Subject::Logs(of, _) if of == run),
            Self::AllResults => matches!(subject, Subject::Results(_)),
            Self::AllJobs => matches!(subject, Subject::Jobs(_)),
            Self::AllEvents => matches!(subject, Subject::Events(_)),
        }
    }
}

impl From<Subject> for Pattern {
    fn from(subject: Subject) -> Self {
        Self::One(subject)
    }
}

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, UnknownSubject> {
        let unknown = || UnknownSubject { text: text.chars().take(200).collect() };
        let tokens: Vec<&str> = text.split('.').collect();
        let parsed = match tokens.as_slice() {
            ["visor", "v1", "jobs", pool] => pool.parse().ok().map(Self::Jobs),
            ["visor", "v1", "results", shard] => number(shard).map(|n| Self::Results(Shard(n))),
            ["visor", "v1", "events", shard] => number(shard).map(|n| Self::Events(Shard(n))),
            ["visor", "v1", "run", run] => run.parse().ok().map(Self::Run),
            ["visor", "v1", "logs", run, seq] => {
                run.parse().ok().zip(number(seq)).map(|(run, seq)| Self::Logs(run, seq))
            }
            ["visor", "v1", "worker", id, topic] => {
                let topic = match *topic {
                    "hb" => Some(WorkerTopic::Heartbeat),
                    "ctl" => Some(WorkerTopic::Control),
                    _ => None,
                };
                id.parse().ok().zip(topic).map(|(id, topic)| Self::Worker(id, topic))
            }
            ["visor", "v1", "api", shard, operation] => {
                let operation = match *operation {
                    "submit" => Some(ApiOperation::Submit),
                    "read" => Some(ApiOperation::Read),
                    "operate" => Some(ApiOperation::Operate),
                    _ => None,
                };
                number(shard).zip(operation).map(|(n, operation)| Self::Api(Shard(n), operation))
            }
            _ => None,
        };
        // Only the canonical spelling counts: `+1` or `01` would be a second name for shard 1.
        parsed.filter(|subject| subject.to_string() == text).ok_or_else(unknown)
    }
}

fn number<T: FromStr>(token: &str) -> Option<T> {
    token.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    fn samples() -> Vec<Subject> {
        let run = RunId::new(Timestamp::from_micros(1), 2);
        let worker = WorkerId::new("w-eu-1").unwrap();
        vec![
            Subject::Jobs(PoolName::default_pool()),
            Subject::Results(Shard(3)),
            Subject::Events(Shard(0)),
            Subject::Run(run),
            Subject::Logs(run, 17),
            Subject::Worker(worker.clone(), WorkerTopic::Heartbeat),
            Subject::Worker(worker, WorkerTopic::Control),
            Subject::Api(Shard(0), ApiOperation::Submit),
            Subject::Api(Shard(0), ApiOperation::Read),
            Subject::Api(Shard(9), ApiOperation::Operate),
        ]
    }

    #[test]
    fn every_subject_is_parsed_as_it_is_spelled() {
        for subject in samples() {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
    }

    #[test]
    fn a_second_spelling_is_refused() {
        for text in
            ["visor.v1.results.01", "visor.v1.results.+1", "visor.v1.results.0.0", "visor.v1.jobs."]
        {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(visor\\.v1\\.)?[a-z.*>0-9]{0,40}") {
            let _ = text.parse::<Subject>();
        }
    }
}
