//! A coordinator on the memory bus with scripted workers, for tests of the whole tree.

#![expect(dead_code, reason = "each test file uses its own part of this")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use visor_coordinator::{
    ApiService, Coordinator, CoordinatorConfig, CoordinatorHandle, LeaseTiming, Probe, Stopped,
};
use visor_protocol::RunId;
use visor_protocol::api::{ApiError, Request, Response, Submission};
use visor_protocol::result::RunReport;
use visor_protocol::time::Clock;
use visor_testkit::build::SubmissionBuilder;
use visor_testkit::{FakeWorker, FakeWorkerOptions, VirtualClock, eventually_some};
use visor_transport::Bus;
use visor_transport::memory::MemoryBus;

pub(crate) struct Fleet {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: CoordinatorConfig,
    pub(crate) coordinator: Option<CoordinatorHandle>,
}

impl Fleet {
    pub(crate) async fn start(probe: Probe) -> Self {
        Self::start_with(CoordinatorConfig::default(), probe).await
    }

    pub(crate) async fn durable(directory: &Path) -> Self {
        let config = CoordinatorConfig {
            data_dir: Some(directory.to_owned()),
            lease: LeaseTiming { settle: Duration::from_millis(200), ..LeaseTiming::default() },
            ..CoordinatorConfig::default()
        };
        Self::start_with(config, Probe::default()).await
    }

    pub(crate) async fn start_with(config: CoordinatorConfig, probe: Probe) -> Self {
        let bus: Arc<dyn Bus> = MemoryBus::shared();
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new());
        let mut fleet = Self { bus, clock, config, coordinator: None };
        fleet.start_coordinator(probe).await;
        fleet
    }

    pub(crate) async fn start_coordinator(&mut self, probe: Probe) {
        let started = Coordinator::start_probed(
            self.config.clone(),
            Arc::clone(&self.bus),
            Arc::clone(&self.clock),
            probe,
        );
        self.coordinator = Some(started.await.expect("the coordinator starts"));
    }

    pub(crate) async fn stop_coordinator(&mut self) {
        self.coordinator.take().expect("the coordinator runs").stop().await;
    }

    pub(crate) async fn worker(&self, options: FakeWorkerOptions) -> FakeWorker {
        FakeWorker::start(options, Arc::clone(&self.bus), Arc::clone(&self.clock))
            .await
            .expect("the worker starts")
    }

    fn handle(&self) -> &CoordinatorHandle {
        self.coordinator.as_ref().expect("the coordinator runs")
    }

    pub(crate) fn api(&self) -> Arc<dyn ApiService> {
        self.handle().api()
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Response, ApiError> {
        self.handle().api().call(request).await
    }

    pub(crate) async fn closed(&self) -> Stopped {
        self.handle().closed().await
    }

    pub(crate) async fn submit(&self, n: u64, config: &str) -> RunId {
        self.submit_built(SubmissionBuilder::new(n, config).build()).await
    }

    pub(crate) async fn submit_built(&self, submission: Submission) -> RunId {
        let run = submission.run;
        match self.call(Request::Submit(Box::new(submission))).await {
            Ok(Response::Accepted { run: accepted }) if accepted == run => run,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) async fn report(&self, run: RunId) -> RunReport {
        match self.call(Request::Run { run: run.to_string() }).await {
            Ok(Response::Run(report)) => *report,
            other => panic!("no report: {other:?}"),
        }
    }

    pub(crate) async fn finished(&self, run: RunId) -> RunReport {
        eventually_some("the run is finished", async || {
            let report = self.report(run).await;
            report.summary.state.is_finished().then_some(report)
        })
        .await
    }
}
