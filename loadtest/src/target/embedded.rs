//! A process of its own for each run: `visor run`, as a shell script would start it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use visor_protocol::result::RunReport;

use super::common::Faults;
use super::{Target, facts_of};
use crate::book::Book;
use crate::ledger::Fact;
use crate::scenario::Scenario;
use crate::session::LoadClock;
use crate::usage::{self, Watched};

/// Results larger than this are not read: no scenario has so many.
const MAX_RESULT_BYTES: u64 = 256 * 1024 * 1024;

/// `visor run` processes.
pub struct EmbeddedTarget {
    program: PathBuf,
    arguments: Vec<String>,
    clock: LoadClock,
    watched: Arc<Watched>,
    faults: Faults,
}

struct Ended {
    status: usage::Status,
    report: Option<RunReport>,
}

impl EmbeddedTarget {
    /// Starts this program for each run of a scenario, whose configuration is written into the
    /// folder.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn new(
        program: PathBuf,
        folder: &std::path::Path,
        clock: LoadClock,
        scenario: &Scenario,
        watched: Arc<Watched>,
    ) -> Result<Self> {
        let file = folder.join("load.visor.yaml");
        std::fs::write(&file, scenario.config().text)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut arguments: Vec<String> = ["run", "--config"].map(str::to_owned).into();
        arguments.push(file.display().to_string());
        arguments.extend(["--check", "all", "--output", "report", "--quiet"].map(str::to_owned));
        if !scenario.tags.is_empty() {
            arguments.extend(["--tags".to_owned(), scenario.tags.join(",")]);
        }
        if let Some(limit) = scenario.max_parallelism {
            arguments.extend(["--max-parallelism".to_owned(), limit.to_string()]);
        }
        Ok(Self { program, arguments, clock, watched, faults: Faults::default() })
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    }
}

/// Reads what a process prints and waits for its end.
fn attend(mut child: Child) -> std::io::Result<Ended> {
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_RESULT_BYTES).read_to_end(&mut output)?;
    }
    let status = usage::wait(child)?;
    Ok(Ended { status, report: serde_json::from_slice(&output).ok() })
}

#[async_trait]
impl Target for EmbeddedTarget {
    fn describe(&self) -> String {
        format!("a process for each run ({})", self.program.display())
    }

    async fn send(&self, run: u32, book: &Book) {
        let child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                self.faults.count(format!("cannot start: {error}"));
                book.take(Fact::Refused { run });
                return;
            }
        };
        let id = child.id();
        self.watched.add(id);
        book.take(Fact::Accepted { run });
        let ended = tokio::task::spawn_blocking(move || attend(child)).await;
        self.watched.remove(id);
        let at = self.clock.now();
        let ended = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return self.faults.count(format!("lost track: {error}")),
            Err(_) => return self.faults.count("lost track"),
        };
        self.watched.ended(&ended.status);
        let passed = ended.status.code == Some(0);
        if !passed {
            self.faults.count(format!("ended with {}", ended.status));
        }
        // The run is over for whoever started it when the process is.
        let told = ended.report.iter().flat_map(|report| facts_of(run, report, &self.clock));
        told.filter(|fact| !matches!(fact, Fact::Finished { .. })).for_each(|fact| book.take(fact));
        book.take(Fact::Finished { run, passed, at });
    }

    async fn listen(&self, _: &Book) {
        std::future::pending().await
    }

    async fn ask(&self, _: u32) -> Vec<Fact> {
        Vec::new()
    }

    fn faults(&self) -> Vec<(String, u64)> {
        self.faults.list()
    }
}

/// A program that hangs would keep its run open for ever; the load gives up on it after this.
pub const PATIENCE: Duration = Duration::from_secs(120);
