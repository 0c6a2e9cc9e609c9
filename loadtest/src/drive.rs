//! Puts a load on a target and keeps its account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::arrivals::Timetable;
use crate::book::Book;
use crate::ledger::{Account, Fact, Moment};
use crate::pace::{self, Due};
use crate::session::LoadClock;
use crate::target::Target;

/// How runs come.
#[derive(Debug)]
pub enum Load {
    /// When they are due, whatever becomes of the earlier ones.
    Open(Timetable),
    /// The next when one is over, to find the highest rate.
    Closed {
        /// Runs that are under way at once.
        in_flight: u32,
        /// No more than this many.
        runs: Option<u64>,
        /// None after this long.
        duration: Option<Duration>,
    },
}

/// Bounds of a load.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Runs whose sending is under way at once. Beyond it the next one waits, and its wait counts.
    pub sending: usize,
    /// How long nothing may happen after the last run was sent before the load is given up.
    pub patience: Duration,
    /// How long to listen on for second settlements when everything is over.
    pub linger: Duration,
}

/// Runs that are asked for at once.
const ASKING: usize = 32;
/// Runs that are asked for a start at most.
const STARTS: usize = 200_000;
/// How often runs are asked for that nobody told about.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What came of a load.
#[derive(Debug)]
pub struct Driven {
    /// The account.
    pub account: Account,
    /// Checks settled in each second from the beginning.
    pub per_second: Vec<u64>,
    /// Runs that had to be asked for.
    pub asked: u64,
    /// From the beginning to the last run sent.
    pub sending: Duration,
    /// Faults, by kind.
    pub faults: BTreeMap<String, u64>,
}

/// Puts a load on a target until every run is accounted for, or nothing happens any more.
pub async fn drive(
    target: Arc<dyn Target>,
    load: Load,
    clock: LoadClock,
    bounds: Bounds,
    book: Arc<Book>,
) -> Driven {
    let listener = {
        let (target, book) = (Arc::clone(&target), Arc::clone(&book));
        AbortOnDropHandle::new(tokio::spawn(async move { target.listen(&book).await }))
    };
    let mut driver = Driver { target, book, clock, bounds, sending: JoinSet::new() };
    let is_open = matches!(load, Load::Open(_));
    match load {
        Load::Open(timetable) => driver.open(timetable).await,
        Load::Closed { in_flight, runs, duration } => {
            driver.closed(in_flight, runs, duration).await;
        }
    }
    let sending = Duration::from_micros(clock.now());
    let asked = driver.settle().await;
    if is_open {
        driver.ask_for_starts().await;
    }
    driver.book.close();
    drop(listener);

    let (account, per_second) = driver.book.account();
    let faults = driver.target.faults().into_iter().collect();
    Driven { account, per_second, asked, sending, faults }
}

struct Driver {
    target: Arc<dyn Target>,
    book: Arc<Book>,
    clock: LoadClock,
    bounds: Bounds,
    sending: JoinSet<()>,
}

impl Driver {
    async fn open(&mut self, timetable: Timetable) {
        let mut due = pace::start(timetable, self.clock.begin());
        while let Some(Due { run, intended }) = due.recv().await {
            self.send(run, intended).await;
        }
    }

    async fn closed(&mut self, in_flight: u32, runs: Option<u64>, duration: Option<Duration>) {
        tokio::time::sleep_until(self.clock.begin()).await;
        for run in 0_u32.. {
            let over = runs.is_some_and(|runs| u64::from(run) >= runs)
                || duration.is_some_and(|duration| self.clock.begin().elapsed() >= duration);
            if over {
                return;
            }
            if run >= in_flight
                && timeout(self.bounds.patience, self.book.one_more_over()).await.is_err()
            {
                return;
            }
            self.send(run, Duration::from_micros(self.clock.now())).await;
        }
    }

    async fn send(&mut self, run: u32, intended: Duration) {
        let at = Moment::try_from(intended.as_micros()).unwrap_or(Moment::MAX);
        self.book.take(Fact::Intended { run, at });
        while self.sending.try_join_next().is_some() {}
        while self.sending.len() >= self.bounds.sending {
            self.sending.join_next().await;
        }
        let (target, book, clock) = (Arc::clone(&self.target), Arc::clone(&self.book), self.clock);
        self.sending.spawn(async move {
            book.take(Fact::Sent { lag: clock.lag(intended) });
            target.send(run, &book).await;
        });
    }

    /// Waits until every run is over, asking for those nobody told about. Gives up when nothing
    /// happens for as long as patience lasts.
    async fn settle(&mut self) -> u64 {
        let mut asked = 0;
        let mut seen = self.book.standing();
        let mut last_change = Instant::now();
        let mut next_question = Instant::now() + ASK_EVERY;
        while self.book.standing().open > 0 && last_change.elapsed() <= self.bounds.patience {
            sleep(Duration::from_millis(10)).await;
            let now = self.book.standing();
            if now != seen {
                (seen, last_change) = (now, Instant::now());
            }
            if Instant::now() >= next_question {
                asked += self.ask().await;
                next_question = Instant::now() + ASK_EVERY;
            }
        }
        sleep(self.bounds.linger).await;
        asked + self.ask().await
    }

    /// Asks for every run that is not fully told about; how many of them are over by then.
    async fn ask(&self) -> u64 {
        let before = self.book.standing().open;
        self.ask_for(self.book.untold()).await;
        before - self.book.standing().open.min(before)
    }

    /// A check that is over before its start was reported settles without it, and leaving these
    /// out would leave out the fastest.
    async fn ask_for_starts(&self) {
        let mut unknown = self.book.without_start();
        if unknown.len() > STARTS {
            // Evenly over the whole load.
            let step = unknown.len().div_ceil(STARTS);
            unknown = unknown.into_iter().step_by(step).collect();
        }
        self.ask_for(unknown).await;
    }

    async fn ask_for(&self, runs: Vec<u32>) {
        let answers = stream::iter(runs).map(|run| self.target.ask(run));
        let answers = answers.buffer_unordered(ASKING);
        futures::pin_mut!(answers);
        while let Some(facts) = answers.next().await {
            facts.into_iter().for_each(|fact| self.book.fill_in(fact));
        }
    }
}
