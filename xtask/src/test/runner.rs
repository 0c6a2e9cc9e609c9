//! The tests themselves: with nextest where it is installed, with `cargo test` elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write, stdout};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result};

use super::Args;
use super::skips::{self, Skip};
use crate::{interrupt, say, tools};

/// What came of it.
pub(super) struct Ran {
    pub(super) passed: bool,
    pub(super) skipped: BTreeSet<Skip>,
}

/// Tests in `tests/` folders start processes and talk to real servers. The same expression stands
/// in `.config/nextest.toml`.
const REAL_PARTS: &str = "kind(test)";

/// Runs every test, then the examples in the documentation.
pub(super) fn run(environment: &[(&str, String)], args: &Args) -> Result<Ran> {
    let Args { quick, filter, .. } = args;
    let quick = *quick;
    let mut ran = if !args.no_nextest && has_nextest() {
        nextest(environment, quick, filter)?
    } else {
        say::step("without cargo-nextest: running the tests with cargo test");
        cargo_test(environment, quick, filter)?
    };
    if !quick && filter.is_empty() {
        let mut command = tools::cargo();
        command.args(["test", "--workspace", "--doc", "--quiet"]);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        say::step("examples in the documentation");
        ran.passed &= interrupt::run(&mut command)?.success();
    }
    Ok(ran)
}

fn has_nextest() -> bool {
    let mut command = tools::cargo();
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn nextest(environment: &[(&str, String)], quick: bool, filter: &[String]) -> Result<Ran> {
    // Passing tests print nothing, but what they printed is in the report.
    let report = tools::target_dir()?.join("nextest/default/junit.xml");
    let _ = fs::remove_file(&report);
    let mut command = tools::cargo();
    command.args(["nextest", "run"]);
    if filter.is_empty() {
        command.arg("--workspace");
    }
    if quick {
        command.args(["-E", &format!("not {REAL_PARTS}")]);
    }
    command.args(filter);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let passed = interrupt::run(&mut command)?.success();
    let skipped = match fs::read_to_string(&report) {
        Ok(text) => skips::find(&text),
        // Nothing was built, or no test ran.
        Err(_) => BTreeSet::new(),
    };
    Ok(Ran { passed, skipped })
}

fn cargo_test(environment: &[(&str, String)], quick: bool, filter: &[String]) -> Result<Ran> {
    let mut command = tools::cargo();
    command.args(["test", "--no-fail-fast"]);
    if filter.is_empty() {
        command.arg("--workspace");
    }
    command.args(if quick { &["--lib", "--bins"][..] } else { &["--tests"] });
    command.args(filter).args(["--", "--show-output"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let reader = thread::spawn(move || without_passing_output(BufReader::new(output)));
    let passed = interrupt::wait(child)?.success();
    let skipped = reader.join().unwrap_or_default();
    Ok(Ran { passed, skipped })
}

/// Passes the output of `cargo test` on, without what passing tests printed; that is only looked
/// through.
fn without_passing_output(lines: impl BufRead) -> BTreeSet<Skip> {
    let mut skipped = BTreeSet::new();
    let mut in_successes = false;
    let mut screen = stdout();
    for line in lines.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        skipped.extend(skips::of_line(&line));
        match line.trim_end() {
            "successes:" => in_successes = true,
            "failures:" => in_successes = false,
            other if other.starts_with("test result:") => in_successes = false,
            _ => {}
        }
        if !in_successes {
            // A closed screen is no reason to stop the tests.
            let _ = writeln!(screen, "{line}");
        }
    }
    skipped
}
