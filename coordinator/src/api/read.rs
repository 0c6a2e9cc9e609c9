//! Runs, logs and the fleet in short.

use std::sync::Arc;
use std::time::Duration;

use ractor::concurrency::oneshot;
use visor_protocol::RunId;
use visor_protocol::api::{ApiError, FleetStatus, Logs, Reply, Response};
use visor_protocol::event::{Recorded, RunEvent};
use visor_protocol::ids::{ChannelId, JobId};
use visor_protocol::outcome::{Captured, Outcome};
use visor_protocol::result::{RunReport, RunState};

use super::service::{Service, unavailable};
use crate::channel::book::RunBook;
use crate::channel::branch;
use crate::store::StoreError;

const PATIENCE: Duration = Duration::from_secs(5);

/// Runs in one answer at most.
const MAX_RUNS: u32 = 1_000;

/// Finished runs that are searched for the end of an id.
const SEARCHED: usize = 20_000;

fn unreadable(error: &StoreError) -> ApiError {
    ApiError::new("visor::journal::unreadable", error.to_string()).retry_after(1_000)
}

impl Service {
    /// The run with this id, or the only one whose id ends so.
    pub(super) async fn find(&self, text: &str) -> Result<RunId, ApiError> {
        let text = text.trim().to_ascii_lowercase();
        if let Ok(run) = text.parse::<RunId>() {
            return Ok(run);
        }
        let unknown = || {
            ApiError::new(
                "visor::api::unknown_run",
                format!("there is no run `{text}`; `visor runs` lists them"),
            )
        };
        if text.is_empty() || text.len() > 26 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(unknown());
        }
        let mut found = self.services.directory.runs_ending(&text);
        let end = text.clone();
        let stored = self
            .off_runtime(move |backend| {
                backend.summaries(SEARCHED, &|summary| summary.run.to_string().ends_with(&end))
            })
            .await?;
        found.extend(stored.into_iter().map(|summary| summary.run));
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [] => Err(unknown()),
            [run] => Ok(*run),
            several => Err(ApiError::new(
                "visor::api::ambiguous_run",
                format!("{} runs end in `{text}`; give more of the id", several.len()),
            )),
        }
    }

    async fn off_runtime<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn crate::store::Backend) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let backend = Arc::clone(self.services.journal.backend());
        match tokio::task::spawn_blocking(move || read(&*backend)).await {
            Ok(result) => result.map_err(|error| unreadable(&error)),
            Err(error) => Err(ApiError::new("visor::journal::unreadable", error.to_string())),
        }
    }

    pub(super) async fn runs(
        &self,
        limit: u32,
        state: Option<RunState>,
        channel: Option<ChannelId>,
    ) -> Reply {
        let limit = limit.min(MAX_RUNS) as usize;
        let mut runs = self
            .off_runtime(move |backend| {
                backend.summaries(limit, &|summary| {
                    state.is_none_or(|state| summary.state == state)
                        && channel.as_ref().is_none_or(|channel| summary.channel == *channel)
                })
            })
            .await?;
        // The stored line of an open run is from its beginning; its branch knows more.
        for summary in runs.iter_mut().filter(|summary| !summary.state.is_finished()) {
            if let Some(report) = self.live_report(summary.run).await {
                *summary = report.summary;
            }
        }
        Ok(Response::Runs(runs))
    }

    async fn live_report(&self, run: RunId) -> Option<Box<RunReport>> {
        let branch = self.services.directory.branch(run)?;
        let (sender, receiver) = oneshot();
        branch.cast(branch::Msg::Report(sender.into())).ok()?;
        tokio::time::timeout(PATIENCE, receiver).await.ok()?.ok()
    }

    pub(super) async fn history(&self, run: RunId) -> Result<Vec<Recorded>, ApiError> {
        let history = self.off_runtime(move |backend| backend.events(run)).await?;
        if history.is_empty() {
            return Err(ApiError::new(
                "visor::api::unknown_run",
                format!("there is no run `{run}`; `visor runs` lists them"),
            ));
        }
        Ok(history)
    }

    pub(super) async fn report(&self, run: RunId) -> Result<Box<RunReport>, ApiError> {
        if let Some(report) = self.live_report(run).await {
            return Ok(report);
        }
        if let Some(report) = self.services.recent.report(run) {
            return Ok(Box::new(report));
        }
        let history = self.history(run).await?;
        let plans = self.services.plans.clone();
        let rebuilt = tokio::task::spawn_blocking(move || {
            let Some(RunEvent::Accepted(submission)) = history.first().map(|first| &first.event)
            else {
                return Err(ApiError::new(
                    "visor::journal::unreadable",
                    format!("the history of run {run} does not begin with its acceptance"),
                ));
            };
            let plan = plans.of(submission)?;
            let submission = Arc::new((**submission).clone());
            RunBook::replay(&submission, plan, &history)
                .map(|book| Box::new(book.report()))
                .ok_or_else(|| ApiError::new("visor::journal::unreadable", "empty history"))
        });
        let mut report = rebuilt
            .await
            .map_err(|error| ApiError::new("visor::journal::unreadable", error.to_string()))??;
        // A run that was given up has its reason in its line only.
        if report.summary.note.is_none() {
            let stored = self.off_runtime(move |backend| backend.summary(run)).await?;
            report.summary.note = stored.and_then(|summary| summary.note);
        }
        Ok(report)
    }

    pub(super) async fn logs(&self, run: &str, check: &str) -> Reply {
        let run = self.find(run).await?;
        let history = self.history(run).await?;
        let mut job: Option<JobId> = None;
        let mut outcome: Option<Box<Outcome>> = None;
        for recorded in history {
            match recorded.event {
                RunEvent::Queued { job: queued, check: name, .. } if name.as_str() == check => {
                    job = Some(queued);
                }
                RunEvent::Settled { outcome: settled, .. } if Some(settled.job) == job => {
                    outcome = Some(settled);
                }
                _ => {}
            }
        }
        let Some(outcome) = outcome else {
            let report = self.report(run).await?;
            let known = report.checks.iter().find(|known| known.name.as_str() == check);
            return match known {
                Some(known) => Ok(Response::Logs(Logs {
                    stdout: String::new(),
                    stderr: String::new(),
                    stdout_total: 0,
                    stderr_total: 0,
                    complete: known.state.is_settled(),
                })),
                None => Err(ApiError::new(
                    "visor::api::unknown_check",
                    format!("run {run} has no check `{check}`"),
                )),
            };
        };
        Ok(Response::Logs(Logs {
            stdout: self.text(&outcome.stdout).await?,
            stderr: self.text(&outcome.stderr).await?,
            stdout_total: outcome.stdout.total,
            stderr_total: outcome.stderr.total,
            complete: true,
        }))
    }

    async fn text(&self, captured: &Captured) -> Result<String, ApiError> {
        let Some(hash) = captured.blob else {
            return Ok(String::from_utf8_lossy(&captured.inline).into_owned());
        };
        match self.services.bus.get_blob(hash, captured.blob_limit()).await {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            // Large outputs may have been cleared away; their end is still here.
            Err(visor_transport::BusError::NoBlob { .. }) => {
                Ok(String::from_utf8_lossy(&captured.inline).into_owned())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(super) async fn dead_letters(&self) -> Reply {
        Ok(Response::DeadLetters(self.off_runtime(|backend| backend.dead_letters()).await?))
    }

    pub(super) async fn fleet_status(&self) -> FleetStatus {
        let services = &self.services;
        let now = services.clock.now();
        let dispatch = services.dispatcher.status().await;
        let info = services.bus.info();
        let mut warnings = Vec::new();
        if let Some(why) = services.journal.trouble() {
            warnings.push(format!("the journal cannot be written, runs wait: {why}"));
        }
        if !services.bus.is_connected() {
            warnings.push(format!("{} cannot be reached: jobs wait", info.name));
        }
        for pool in &dispatch.pools {
            if pool.waiting > 0 && pool.slots == 0 {
                let jobs = if pool.waiting == 1 { "job" } else { "jobs" };
                warnings.push(format!(
                    "pool `{}` has {} {jobs} waiting and no worker that takes any",
                    pool.pool, pool.waiting
                ));
            }
        }
        let dead = self.off_runtime(|backend| backend.dead_letters()).await;
        FleetStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            transport: info.name,
            since: self.since,
            open_runs: u32::try_from(services.directory.open_runs()).unwrap_or(u32::MAX),
            waiting: dispatch.pools.iter().map(|pool| pool.waiting).sum(),
            oldest_waiting_ms: dispatch
                .oldest
                .map_or(0, |since| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)),
            in_flight: dispatch.pools.iter().map(|pool| pool.in_flight).sum(),
            pools: dispatch.pools,
            limits: dispatch.limits,
            settled_last_minute: services.gauges.settled_last_minute(now),
            dead_letters: dead.map_or(0, |dead| u32::try_from(dead.len()).unwrap_or(u32::MAX)),
            warnings,
            notes: info.degraded,
        }
    }
}
