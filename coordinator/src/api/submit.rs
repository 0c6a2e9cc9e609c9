//! Accepting runs, and stopping them.

use std::sync::Arc;
use std::time::Duration;

use ractor::concurrency::oneshot;
use visor_engine::Plan;
use visor_protocol::api::{ApiError, Reply, Response, Submission};
use visor_protocol::job::Workspace;

use super::service::Service;
use crate::channel::{branch, channels};

/// A submit that is not in the journal by then is answered as unknown.
const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration larger than this is parsed off the runtime's threads.
const PARSE_INLINE: usize = 16 * 1024;

impl Service {
    pub(super) async fn submit(&self, submission: Submission) -> Reply {
        let run = submission.run;
        if let Some(open) = self.services.directory.branch(run) {
            return self
                .accepted(submission.run, |reply| {
                    let _ = open.cast(branch::Msg::SubmittedAgain(reply));
                })
                .await;
        }
        // Answered before, and finished since.
        match self.services.journal.backend().summary(run) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(Response::Accepted { run }),
            // While it is opened again after a failed write it cannot be read, either: what is
            // worth saying is why that failed.
            Err(error) => {
                let why = self.services.journal.trouble();
                return Err(unwritable(why.unwrap_or_else(|| error.to_string())));
            }
        }
        self.may_accept(&submission)?;
        let plan = self.plan(&submission).await?;
        let submission = Arc::new(submission);
        self.accepted(run, |reply| {
            let _ = self.channels.cast(channels::Msg::Open { submission, plan, reply });
        })
        .await
    }

    fn may_accept(&self, submission: &Submission) -> Result<(), ApiError> {
        if let Some(why) = self.services.journal.trouble() {
            return Err(unwritable(why));
        }
        let limit = self.services.config.max_open_runs;
        if self.services.directory.open_runs() >= limit {
            return Err(ApiError::new(
                "visor::api::too_many_runs",
                format!("{limit} runs are open already; submit again when some have finished"),
            )
            .retry_after(1_000));
        }
        let in_place = matches!(submission.workspace, Some(Workspace::Directory { .. }));
        if in_place && !self.services.config.shares_files {
            return Err(ApiError::new(
                "visor::api::workspace_not_shared",
                "a directory can only be used in place by `visor run` on its own machine; \
                 send the files as an archive",
            ));
        }
        Ok(())
    }

    async fn plan(&self, submission: &Submission) -> Result<Arc<Plan>, ApiError> {
        if submission.config.text.len() <= PARSE_INLINE {
            return self.services.plans.of(submission);
        }
        let (plans, submission) = (self.services.plans.clone(), submission.clone());
        let parsed = tokio::task::spawn_blocking(move || plans.of(&submission)).await;
        parsed.unwrap_or_else(|error| {
            Err(ApiError::new(
                "visor::config::invalid",
                format!("the file cannot be read: {error}"),
            ))
        })
    }

    async fn accepted(
        &self,
        run: visor_protocol::RunId,
        ask: impl FnOnce(branch::Accepted),
    ) -> Reply {
        let (sender, receiver) = oneshot();
        ask(sender.into());
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(Ok(()))) => Ok(Response::Accepted { run }),
            Ok(Ok(Err(refusal))) => Err(refusal),
            Ok(Err(_)) | Err(_) => Err(ApiError::new(
                "visor::api::unknown_outcome",
                format!(
                    "it is not known whether run {run} was accepted; submit it again under the same id"
                ),
            )
            .retry_after(1_000)),
        }
    }

    pub(super) async fn cancel(&self, run: &str, reason: String) -> Reply {
        let run = self.find(run).await?;
        let Some(branch) = self.services.directory.branch(run) else {
            return Ok(Response::Cancelled { run, was_running: false });
        };
        let (sender, receiver) = oneshot();
        let _ = branch.cast(branch::Msg::Cancel(reason, sender.into()));
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(was_running)) => Ok(Response::Cancelled { run, was_running }),
            // The branch ended between the look-up and the order.
            Ok(Err(_)) => Ok(Response::Cancelled { run, was_running: false }),
            Err(_) => Err(ApiError::new(
                "visor::api::busy",
                format!("run {run} did not answer; try again"),
            )
            .retry_after(1_000)),
        }
    }
}

fn unwritable(why: String) -> ApiError {
    ApiError::new(
        "visor::journal::unwritable",
        format!("no run can be accepted: {why}; it goes on by itself when the cause is gone"),
    )
    .retry_after(1_000)
}
