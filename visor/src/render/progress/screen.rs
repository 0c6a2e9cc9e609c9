//! Where the progress of a run is shown.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use visor_protocol::api::{Reason, Wait};
use visor_protocol::event::Notice;
use visor_protocol::result::{CheckState, RunReport};
use visor_protocol::worker::LogChunk;

use super::logs::Lines;
use super::model::{Change, Model};
use crate::render::style::{Style, state_word};
use crate::render::{terminal, text};

/// Runs shorter than this are over before a picture could be read.
const FIRST_FRAME: Duration = Duration::from_millis(80);
/// After so much silence, what is being waited for is said; later ever less often.
const SILENCE: [u64; 4] = [1, 10, 30, 60];
/// Causes that take turns are said so often, then only at the end of a silence.
const CAUSES: u32 = 8;

/// Shows a run on standard error while it goes on.
pub(crate) struct Screen {
    model: Model,
    how: How,
    verbose: bool,
    style: Style,
    lines: Lines,
    causes: Causes,
}

enum How {
    /// Redrawn in place. The bar is made with the first frame: a short run needs none.
    Live(Option<ProgressBar>),
    /// Lines, the fewer the better.
    Plain { said_at: Duration, silences: usize },
    /// Not at all.
    Silent,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    /// Nothing.
    Quiet,
    /// What a person who waits wants to know.
    Normal,
    /// Every start and end, and the output of checks as it comes.
    Verbose,
}

impl Screen {
    /// A screen for this run.
    pub(crate) fn new(model: Model, volume: Volume, live: bool, style: Style) -> Self {
        let how = match (volume, live) {
            (Volume::Quiet, _) => How::Silent,
            (_, true) => How::Live(None),
            (_, false) => How::Plain { said_at: Duration::ZERO, silences: 0 },
        };
        let verbose = volume == Volume::Verbose;
        let mut screen =
            Self { model, how, verbose, style, lines: Lines::default(), causes: Causes::default() };
        if verbose && matches!(screen.how, How::Plain { .. }) {
            let heading = screen.model.heading.clone();
            screen.say(&heading, Duration::ZERO);
        }
        screen
    }

    /// What is known of the run.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Takes a notice.
    pub(crate) fn notice(&mut self, notice: &Notice, now: Duration) {
        if let Some(change) = self.model.apply(notice, now) {
            self.changed(&change, now);
        }
    }

    /// Takes the run's present state.
    pub(crate) fn sync(&mut self, report: &RunReport, now: Duration) {
        for change in self.model.sync(report, now) {
            self.changed(&change, now);
        }
    }

    /// Takes what checks wait for.
    pub(crate) fn explain(&mut self, reasons: &[Reason], now: Duration) {
        self.model.explain(reasons);
        if matches!(self.how, How::Plain { .. })
            && let Some(line) = self.causes.news(reasons, self.model.counts().running > 0)
        {
            self.say(&line, now);
        }
    }

    /// Takes output of a check.
    pub(crate) fn log(&mut self, chunk: &LogChunk, now: Duration) {
        if !self.verbose {
            return;
        }
        let lines = self.lines.push(chunk);
        self.say_output(chunk.ticket.job, &lines, now);
    }

    fn say_output(&mut self, job: visor_protocol::JobId, lines: &[String], now: Duration) {
        let name = match self.model.check_of(job) {
            Some(check) => text::clean_line(&check.name),
            None => format!("job {}", job.seq),
        };
        for line in lines {
            let lead = self.style.dim(&format!("  {name} │"));
            self.say(&format!("{lead} {line}"), now);
        }
    }

    /// Draws what time alone changes. Called ten times a second or less.
    pub(crate) fn tick(&mut self, now: Duration) {
        match &mut self.how {
            How::Silent => {}
            How::Live(bar) => {
                if now >= FIRST_FRAME {
                    let frame = self.model.frame(now, terminal::screen(), self.style);
                    bar.get_or_insert_with(new_bar).set_message(frame);
                }
            }
            How::Plain { said_at, silences } => {
                let limit = SILENCE[(*silences).min(SILENCE.len() - 1)];
                if now.saturating_sub(*said_at) >= Duration::from_secs(limit) {
                    *silences += 1;
                    *said_at = now;
                    terminal::eprint(&format!("{}\n", self.model.waiting_line(now)));
                }
            }
        }
    }

    /// One line that stays.
    pub(crate) fn say(&mut self, line: &str, now: Duration) {
        match &mut self.how {
            How::Silent => {}
            How::Live(Some(bar)) => bar.println(line),
            How::Live(None) => terminal::eprint(&format!("{line}\n")),
            How::Plain { said_at, .. } => {
                *said_at = now;
                terminal::eprint(&format!("{line}\n"));
            }
        }
    }

    /// One line that stays, also when nothing else is shown: it must be known.
    pub(crate) fn insist(&mut self, line: &str, now: Duration) {
        match self.how {
            How::Silent => terminal::eprint(&format!("{line}\n")),
            How::Live(_) | How::Plain { .. } => self.say(line, now),
        }
    }

    /// Takes everything away that was only for the time of the run.
    pub(crate) fn close(mut self, now: Duration) {
        for (ticket, line) in self.lines.finish(|_| true) {
            self.say_output(ticket.job, &[line], now);
        }
        if let How::Live(Some(bar)) = &self.how {
            bar.finish_and_clear();
        }
    }

    fn changed(&mut self, change: &Change, now: Duration) {
        let wanted = match change.to {
            CheckState::Waiting | CheckState::Queued => false,
            CheckState::Running | CheckState::Passed | CheckState::Skipped => self.verbose,
            CheckState::Failed | CheckState::Cancelled => true,
        };
        // On a screen the picture already says it.
        let shown_anyway = matches!(self.how, How::Live(_)) && !self.verbose;
        if wanted && !shown_anyway {
            if change.to.is_settled() {
                self.flush_output(change.check, now);
            }
            let line = self.model.change_line(change, self.style);
            self.say(&line, now);
        }
    }

    /// The end of a check's output comes before the news that it is over.
    fn flush_output(&mut self, check: usize, now: Duration) {
        let name = self.model.check(check).name.clone();
        let (lines, model) = (&mut self.lines, &self.model);
        let of_check = |ticket: &visor_protocol::worker::Ticket| {
            model.check_of(ticket.job).is_some_and(|known| known.name == name)
        };
        for (ticket, line) in lines.finish(of_check) {
            self.say_output(ticket.job, &[line], now);
        }
    }
}

/// What a run was said to wait for, so that each cause is said once and not at every question.
#[derive(Debug, Default)]
struct Causes {
    last: Option<Wait>,
    said: u32,
}

impl Causes {
    /// The line about what keeps the run now, if that is another cause than the last one.
    ///
    /// Causes are told apart by their kind: the words hold places in line and seconds left.
    fn news(&mut self, reasons: &[Reason], some_run: bool) -> Option<String> {
        let (reason, wait, words) = reasons.iter().find_map(|reason| {
            let (wait, words) = (reason.wait?, reason.waits_for.as_ref()?);
            keeps(wait, some_run).then_some((reason, wait, words))
        })?;
        if self.last == Some(wait) || self.said == CAUSES {
            return None;
        }
        self.last = Some(wait);
        self.said += 1;
        Some(format!("  {} waits for {}", text::clean_line(&reason.check), text::clean_line(words)))
    }
}

/// Whether this is worth a line of its own.
fn keeps(wait: Wait, some_run: bool) -> bool {
    match wait {
        Wait::Retry | Wait::Image | Wait::Bucket | Wait::Journal => true,
        // Behind checks that run it is the usual course of things.
        Wait::Slot | Wait::Claim => !some_run,
        // The dependencies are reasons themselves, and whoever follows the run is told of a
        // missing worker in any case.
        Wait::Dependency | Wait::Place | Wait::Worker => false,
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{msg}").expect("the template is constant and valid");
    bar.set_style(style);
    bar
}

impl Model {
    /// What a check came to, as a line of a log.
    pub(crate) fn change_line(&self, change: &Change, style: Style) -> String {
        let check = self.check(change.check);
        let mut line = format!(
            "  {} {} {}",
            style.sign(change.to),
            text::clean_line(&check.name),
            state_word(change.to)
        );
        // What was cancelled before a worker had it was nowhere, and for no time.
        let never_ran = change.to == CheckState::Cancelled && check.ran.is_none_or(|r| r.is_zero());
        if let Some(ran) = check.ran.filter(|_| change.to.is_settled() && !never_ran) {
            line.push_str(&format!(" after {}", text::duration(ran)));
        }
        if let (true, Some(worker)) = (self.places && !never_ran, &check.worker) {
            line.push_str(&format!(" on {worker}"));
        }
        if let Some(attempt) = check.attempt.filter(|attempt| attempt.0 > 1) {
            line.push_str(&format!(", attempt {attempt}"));
        }
        if let Some(why) = check.why.as_ref().filter(|_| change.to != CheckState::Passed) {
            line.push_str(&format!(": {}", text::clean_line(why)));
        }
        line
    }

    /// What is being waited for, as a line of a log.
    pub(crate) fn waiting_line(&self, now: Duration) -> String {
        let counts = self.counts();
        let running: Vec<_> =
            self.checks.iter().filter(|check| check.state == CheckState::Running).collect();
        let mut named: Vec<String> = running
            .iter()
            .take(3)
            .map(|check| {
                let ran = text::duration(now.saturating_sub(check.since));
                format!("{} ({ran})", text::clean_line(&check.name))
            })
            .collect();
        if running.len() > 3 {
            named.push(format!("{} more", running.len() - 3));
        }
        let open = counts.queued + counts.waiting;
        let line = if named.is_empty() {
            let first = self.checks.iter().find(|check| !check.state.is_settled());
            match first {
                Some(check) => {
                    let name = text::clean_line(&check.name);
                    format!("  {name} {}", text::clean_line(&self.waits_for(check)))
                }
                None => "  waiting for the result".into(),
            }
        } else {
            format!("  running: {}", named.join(", "))
        };
        match open {
            0 => line,
            open => format!("{line} · {open} waiting"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn plain_lines_say_what_runs_and_what_came_of_it() {
        let checks = (0..6).map(|i| (format!("c{i}"), vec![]));
        let mut model = Model::new("visor.yaml".into(), true, checks);
        let running =
            (0..5).map(|i| samples::check(&format!("c{i}"), CheckState::Running, 0)).collect();
        let report = samples::report(visor_protocol::result::RunState::Running, 1, running);
        model.sync(&report, Duration::ZERO);
        insta::assert_snapshot!(
            model.waiting_line(Duration::from_secs(12)),
            @"  running: c0 (12 s), c1 (12 s), c2 (12 s), 2 more · 1 waiting"
        );
        let mut failed = samples::check("c1", CheckState::Failed, 300);
        failed.why = Some("exit 3".into());
        failed.attempts = 2;
        let report = samples::report(visor_protocol::result::RunState::Running, 1, vec![failed]);
        let changes = model.sync(&report, Duration::from_secs(1));
        insta::assert_snapshot!(
            model.change_line(&changes[0], Style::plain()),
            @"  ✗ c1 failed after 0.30 s on local, attempt 2: exit 3"
        );
        let mut cancelled = samples::check("c2", CheckState::Cancelled, 0);
        cancelled.worker = Some(visor_protocol::WorkerId::new("coordinator").unwrap());
        cancelled.why = Some("the run was cancelled".into());
        let report = samples::report(visor_protocol::result::RunState::Running, 1, vec![cancelled]);
        let changes = model.sync(&report, Duration::from_secs(1));
        insta::assert_snapshot!(
            model.change_line(&changes[0], Style::plain()),
            @"  ■ c2 cancelled: the run was cancelled"
        );
    }

    #[test]
    fn each_cause_is_said_once_until_it_changes() {
        let because =
            |wait, words: &str| Reason { wait: Some(wait), ..samples::reason("a", words) };
        let mut causes = Causes::default();
        let mut told = |wait, words: &str, some_run| causes.news(&[because(wait, words)], some_run);
        let bucket = "a token of limit `api`, which comes in 9 s";
        assert_eq!(told(Wait::Slot, "a slot (place 1)", true), None, "checks run");
        assert_eq!(told(Wait::Bucket, bucket, true), Some(format!("  a waits for {bucket}")));
        assert_eq!(told(Wait::Bucket, "a token of limit `api`, which comes in 6 s", true), None);
        let image = "image `x`, which no worker of pool `default` has";
        assert_eq!(told(Wait::Image, image, false), Some(format!("  a waits for {image}")));
        assert_eq!(told(Wait::Worker, "a worker", false), None, "it is said to everybody");
        let turns = (0..100).flat_map(|_| [Wait::Bucket, Wait::Slot]);
        assert_eq!(turns.filter_map(|wait| told(wait, "x", false)).count(), 6);
    }
}
