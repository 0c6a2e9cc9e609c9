//! Coordinator, NATS and workers, by way of the load generator; the floor is the bare queue.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::rounds::{interleave, median};
use super::table::{About, Goal, Row};
use super::{Programs, child};
use crate::say;

/// Measures.
pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Vec<Row>> {
    let mut rows = throughput(programs, quick)?;
    rows.extend(latency(programs, quick)?);
    rows.extend(lost_worker(programs, quick)?);
    Ok(rows)
}

fn loadtest(programs: &Programs, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(&programs.loadtest);
    let ran = child::run(command.args(arguments).arg("--json"))?;
    serde_json::from_str(&ran.output).context("visor-loadtest printed no JSON")
}

/// A number in a report, by the way to it.
fn number(report: &Value, way: &str) -> Result<f64> {
    let found = report.pointer(way).and_then(Value::as_f64);
    found.with_context(|| format!("the report has no number at {way}"))
}

fn medians(reports: &[Value], way: &str) -> Result<f64> {
    let numbers: Result<Vec<f64>> = reports.iter().map(|report| number(report, way)).collect();
    Ok(median(numbers?))
}

fn adds_up(reports: &[Value]) -> Result<()> {
    for report in reports {
        let sound = report["adds_up"] == true;
        ensure!(sound, "the ledger of a load does not add up: {}", report["account"]["counts"]);
    }
    Ok(())
}

fn throughput(programs: &Programs, quick: bool) -> Result<Vec<Row>> {
    say::step("noop jobs through coordinator, NATS and one worker: the highest rate");
    let (rounds, seconds) = if quick { (1, "3") } else { (3, "10") };
    let load = ["--in-flight", "400", "--seconds", seconds];
    let (bare, ours) = interleave(
        rounds,
        || loadtest(programs, &["queue-floor", "--in-flight", "400", "--seconds", seconds]),
        || {
            let all = [&["fleet", "--scenario", "noop-many-runs", "--slots", "64"], &load[..]];
            loadtest(programs, &all.concat())
        },
    )?;
    adds_up(&ours)?;
    let generator = medians(&ours, "/processes/visor-loadtest/cpu_micros")?;
    let jobs = medians(&ours, "/account/counts/checks_settled")?;
    let all: f64 = ["coordinator", "load-1", "nats-server"]
        .iter()
        .map(|name| medians(&ours, &format!("/processes/{name}/cpu_micros")))
        .sum::<Result<f64>>()?;
    Ok(vec![Row {
        name: "noop jobs, coordinator + NATS + one worker",
        unit: "jobs/s",
        ours: medians(&ours, "/settled_per_second")?,
        floor: Some(("the queue there and back, by itself", medians(&bare, "/jobs_per_second")?)),
        goal: Some(Goal::AtLeast(8_000.0)),
        goal_is_about: About::Ours,
        more: vec![
            ("CPU µs a job, without the generator", all / jobs),
            ("CPU µs a job, the generator", generator / jobs),
        ],
    }])
}

fn latency(programs: &Programs, quick: bool) -> Result<Vec<Row>> {
    say::step("noop jobs at 1000/s, open loop: submit to start");
    let (rounds, seconds) = if quick { (1, "3") } else { (3, "10") };
    let (bare, ours) = interleave(
        rounds,
        || loadtest(programs, &["queue-floor", "--rate", "1000", "--seconds", seconds]),
        || {
            let load = ["fleet", "--scenario", "noop-many-runs", "--rate", "1000"];
            loadtest_even_if_void(programs, &[&load[..], &["--seconds", seconds]].concat())
        },
    )?;
    adds_up(&ours)?;
    let of = |way: &str| medians(&ours, way);
    let start = Row {
        name: "submit to start at 1000/s, p95",
        unit: "ms",
        ours: of("/account/submit_to_start/p95_ms")?,
        floor: Some(("the bare queue, there", medians(&bare, "/there/p95_ms")?)),
        goal: Some(Goal::AtMost(3.0)),
        goal_is_about: About::Ours,
        more: vec![
            ("p50", of("/account/submit_to_start/p50_ms")?),
            ("p99", of("/account/submit_to_start/p99_ms")?),
            ("the generator's own send lag, p99", of("/account/send_lag/p99_ms")?),
        ],
    };
    let settled = Row {
        name: "finish to settled at 1000/s, p95",
        unit: "ms",
        ours: of("/account/finish_to_settled/p95_ms")?,
        floor: Some(("the bare queue, back", medians(&bare, "/back/p95_ms")?)),
        goal: None,
        goal_is_about: About::Ours,
        more: vec![
            ("p50", of("/account/finish_to_settled/p50_ms")?),
            ("p99", of("/account/finish_to_settled/p99_ms")?),
        ],
    };
    Ok(vec![start, settled])
}

/// The generator ends with a failure when it was late itself; the row shows its lag instead.
fn loadtest_even_if_void(programs: &Programs, arguments: &[&str]) -> Result<Value> {
    let mut all = arguments.to_vec();
    all.push("--accept-void");
    loadtest(programs, &all)
}

fn lost_worker(programs: &Programs, quick: bool) -> Result<Vec<Row>> {
    say::step("a worker is killed: its jobs run again");
    let kills = if quick { "2" } else { "8" };
    let report = loadtest(programs, &["worker-loss", "--kills", kills])?;
    ensure!(report["lost"] == 0, "jobs of a killed worker never ran again: {report}");
    Ok(vec![Row {
        name: "killed worker to restarted job, p95",
        unit: "s",
        ours: number(&report, "/kill_to_restart/p95_ms")? / 1_000.0,
        floor: None,
        goal: Some(Goal::AtMost(3.0)),
        goal_is_about: About::Ours,
        more: vec![
            ("p50", number(&report, "/kill_to_restart/p50_ms")? / 1_000.0),
            ("max", number(&report, "/kill_to_restart/max_ms")? / 1_000.0),
            ("jobs measured", number(&report, "/jobs")?),
        ],
    }])
}
