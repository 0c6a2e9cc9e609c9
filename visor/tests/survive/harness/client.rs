//! Asking the coordinator as any client would: over the bus, patiently.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::sleep;
use visor_protocol::api::{Reply, Request, Response, Submission};
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{RunId, Shard};
use visor_protocol::job::Workspace;
use visor_protocol::result::{RunReport, RunState};
use visor_protocol::subject::Subject;
use visor_protocol::time::{Clock, SystemClock};
use visor_transport::nats::{NatsOptions, connect};
use visor_transport::{Bus, BusError};

use super::wait::until_some;

/// A request is repeated when there is no answer by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client of the fleet.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) bus: Arc<dyn Bus>,
}

/// A run id that no other test on this machine has.
pub(crate) fn new_run() -> RunId {
    let random = |n: u8| u128::from(RandomState::new().hash_one(n));
    RunId::new(SystemClock.now(), random(1) << 64 | random(2))
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Self {
        let options = NatsOptions { name: "survivor".into(), ..NatsOptions::new(url) };
        Self { bus: connect(options).await.unwrap() }
    }

    /// Asks once.
    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, BusError> {
        let subject = Subject::Api(Shard(0), request.operation());
        let question = Envelope::new(request, SystemClock.now()).encode().unwrap();
        let answer = self.bus.request(&subject, question, PATIENCE).await?;
        let mut reply = Envelope::<Reply>::decode(&answer).unwrap().body;
        if let Ok(Response::Stored { hash, bytes }) = reply {
            let stored = self.bus.get_blob(hash, bytes).await?;
            reply = Envelope::<Reply>::decode_stored(&stored).unwrap().body;
        }
        Ok(reply)
    }

    /// Asks until there is an answer that does not say to come back.
    pub(crate) async fn insist(&self, request: Request) -> Reply {
        let what = format!("an answer to {:?}", request.operation());
        until_some(&what, async || match self.ask(request.clone()).await {
            Ok(Err(error)) if error.retry_after_ms.is_some() => None,
            Ok(reply) => Some(reply),
            Err(_) => None,
        })
        .await
    }

    /// Gives the fleet these files.
    pub(crate) async fn pack(&self, files: &[(&str, &str)]) -> Workspace {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let bytes = archive.into_inner().unwrap().finish().unwrap();
        let len = bytes.len() as u64;
        let hash = self.bus.put_blob(bytes.into()).await.unwrap();
        Workspace::Archive { hash, bytes: len }
    }

    /// Submits under the same id until it is accepted.
    pub(crate) async fn submit(&self, submission: &Submission) -> RunId {
        let request = Request::Submit(Box::new(submission.clone()));
        match self.insist(request).await {
            Ok(Response::Accepted { run }) => {
                assert_eq!(run, submission.run);
                run
            }
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// How a run stands.
    pub(crate) async fn report(&self, run: RunId) -> RunReport {
        match self.insist(Request::Run { run: run.to_string() }).await {
            Ok(Response::Run(report)) => *report,
            other => panic!("no report: {other:?}"),
        }
    }

    /// Waits until a run is over.
    pub(crate) async fn finished(&self, run: RunId) -> RunReport {
        let what = format!("run {run} finishes");
        until_some(&what, async || {
            let report = self.report(run).await;
            if report.summary.state.is_finished() {
                return Some(report);
            }
            sleep(Duration::from_millis(100)).await;
            None
        })
        .await
    }

    /// Waits until a run is over, and expects it to have passed.
    #[track_caller]
    pub(crate) fn passes(&self, run: RunId) -> impl Future<Output = RunReport> {
        let (client, place) = (self.clone(), std::panic::Location::caller());
        async move {
            let report = client.finished(run).await;
            let wrong: Vec<_> = report
                .checks
                .iter()
                .filter(|check| check.state != visor_protocol::result::CheckState::Passed)
                .map(|check| (&check.name, check.state, &check.fault, &check.history, &check.tail))
                .collect();
            let state = report.summary.state;
            assert_eq!(state, RunState::Passed, "{place}: {wrong:?} {:?}", report.summary.note);
            report
        }
    }
}
