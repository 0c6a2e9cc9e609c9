//! The ledger, shared by everybody who learns facts, with what must be known while a load runs.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::ledger::{Account, Fact, Ledger};

/// The shared account of one load.
#[derive(Debug)]
pub struct Book {
    state: Mutex<State>,
    /// One permit for each run that is over, for whoever keeps a number of them in flight.
    over: Semaphore,
    closed: AtomicBool,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    per_second: Vec<u64>,
}

/// Where a load stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Runs that were to be sent.
    pub submitted: u64,
    /// Runs of them that may still finish.
    pub open: u64,
    /// Checks that settled.
    pub checks_settled: u64,
}

/// Seconds that are told apart; a load is shorter.
const SECONDS: usize = 7 * 24 * 3_600;

impl Book {
    /// An empty account of runs with this many checks each.
    pub fn new(checks_per_run: u32) -> Self {
        let state = State { ledger: Ledger::new(checks_per_run), per_second: Vec::new() };
        Self { state: Mutex::new(state), over: Semaphore::new(0), closed: AtomicBool::new(false) }
    }

    /// Takes a fact.
    pub fn take(&self, fact: Fact) {
        self.enter(fact, Ledger::take);
    }

    /// Takes a fact that we learned by asking, if it is news.
    pub fn fill_in(&self, fact: Fact) {
        self.enter(fact, Ledger::fill_in);
    }

    fn enter(&self, fact: Fact, enter: fn(&mut Ledger, Fact)) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let (open, settled) = (state.ledger.open_len(), state.ledger.settled_len());
        enter(&mut state.ledger, fact);
        if let Fact::Settled { at, .. } = fact
            && state.ledger.settled_len() > settled
        {
            let second = usize::try_from(at / 1_000_000).unwrap_or(SECONDS).min(SECONDS);
            if state.per_second.len() <= second {
                state.per_second.resize(second + 1, 0);
            }
            state.per_second[second] += 1;
        }
        let over = open.saturating_sub(state.ledger.open_len());
        drop(guard);
        if over > 0 {
            self.over.add_permits(1);
        }
    }

    /// Waits until one more run is over.
    pub async fn one_more_over(&self) {
        if let Ok(permit) = self.over.acquire().await {
            permit.forget();
        }
    }

    /// Where the load stands.
    pub fn standing(&self) -> Standing {
        let state = self.state.lock();
        Standing {
            submitted: state.ledger.submitted_len(),
            open: state.ledger.open_len(),
            checks_settled: state.ledger.settled_len(),
        }
    }

    /// Runs whose end, or the end of whose checks, nobody told us.
    pub fn untold(&self) -> Vec<u32> {
        let state = self.state.lock();
        state.ledger.open().chain(state.ledger.incomplete()).collect()
    }

    /// Runs with a check of which nobody told when it started.
    pub fn without_start(&self) -> Vec<u32> {
        self.state.lock().ledger.without_start().collect()
    }

    /// Nobody needs to learn anything more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The load is over.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The account as it stands, and the checks settled in each second.
    pub fn account(&self) -> (Account, Vec<u64>) {
        let state = self.state.lock();
        (state.ledger.close(), state.per_second.clone())
    }
}
