//! NATS, a coordinator and workers, each of which can be stopped and started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use visor_protocol::ids::{PoolName, RunId, Shard};
use visor_testkit::nats::NatsServer;
use visor_transport::Queue;

use super::client::Client;
use super::journal::{self, History};
use super::leftovers;
use super::service::{Service, visor};
use super::wait::{until, until_some};

/// A fleet. Dropping it ends everything it started; ending it with [`Fleet::end`] also looks at
/// what is left.
pub(crate) struct Fleet {
    pub(crate) client: Client,
    pub(crate) workers: Vec<Service>,
    coordinator: Option<Service>,
    /// Where the HTTP API is, of the coordinator that was started last.
    pub(crate) http: String,
    pub(crate) nats: NatsServer,
    data_dir: PathBuf,
    starts: u32,
    dir: TempDir,
}

impl Fleet {
    /// A server and a coordinator, and no worker yet. Nothing where NATS is not installed.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        Self::start_in(test, None).await
    }

    /// The same with the journal in a directory of the test's own.
    pub(crate) async fn start_in(test: &str, data_dir: Option<&Path>) -> Option<Self> {
        let nats = NatsServer::start_or_skip(test).await?;
        let dir = tempfile::Builder::new().prefix("visor-survive-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        leftovers::adopt();
        let client = Client::connect(&nats.url()).await;
        let data_dir = data_dir.map_or_else(|| dir.path().join("coordinator"), Path::to_owned);
        let mut fleet = Self {
            client,
            workers: Vec::new(),
            coordinator: None,
            http: String::new(),
            nats,
            data_dir,
            starts: 0,
            dir,
        };
        fleet.start_coordinator().await;
        Some(fleet)
    }

    /// A directory for whatever the test needs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the workers keep their things.
    pub(crate) fn workers_dir(&self) -> PathBuf {
        self.dir.path().join("workers")
    }

    /// What its services take for the system's temporary directory.
    fn temporary_dir(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    fn log(&mut self, name: &str) -> PathBuf {
        self.starts += 1;
        self.dir.path().join(format!("{name}-{}.log", self.starts))
    }

    /// Starts a coordinator on the same journal as any before it.
    pub(crate) async fn start_coordinator(&mut self) {
        assert!(self.coordinator.is_none(), "one runs already");
        let log = self.log("coordinator");
        let mut command = visor(&["coordinator", "--http", "127.0.0.1:0"]);
        command.arg("--nats").arg(self.nats.url()).arg("--data-dir").arg(&self.data_dir);
        command.env("TMPDIR", self.temporary_dir());
        let mut service = Service::start("coordinator", &mut command, &log);
        let said = service.says("ready in").await;
        let address = said.split_whitespace().find(|word| word.starts_with("http://127."));
        self.http = address.expect("the address is in the log").to_owned();
        self.coordinator = Some(service);
    }

    /// Kills the coordinator as a crash would.
    pub(crate) async fn kill_coordinator(&mut self) {
        self.coordinator.take().expect("a coordinator runs").kill().await;
    }

    /// Starts a worker that runs checks on this host, and waits until the fleet knows it.
    pub(crate) async fn start_worker(&mut self, id: &str, slots: u32) -> usize {
        self.start_worker_with(id, slots, &["--execution", "host"]).await
    }

    /// Starts a worker with further arguments, and waits until the fleet knows it.
    pub(crate) async fn start_worker_with(
        &mut self,
        id: &str,
        slots: u32,
        arguments: &[&str],
    ) -> usize {
        let log = self.log(id);
        let mut command = visor(&["worker", "--id", id, "--slots", &slots.to_string()]);
        command.args(arguments).arg("--nats").arg(self.nats.url());
        command.arg("--data-dir").arg(self.workers_dir()).env("TMPDIR", self.temporary_dir());
        let mut service = Service::start(id, &mut command, &log);
        service.says("ready in").await;
        self.workers.push(service);
        self.joined(id).await;
        self.workers.len() - 1
    }

    /// Waits until the fleet has a worker that takes work.
    pub(crate) async fn joined(&self, id: &str) {
        use visor_protocol::api::{Request, Response};
        use visor_protocol::worker::WorkerState;
        until_some(&format!("{id} joins"), async || {
            match self.client.insist(Request::Workers).await {
                Ok(Response::Workers(workers)) => workers
                    .iter()
                    .any(|known| {
                        known.worker.as_str() == id
                            && known.state == WorkerState::Ready
                            && known.silent_ms < 2_000
                    })
                    .then_some(()),
                other => panic!("no list of workers: {other:?}"),
            }
        })
        .await;
    }

    /// The status and the text of a page of the HTTP API.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        // The client wants to know whose cryptography it would use, also where it uses none.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}{path}", self.http);
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A counter or gauge without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.page("/metrics").await;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}:\n{page}"))
    }

    /// Waits until nothing is on its way any more.
    pub(crate) async fn queues_are_empty(&self) {
        for queue in [Queue::Jobs(PoolName::default_pool()), Queue::Results(Shard(0))] {
            until_some(&format!("{queue:?} is empty"), async || {
                let state = self.client.bus.queue_state(&queue).await.ok()?;
                (state.messages == 0).then_some(())
            })
            .await;
        }
    }

    /// Ends everything in order, and looks at what is left: empty queues, no process, no file
    /// and no directory of a worker, and a journal in which each job of each run settled once.
    pub(crate) async fn end(mut self, runs: &[(RunId, usize)]) -> Vec<History> {
        self.queues_are_empty().await;
        for worker in &mut self.workers {
            if worker.ended().is_none() {
                worker.stop().await;
            }
        }
        if let Some(mut coordinator) = self.coordinator.take() {
            coordinator.stop().await;
        }
        for (run, _) in runs {
            let mark = format!("VISOR_JOB={run}-");
            let what = format!("no process of {run} is left");
            until(&what, || leftovers::processes(&mark).is_empty()).await;
        }
        until("no process is left of anything", || leftovers::strays().is_empty()).await;
        // Shared by the workers of a machine, and there for good: the places where each keeps its
        // things apart, the name of the directory, and a file that is mounted into every container.
        let kept = ["hosts", "owners", "owners/.id", "workspaces"];
        assert_eq!(leftovers::entries(&self.workers_dir(), &kept), Vec::<PathBuf>::new());
        assert_eq!(leftovers::entries(&self.temporary_dir(), &[]), Vec::<PathBuf>::new());
        let journal = journal::open(&self.data_dir);
        let histories = runs
            .iter()
            .map(|(run, jobs)| {
                let history = History::read(&journal, *run);
                history.assert_settled_once(*jobs);
                history
            })
            .collect();
        let open = visor_coordinator::store::Backend::open_runs(&journal).unwrap();
        assert_eq!(open, [], "no run is open any more");
        histories
    }
}
