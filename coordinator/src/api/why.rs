//! What a check waits for, or why it ended as it did: one exact cause, and what would change it.

use visor_protocol::api::{ApiError, Reason, Reply, Response, Wait, WorkerInfo};
use visor_protocol::ids::Attempt;
use visor_protocol::result::{CheckReport, CheckState, RunReport};
use visor_protocol::worker::Ticket;

use super::service::Service;
use super::waits::Queued;

/// Checks explained in one answer at most.
const MAX_REASONS: usize = 200;

/// What one question is answered from.
struct Asked<'a> {
    report: &'a RunReport,
    workers: Vec<WorkerInfo>,
}

impl Service {
    pub(super) async fn why(&self, run: &str, check: Option<&str>) -> Reply {
        let run = self.find(run).await?;
        let report = self.report(run).await?;
        let workers = self.services.fleet.workers().await;
        let asked = Asked { report: &report, workers };
        let mut reasons = Vec::new();
        for candidate in &report.checks {
            let wanted = match check {
                Some(name) => candidate.name.as_str() == name,
                None => !candidate.state.is_settled() || candidate.state == CheckState::Failed,
            };
            if wanted && reasons.len() < MAX_REASONS {
                reasons.push(self.reason(&asked, candidate).await);
            }
        }
        if let (Some(name), true) = (check, reasons.is_empty()) {
            return Err(ApiError::new(
                "visor::api::unknown_check",
                format!("run {run} has no check `{name}`"),
            ));
        }
        Ok(Response::Why(reasons))
    }

    async fn reason(&self, asked: &Asked<'_>, check: &CheckReport) -> Reason {
        let mut reason = Reason {
            check: check.name.to_string(),
            state: state_word(check.state).to_owned(),
            wait: None,
            waits_for: None,
            summary: String::new(),
            dependencies: Vec::new(),
            facts: Vec::new(),
            remedy: None,
        };
        let mut fact = |name: &str, value: String| reason.facts.push((name.to_owned(), value));
        for earlier in &check.history {
            fact("earlier attempt", earlier.clone());
        }
        // While it is queued, how its image stands is said with the workers.
        if let Some(image) = check.image.as_ref().filter(|_| check.state != CheckState::Queued) {
            fact("image", image.clone());
        }
        for name in &check.waits_for {
            let state = asked
                .report
                .checks
                .iter()
                .find(|other| other.name.as_str() == name)
                .map_or("unknown", |other| state_word(other.state));
            reason.dependencies.push((name.clone(), state.to_owned()));
        }
        match check.state {
            CheckState::Waiting => {
                let (wait, waits_for) = match check.waits_for.as_slice() {
                    [] => (Wait::Place, "a place among the run's parallel checks".to_owned()),
                    names => (Wait::Dependency, names.join(", ")),
                };
                if wait == Wait::Place {
                    reason.remedy = Some("a higher `max_parallelism` for the run".into());
                }
                reason.summary = format!("waits for {waits_for}");
                (reason.wait, reason.waits_for) = (Some(wait), Some(waits_for));
            }
            CheckState::Queued => self.explain_queued(asked, check, &mut reason).await,
            CheckState::Running => self.explain_running(check, &mut reason).await,
            CheckState::Passed => reason.summary = "passed".into(),
            CheckState::Failed => {
                let why = check.why.as_deref().unwrap_or("failed");
                reason.summary = match check.fault {
                    Some(_) => format!("could not be run: {why}"),
                    None => why.to_owned(),
                };
                if let Some(line) = check.tail.lines().next_back() {
                    reason.facts.push(("last output".into(), line.to_owned()));
                }
            }
            CheckState::Skipped => {
                reason.summary = check.why.clone().unwrap_or_else(|| "was skipped".into());
            }
            CheckState::Cancelled => {
                reason.summary = check.why.clone().unwrap_or_else(|| "was stopped".into());
            }
        }
        reason
    }

    async fn explain_queued(&self, asked: &Asked<'_>, check: &CheckReport, reason: &mut Reason) {
        let Some(job) = check.job else {
            reason.summary = "is being queued".into();
            return;
        };
        let queued = Queued {
            now: self.services.clock.now(),
            check,
            info: self.services.dispatcher.explain(job).await,
            workers: &asked.workers,
            channel: asked.report.summary.channel.as_str(),
            journal: self.services.journal.trouble(),
        };
        queued.explain(reason);
    }

    async fn explain_running(&self, check: &CheckReport, reason: &mut Reason) {
        let now = self.services.clock.now();
        let worker = check.worker.as_ref().map_or("a worker", |worker| worker.as_str());
        let ran = check.started_at.map_or(0.0, |at| now.since(at).as_secs_f64());
        reason.summary = format!("runs on {worker} for {ran:.1} s");
        if let Some(job) = check.job {
            let ticket = Ticket { job, attempt: Attempt(check.attempts.max(1)) };
            if let Some((holder, named_at)) = self.services.fleet.holder(ticket).await {
                let silent = now.since(named_at).as_secs_f64();
                reason
                    .facts
                    .push(("lease".into(), format!("held by {holder}, renewed {silent:.1} s ago")));
            }
        }
    }
}

fn state_word(state: CheckState) -> &'static str {
    match state {
        CheckState::Waiting => "waiting",
        CheckState::Queued => "queued",
        CheckState::Running => "running",
        CheckState::Passed => "passed",
        CheckState::Failed => "failed",
        CheckState::Skipped => "skipped",
        CheckState::Cancelled => "cancelled",
    }
}
