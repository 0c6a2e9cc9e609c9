//! What a queued check waits for: the one thing that keeps it, and the facts around it.

use std::collections::BTreeSet;
use std::time::Duration;

use visor_protocol::api::{Priority, Reason, Wait, WorkerInfo};
use visor_protocol::ids::PoolName;
use visor_protocol::result::CheckReport;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::WorkerState;

use crate::dispatch::core::WaitInfo;

/// Workers named in one sentence at most.
const NAMED: usize = 3;

/// What is known at the moment of asking.
pub(super) struct Queued<'a> {
    pub(super) now: Timestamp,
    pub(super) check: &'a CheckReport,
    /// Where the dispatcher has it; none when it does not.
    pub(super) info: Option<WaitInfo>,
    /// All workers there are.
    pub(super) workers: &'a [WorkerInfo],
    pub(super) channel: &'a str,
    /// Why the journal cannot be written, when it cannot.
    pub(super) journal: Option<String>,
}

impl Queued<'_> {
    /// Completes the reason.
    pub(super) fn explain(self, reason: &mut Reason) {
        let Some(info) = &self.info else {
            let (wait, waits_for) = self.outside();
            reason.summary = format!("waits for {waits_for}");
            (reason.wait, reason.waits_for) = (wait, wait.map(|_| waits_for));
            return;
        };
        let (wait, waits_for, remedy) = self.obstacle(info);
        let waited = self.now.since(info.since).as_secs_f64();
        reason.summary = format!("waiting {waited:.1} s for {waits_for}");
        (reason.wait, reason.waits_for, reason.remedy) = (Some(wait), Some(waits_for), remedy);
        self.facts(info, reason);
    }

    /// The dispatcher does not have it.
    fn outside(&self) -> (Option<Wait>, String) {
        if let Some(why) = &self.journal {
            return (Some(Wait::Journal), format!("the journal, which cannot be written: {why}"));
        }
        match self.check.next_attempt_at.filter(|at| *at > self.now) {
            Some(at) => {
                let (attempt, pause) = (self.check.attempts, seconds(at.since(self.now)));
                let after = self.check.history.last().map(|why| format!(", after: {why}"));
                let after = after.unwrap_or_default();
                (Some(Wait::Retry), format!("attempt {attempt}, which begins in {pause}{after}"))
            }
            None => (None, "the next step, which is being taken".into()),
        }
    }

    /// The one thing that keeps it, in words, and what would help.
    fn obstacle(&self, info: &WaitInfo) -> (Wait, String, Option<String>) {
        let pool = &info.pool;
        let start = format!("start a worker: visor worker --pool {pool}");
        let here: Vec<&WorkerInfo> = self.of(pool).collect();
        if here.is_empty() {
            let others: BTreeSet<&str> = self.workers.iter().map(|w| w.pool.as_str()).collect();
            return match others.is_empty() {
                true => {
                    let words = format!("a worker: there is none, in pool `{pool}` or any other");
                    (Wait::Worker, words, Some(start))
                }
                false => {
                    let others = listed(others.iter().map(|name| format!("`{name}`")).collect());
                    let words =
                        format!("a worker: pool `{pool}` has none; there are workers in {others}");
                    let help = format!("{start}, or submit to a pool that has some");
                    (Wait::Worker, words, Some(help))
                }
            };
        }
        if info.ready_workers == 0 {
            let words = format!("a worker of pool `{pool}` that takes jobs: {}", troubles(&here));
            let help = format!("put right what keeps it, or {start}");
            return (Wait::Worker, words, Some(help));
        }
        if let Some((image, Some(nowhere))) = self.image(&here) {
            let words = format!("image `{image}`, which no worker of pool `{pool}` has: {nowhere}");
            let help = format!("build or pull `{image}` on a worker of the pool");
            return (Wait::Image, words, Some(help));
        }
        if let Some((limit, until)) = &info.blocked {
            let pause = seconds(until.since(self.now));
            return (
                Wait::Bucket,
                format!("a token of limit `{limit}`, which comes in {pause}"),
                None,
            );
        }
        if info.handed_over {
            let words = format!("a worker of pool `{pool}` to take it: it was handed over to them");
            return (Wait::Claim, words, None);
        }
        let words = format!(
            "a slot in pool `{pool}` ({} of {} busy; place {} in its channel, {} wait in all)",
            info.in_flight, info.slots, info.place, info.waiting
        );
        let help = format!("one more worker in `{pool}`, or a higher priority for the run");
        (Wait::Slot, words, Some(help))
    }

    fn facts(&self, info: &WaitInfo, reason: &mut Reason) {
        let mut fact = |name: &str, value: String| reason.facts.push((name.to_owned(), value));
        let here: Vec<&WorkerInfo> = self.of(&info.pool).collect();
        fact(
            "pool",
            format!(
                "{}: {} of {} slots busy, {} of {} workers ready",
                info.pool,
                info.in_flight,
                info.slots,
                info.ready_workers,
                here.len()
            ),
        );
        if here.iter().any(|worker| worker.state != WorkerState::Ready) {
            fact("not ready", troubles(&here));
        }
        if let Some((image, nowhere)) = self.image(&here) {
            let ready = here.iter().filter(|worker| has(worker, image) == Some(true)).count();
            let told = here.iter().filter(|worker| has(worker, image).is_some()).count();
            fact(
                "image",
                match nowhere {
                    _ if told == 0 => format!("{image}: no worker of the pool was told to have it"),
                    _ => format!("{image}: ready on {ready} of {} workers", here.len()),
                },
            );
        }
        fact(
            "limits",
            match &info.blocked {
                Some((limit, until)) => {
                    format!("{limit}: next token in {}", seconds(until.since(self.now)))
                }
                None => "none holds it back".into(),
            },
        );
        let (has, fair) = info.share;
        let priority = match info.priority {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        };
        fact(
            "policy",
            format!(
                "priority {priority}; channel {} has {has} of {} slots, its fair share is {fair}",
                self.channel, info.slots
            ),
        );
    }

    fn of(&self, pool: &PoolName) -> impl Iterator<Item = &WorkerInfo> {
        self.workers.iter().filter(move |worker| worker.pool == *pool)
    }

    /// The image it asks for, and, when every ready worker knows that it does not have it, what
    /// they say.
    fn image(&self, here: &[&WorkerInfo]) -> Option<(&str, Option<String>)> {
        let image = self.check.image.as_deref()?;
        let ready = || here.iter().filter(|worker| worker.state == WorkerState::Ready);
        let nowhere = ready().next().is_some() && ready().all(|w| has(w, image) == Some(false));
        let says = |worker: &&&WorkerInfo| {
            let status = worker.images.iter().find(|status| status.image == image)?;
            Some(format!("{}: {}", worker.worker, status.detail))
        };
        let says = ready().filter_map(|worker| says(&worker)).take(NAMED).collect();
        Some((image, nowhere.then(|| listed(says))))
    }
}

/// Whether the worker has the image; unknown when it was not told to have it.
fn has(worker: &WorkerInfo, image: &str) -> Option<bool> {
    worker.images.iter().find(|status| status.image == image).map(|status| status.ready)
}

/// Why workers take nothing.
fn troubles(workers: &[&WorkerInfo]) -> String {
    let of = |worker: &&WorkerInfo| match &worker.state {
        WorkerState::Ready => None,
        WorkerState::Draining => Some(format!("{} is draining", worker.worker)),
        WorkerState::NotReady { reason } => {
            Some(format!("{} is not ready: {reason}", worker.worker))
        }
    };
    let all: Vec<String> = workers.iter().filter_map(of).collect();
    let more = all.len().saturating_sub(NAMED);
    let mut text = all.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// `a, b and c`, the first ten.
fn listed(mut words: Vec<String>) -> String {
    words.truncate(10);
    match words.split_last() {
        None => String::new(),
        Some((one, [])) => one.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
