//! The task that tells one follower.

use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use visor_protocol::api::{Request, Response};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::RunId;
use visor_protocol::result::RunReport;

use super::progress::{Progress, as_notices};
use crate::api::ApiService;

/// The `id:` of the last event of a stream.
pub(super) const END: &str = "end";

/// A browser whose connection broke waits this long.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// The follower is gone.
pub(super) struct Gone;

/// One follower of one run.
pub(super) struct Follower {
    run: RunId,
    service: Arc<dyn ApiService>,
    events: mpsc::Sender<Event>,
    quiet: Duration,
    progress: Progress,
    sent: u64,
}

impl Follower {
    pub(super) fn new(
        run: RunId,
        service: Arc<dyn ApiService>,
        events: mpsc::Sender<Event>,
        quiet: Duration,
    ) -> Self {
        Self { run, service, events, quiet, progress: Progress::default(), sent: 0 }
    }

    /// Tells the present state, then what happens, until the run is over.
    pub(super) async fn tell(
        mut self,
        report: Box<RunReport>,
        mut notices: broadcast::Receiver<Arc<Notice>>,
    ) -> Result<(), Gone> {
        self.state(&report).await?;
        drop(report);
        while !self.progress.is_finished() {
            let heard = async {
                loop {
                    match notices.recv().await {
                        Ok(notice) if notice.run != self.run => {}
                        heard => return heard,
                    }
                }
            };
            let heard = tokio::select! {
                () = self.events.closed() => return Err(Gone),
                heard = tokio::time::timeout(self.quiet, heard) => heard,
            };
            match heard {
                Ok(Ok(notice)) => self.notice(&notice).await?,
                Ok(Err(RecvError::Lagged(missed))) => {
                    let data = format!("{{\"missed\":{missed}}}");
                    self.send(Event::default().event("lagged").data(data)).await?;
                    self.progress = Progress::default();
                    self.look().await?;
                }
                // The coordinator is gone; so is what it would have said.
                Ok(Err(RecvError::Closed)) => return Ok(()),
                // A notice may be lost, when a part of the coordinator falls over between writing
                // a fact and telling it. Looking now and then makes up for it.
                Err(_) => self.look().await?,
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), Gone> {
        match self.service.call(Request::Run { run: self.run.to_string() }).await {
            Ok(Response::Run(report)) => self.state(&report).await,
            // It is there; whatever is wrong will be over at the next look.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn state(&mut self, report: &RunReport) -> Result<(), Gone> {
        for notice in as_notices(report) {
            self.notice(&notice).await?;
        }
        Ok(())
    }

    async fn notice(&mut self, notice: &Notice) -> Result<(), Gone> {
        if !self.progress.take(&notice.what) {
            return Ok(());
        }
        let kind = match notice.what {
            News::RunAccepted { .. } => "run_accepted",
            News::Check { .. } => "check",
            News::RunFinished { .. } => "run_finished",
        };
        match serde_json::to_string(notice) {
            Ok(data) => self.send(Event::default().event(kind).data(data)).await,
            Err(error) => {
                tracing::error!(%error, run = %self.run, "a notice cannot be written");
                Ok(())
            }
        }
    }

    async fn send(&mut self, event: Event) -> Result<(), Gone> {
        self.sent += 1;
        let mut event = match self.progress.is_finished() {
            true => event.id(END),
            false => event.id(self.sent.to_string()),
        };
        if self.sent == 1 {
            event = event.retry(RECONNECT_AFTER);
        }
        self.events.send(event).await.map_err(|_| Gone)
    }
}
