//! Submissions, jobs and ids, with everything filled in that a test does not care about.

use std::collections::BTreeMap;

use visor_protocol::api::{ConfigSource, Priority, Selection, Submission};
use visor_protocol::ids::{Attempt, ChannelId, CheckName, JobId, PoolName, RunId, Shard, WorkerId};
use visor_protocol::job::{Job, Placement, Work};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

/// The `n`th run of a test.
pub fn run_id(n: u64) -> RunId {
    RunId::new(Timestamp::from_micros(1_767_225_600_000_000), u128::from(n))
}

/// A worker's id.
///
/// # Panics
/// When the name is none that a worker may have.
#[track_caller]
pub fn worker_id(name: &str) -> WorkerId {
    WorkerId::new(name).expect("the name suits a worker")
}

/// A configuration of `n` independent `noop` checks, named `c0` and so on.
pub fn noop_config(n: usize) -> String {
    let checks = (0..n).map(|n| format!("  c{n}:\n    type: noop\n"));
    format!("version: \"1.0\"\nchecks:\n{}", checks.collect::<String>())
}

/// A submission of a configuration's text.
#[derive(Debug, Clone)]
pub struct SubmissionBuilder(Submission);

impl SubmissionBuilder {
    /// The `n`th run of a test, of this configuration.
    pub fn new(n: u64, config: impl Into<String>) -> Self {
        Self(Submission {
            run: run_id(n),
            channel: ChannelId::local(),
            config: ConfigSource { name: "visor.yaml".into(), text: config.into() },
            selection: Selection::default(),
            revision: visor_protocol::api::Revision::default(),
            workspace: None,
            env: BTreeMap::new(),
            priority: Priority::default(),
            pool: None,
            timeout_ms: None,
            watched: false,
        })
    }

    /// In this channel.
    ///
    /// # Panics
    /// When the name is none that a channel may have.
    #[must_use]
    #[track_caller]
    pub fn channel(mut self, channel: &str) -> Self {
        self.0.channel = ChannelId::new(channel).expect("the name suits a channel");
        self
    }

    /// In this pool.
    ///
    /// # Panics
    /// When the name is none that a pool may have.
    #[must_use]
    #[track_caller]
    pub fn pool(mut self, pool: &str) -> Self {
        self.0.pool = Some(PoolName::new(pool).expect("the name suits a pool"));
        self
    }

    /// With this priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.0.priority = priority;
        self
    }

    /// Only these checks, and so on.
    #[must_use]
    pub fn selection(mut self, selection: Selection) -> Self {
        self.0.selection = selection;
        self
    }

    /// With this deadline for the whole run.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.0.timeout_ms = Some(timeout_ms);
        self
    }

    /// Followed by somebody.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.0.watched = true;
        self
    }

    /// The submission.
    pub fn build(self) -> Submission {
        self.0
    }
}

/// A job's first attempt.
#[derive(Debug, Clone)]
pub struct JobBuilder(Job);

impl JobBuilder {
    /// A `noop` of the `n`th run of a test, at this position.
    ///
    /// # Panics
    /// Never: the name it makes is valid.
    pub fn new(n: u64, seq: u32) -> Self {
        let check = CheckName::new(format!("c{seq}")).expect("the name is plain");
        Self(Job {
            job: JobId { run: run_id(n), seq },
            attempt: Attempt::FIRST,
            shard: Shard(0),
            check,
            channel: ChannelId::local(),
            pool: PoolName::default_pool(),
            work: Work::Noop,
            env: BTreeMap::new(),
            timeout_ms: 60_000,
            placement: Placement::Pool,
            workspace: None,
            output_limit: 1024 * 1024,
            watched: false,
        })
    }

    /// This attempt.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.0.attempt = Attempt(attempt);
        self
    }

    /// A shell command line.
    #[must_use]
    pub fn command(mut self, exec: impl Into<String>) -> Self {
        self.0.work = Work::Command { exec: exec.into() };
        self
    }

    /// Other work.
    #[must_use]
    pub fn work(mut self, work: Work) -> Self {
        self.0.work = work;
        self
    }

    /// With this deadline.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.0.timeout_ms = timeout_ms;
        self
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.env.insert(name.into(), value.into());
        self
    }

    /// The job.
    pub fn build(self) -> Job {
        self.0
    }
}

/// The attempt that a job is.
pub fn ticket(job: &Job) -> Ticket {
    Ticket { job: job.job, attempt: job.attempt }
}
