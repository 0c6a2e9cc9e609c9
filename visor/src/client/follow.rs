//! A run from its submission to its end: submitted until somebody takes it, watched by its notices,
//! asked for now and then in case some were lost, cancelled when the person at the keyboard says so.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use visor_protocol::api::{Reason, Request, Response, Submission, Wait};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::RunId;
use visor_protocol::result::RunReport;
use visor_transport::BusError;

use super::silence::{Silence, Step};
use super::{Backend, ClientError, Seen, Watch};
use crate::failure::Failure;
use crate::render::progress::screen::Screen;
use crate::render::text;
use crate::roles::signals::Interrupts;

/// How often the picture changes.
const TICK: Duration = Duration::from_millis(100);
/// Without news for so long, the run is asked for.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// While checks wait and nothing is heard, what they wait for is asked this often.
const EXPLAIN_AFTER: Duration = Duration::from_secs(1);
const EXPLAIN_AGAIN: Duration = Duration::from_secs(3);
/// A coordinator that is there and takes nothing just now is asked again for so long.
const SUBMIT_WITHIN: Duration = Duration::from_secs(60);
/// A coordinator that restarts is back within this time.
const RESTARTED_WITHIN: Duration = Duration::from_secs(12);
/// One that cannot be reached at all is more likely misspelt than restarting.
const REACHED_WITHIN: Duration = Duration::from_secs(5);
/// What is still on its way when a run is over arrives within this time, or is lost.
const OUTPUT_WITHIN: Duration = Duration::from_secs(2);
/// Checks get a few seconds to end by themselves when they are cancelled.
const CANCEL_WITHIN: Duration = Duration::from_secs(20);

/// How the watching ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The run is over.
    Finished(Box<RunReport>),
    /// The run was cancelled from here, and it is over or was left to itself.
    Interrupted(Option<Box<RunReport>>),
}

/// What the person at the keyboard is told about interrupting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// Here: leaving ends the checks as well.
    Here,
    /// On a fleet, which goes on without us.
    Fleet,
}

/// Submits a run and watches it until it is over.
///
/// # Errors
/// When nobody takes the run, or it is forgotten.
pub(crate) async fn follow(
    backend: &dyn Backend,
    submission: Submission,
    screen: Screen,
    interrupts: &mut Interrupts,
    place: Where,
    logs: bool,
) -> Result<Ended, Failure> {
    let run = submission.run;
    // Subscribed before it is submitted: nothing of it is missed.
    let watch = backend.watch(run, logs).await.map_err(|e| e.into_failure(backend.place()))?;
    let mut follower = Follower {
        backend,
        run,
        screen,
        place,
        started: Instant::now(),
        heard: Instant::now(),
        noticed: Instant::now(),
        timeout: submission.timeout_ms.map(Duration::from_millis),
        silence: Silence::default(),
        said_no_worker: false,
        wants_output: logs,
        told_end: false,
    };
    let ended = match follower.submit(submission, interrupts).await {
        Ok(true) => follower.watch(watch, interrupts).await,
        Ok(false) => Ok(Ended::Interrupted(None)),
        Err(failure) => Err(failure),
    };
    let now = follower.now();
    follower.screen.close(now);
    ended
}

/// Asks before anything costly is done for the run: a coordinator that restarts is waited for, one
/// that is not there is said at once.
///
/// # Errors
/// When it does not answer in time, or refuses.
pub(crate) async fn ask_first(
    backend: &dyn Backend,
    request: Request,
    say: impl Fn(&str),
) -> Result<Response, Failure> {
    let started = Instant::now();
    let mut complained = false;
    loop {
        let error = match backend.call(request.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let wait = error.retry_after_ms().filter(|_| started.elapsed() < patience(&error));
        let Some(wait) = wait else { return Err(error.into_failure(backend.place())) };
        if !std::mem::replace(&mut complained, true) {
            say(&not_yet(&error, backend.place()));
        }
        tokio::time::sleep(Duration::from_millis(wait.clamp(50, 5_000))).await;
    }
}

struct Follower<'a> {
    backend: &'a dyn Backend,
    run: RunId,
    screen: Screen,
    place: Where,
    started: Instant,
    /// When anything was last heard of the run.
    heard: Instant,
    /// When anything last changed in it.
    noticed: Instant,
    /// The run's own limit.
    timeout: Option<Duration>,
    silence: Silence,
    said_no_worker: bool,
    /// The output of checks is shown as it comes.
    wants_output: bool,
    /// The news that the run is over has come, and with it everything before.
    told_end: bool,
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Response, ClientError>> + Send + 'a>>;

impl<'a> Follower<'a> {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn insist(&mut self, line: &str) {
        let now = self.now();
        self.screen.insist(line, now);
    }

    /// `false` when it was interrupted before anybody took the run.
    async fn submit(
        &mut self,
        submission: Submission,
        interrupts: &mut Interrupts,
    ) -> Result<bool, Failure> {
        let mut complained = false;
        loop {
            let request = Request::Submit(Box::new(submission.clone()));
            let answer = tokio::select! {
                biased;
                () = interrupts.next() => {
                    // It may have been taken without our knowing.
                    self.cancel_in_passing().await;
                    return Ok(false);
                }
                answer = self.backend.call(request) => answer,
            };
            let error = match answer {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            let Some(wait) = error.retry_after_ms() else {
                return Err(error.into_failure(self.backend.place()));
            };
            let patience = patience(&error);
            if self.now() >= patience {
                return Err(error.into_failure(self.backend.place()));
            }
            if !complained {
                complained = true;
                self.insist(&not_yet(&error, self.backend.place()));
            }
            let wait = Duration::from_millis(wait.clamp(50, 5_000));
            tokio::select! {
                () = interrupts.next() => {
                    self.cancel_in_passing().await;
                    return Ok(false);
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn cancel_in_passing(&self) {
        let cancel = self.backend.call(self.cancel_request());
        let _ = tokio::time::timeout(Duration::from_secs(2), cancel).await;
    }

    fn cancel_request(&self) -> Request {
        Request::Cancel { run: self.run.to_string(), reason: "interrupted by its submitter".into() }
    }

    fn cancel_again(&self) -> Asked<'a> {
        let (backend, request) = (self.backend, self.cancel_request());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            backend.call(request).await
        })
    }

    async fn watch(
        &mut self,
        watch: Box<dyn Watch>,
        interrupts: &mut Interrupts,
    ) -> Result<Ended, Failure> {
        let mut watch = Some(watch);
        let mut asked: Option<Asked<'a>> = None;
        let mut explaining: Option<Asked<'a>> = None;
        let mut explained: Option<Instant> = None;
        let mut cancelling: Option<(Instant, Asked<'a>)> = None;
        let mut cancel_answered = false;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = interrupts.next() => {
                    if cancelling.is_some() {
                        return Ok(Ended::Interrupted(None));
                    }
                    self.say_cancelling();
                    let request = self.backend.call(self.cancel_request());
                    cancelling = Some((Instant::now() + CANCEL_WITHIN, request));
                }
                seen = news(&mut watch) => match seen {
                    Some(Seen::Notices(notices)) => {
                        self.take_notices(&notices);
                        if self.told_end {
                            asked = Some(self.ask());
                        }
                    }
                    Some(Seen::Log(chunk)) => {
                        let now = self.now();
                        self.screen.log(&chunk, now);
                    }
                    Some(Seen::Reconnected) => asked = Some(self.ask()),
                    // Asking alone is slower and enough.
                    None => watch = None,
                },
                answer = pending_or(&mut asked) => {
                    asked = None;
                    if matches!(&answer, Ok(Response::Run(report)) if report.summary.state.is_finished()) {
                        self.hear_output_out(&mut watch).await;
                    }
                    if let Some(report) = self.take_answer(answer)? {
                        return Ok(match cancelling {
                            Some(_) => Ended::Interrupted(Some(report)),
                            None => Ended::Finished(report),
                        });
                    }
                }
                answer = pending_or(&mut explaining) => {
                    explaining = None;
                    // Whoever cannot say it now is asked again; an older coordinator never can.
                    if let Ok(Response::Why(reasons)) = answer {
                        self.explain(&reasons);
                    }
                }
                answer = cancel_answer(&mut cancelling), if !cancel_answered => {
                    match answer {
                        Ok(_) => cancel_answered = true,
                        Err(error) if error.retry_after_ms().is_some() => {
                            if let Some((_, request)) = &mut cancelling {
                                *request = self.cancel_again();
                            }
                        }
                        Err(error) => return Err(error.into_failure(self.backend.place())),
                    }
                }
                _ = tick.tick() => {
                    let now = self.now();
                    self.screen.tick(now);
                    if asked.is_none() && self.heard.elapsed() >= ASK_AFTER {
                        asked = Some(self.ask());
                    }
                    if explaining.is_none() && self.wants_reasons(explained) {
                        explained = Some(Instant::now());
                        let run = self.run.to_string();
                        explaining = Some(self.backend.call(Request::Why { run, check: None }));
                    }
                    self.bear_silence()?;
                    if let Some((until, _)) = &cancelling
                        && Instant::now() >= *until
                    {
                        self.insist("  the checks did not end in time; leaving");
                        return Ok(Ended::Interrupted(None));
                    }
                }
            }
        }
    }

    fn take_notices(&mut self, notices: &[Notice]) {
        self.heard = Instant::now();
        self.noticed = self.heard;
        let now = self.now();
        for notice in notices.iter().filter(|notice| notice.run == self.run) {
            self.screen.notice(notice, now);
            self.told_end |= matches!(notice.what, News::RunFinished { .. });
        }
    }

    /// The answer that the run is over may be faster than the output that is still on its way.
    async fn hear_output_out(&mut self, watch: &mut Option<Box<dyn Watch>>) {
        let until = Instant::now() + OUTPUT_WITHIN;
        while self.wants_output && !self.told_end && watch.is_some() {
            match tokio::time::timeout_at(until, news(watch)).await {
                Ok(Some(Seen::Notices(notices))) => self.take_notices(&notices),
                Ok(Some(Seen::Log(chunk))) => {
                    let now = self.now();
                    self.screen.log(&chunk, now);
                }
                Ok(Some(Seen::Reconnected)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn ask(&self) -> Asked<'a> {
        self.backend.call(Request::Run { run: self.run.to_string() })
    }

    /// Checks have a job that nobody runs, and nothing has changed for a moment.
    fn wants_reasons(&self, explained: Option<Instant>) -> bool {
        self.screen.model().counts().queued > 0
            && self.noticed.elapsed() >= EXPLAIN_AFTER
            && explained.is_none_or(|at| at.elapsed() >= EXPLAIN_AGAIN)
    }

    fn explain(&mut self, reasons: &[Reason]) {
        let now = self.now();
        self.screen.explain(reasons, now);
        let no_worker = reasons.iter().find(|reason| reason.wait == Some(Wait::Worker));
        if let Some(waits_for) = no_worker.and_then(|reason| reason.waits_for.as_ref())
            && !self.said_no_worker
        {
            self.said_no_worker = true;
            self.insist(&format!("  the run waits for {}", text::clean_line(waits_for)));
        }
    }

    fn take_answer(
        &mut self,
        answer: Result<Response, ClientError>,
    ) -> Result<Option<Box<RunReport>>, Failure> {
        match answer {
            Ok(Response::Run(report)) => {
                self.heard = Instant::now();
                if self.silence.broken() {
                    self.insist("  the coordinator answers again");
                }
                let now = self.now();
                self.screen.sync(&report, now);
                Ok(report.summary.state.is_finished().then_some(report))
            }
            Ok(_) => {
                let why = "it is no run".to_owned();
                let error = ClientError::Nonsense { question: "run", why };
                Err(error.into_failure(self.backend.place()))
            }
            Err(error) if error.retry_after_ms().is_some() => {
                tracing::debug!(%error, "no answer about the run");
                Ok(None)
            }
            Err(error) => Err(error.into_failure(self.backend.place())),
        }
    }

    /// Says that nothing is heard, and gives up in the end.
    fn bear_silence(&mut self) -> Result<(), Failure> {
        let silent = self.heard.elapsed();
        let is_overdue = self.timeout.is_some_and(|timeout| self.now() > timeout);
        let place = self.backend.place();
        let time = text::duration(silent);
        match self.silence.lasted(silent, is_overdue) {
            Step::Wait => Ok(()),
            Step::Tell => {
                let line = format!("  no answer from {place} for {time}; asking again");
                self.insist(&line);
                Ok(())
            }
            Step::Leave => {
                let what = format!("no answer from {place} for {time}");
                Err(Failure::unavailable("visor::client::no_answer", what).help(format!(
                    "the run goes on when the coordinator is back: visor runs show {}",
                    self.run
                )))
            }
        }
    }

    fn say_cancelling(&mut self) {
        let running = self.screen.model().counts().running;
        let line = match (self.place, running) {
            (Where::Here, 0) => "  cancelling".to_owned(),
            (Where::Here, running) => {
                let checks = text::count(running, "running check");
                format!("  cancelling {checks}; Ctrl-C again to stop at once")
            }
            (Where::Fleet, _) => format!(
                "  cancelling run {} on the fleet; Ctrl-C again to leave without waiting",
                self.run.short()
            ),
        };
        self.insist(&line);
    }
}

/// For how long asking again makes sense.
fn patience(error: &ClientError) -> Duration {
    match error {
        ClientError::Http { .. } => REACHED_WITHIN,
        ClientError::Bus(_) => RESTARTED_WITHIN,
        ClientError::Refused(_) | ClientError::Wire(_) | ClientError::Nonsense { .. } => {
            SUBMIT_WITHIN
        }
    }
}

/// What keeps a run from being taken, for the person who waits.
fn not_yet(error: &ClientError, place: &str) -> String {
    let why = match error {
        ClientError::Bus(BusError::NoResponder { .. }) => {
            format!("no coordinator answers at {place}")
        }
        _ => reason(error),
    };
    format!("  not accepted yet: {why}; trying again for {}", text::duration(patience(error)))
}

fn reason(error: &ClientError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    text::clean_line(&innermost.to_string())
}

async fn news(watch: &mut Option<Box<dyn Watch>>) -> Option<Seen> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

async fn pending_or(asked: &mut Option<Asked<'_>>) -> Result<Response, ClientError> {
    match asked {
        Some(asked) => asked.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn cancel_answer(
    cancelling: &mut Option<(Instant, Asked<'_>)>,
) -> Result<Response, ClientError> {
    match cancelling {
        Some((_, request)) => request.as_mut().await,
        None => std::future::pending().await,
    }
}
