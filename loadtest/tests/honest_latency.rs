//! The generator against a coordinator of the test's own, over the bus within one process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use visor_loadtest::arrivals::{Shape, Timetable, Until};
use visor_loadtest::book::Book;
use visor_loadtest::drive::{Bounds, Driven, Load, drive};
use visor_loadtest::scenario::Scenario;
use visor_loadtest::session::{Channels, LoadClock, RunIds};
use visor_loadtest::target::fleet::FleetTarget;
use visor_protocol::Envelope;
use visor_protocol::api::{ApiError, Reply, Request, Response};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{Attempt, CheckName, JobId, Shard, WorkerId};
use visor_protocol::result::{CheckState, RunState};
use visor_protocol::subject::{ApiOperation, Pattern, Subject};
use visor_protocol::time::{Clock, SystemClock};
use visor_transport::{Bus, MemoryBus, MemoryOptions};

/// What the coordinator of a test does wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// Stand still once for so long, when this run comes.
    stall: Option<(u32, Duration)>,
    /// Refuse every so many-th run.
    refuse_every: Option<u32>,
    /// Say twice that every so many-th run finished.
    double_every: Option<u32>,
    /// Never finish every so many-th run.
    forget_every: Option<u32>,
}

fn is_nth(every: Option<u32>, number: u32) -> bool {
    every.is_some_and(|every| number.is_multiple_of(every))
}

/// Answers submits one after the other, and finishes each run at once.
async fn coordinate(bus: Arc<dyn Bus>, faults: Faults) {
    let api = Subject::Api(Shard(0), ApiOperation::Submit);
    let mut requests = bus.subscribe(&Pattern::One(api)).await.unwrap();
    let mut number = 0;
    while let Some(message) = requests.next().await {
        let request = Envelope::<Request>::decode(&message.payload).unwrap().body;
        let Request::Submit(submission) = request else { continue };
        if let Some((run, stall)) = faults.stall
            && run == number
        {
            sleep(stall).await;
        }
        number += 1;
        let refused = is_nth(faults.refuse_every, number);
        let reply: Reply = if refused {
            Err(ApiError::new("visor::api::overloaded", "too much"))
        } else {
            Ok(Response::Accepted { run: submission.run })
        };
        let now = SystemClock.now();
        let answer = Envelope::new(reply, now).encode().unwrap();
        bus.respond(&message.reply.unwrap(), answer).await.unwrap();
        if refused || is_nth(faults.forget_every, number) {
            continue;
        }
        let job = JobId { run: submission.run, seq: 0 };
        let check = |state, started_at, ran_ms| News::Check {
            check: CheckName::new("c0").unwrap(),
            state,
            attempt: Some(Attempt::FIRST),
            job: Some(job),
            worker: Some(WorkerId::new("w").unwrap()),
            started_at,
            ran_ms,
            issues: 0,
            why: None,
        };
        let finished = News::RunFinished { state: RunState::Passed };
        let mut news = vec![
            // As of a check that was over before its start could be told.
            check(CheckState::Passed, Some(now), Some(0.0)),
            finished.clone(),
        ];
        if is_nth(faults.double_every, number) {
            news.push(finished);
        }
        let channel = submission.channel.clone();
        let notice = |what| Notice { run: submission.run, channel: channel.clone(), at: now, what };
        let notices: Vec<Notice> = news.into_iter().map(notice).collect();
        let payload = Envelope::new(notices, now).encode().unwrap();
        bus.record(&Subject::Events(Shard(0)), payload).await.unwrap();
    }
}

async fn load(runs: u64, rate: f64, faults: Faults) -> Driven {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(MemoryOptions::default()));
    let coordinator = tokio::spawn(coordinate(Arc::clone(&bus), faults));
    let _coordinator = AbortOnDropHandle::new(coordinator);
    let scenario = Scenario::load("noop-many-runs").unwrap();
    let run_up = Duration::from_millis(100);
    let now = SystemClock.now();
    let clock = LoadClock::new(Instant::now() + run_up, now + run_up);
    let target = FleetTarget::new(bus, clock, RunIds::new(now, 7), Channels::new(2), &scenario);
    let until = Until { count: Some(runs), duration: None };
    let timetable = Timetable::new(Shape::Constant { rate }, until, 1).unwrap();
    let bounds = Bounds {
        sending: 10_000,
        patience: Duration::from_secs(3),
        linger: Duration::from_millis(200),
    };
    let book = Arc::new(Book::new(1));
    drive(Arc::new(target), Load::Open(timetable), clock, bounds, book).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_the_system_shows_in_the_latency_of_every_run_that_met_it() {
    let stall = Duration::from_secs(1);
    let faults = Faults { stall: Some((400, stall)), ..Faults::default() };
    let account = load(1_000, 500.0, faults).await.account;
    assert!(account.adds_up, "{account:?}");
    assert_eq!(account.counts.settled, 1_000);
    // 500 of the 1000 runs come while nothing moves, and the first 1 % of all waits longest: a
    // generator that waits for answers would have counted one slow run, and a p99 of nothing.
    let expected = stall.as_secs_f64() * 1_000.0 - 10.0 / 500.0 * 1_000.0;
    assert!(account.end_to_end.p99_ms >= expected * 0.98, "{:?}", account.end_to_end);
    assert!(account.submit_to_start.p99_ms >= expected * 0.98, "{:?}", account.submit_to_start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_doubled_and_forgotten_runs_are_told_apart_exactly() {
    let faults = Faults {
        refuse_every: Some(10),
        double_every: Some(7),
        forget_every: Some(33),
        stall: None,
    };
    let driven = load(330, 2_000.0, faults).await;
    let counts = driven.account.counts;
    // Of 330: 33 are refused, 10 forgotten (one of them is refused as well), 47 doubled unless
    // they are refused (4) or forgotten (1).
    assert_eq!(counts.submitted, 330);
    assert_eq!(counts.refused, 33);
    assert_eq!(counts.missing, 9);
    assert_eq!(counts.duplicates, 42);
    assert_eq!(counts.settled, 330 - 33 - 9);
    assert!(!driven.account.adds_up);
    assert_eq!(driven.faults.get("visor::api::overloaded"), Some(&33));
}
