//! The one-machine server, over HTTP.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use reqwest::{Client, StatusCode};
use visor_protocol::api::ApiError;
use visor_protocol::result::RunReport;

use super::common::{Faults, Submissions};
use super::{Target, facts_of};
use crate::book::Book;
use crate::ledger::Fact;
use crate::scenario::Scenario;
use crate::session::{Channels, LoadClock, RunIds};

const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A run is asked for after this, then less and less often. The moments come from the server, so
/// asking rarely makes no latency longer.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A server that answers HTTP.
pub struct ServeTarget {
    client: Client,
    runs: String,
    token: Option<String>,
    clock: LoadClock,
    submissions: Submissions,
    faults: Faults,
}

impl ServeTarget {
    /// Puts a scenario's runs on the server at this address.
    ///
    /// # Errors
    /// When there is no HTTP client to be had.
    pub fn new(
        url: &str,
        token: Option<String>,
        clock: LoadClock,
        ids: RunIds,
        channels: Channels,
        scenario: &Scenario,
    ) -> Result<Self> {
        // Only the first caller installs it; a second is told that it is there, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .context("cannot make an HTTP client")?;
        let runs = format!("{}/api/v1/runs", url.trim_end_matches('/'));
        let submissions = Submissions::new(ids, channels, scenario);
        Ok(Self { client, runs, token, clock, submissions, faults: Faults::default() })
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn report(&self, run: u32) -> Option<RunReport> {
        let url = format!("{}/{}", self.runs, self.submissions.ids.id(run));
        let response = self.authorized(self.client.get(url)).send().await.ok()?;
        response.error_for_status().ok()?.json().await.ok()
    }

    async fn submit(&self, run: u32) -> Fact {
        let submission = self.submissions.of(run);
        let request = self.authorized(self.client.post(&self.runs).json(&submission));
        match request.send().await {
            Ok(response) if response.status().is_success() => Fact::Accepted { run },
            Ok(response) => {
                let status = response.status();
                let refusal = response.json::<ApiError>().await.ok();
                self.faults
                    .count(refusal.map_or_else(|| status.to_string(), |refusal| refusal.code));
                if status == StatusCode::GATEWAY_TIMEOUT {
                    Fact::Unanswered { run }
                } else {
                    Fact::Refused { run }
                }
            }
            Err(error) => {
                self.faults.count(if error.is_timeout() {
                    "no answer in time"
                } else {
                    "no connection"
                });
                Fact::Unanswered { run }
            }
        }
    }
}

#[async_trait]
impl Target for ServeTarget {
    fn describe(&self) -> String {
        format!("one-machine server at {}", self.runs.trim_end_matches("/api/v1/runs"))
    }

    async fn send(&self, run: u32, book: &Book) {
        let answer = self.submit(run).await;
        let accepted = matches!(answer, Fact::Accepted { .. });
        book.take(answer);
        if !accepted {
            return;
        }
        let mut pause = FIRST_PAUSE;
        // Ends when the run does, or with the load.
        while !book.is_closed() {
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            let Some(report) = self.report(run).await else { continue };
            if report.summary.state.is_finished() {
                for fact in facts_of(run, &report, &self.clock) {
                    book.take(fact);
                }
                return;
            }
        }
    }

    async fn listen(&self, _: &Book) {
        std::future::pending().await
    }

    async fn ask(&self, run: u32) -> Vec<Fact> {
        match self.report(run).await {
            // Whoever sent an accepted run waits for it and brings its end; a run without an
            // answer is nobody's.
            Some(report) if report.summary.state.is_finished() => {
                facts_of(run, &report, &self.clock)
            }
            _ => Vec::new(),
        }
    }

    fn faults(&self) -> Vec<(String, u64)> {
        self.faults.list()
    }
}
