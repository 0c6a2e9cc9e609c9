//! What a load is put on.
//!
//! - [`embedded`]: a process of its own for each run
//! - [`serve`]: the one-machine server, over HTTP
//! - [`fleet`]: a coordinator and workers, over the bus
//! - `common`: what they share

mod common;
pub mod embedded;
pub mod fleet;
pub mod serve;

use async_trait::async_trait;
use visor_protocol::result::{CheckState, RunReport, RunState};

use crate::book::Book;
use crate::ledger::Fact;
use crate::session::LoadClock;

/// The system under test.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// What it is, in a few words.
    fn describe(&self) -> String;

    /// Sends one run, and brings the facts that the sender itself learns.
    async fn send(&self, run: u32, book: &Book);

    /// Brings what the system says unasked, until it is dropped.
    async fn listen(&self, book: &Book);

    /// Asks how a run stands; nothing when it cannot be asked.
    async fn ask(&self, run: u32) -> Vec<Fact>;

    /// Faults seen so far, by kind.
    fn faults(&self) -> Vec<(String, u64)>;
}

/// What a report says about a run. Only a finished run's end is taken from it: the moments are the
/// coordinator's and the worker's own.
pub(crate) fn facts_of(run: u32, report: &RunReport, clock: &LoadClock) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (check, one) in (0_u32..).zip(&report.checks) {
        let check = one.job.map_or(check, |job| job.seq);
        if let Some(at) = one.started_at {
            facts.push(Fact::Started { run, check, at: clock.moment(at) });
        }
        if one.state.is_settled() {
            let at = one.finished_at.or(report.summary.finished_at).unwrap_or_default();
            let passed = one.state == CheckState::Passed;
            facts.push(Fact::Settled { run, check, passed, ran: None, at: clock.moment(at) });
        }
    }
    if let Some(at) = report.summary.finished_at.filter(|_| report.summary.state.is_finished()) {
        let passed = report.summary.state == RunState::Passed;
        facts.push(Fact::Finished { run, passed, at: clock.moment(at) });
    }
    facts
}
