//! Runs that ended a moment ago: whoever watched one asks for its report right then, and does not
//! wait for it to be read from the journal.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunReport;

use super::book::RunBook;

/// Runs kept at most.
const RUNS: usize = 64;

/// What they came to in the journal, together; about what their books take.
const BYTES: usize = 16 * 1024 * 1024;

/// The books of the last runs that ended. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Recent {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Each with its size in the journal.
    books: VecDeque<(RunBook, usize)>,
    bytes: usize,
}

impl Recent {
    /// Keeps the book of a run that is over and can change no more.
    pub(crate) fn keep(&self, book: RunBook, bytes: usize) {
        let mut gone = Vec::new();
        {
            let kept = &mut *self.kept.lock();
            kept.books.push_back((book, bytes));
            kept.bytes += bytes;
            while kept.books.len() > RUNS || kept.bytes > BYTES {
                let Some((book, bytes)) = kept.books.pop_front() else { break };
                kept.bytes -= bytes;
                gone.push(book);
            }
        }
        // A large book takes its time to be dropped: not while others wait for the lock.
        drop(gone);
    }

    /// The report of a run, if it is one of these.
    pub(crate) fn report(&self, run: RunId) -> Option<RunReport> {
        let kept = self.kept.lock();
        kept.books.iter().rev().find(|(book, _)| book.run() == run).map(|(book, _)| book.report())
    }

    /// Something of a run changed after its end: the journal knows, this does not.
    pub(crate) fn forget(&self, run: RunId) {
        let kept = &mut *self.kept.lock();
        if let Some(at) = kept.books.iter().position(|(book, _)| book.run() == run) {
            kept.bytes -= kept.books.remove(at).map_or(0, |(_, bytes)| bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use visor_engine::{Context, Plan, config};
    use visor_protocol::time::Timestamp;
    use visor_testkit::build;

    use super::*;

    fn book(run: u64) -> RunBook {
        let submission = build::SubmissionBuilder::new(run, build::noop_config(1)).build();
        let config = config::load(&submission.config).unwrap().config;
        let plan = Plan::new(&config, &submission.selection, &Context::default()).unwrap();
        RunBook::open(Arc::new(submission), Arc::new(plan), Timestamp::from_micros(1)).0
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_size() {
        let recent = Recent::default();
        let run = |n| build::run_id(n);
        for n in 0..=RUNS as u64 {
            recent.keep(book(n), 10);
        }
        assert!(recent.report(run(0)).is_none() && recent.report(run(1)).is_some());
        recent.keep(book(1000), BYTES);
        assert!(recent.report(run(1)).is_none() && recent.report(run(1000)).is_some());
        recent.keep(book(1001), BYTES + 1);
        let kept = recent.kept.lock();
        assert_eq!((kept.books.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn a_run_that_changed_is_forgotten() {
        let recent = Recent::default();
        recent.keep(book(1), 10);
        recent.forget(build::run_id(1));
        assert!(recent.report(build::run_id(1)).is_none());
        assert_eq!(recent.kept.lock().bytes, 0);
    }
}
