//! The coordinator's HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use visor_protocol::api::{ApiError, Request, Response};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{Attempt, ContentHash, RunId, WorkerId};
use visor_protocol::result::CheckState;
use visor_protocol::worker::{LogChunk, Ticket};

use super::sse::Parser;
use super::{Backend, ClientError, Seen, Watch};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Half a gigabyte over a slow line.
const UPLOAD_WITHIN: Duration = Duration::from_secs(600);
/// No answer of ours is larger; more is a mistake or an attack.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Servers send a comment every few seconds; a stream that is silent for so long is dead.
const STREAM_SILENCE: Duration = Duration::from_secs(45);

/// Talks over HTTP.
#[derive(Clone)]
pub(crate) struct HttpBackend {
    client: reqwest::Client,
    base: Url,
    place: String,
    token: Option<String>,
}

impl HttpBackend {
    /// To the server at this address, with this token.
    ///
    /// # Errors
    /// When there is no TLS to be had.
    pub(crate) fn new(base: Url, token: Option<String>) -> Result<Self, ClientError> {
        // Only the first caller installs it; a second is told that it is there, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut shown = base.clone();
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        let place = shown.as_str().trim_end_matches('/').to_owned();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .user_agent(concat!("visor/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Http { url: place.clone(), why: reason(&error) })?;
        Ok(Self { client, base, place, token })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.query(method, path, &[])
    }

    fn query(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let wait = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1_000));
        let body = self.body(response).await.unwrap_or_default();
        let mut error =
            serde_json::from_slice::<ApiError>(&body).unwrap_or_else(|_| unexplained(status));
        error.retry_after_ms = error.retry_after_ms.or(wait);
        Err(ClientError::Refused(error))
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let why = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes");
                return Err(ClientError::Http { url: self.place.clone(), why });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        question: &'static str,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(request.timeout(ANSWER_WITHIN)).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Nonsense { question, why: error.to_string() })
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Http { url: self.place.clone(), why: reason(error) }
    }
}

/// What went wrong, without the layers around it.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn unexplained(status: StatusCode) -> ApiError {
    let message = match status {
        StatusCode::UNAUTHORIZED => {
            "the server wants a token: set VISOR_TOKEN to one that it knows".into()
        }
        StatusCode::FORBIDDEN => "the token does not allow this".into(),
        status => format!("the server answers {status}"),
    };
    ApiError::new("visor::api::http_status", message)
}

#[derive(Deserialize)]
struct AcceptedBody {
    run: RunId,
}

#[derive(Deserialize)]
struct CancelledBody {
    run: RunId,
    was_running: bool,
}

#[derive(Deserialize)]
struct DrainingBody {
    worker: WorkerId,
    holds: u32,
}

#[derive(Deserialize)]
struct BlobBody {
    hash: ContentHash,
}

#[async_trait]
impl Backend for HttpBackend {
    fn place(&self) -> &str {
        &self.place
    }

    async fn call(&self, request: Request) -> Result<Response, ClientError> {
        let get = |path: &[&str]| self.request(Method::GET, path);
        match request {
            Request::Submit(submission) => {
                let request = self.request(Method::POST, &["runs"]).json(&submission);
                let body: AcceptedBody = self.json("submit", request).await?;
                Ok(Response::Accepted { run: body.run })
            }
            Request::Cancel { run, reason } => {
                let body = serde_json::json!({ "reason": reason });
                let request = self.request(Method::POST, &["runs", &run, "cancel"]).json(&body);
                let CancelledBody { run, was_running } = self.json("cancel", request).await?;
                Ok(Response::Cancelled { run, was_running })
            }
            Request::Runs { limit, state, channel } => {
                let mut query = vec![("limit", limit.to_string())];
                if let Some(state) = state {
                    let name = serde_json::to_value(state).unwrap_or_default();
                    query.push(("state", name.as_str().unwrap_or_default().to_owned()));
                }
                query.extend(channel.map(|channel| ("channel", channel.to_string())));
                let request = self.query(Method::GET, &["runs"], &query);
                Ok(Response::Runs(self.json("runs", request).await?))
            }
            Request::Run { run } => {
                Ok(Response::Run(self.json("run", get(&["runs", &run])).await?))
            }
            Request::Logs { run, check } => {
                let request = get(&["runs", &run, "checks", &check, "logs"]);
                Ok(Response::Logs(self.json("logs", request).await?))
            }
            Request::Why { run, check } => {
                let query: Vec<_> = check.map(|check| ("check", check)).into_iter().collect();
                let request = self.query(Method::GET, &["runs", &run, "why"], &query);
                Ok(Response::Why(self.json("why", request).await?))
            }
            Request::Workers => {
                Ok(Response::Workers(self.json("workers", get(&["workers"])).await?))
            }
            Request::Drain { worker } => {
                let path = ["workers", worker.as_str(), "drain"];
                let request = self.request(Method::POST, &path);
                let DrainingBody { worker, holds } = self.json("drain", request).await?;
                Ok(Response::Draining { worker, holds })
            }
            Request::Status => Ok(Response::Status(self.json("status", get(&["status"])).await?)),
            Request::DeadLetters => {
                let letters = self.json("dead letters", get(&["deadletters"])).await?;
                Ok(Response::DeadLetters(letters))
            }
        }
    }

    async fn watch(&self, run: RunId, logs: bool) -> Result<Box<dyn Watch>, ClientError> {
        // The run does not exist yet, so the stream is opened again and again until it does.
        let request = self.request(Method::GET, &["runs", &run.to_string(), "events"]);
        let (news, receiver) = mpsc::channel(256);
        let reader = logs.then(|| self.clone());
        let task = tokio::spawn(stream(request, reader, news));
        Ok(Box::new(HttpWatch { receiver, task }))
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, ClientError> {
        let request = self.request(Method::HEAD, &["blobs", &hash.to_string()]);
        let response = request.timeout(ANSWER_WITHIN).send().await;
        let response = response.map_err(|error| self.failed(&error))?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(ClientError::Refused(unexplained(status))),
        }
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ClientError> {
        let request = self.request(Method::PUT, &["blobs"]).body(bytes).timeout(UPLOAD_WITHIN);
        let response = self.send(request).await?;
        let body = self.body(response).await?;
        let BlobBody { hash } = serde_json::from_slice(&body).map_err(|error| {
            ClientError::Nonsense { question: "upload", why: error.to_string() }
        })?;
        Ok(hash)
    }

    async fn close(&self) {}
}

struct HttpWatch {
    receiver: mpsc::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for HttpWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Watch for HttpWatch {
    async fn next(&mut self) -> Option<Seen> {
        self.receiver.recv().await
    }
}

/// The notice of a check's end, as that of its beginning.
fn begun(notice: &Notice) -> Notice {
    let mut begun = notice.clone();
    if let News::Check { state, ran_ms, why, .. } = &mut begun.what {
        (*state, *ran_ms, *why) = (CheckState::Running, None, None);
    }
    begun
}

/// Reads the run's events, and starts again whenever the stream breaks.
async fn stream(request: RequestBuilder, reader: Option<HttpBackend>, news: mpsc::Sender<Seen>) {
    const PAUSES_MS: [u64; 5] = [20, 50, 100, 500, 2_000];
    let mut failures = 0;
    loop {
        let Some(request) = request.try_clone() else { return };
        if let Ok(mut response) = request.send().await
            && response.status().is_success()
        {
            failures = 0;
            if news.send(Seen::Reconnected).await.is_err() {
                return;
            }
            let mut parser = Parser::default();
            while let Ok(Ok(Some(chunk))) =
                tokio::time::timeout(STREAM_SILENCE, response.chunk()).await
            {
                for data in parser.push(&chunk) {
                    match serde_json::from_str::<Notice>(&data) {
                        Ok(notice) => {
                            if let Some(reader) = &reader
                                && let Some(output) = output_of(reader, &notice).await
                            {
                                // Whoever shows it has to know whose it is, and the first that is
                                // heard of a quick check may be its end.
                                let begun = Seen::Notices(vec![begun(&notice)]);
                                let _ = news.send(begun).await;
                                for chunk in output {
                                    let _ = news.send(Seen::Log(chunk)).await;
                                }
                            }
                            if news.send(Seen::Notices(vec![notice])).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => tracing::warn!(%error, "unreadable event"),
                    }
                }
            }
        }
        let pause = PAUSES_MS[failures.min(PAUSES_MS.len() - 1)];
        failures += 1;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// What a check wrote, once it is over: over HTTP it does not come while it runs.
async fn output_of(reader: &HttpBackend, notice: &Notice) -> Option<[LogChunk; 2]> {
    let News::Check { check, state, attempt, job, .. } = &notice.what else { return None };
    let ticket = Ticket { job: (*job)?, attempt: attempt.unwrap_or(Attempt::FIRST) };
    if !state.is_settled() {
        return None;
    }
    let request = Request::Logs { run: notice.run.to_string(), check: check.to_string() };
    let Ok(Response::Logs(logs)) = reader.call(request).await else { return None };
    let chunk = |stderr, text: String| LogChunk { ticket, stderr, offset: 0, bytes: text.into() };
    Some([chunk(false, logs.stdout), chunk(true, logs.stderr)])
}
