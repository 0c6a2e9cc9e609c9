//! Runs, workers and dead letters as tables.

use std::fmt::Write as _;
use std::time::Duration;

use visor_protocol::api::{DeadLetter, WorkerInfo};
use visor_protocol::result::{RunState, RunSummary};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::{Execution, WorkerState};

use super::style::Style;
use super::table::Table;
use super::text;

/// The latest runs.
pub(crate) fn runs(runs: &[RunSummary], now: Timestamp, style: Style) -> String {
    if runs.is_empty() {
        return "no runs yet: `visor run --fleet URL` submits one\n".into();
    }
    let mut table = Table::new(["ID", "STATE", "CHECKS", "CHANNEL", "CONFIG", "TOOK", "SUBMITTED"]);
    for run in runs {
        let took = run.finished_at.unwrap_or(now).since(run.submitted_at);
        table.row([
            run.run.short(),
            run_state(run.state, style),
            counts(run),
            text::clean_line(run.channel.as_str()),
            text::clean_line(&run.config),
            text::duration(took),
            ago(now, run.submitted_at),
        ]);
    }
    table.render(style)
}

/// A state with its sign and word.
pub(crate) fn run_state(state: RunState, style: Style) -> String {
    match state {
        RunState::Running => style.cyan("● running"),
        RunState::Passed => style.green("✓ passed"),
        RunState::Failed => style.red("✗ failed"),
        RunState::Cancelled => style.yellow("■ cancelled"),
    }
}

/// `5/7, 1 failed`: settled of all, and what went wrong.
fn counts(run: &RunSummary) -> String {
    let counts = &run.counts;
    let settled = counts.passed + counts.failed + counts.skipped + counts.cancelled;
    let failed = match (counts.failed, &run.note) {
        (0, Some(note)) if run.state == RunState::Failed => format!(", {}", text::clean_line(note)),
        (0, _) => String::new(),
        (failed, _) => format!(", {failed} failed"),
    };
    format!("{settled}/{}{failed}", counts.total())
}

/// How long ago something was, roughly.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    match now.since(then) {
        moment if moment < Duration::from_secs(1) => "now".into(),
        while_ago => format!("{} ago", text::duration(while_ago)),
    }
}

/// The workers.
pub(crate) fn workers(workers: &[WorkerInfo], now: Timestamp, style: Style) -> String {
    if workers.is_empty() {
        return "no workers: `visor worker --nats URL` starts one\n".into();
    }
    let mut table = Table::new([
        "ID", "POOL", "SLOTS", "STATE", "RUNS IN", "CPU", "MEM", "JOBS/MIN", "IMAGES", "SINCE", "",
    ]);
    for worker in workers {
        let ready = worker.images.iter().filter(|image| image.ready).count();
        let (state, why) = worker_state(worker, style);
        table.row([
            worker.worker.to_string(),
            worker.pool.to_string(),
            format!("{}/{}", worker.busy, worker.slots),
            state,
            match worker.execution {
                Execution::Sandbox => "sandbox".into(),
                Execution::Host => "host".into(),
            },
            format!("{:.0}%", worker.host.cpu_percent),
            memory(worker),
            worker.jobs_last_minute.to_string(),
            match worker.images.len() {
                0 => "–".into(),
                all => format!("{ready}/{all}"),
            },
            text::duration(now.since(worker.since)),
            why,
        ]);
    }
    table.render(style)
}

fn memory(worker: &WorkerInfo) -> String {
    if worker.host.memory_total_bytes == 0 {
        return "–".into();
    }
    let used = text::size(worker.host.memory_used_bytes);
    format!("{used}/{}", text::size(worker.host.memory_total_bytes))
}

fn worker_state(worker: &WorkerInfo, style: Style) -> (String, String) {
    // Four missed heartbeats: its jobs are about to go to others.
    if worker.silent_ms >= 2_000 {
        let silent = text::duration(Duration::from_millis(worker.silent_ms));
        return (style.red("silent"), format!("not heard for {silent}"));
    }
    match &worker.state {
        WorkerState::Ready => (style.green("ready"), String::new()),
        WorkerState::Draining => {
            let holds = text::count(worker.busy, "job");
            (style.yellow("draining"), format!("finishes {holds}"))
        }
        WorkerState::NotReady { reason } => (style.red("not ready"), text::clean_line(reason)),
    }
}

/// Jobs given up on, each with its history.
pub(crate) fn dead_letters(letters: &[DeadLetter], now: Timestamp, style: Style) -> String {
    if letters.is_empty() {
        return "no dead letters\n".into();
    }
    let mut out = String::new();
    for letter in letters {
        let job = format!("{}/{}", letter.run.short(), text::clean_line(&letter.check));
        let when = style.dim(&ago(now, letter.at));
        let _ = writeln!(out, "{} {}  {when}", style.red("✗"), style.bold(&job));
        for (number, line) in letter.history.iter().enumerate() {
            let _ = writeln!(out, "    attempt {}: {}", number + 1, text::clean_line(line));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use visor_protocol::ids::{PoolName, WorkerId};
    use visor_protocol::worker::{HostUsage, ImageStatus};

    use super::*;
    use crate::render::samples;

    fn now() -> Timestamp {
        samples::start() + Duration::from_secs(190)
    }

    fn worker(id: &str, state: WorkerState, silent_ms: u64) -> WorkerInfo {
        WorkerInfo {
            worker: WorkerId::new(id).unwrap(),
            pool: PoolName::default_pool(),
            slots: 15,
            busy: 9,
            state,
            execution: Execution::Sandbox,
            images: vec![ImageStatus { image: "node".into(), ready: true, detail: String::new() }],
            host: HostUsage {
                cpu_percent: 40.4,
                memory_used_bytes: 5_000_000_000,
                memory_total_bytes: 16_000_000_000,
            },
            jobs_last_minute: 102,
            version: "0.1.0".into(),
            since: samples::start(),
            silent_ms,
        }
    }

    #[test]
    fn runs_are_listed_with_state_and_age() {
        let list = [samples::mixed().summary, samples::many(3).summary];
        insta::assert_snapshot!(runs(&list, now(), Style::plain()));
    }

    #[test]
    fn a_worker_that_takes_no_work_says_why() {
        let not_ready = WorkerState::NotReady { reason: "pulls node (61 %)".into() };
        let list = [
            worker("w-eu-1", WorkerState::Ready, 100),
            worker("w-eu-2", WorkerState::Draining, 100),
            worker("w-eu-9", not_ready, 100),
            worker("w-eu-10", WorkerState::Ready, 3_100),
        ];
        insta::assert_snapshot!(workers(&list, now(), Style::plain()));
    }

    #[test]
    fn a_dead_letter_tells_its_history() {
        let letter = DeadLetter {
            run: samples::run_id(),
            check: "build".into(),
            at: samples::start(),
            history: vec!["w-1 was lost".into(), "w-2 was lost".into()],
        };
        insta::assert_snapshot!(dead_letters(&[letter], now(), Style::plain()), @r"
        ✗ dbsqqg/build  3 min 10 s ago
            attempt 1: w-1 was lost
            attempt 2: w-2 was lost
        ");
    }
}
