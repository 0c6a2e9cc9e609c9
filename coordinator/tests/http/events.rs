//! A run as it goes, as server-sent events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Response, StatusCode};
use visor_coordinator::http::HttpLimits;
use visor_protocol::api::{self, ApiError, Request};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{ChannelId, CheckName, RunId};
use visor_protocol::result::{CheckState, Counts, RunReport, RunState, RunSummary};
use visor_protocol::{Attempt, Timestamp};
use visor_testkit::build::{noop_config, run_id};
use visor_testkit::wait::DEADLINE;
use visor_testkit::{FakeWorkerOptions, Scripted, eventually};

use crate::site::{Door, Site, refused};
use crate::stub::Stub;

/// One event, as a browser would see it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    event: String,
    id: String,
    data: String,
}

impl Seen {
    fn notice(&self) -> Notice {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A stream as it is read.
struct Reader {
    response: Response,
    text: String,
    comments: u32,
}

impl Reader {
    async fn open(door: &Door, run: &str) -> Self {
        let response = door.get(&format!("/api/v1/runs/{run}/events")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), comments: 0 }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Seen> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(seen) = self.read(&block) {
                    return Some(seen);
                }
            }
            let piece = tokio::time::timeout(DEADLINE, self.response.chunk());
            let piece = piece.await.expect("something comes in time").unwrap()?;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    fn read(&mut self, block: &str) -> Option<Seen> {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start().to_owned())
        };
        if block.starts_with(':') {
            self.comments += 1;
            return None;
        }
        let (event, id, data) = (field("event:")?, field("id:")?, field("data:")?);
        Some(Seen { event, id, data })
    }

    async fn rest(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        while let Some(seen) = self.next().await {
            all.push(seen);
        }
        all
    }
}

/// Each check moves forward only, nothing is said twice, and the ends are where they belong.
#[track_caller]
fn complete(seen: &[Seen], checks: u32, state: RunState) {
    let first = seen.first().expect("there are events");
    assert_eq!(first.event, "run_accepted");
    assert_eq!(first.notice().what, News::RunAccepted { checks });
    let last = seen.last().expect("there are events");
    assert_eq!((last.event.as_str(), last.id.as_str()), ("run_finished", "end"));
    assert_eq!(last.notice().what, News::RunFinished { state });
    let mut settled = std::collections::BTreeMap::new();
    for seen in &seen[1..seen.len() - 1] {
        assert_eq!(seen.event, "check");
        let News::Check { check, state, .. } = seen.notice().what else {
            panic!("no check: {seen:?}")
        };
        let earlier = settled.insert(check.to_string(), state);
        assert!(!earlier.is_some_and(CheckState::is_settled), "after its end: {seen:?}");
        assert_ne!(earlier, Some(state), "twice: {seen:?}");
    }
    assert_eq!(settled.len(), checks as usize);
    assert!(settled.values().all(|state| state.is_settled()), "{settled:?}");
}

#[tokio::test]
async fn a_run_is_followed_from_its_submission_to_its_end() {
    let site = Site::open().await;
    let run = site.submit(&noop_config(5)).await;
    let mut reader = Reader::open(&site, &run).await;
    let first = reader.next().await.unwrap();
    let _worker = site.worker(FakeWorkerOptions::new("one", 2)).await;
    let mut seen = vec![first];
    seen.extend(reader.rest().await);
    complete(&seen, 5, RunState::Passed);
    let ran = seen.iter().filter_map(|seen| match seen.notice().what {
        News::Check { state: CheckState::Passed, worker, ran_ms, .. } => Some((worker, ran_ms)),
        _ => None,
    });
    for (worker, ran_ms) in ran {
        assert_eq!(worker.unwrap().as_str(), "one");
        assert!(ran_ms.is_some());
    }
    assert_eq!(site.report(&run).await.summary.state, RunState::Passed);
}

#[tokio::test]
async fn whoever_comes_after_the_end_is_told_all_the_same() {
    let site = Site::open().await;
    let script = |job: &visor_protocol::Job| match job.job.seq {
        0 => Scripted::exit(1, Duration::ZERO),
        _ => Scripted::pass(Duration::ZERO),
    };
    let _worker = site.worker(FakeWorkerOptions::new("one", 2).script(script)).await;
    let config = "
version: '1.0'
checks:
  bad: { type: command, exec: 'false' }
  after: { type: noop, depends_on: [bad] }
";
    let run = site.submit(config).await;
    let report = site.finished(&run).await;
    let seen = Reader::open(&site, &report.summary.run.short()).await.rest().await;
    complete(&seen, 2, RunState::Failed);
    let of = |name: &str| {
        let notices = seen.iter().map(Seen::notice);
        let mut found = notices.filter_map(|notice| match notice.what {
            News::Check { check, state, why, job, .. } if check.as_str() == name => {
                Some((state, why, job))
            }
            _ => None,
        });
        found.next().unwrap()
    };
    let (state, why, job) = of("bad");
    assert_eq!((state, why.as_deref()), (CheckState::Failed, Some("exit 1")));
    assert!(job.is_some());
    let (state, why, job) = of("after");
    assert_eq!((state, why.as_deref(), job), (CheckState::Skipped, Some("bad failed"), None));

    // A browser that comes back after the end is told to stop coming.
    let again = site.get(&format!("/api/v1/runs/{run}/events")).header("last-event-id", "end");
    assert_eq!(again.send().await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn many_followers_of_many_runs_each_see_their_own_whole() {
    let site = Site::open().await;
    let mut readers = Vec::new();
    for n in 0..10 {
        let run = site.submit(&noop_config(20)).await;
        readers.push((run.clone(), Reader::open(&site, &run).await));
        if n == 4 {
            // Half of them start while work is under way.
            site.worker(FakeWorkerOptions::new("one", 8)).await;
        }
    }
    let _worker = site.worker(FakeWorkerOptions::new("two", 8)).await;
    for (run, mut reader) in readers {
        let seen = reader.rest().await;
        complete(&seen, 20, RunState::Passed);
        assert!(seen.iter().all(|seen| seen.notice().run.to_string() == run));
    }
}

#[tokio::test]
async fn a_cancelled_run_ends_its_stream() {
    let site = Site::open().await;
    let worker = FakeWorkerOptions::new("one", 1).script(|_| Scripted::hang());
    let _worker = site.worker(worker).await;
    let run = site.submit(&noop_config(2)).await;
    let mut reader = Reader::open(&site, &run).await;
    let mut seen = vec![reader.next().await.unwrap()];
    let cancel = site.post(&format!("/api/v1/runs/{run}/cancel")).send().await.unwrap();
    assert_eq!(cancel.status(), StatusCode::OK);
    seen.extend(reader.rest().await);
    complete(&seen, 2, RunState::Cancelled);
}

fn check(state: CheckState, attempt: u32) -> News {
    News::Check {
        check: CheckName::new("c0").unwrap(),
        state,
        attempt: Some(Attempt(attempt)),
        job: None,
        worker: None,
        started_at: None,
        ran_ms: None,
        issues: 0,
        why: None,
    }
}

fn notice(run: RunId, what: News) -> Arc<Notice> {
    Arc::new(Notice { run, channel: ChannelId::local(), at: Timestamp::from_micros(1), what })
}

fn report(state: RunState) -> RunReport {
    let at = Timestamp::from_micros(1);
    let summary = RunSummary {
        run: run_id(1),
        channel: ChannelId::local(),
        config: "visor.yaml".into(),
        state,
        submitted_at: at,
        finished_at: state.is_finished().then_some(at),
        counts: Counts::default(),
        note: None,
    };
    RunReport { summary, checks: Vec::new() }
}

#[tokio::test]
async fn a_follower_that_fell_behind_is_told_so_and_then_the_present_state() {
    let looks = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&looks);
    let stub = Arc::new(Stub::new(move |_: Request| {
        let state = match counter.fetch_add(1, Ordering::SeqCst) {
            0 => RunState::Running,
            _ => RunState::Passed,
        };
        Ok(api::Response::Run(Box::new(report(state))))
    }));
    let door = Door::open(crate::site::options(None), Arc::clone(&stub) as _).await;
    let run = run_id(1);
    let mut reader = Reader::open(&door, &run.to_string()).await;
    assert_eq!(reader.next().await.unwrap().event, "run_accepted");
    // More than the service keeps, in one go: nobody can have read in between.
    for attempt in 1..=20 {
        stub.notices.send(notice(run, check(CheckState::Running, attempt))).unwrap();
    }
    let rest = reader.rest().await;
    let events: Vec<&str> = rest.iter().map(|seen| seen.event.as_str()).collect();
    assert_eq!(events, ["lagged", "run_accepted", "run_finished"]);
    assert_eq!(rest[0].data, r#"{"missed":16}"#);
}

#[tokio::test]
async fn what_happens_between_listening_and_looking_is_told_once() {
    let stub = Arc::new(Stub::new(|_| Ok(api::Response::Run(Box::new(report(RunState::Running))))));
    let door = Door::open(crate::site::options(None), Arc::clone(&stub) as _).await;
    let run = run_id(1);
    let mut reader = Reader::open(&door, &run.to_string()).await;
    assert_eq!(reader.next().await.unwrap().event, "run_accepted");
    for what in [News::RunAccepted { checks: 0 }, check(CheckState::Running, 1)] {
        stub.notices.send(notice(run, what)).unwrap();
    }
    // Of another run, and older than what was told.
    stub.notices.send(notice(run_id(2), News::RunFinished { state: RunState::Passed })).unwrap();
    let running = reader.next().await.unwrap();
    assert_eq!(running.notice().what, check(CheckState::Running, 1));
    for what in [
        check(CheckState::Queued, 1),
        check(CheckState::Passed, 1),
        News::RunFinished { state: RunState::Passed },
    ] {
        stub.notices.send(notice(run, what)).unwrap();
    }
    let rest: Vec<News> = reader.rest().await.iter().map(|seen| seen.notice().what).collect();
    assert_eq!(rest, [check(CheckState::Passed, 1), News::RunFinished { state: RunState::Passed }]);
}

#[tokio::test]
async fn a_quiet_stream_shows_signs_of_life_and_notices_an_end_it_was_not_told() {
    let looks = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&looks);
    let stub = Arc::new(Stub::new(move |_: Request| {
        let state = match counter.fetch_add(1, Ordering::SeqCst) {
            0..5 => RunState::Running,
            _ => RunState::Passed,
        };
        Ok(api::Response::Run(Box::new(report(state))))
    }));
    let limits = HttpLimits { keep_alive: Duration::from_millis(20), ..HttpLimits::default() };
    let door = Door::with_limits(limits, stub).await;
    let mut reader = Reader::open(&door, &run_id(1).to_string()).await;
    let seen = reader.rest().await;
    complete(&seen, 0, RunState::Passed);
    assert!(reader.comments > 0);
}

#[tokio::test]
async fn followers_are_bounded_and_one_who_leaves_makes_room() {
    let stub = Arc::new(Stub::new(|_| Ok(api::Response::Run(Box::new(report(RunState::Running))))));
    let limits = HttpLimits { streams: 1, ..HttpLimits::default() };
    let door = Door::with_limits(limits, Arc::clone(&stub) as _).await;
    let run = run_id(1).to_string();
    let reader = Reader::open(&door, &run).await;
    let second = door.get(&format!("/api/v1/runs/{run}/events"));
    let code = "visor::api::too_many_streams";
    refused(second, StatusCode::SERVICE_UNAVAILABLE, code).await;
    drop(reader);
    eventually("the place is free", || stub.notices.receiver_count() == 0).await;
    Reader::open(&door, &run).await.next().await.unwrap();
}

#[tokio::test]
async fn a_run_that_is_not_there_has_no_stream_and_takes_no_place() {
    let stub = Stub::refusing(ApiError::new("visor::api::unknown_run", "no such run"));
    let limits = HttpLimits { streams: 1, ..HttpLimits::default() };
    let door = Door::with_limits(limits, stub).await;
    let all = futures::stream::iter(0..5).then(async |_| {
        let get = door.get("/api/v1/runs/abc/events");
        refused(get, StatusCode::NOT_FOUND, "visor::api::unknown_run").await
    });
    assert_eq!(all.count().await, 5);
}
