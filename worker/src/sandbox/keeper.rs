//! Looks after the engine: whether it answers, whether the images are there, and that no container
//! stays that nobody needs any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use visor_protocol::ids::WorkerId;
use visor_protocol::time::{Clock as _, SystemClock};
use visor_protocol::worker::Ticket;
use visor_providers::warden;

use super::engine::{Engine, EngineError};
use super::images::Images;
use super::life::{self, Home};

/// Between two looks while something is wrong: the engine is down, or a container does not go.
const URGENT: Duration = Duration::from_secs(1);

/// How long the last containers are tried to be removed when the worker ends.
const LAST_TRIES: Duration = Duration::from_secs(20);

/// The containers of one worker.
pub struct Sandboxes {
    /// The engine.
    pub engine: Engine,
    /// What is known of the images.
    pub images: Images,
    worker: WorkerId,
    boot: u64,
    home: Option<Home>,
    check_every: Duration,
    /// Names of containers in use.
    live: Mutex<HashSet<String>>,
    /// Containers that could not be removed when they should have been.
    doomed: Mutex<HashMap<String, Option<warden::Container>>>,
    /// There was a container, or might have been.
    used: AtomicBool,
    look: Notify,
    checked: Notify,
    ended: CancellationToken,
}

/// The name of one container, and the promise that it goes away.
pub struct Container {
    sandboxes: Arc<Sandboxes>,
    name: String,
    watched: Option<warden::Container>,
    removed: bool,
}

impl Sandboxes {
    /// Starts to look after an engine.
    pub fn start(
        engine: Engine,
        images: Images,
        (worker, boot): (WorkerId, u64),
        home: Option<Home>,
        check_every: Duration,
    ) -> Arc<Self> {
        let sandboxes = Arc::new(Self {
            engine,
            images,
            worker,
            boot,
            home,
            check_every,
            live: Mutex::new(HashSet::new()),
            doomed: Mutex::new(HashMap::new()),
            used: AtomicBool::new(false),
            look: Notify::new(),
            checked: Notify::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&sandboxes).keep());
        sandboxes
    }

    /// The name of an attempt's container, before there is one: from here on it is in use, and
    /// the warden knows of it.
    pub fn admit(self: &Arc<Self>, ticket: Ticket) -> Container {
        let name = format!("visor-{}-{}-{:x}", ticket.job, ticket.attempt, self.boot);
        let watched = warden::watch_container(self.engine.socket(), &name);
        self.used.store(true, Ordering::Relaxed);
        self.live.lock().insert(name.clone());
        Container { sandboxes: Arc::clone(self), name, watched, removed: false }
    }

    /// The labels of an attempt's container, which has so much time.
    pub fn labels(&self, ticket: Ticket, timeout: Duration) -> HashMap<String, String> {
        let (who, home) = ((&self.worker, self.boot), self.home.as_ref());
        life::labels(who, ticket, home, (SystemClock.now(), timeout))
    }

    /// Waits until everything was looked at once.
    pub async fn first_check(&self) {
        self.checked.notified().await;
    }

    async fn keep(self: Arc<Self>) {
        let mut state = self.engine.watch();
        loop {
            let round = self.round();
            let clean = tokio::select! {
                clean = round => clean,
                () = self.ended.cancelled() => return,
            };
            self.checked.notify_one();
            state.mark_unchanged();
            let pause = if clean { self.check_every } else { URGENT };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // News that it is down start the quick rhythm.
                _ = state.changed(), if clean => {}
                () = self.look.notified() => {}
                () = self.ended.cancelled() => return,
            }
        }
    }

    /// Looks at everything once. True when all is well.
    async fn round(&self) -> bool {
        let was_down = self.engine.is_down();
        if let Err(error) = self.engine.greet().await {
            if !was_down {
                tracing::error!(%error, "the container engine is down");
            }
            return false;
        }
        if was_down {
            tracing::info!("the container engine answers again");
        }
        self.images.check(&self.engine).await;
        let cleared = self.remove_doomed().await;
        match self.sweep().await {
            Ok(0) => {}
            Ok(swept) => tracing::warn!(swept, "removed containers that nobody needed any more"),
            Err(error) => {
                tracing::warn!(%error, "cannot look for containers that nobody needs any more");
            }
        }
        cleared && !self.engine.is_down()
    }

    /// Removes containers of ours whose attempt is over, and those of others that are orphans.
    /// Returns how many.
    async fn sweep(&self) -> Result<usize, EngineError> {
        let client = self.engine.client().await?;
        let options = ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), vec![life::WORKER.to_owned()])].into()),
            ..ListContainersOptions::default()
        };
        let all =
            self.engine.call("list containers", client.list_containers(Some(options))).await?;
        let mut swept = 0;
        for container in all {
            let labels = container.labels.unwrap_or_default();
            let names = container.names.unwrap_or_default();
            let name = names.first().map_or("", |name| name.trim_start_matches('/'));
            if let Some(id) = container.id
                && self.is_leftover(name, &labels)
            {
                tracing::info!(container = name, job = labels.get(life::JOB), "sweeping");
                match self.remove(&id).await {
                    Ok(()) => swept += 1,
                    Err(error) => tracing::warn!(%error, container = name, "not swept"),
                }
            }
        }
        Ok(swept)
    }

    fn is_leftover(&self, name: &str, labels: &HashMap<String, String>) -> bool {
        let of = |label| labels.get(label).map_or("", String::as_str);
        // Runs on one's own machine all have a worker of the same name: the life decides.
        if of(life::WORKER) == self.worker.as_str() && of(life::BOOT) == self.boot.to_string() {
            return !self.live.lock().contains(name);
        }
        life::is_orphan(labels, self.home.as_ref(), SystemClock.now())
    }

    async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let client = self.engine.client().await?;
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = client.remove_container(name, Some(options));
        match self.engine.call("remove a container", removed).await {
            Err(error) if error.is_absent() || error.is_being_removed() => Ok(()),
            removed => removed,
        }
    }

    /// True when none are left.
    async fn remove_doomed(&self) -> bool {
        let names: Vec<String> = self.doomed.lock().keys().cloned().collect();
        let mut all = true;
        for name in names {
            match self.remove(&name).await {
                Ok(()) => drop(self.doomed.lock().remove(&name)),
                Err(error) => {
                    tracing::debug!(%error, container = name, "still not removed");
                    all = false;
                }
            }
        }
        all
    }

    async fn swept(&self) -> bool {
        // What is unreachable and was never used holds nothing of ours.
        !self.used.load(Ordering::Relaxed) || self.sweep().await.is_ok()
    }

    /// Ends the looking, after a last round of removing.
    pub async fn close(&self) {
        let last = async {
            // A container whose making was given up may have come to be after all: look once more.
            while !self.remove_doomed().await || !self.swept().await {
                tokio::time::sleep(URGENT).await;
            }
        };
        if tokio::time::timeout(LAST_TRIES, last).await.is_err() {
            tracing::error!("containers stay behind: the engine does not remove them");
        }
        self.ended.cancel();
    }
}

impl Container {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it with everything in it. When the engine does not do so now, the keeper sees to
    /// it.
    pub async fn remove(mut self) {
        match self.sandboxes.remove(&self.name).await {
            Ok(()) => {
                self.removed = true;
                self.sandboxes.live.lock().remove(&self.name);
            }
            Err(error) => {
                tracing::warn!(%error, container = self.name, "a container is not removed yet");
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.removed {
            self.sandboxes.live.lock().remove(&self.name);
            let name = std::mem::take(&mut self.name);
            self.sandboxes.doomed.lock().insert(name, self.watched.take());
            self.sandboxes.look.notify_one();
        }
    }
}
