//! The journal's writer when the disk refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use visor_coordinator::store::memory::MemoryBackend;
use visor_coordinator::store::{Backend, Journal, RunWrite, StoreError};
use visor_protocol::api::DeadLetter;
use visor_protocol::event::Recorded;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunSummary;
use visor_testkit::build::run_id;
use visor_testkit::eventually;

/// A disk that is full or not.
#[derive(Default)]
struct Disk {
    memory: MemoryBackend,
    full: AtomicBool,
}

impl Disk {
    fn room(&self) -> Result<(), StoreError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(StoreError::Write { why: "no space left on device".into() }),
            false => Ok(()),
        }
    }
}

impl Backend for Disk {
    fn commit(&self, batches: &[Arc<RunWrite>]) -> Result<(), StoreError> {
        self.room().and_then(|()| self.memory.commit(batches))
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.room()
    }

    fn events(&self, run: RunId) -> Result<Vec<Recorded>, StoreError> {
        self.memory.events(run)
    }

    fn summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        self.memory.summary(run)
    }

    fn summaries(
        &self,
        limit: usize,
        wanted: &dyn Fn(&RunSummary) -> bool,
    ) -> Result<Vec<RunSummary>, StoreError> {
        self.memory.summaries(limit, wanted)
    }

    fn open_runs(&self) -> Result<Vec<RunId>, StoreError> {
        self.memory.open_runs()
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.memory.dead_letters()
    }

    fn prune(&self, keep: usize) -> Result<usize, StoreError> {
        self.memory.prune(keep)
    }
}

async fn commit(journal: &Journal) -> Result<(), StoreError> {
    let (sender, committed) = tokio::sync::oneshot::channel();
    journal.commit(RunWrite::new(run_id(1), 0), move |result| _ = sender.send(result));
    committed.await.expect("the journal answers")
}

#[tokio::test]
async fn a_journal_that_was_full_is_usable_again_without_anybody_trying() {
    let disk = Arc::new(Disk::default());
    let journal = Journal::start(Arc::clone(&disk) as Arc<dyn Backend>, 10).unwrap();
    disk.full.store(true, Ordering::SeqCst);
    assert!(commit(&journal).await.is_err());
    assert!(journal.trouble().unwrap().contains("no space left"));
    disk.full.store(false, Ordering::SeqCst);
    eventually("the trouble is over", || journal.trouble().is_none()).await;
    commit(&journal).await.unwrap();
    journal.stop();
}

#[tokio::test]
async fn a_panic_of_whoever_waits_does_not_end_the_journal() {
    let journal = Journal::start(Arc::new(Disk::default()), 10).unwrap();
    journal.commit(RunWrite::new(run_id(1), 0), |_| panic!("on purpose"));
    commit(&journal).await.unwrap();
    journal.stop();
}
