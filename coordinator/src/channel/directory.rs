//! Where the actor of a run or a job is, for those that get messages about them from outside.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use ractor::ActorRef;
use visor_protocol::ids::{JobId, RunId};

use super::{branch, check};

/// A concurrent address book. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    branches: Arc<Mutex<HashMap<RunId, ActorRef<branch::Msg>>>>,
    checks: Arc<[Checks; SHARDS]>,
    settling: Arc<AtomicBool>,
}

type Checks = Mutex<HashMap<JobId, ActorRef<check::Msg>>>;

/// Jobs come and go thousands of times a second from several threads.
const SHARDS: usize = 16;

impl Directory {
    fn shard(&self, job: JobId) -> &Checks {
        let byte = job.run.to_bytes()[15];
        &self.checks[(usize::from(byte) + job.seq as usize) % SHARDS]
    }

    /// Runs are being taken up from the journal: what is not known here may be in a moment.
    pub(crate) fn set_settling(&self, settling: bool) {
        self.settling.store(settling, Ordering::Release);
    }

    pub(crate) fn is_settling(&self) -> bool {
        self.settling.load(Ordering::Acquire)
    }

    pub(crate) fn add_branch(&self, run: RunId, branch: ActorRef<branch::Msg>) {
        self.branches.lock().insert(run, branch);
    }

    pub(crate) fn branch(&self, run: RunId) -> Option<ActorRef<branch::Msg>> {
        self.branches.lock().get(&run).cloned()
    }

    /// Forgets a branch, if it is still this one.
    pub(crate) fn remove_branch(&self, run: RunId, branch: ractor::ActorId) {
        let mut branches = self.branches.lock();
        if branches.get(&run).is_some_and(|known| known.get_id() == branch) {
            branches.remove(&run);
        }
    }

    pub(crate) fn open_runs(&self) -> usize {
        self.branches.lock().len()
    }

    /// Open runs whose id ends so.
    pub(crate) fn runs_ending(&self, end: &str) -> Vec<RunId> {
        self.branches.lock().keys().filter(|run| run.to_string().ends_with(end)).copied().collect()
    }

    pub(crate) fn add_check(&self, job: JobId, check: ActorRef<check::Msg>) {
        self.shard(job).lock().insert(job, check);
    }

    pub(crate) fn check(&self, job: JobId) -> Option<ActorRef<check::Msg>> {
        self.shard(job).lock().get(&job).cloned()
    }

    pub(crate) fn remove_check(&self, job: JobId) {
        self.shard(job).lock().remove(&job);
    }
}
