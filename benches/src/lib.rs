//! Inputs that the benches share. Each bench states the question it answers; the answers, with the
//! machine they came from, are in the book's page on performance.

use visor_protocol::api::ConfigSource;
use visor_protocol::ids::{Attempt, ChannelId, CheckName, JobId, PoolName, RunId, Shard, WorkerId};
use visor_protocol::job::{Job, Placement, Work};
use visor_protocol::outcome::{Captured, End, Outcome, Usage};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

/// The instant at which every bench begins.
pub const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A run that is always the same.
pub fn run_id(n: u64) -> RunId {
    RunId::new(START, u128::from(n))
}

/// The first attempt at a job of run 1.
pub fn ticket(seq: u32) -> Ticket {
    Ticket { job: JobId { run: run_id(1), seq }, attempt: Attempt::FIRST }
}

/// A worker's id.
///
/// # Panics
/// Never: the name is valid.
pub fn worker() -> WorkerId {
    WorkerId::new("w-1").expect("the name is valid")
}

/// A job of about a kilobyte, as most commands are.
///
/// # Panics
/// Never: the name is valid.
pub fn job(seq: u32) -> Job {
    let ticket = ticket(seq);
    Job {
        job: ticket.job,
        attempt: ticket.attempt,
        shard: Shard(0),
        check: CheckName::new("unit-tests").expect("the name is valid"),
        channel: ChannelId::local(),
        pool: PoolName::default_pool(),
        work: Work::Command { exec: "cargo test --workspace --locked ".repeat(24) },
        env: (0..4).map(|n| (format!("NAME_{n}"), "value of some length".to_owned())).collect(),
        timeout_ms: 60_000,
        placement: Placement::Pool,
        workspace: None,
        output_limit: 1 << 20,
        watched: true,
    }
}

/// An outcome with a few lines of output.
pub fn outcome(seq: u32) -> Outcome {
    let ticket = ticket(seq);
    Outcome {
        job: ticket.job,
        attempt: ticket.attempt,
        worker: worker(),
        started_at: START,
        finished_at: START + std::time::Duration::from_millis(3),
        end: End::Exited { code: 0 },
        stdout: Captured::whole("test result: ok. 128 passed\n".repeat(8)),
        stderr: Captured::default(),
        usage: Usage::default(),
        image: None,
    }
}

/// A file with this many checks, every tenth of which depends on the nine before it.
pub fn config(checks: u32) -> ConfigSource {
    use std::fmt::Write as _;
    let mut text = String::from("version: \"1.0\"\nmax_parallelism: 64\nchecks:\n");
    for n in 0..checks {
        let _ = write!(text, "  check-{n}:\n    type: noop\n    tags: [bench]\n");
        if n % 10 == 9 {
            let names: Vec<String> = (n - 9..n).map(|earlier| format!("check-{earlier}")).collect();
            let _ = writeln!(text, "    depends_on: [{}]", names.join(", "));
        }
    }
    ConfigSource { name: "bench.yaml".to_owned(), text }
}
