//! `visor run`, against bare processes and bare appends.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::rounds::{interleave, median};
use super::table::{About, Goal, Row};
use super::{Programs, child};
use crate::say;

/// Checks of the two larger runs.
const ECHOES: usize = 1_000;
const NOOPS: usize = 10_000;
/// Commands that run at once, in ours as in the floor.
const PARALLEL: usize = 16;

/// Measures.
pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut rows = cold(programs, folder.path(), if quick { 10 } else { 60 })?;
    rows.extend(many(programs, folder.path(), if quick { 2 } else { 7 })?);
    rows.extend(durable(programs, folder.path(), if quick { 2 } else { 7 })?);
    Ok(rows)
}

fn config(folder: &Path, name: &str, count: usize, check: &str) -> Result<String> {
    let mut text = String::from("version: \"1.0\"\nchecks:\n");
    for number in 0..count {
        text.push_str(&format!("  c{number}: {{ {check} }}\n"));
    }
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file.display().to_string())
}

fn visor(programs: &Programs, config: &str) -> Command {
    let mut command = Command::new(&programs.visor);
    command.args(["run", "--config", config, "--check", "all", "--output", "json", "--quiet"]);
    command
}

/// How many checks the result lists, so that a run that did less than asked is no record.
fn checks_in(output: &str) -> Result<usize> {
    let groups: Value = serde_json::from_str(output).context("visor printed no JSON")?;
    let groups = groups.as_object().context("the result has no groups")?;
    Ok(groups.values().filter_map(Value::as_array).map(Vec::len).sum())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn cold(programs: &Programs, folder: &Path, rounds: usize) -> Result<Vec<Row>> {
    say::step("cold start: one `echo ok`");
    let config = config(folder, "one.yaml", 1, "type: command, exec: echo ok")?;
    let (bare, ours) = interleave(
        rounds,
        || child::run(Command::new("sh").args(["-c", "echo ok"])),
        || child::run(&mut visor(programs, &config)),
    )?;
    for one in &ours {
        ensure!(checks_in(&one.output)? == 1, "a run had no check");
    }
    let wall = Row {
        name: "cold `visor run` of one `echo ok`",
        unit: "ms",
        ours: median(ours.iter().map(|one| millis(one.wall))),
        floor: Some(("`sh -c 'echo ok'`", median(bare.iter().map(|one| millis(one.wall))))),
        goal: Some(Goal::AtMost(10.0)),
        goal_is_about: About::Difference,
        more: Vec::new(),
    };
    let memory = Row {
        name: "  its peak memory",
        unit: "MB",
        ours: median(ours.iter().map(|one| one.peak_bytes as f64 / 1e6)),
        floor: None,
        goal: Some(Goal::AtMost(30.0)),
        goal_is_about: About::Ours,
        more: Vec::new(),
    };
    Ok(vec![wall, memory])
}

fn many(programs: &Programs, folder: &Path, rounds: usize) -> Result<Vec<Row>> {
    say::step("1000 independent `echo ok` in one run");
    let config = config(folder, "echoes.yaml", ECHOES, "type: command, exec: echo ok")?;
    let parallel = PARALLEL.to_string();
    let (bare, ours) = interleave(
        rounds,
        || child::run(Command::new(&programs.floor).args([ECHOES.to_string().as_str(), &parallel])),
        || child::run(visor(programs, &config).args(["--max-parallelism", &parallel])),
    )?;
    for one in &ours {
        ensure!(checks_in(&one.output)? == ECHOES, "a run had fewer checks");
    }
    let rate = |one: &child::Ran| ECHOES as f64 / one.wall.as_secs_f64();
    let peak = median(ours.iter().map(|one| one.peak_bytes as f64 / 1e6));
    Ok(vec![Row {
        name: "1000 `echo ok` checks",
        unit: "checks/s",
        ours: median(ours.iter().map(rate)),
        floor: Some(("a bare tokio loop, as many at once", median(bare.iter().map(rate)))),
        goal: Some(Goal::AtLeast(0.8)),
        goal_is_about: About::Ratio,
        more: vec![("peak MB", peak)],
    }])
}

fn durable(programs: &Programs, folder: &Path, rounds: usize) -> Result<Vec<Row>> {
    say::step("10 000 `noop` with a durable journal");
    let config = config(folder, "noops.yaml", NOOPS, "type: noop")?;
    let journal = folder.join("journal");
    let (bare, ours) = interleave(
        rounds,
        || appends(&folder.join("appends")),
        || {
            // Every round begins with an empty journal.
            let _ = fs::remove_dir_all(&journal);
            let mut command = visor(programs, &config);
            command.args(["--max-parallelism", "10000", "--data-dir"]).arg(&journal);
            child::run(&mut command)
        },
    )?;
    for one in &ours {
        ensure!(checks_in(&one.output)? == NOOPS, "a run had fewer checks");
    }
    ensure!(journal.read_dir()?.next().is_some(), "nothing was written to {}", journal.display());
    let rate = |wall: Duration| NOOPS as f64 / wall.as_secs_f64();
    let peak = median(ours.iter().map(|one| one.peak_bytes as f64 / 1e6));
    Ok(vec![Row {
        name: "10 000 `noop`, durable journal",
        unit: "checks/s",
        ours: median(ours.iter().map(|one| rate(one.wall))),
        floor: Some(("appends of 256 B, fdatasync every 100", median(bare.into_iter().map(rate)))),
        goal: Some(Goal::AtLeast(20_000.0)),
        goal_is_about: About::Ours,
        more: vec![("peak MB", peak)],
    }])
}

/// One record for each check, made durable a hundred at a time.
#[expect(clippy::disallowed_methods, reason = "wall time is what is measured")]
fn appends(path: &Path) -> Result<Duration> {
    let mut file = File::create(path)?;
    let batch = vec![7_u8; 256 * 100];
    let begin = std::time::Instant::now();
    for _ in 0..NOOPS / 100 {
        file.write_all(&batch)?;
        file.sync_data()?;
    }
    Ok(begin.elapsed())
}
