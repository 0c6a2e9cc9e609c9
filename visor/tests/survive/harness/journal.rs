//! What the coordinator wrote down. Read when it has stopped: redb lets one process in.

use std::collections::BTreeMap;
use std::path::Path;

use visor_coordinator::store::Backend;
use visor_coordinator::store::disk::DiskBackend;
use visor_protocol::event::{Recorded, RunEvent};
use visor_protocol::ids::{Attempt, RunId};
use visor_protocol::outcome::Outcome;
use visor_protocol::result::RunState;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

/// The history of one run.
pub(crate) struct History {
    events: Vec<Recorded>,
}

/// An attempt that followed one that came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requeue {
    pub(crate) seq: u32,
    pub(crate) attempt: Attempt,
    pub(crate) why: String,
}

/// Opens the journal of a stopped coordinator.
pub(crate) fn open(data_dir: &Path) -> DiskBackend {
    DiskBackend::open(data_dir).unwrap()
}

impl History {
    pub(crate) fn read(journal: &DiskBackend, run: RunId) -> Self {
        Self { events: journal.events(run).unwrap() }
    }

    /// Every job that was asked for settled exactly once, all of them before the one end of the
    /// run; what came afterwards is noted as stale and nothing else.
    #[track_caller]
    pub(crate) fn assert_settled_once(&self, jobs: usize) -> RunState {
        assert!(matches!(self.events.first().map(|e| &e.event), Some(RunEvent::Accepted(_))));
        let mut queued = BTreeMap::<u32, u32>::new();
        let mut settled = BTreeMap::<u32, u32>::new();
        let mut finished = None;
        for Recorded { event, .. } in &self.events[1..] {
            assert!(
                finished.is_none() || matches!(event, RunEvent::Stale { .. }),
                "after the end of the run: {event:?}"
            );
            match event {
                RunEvent::Accepted(_) => panic!("accepted twice"),
                RunEvent::Queued { job, .. } => *queued.entry(job.seq).or_default() += 1,
                RunEvent::Settled { outcome, .. } => {
                    *settled.entry(outcome.job.seq).or_default() += 1;
                }
                RunEvent::Finished { state } => finished = Some(*state),
                RunEvent::Evaluated { .. }
                | RunEvent::Started { .. }
                | RunEvent::Requeued { .. }
                | RunEvent::Stale { .. }
                | RunEvent::CancelRequested { .. }
                | RunEvent::TimedOut => {}
            }
        }
        let once: BTreeMap<u32, u32> = (0..jobs as u32).map(|seq| (seq, 1)).collect();
        assert_eq!(queued, once, "each job is asked for once");
        assert_eq!(settled, once, "each job settles once");
        finished.expect("the run has an end in the journal")
    }

    /// The attempts that followed one that came to nothing.
    pub(crate) fn requeued(&self) -> Vec<Requeue> {
        let requeue = |recorded: &Recorded| match &recorded.event {
            RunEvent::Requeued { job, attempt, why, .. } => {
                Some(Requeue { seq: job.seq, attempt: *attempt, why: why.clone() })
            }
            _ => None,
        };
        self.events.iter().filter_map(requeue).collect()
    }

    /// When attempts began, by their workers' clocks.
    pub(crate) fn started(&self) -> impl Iterator<Item = (Ticket, Timestamp)> {
        self.events.iter().filter_map(|recorded| match &recorded.event {
            RunEvent::Started { ticket, at, .. } => Some((*ticket, *at)),
            _ => None,
        })
    }

    /// The outcomes that settled the jobs.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.events.iter().filter_map(|recorded| match &recorded.event {
            RunEvent::Settled { outcome, .. } => Some(&**outcome),
            _ => None,
        })
    }

    /// What was reported too late.
    pub(crate) fn stale(&self) -> impl Iterator<Item = Ticket> {
        self.events.iter().filter_map(|recorded| match &recorded.event {
            RunEvent::Stale { ticket, .. } => Some(*ticket),
            _ => None,
        })
    }

    /// Every job settled by its first attempt.
    #[track_caller]
    pub(crate) fn assert_first_attempts(&self) {
        assert_eq!(self.requeued(), []);
        for outcome in self.outcomes() {
            assert_eq!(outcome.attempt, Attempt::FIRST);
        }
    }
}
