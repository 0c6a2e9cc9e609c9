//! What a check waits for, or why it ended as it did: one exact cause, and what would change it.

use visor_protocol::api::{ApiError, Reason, Reply, Response};
use visor_protocol::ids::Attempt;
use visor_protocol::result::{CheckReport, CheckState, RunReport, SkipReason};
use visor_protocol::worker::Ticket;

use super::service::Service;
use crate::dispatch::core::WaitInfo;

/// Checks explained in one answer at most.
const MAX_REASONS: usize = 200;

impl Service {
    pub(super) async fn why(&self, run: &str, check: Option<&str>) -> Reply {
        let run = self.find(run).await?;
        let report = self.report(run).await?;
        let mut reasons = Vec::new();
        for candidate in &report.checks {
            let wanted = match check {
                Some(name) => candidate.name.as_str() == name,
                None => !candidate.state.is_settled() || candidate.state == CheckState::Failed,
            };
            if wanted && reasons.len() < MAX_REASONS {
                reasons.push(self.reason(&report, candidate).await);
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

    async fn reason(&self, report: &RunReport, check: &CheckReport) -> Reason {
        let mut reason = Reason {
            check: check.name.to_string(),
            state: state_word(check.state).to_owned(),
            summary: String::new(),
            dependencies: Vec::new(),
            facts: Vec::new(),
            remedy: None,
        };
        let mut fact = |name: &str, value: String| reason.facts.push((name.to_owned(), value));
        for earlier in &check.history {
            fact("earlier attempt", earlier.clone());
        }
        if let Some(image) = &check.image {
            fact("image", image.clone());
        }
        for name in &check.waits_for {
            let state = report
                .checks
                .iter()
                .find(|other| other.name.as_str() == name)
                .map_or("unknown", |other| state_word(other.state));
            reason.dependencies.push((name.clone(), state.to_owned()));
        }
        match check.state {
            CheckState::Waiting => {
                reason.summary = if check.waits_for.is_empty() {
                    "waits for a place among the run's parallel checks".into()
                } else {
                    format!("waits for {}", check.waits_for.join(", "))
                };
                if check.waits_for.is_empty() {
                    reason.remedy = Some("a higher `max_parallelism` for the run".into());
                }
            }
            CheckState::Queued => self.explain_queued(check, &mut reason).await,
            CheckState::Running => self.explain_running(check, &mut reason).await,
            CheckState::Passed => reason.summary = "passed".into(),
            CheckState::Failed => {
                let ended = check.ended.as_deref().unwrap_or("failed");
                reason.summary = match (&check.fault, check.result.issues.first()) {
                    (Some(fault), _) => format!("could not be run: {}", fault.message),
                    (None, Some(issue)) => format!("{ended}: {}", issue.message),
                    (None, None) => ended.to_owned(),
                };
            }
            CheckState::Skipped => {
                reason.summary = check.skipped.as_ref().map_or_else(|| "skipped".into(), skipped);
            }
            CheckState::Cancelled => reason.summary = "was cancelled".into(),
        }
        reason
    }

    async fn explain_queued(&self, check: &CheckReport, reason: &mut Reason) {
        let Some(job) = check.job else {
            reason.summary = "is being queued".into();
            return;
        };
        let now = self.services.clock.now();
        let Some(info) = self.services.dispatcher.explain(job).await else {
            reason.summary = if self.services.journal.trouble().is_some() {
                "waits for the journal, which cannot be written".into()
            } else {
                "waits for the pause before its next attempt, or is just being handed on".into()
            };
            return;
        };
        let waited = now.since(info.since).as_secs_f64();
        reason.summary = queued_summary(&info, waited);
        reason.facts.push((
            "pool".into(),
            format!(
                "{}: {} of {} slots busy, {} workers ready",
                info.pool, info.in_flight, info.slots, info.ready_workers
            ),
        ));
        let (has, fair) = info.share;
        reason.facts.push((
            "share".into(),
            format!("its channel has {has} slots, its fair share is {fair}"),
        ));
        match &info.blocked {
            Some((limit, until)) => {
                let wait = until.since(now).as_secs_f64();
                reason.facts.push(("limit".into(), format!("{limit}: next token in {wait:.1} s")));
            }
            None => reason.facts.push(("limit".into(), "none applies now".into())),
        }
        if info.ready_workers == 0 {
            reason.remedy = Some(format!("start a worker: visor worker --pool {}", info.pool));
        } else if info.blocked.is_none() && info.in_flight >= info.slots {
            reason.remedy = Some(format!(
                "one more worker in `{}`, or a higher priority for the run",
                info.pool
            ));
        }
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

fn queued_summary(info: &WaitInfo, waited: f64) -> String {
    if info.ready_workers == 0 {
        return format!(
            "waiting {waited:.1} s: pool `{}` has no worker that takes jobs",
            info.pool
        );
    }
    if let Some((limit, _)) = &info.blocked {
        return format!("waiting {waited:.1} s for a token of `{limit}`");
    }
    if info.handed_over {
        return format!("handed to pool `{}` {waited:.1} s ago, taken by no worker yet", info.pool);
    }
    format!(
        "waiting {waited:.1} s for a slot in pool `{}` ({} of {} busy; place {} in its channel, {} wait in all)",
        info.pool, info.in_flight, info.slots, info.place, info.waiting
    )
}

fn skipped(reason: &SkipReason) -> String {
    match reason {
        SkipReason::IfCondition { condition, error: None } => {
            format!("skipped: `if` is false: {condition}")
        }
        SkipReason::IfCondition { condition, error: Some(error) } => {
            format!("skipped: `if` cannot be evaluated: {condition}: {error}")
        }
        SkipReason::DependencyFailed { dependencies } => {
            format!("skipped: {} failed or was skipped", dependencies.join(", "))
        }
        SkipReason::FailFast => {
            "skipped: another check failed and the run stops at the first failure".into()
        }
        SkipReason::Cancelled => "skipped: the run was cancelled".into(),
        SkipReason::RunTimeout => "skipped: the run's time was over".into(),
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
