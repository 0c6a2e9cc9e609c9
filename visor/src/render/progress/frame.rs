//! The lines that are redrawn while a run goes on. Their number is bounded whatever the run's size.

use std::fmt::Write as _;
use std::time::Duration;

use visor_protocol::result::CheckState;

use super::model::{Check, Model};
use crate::render::style::Style;
use crate::render::text;

/// More lines than this help nobody, however high the screen is.
const MAX_LINES: usize = 24;
/// Heading, its blank line, the blank line before the counter, and the counter.
const FIXED_LINES: usize = 4;

impl Model {
    /// The picture of this moment for a screen of so many rows and columns.
    pub(crate) fn frame(
        &self,
        now: Duration,
        (rows, columns): (usize, usize),
        style: Style,
    ) -> String {
        // One row less than there is: the cursor stands below the last line.
        let room = rows.saturating_sub(1).min(MAX_LINES).saturating_sub(FIXED_LINES);
        let columns = columns.saturating_sub(1);
        let elapsed = style.dim(&text::duration(whole_tenths(now)));
        let counter = self.counter();
        let counter = format!("  {}   {elapsed}", text::truncate(&counter, columns - 2));
        if room < 2 {
            return counter;
        }
        let mut out = format!("  {}\n\n", text::truncate(&self.heading, columns.saturating_sub(2)));
        let (shown, hidden) = self.choose(room);
        let widths = shown.iter().map(|&at| text::width(&self.checks[at].name));
        let name_width = widths.max().unwrap_or(0).clamp(8, 36);
        for at in shown {
            let line = self.line(&self.checks[at], now, name_width, style);
            let _ = writeln!(out, "{}", text::truncate(line.trim_end(), columns));
        }
        if hidden > 0 {
            let _ = writeln!(out, "    {}", style.dim(&format!("… {hidden} more")));
        }
        let _ = write!(out, "\n{counter}");
        out
    }

    /// The checks worth a line, in the order of the file, and how many have none.
    fn choose(&self, room: usize) -> (Vec<usize>, usize) {
        if self.checks.len() <= room {
            return ((0..self.checks.len()).collect(), 0);
        }
        let room = room.saturating_sub(1).max(1);
        // Failures may take half, so that what runs is always seen too.
        let mut chosen: Vec<usize> = Vec::new();
        let mut take = |state: CheckState, most: usize, latest: bool| {
            let of_state = |at: &usize| self.checks[*at].state == state;
            let mut found: Vec<usize> = (0..self.checks.len()).filter(of_state).collect();
            if latest {
                found.sort_by_key(|&at| std::cmp::Reverse(self.checks[at].since));
            }
            let left = room.saturating_sub(chosen.len());
            chosen.extend(found.into_iter().take(most.min(left)));
        };
        take(CheckState::Failed, room / 2, true);
        take(CheckState::Running, room, false);
        take(CheckState::Queued, room / 4, false);
        take(CheckState::Waiting, room / 4, false);
        take(CheckState::Passed, room, true);
        chosen.sort_unstable();
        let hidden = self.checks.len() - chosen.len();
        (chosen, hidden)
    }

    fn line(&self, check: &Check, now: Duration, name_width: usize, style: Style) -> String {
        let name = text::pad(&text::clean_line(&check.name), name_width);
        let took = match check.state {
            CheckState::Running => match whole_tenths(now.saturating_sub(check.since)) {
                Duration::ZERO => String::new(),
                ran => text::duration(ran),
            },
            CheckState::Passed | CheckState::Failed | CheckState::Cancelled => {
                check.ran.map(text::duration).unwrap_or_default()
            }
            CheckState::Waiting | CheckState::Queued | CheckState::Skipped => String::new(),
        };
        let mut parts = Vec::new();
        match check.state {
            CheckState::Waiting | CheckState::Queued => {
                parts.push(style.dim(&text::clean_line(&self.waits_for(check))));
            }
            CheckState::Skipped | CheckState::Failed | CheckState::Cancelled => {
                let word = crate::render::style::state_word(check.state);
                let why = check.why.as_ref().map(|why| format!(": {}", text::clean_line(why)));
                parts.push(format!("{word}{}", why.unwrap_or_default()));
            }
            CheckState::Running | CheckState::Passed => {}
        }
        // Of a check that failed, the picture says why; the summary will say what it found.
        if check.issues > 0 && check.state == CheckState::Passed {
            parts.push(text::count(check.issues, "issue"));
        }
        if self.places
            && let Some(worker) = &check.worker
        {
            parts.push(style.dim(&format!("on {worker}")));
        }
        if let Some(attempt) = check.attempt.filter(|attempt| attempt.0 > 1) {
            parts.push(format!("attempt {attempt}"));
        }
        format!("  {} {name}  {took:<9}  {}", style.sign(check.state), parts.join("   "))
    }

    fn counter(&self) -> String {
        let counts = &self.counts;
        let done = counts.passed + counts.skipped + counts.cancelled;
        let parts = [
            (counts.failed, "failed"),
            (done, "done"),
            (counts.running, "running"),
            (counts.queued + counts.waiting, "waiting"),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|part| part.0 > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        parts.join(" · ")
    }
}

/// What runs is shown in steps a reader can follow.
fn whole_tenths(time: Duration) -> Duration {
    let tenths = u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX / 100);
    Duration::from_millis(tenths * 100)
}

#[cfg(test)]
mod tests {
    use visor_protocol::event::{News, Notice};
    use visor_protocol::ids::{Attempt, ChannelId, WorkerId};

    use super::*;
    use crate::render::samples;

    fn notice(check: &str, state: CheckState, ran_ms: Option<f64>) -> Notice {
        Notice {
            run: samples::run_id(),
            channel: ChannelId::local(),
            at: samples::start(),
            what: News::Check {
                check: samples::name(check),
                state,
                attempt: Some(Attempt(2)),
                job: None,
                worker: Some(WorkerId::new("w-eu-2").unwrap()),
                started_at: None,
                ran_ms,
                issues: 0,
                why: None,
            },
        }
    }

    fn plain(model: &Model, seconds: u64, rows: usize) -> String {
        model.frame(Duration::from_secs(seconds), (rows, 90), Style::plain())
    }

    #[test]
    fn a_small_run_is_shown_whole_in_the_order_of_its_file() {
        let names = ["lint", "integration", "review", "publish-report"];
        let dependencies = |name: &str| match name {
            "publish-report" => vec!["integration".to_owned(), "review".to_owned()],
            _ => vec![],
        };
        let heading = "visor.yaml · 4 checks · this machine · 8 at once".to_owned();
        let checks = names.map(|name| (name.to_owned(), dependencies(name)));
        let mut model = Model::new(heading, true, checks);
        model.apply(&notice("lint", CheckState::Passed, Some(310.0)), Duration::ZERO);
        model.apply(&notice("integration", CheckState::Running, None), Duration::from_secs(2));
        insta::assert_snapshot!(plain(&model, 14, 40));
    }

    #[test]
    fn a_thousand_checks_take_no_more_lines_than_the_screen_has() {
        let checks = (0..1_000).map(|i| (format!("check-{i}"), vec![]));
        let mut model = Model::new("visor.yaml · 1000 checks".into(), false, checks);
        for i in 0..300 {
            let state = if i % 100 == 7 { CheckState::Failed } else { CheckState::Passed };
            let at = Duration::from_millis(i);
            model.apply(&notice(&format!("check-{i}"), state, Some(3.0)), at);
        }
        for i in 300..308 {
            let at = Duration::from_secs(1);
            model.apply(&notice(&format!("check-{i}"), CheckState::Running, None), at);
        }
        for rows in [5, 10, 20, 60] {
            let frame = plain(&model, 2, rows);
            assert!(frame.lines().count() < rows, "{rows} rows:\n{frame}");
        }
        insta::assert_snapshot!(plain(&model, 2, 20));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let long = "x".repeat(300);
        let model = Model::new(long.clone(), false, [(long, vec![])]);
        let frame = model.frame(Duration::ZERO, (20, 40), Style::plain());
        assert!(frame.lines().all(|line| text::width(line) < 40), "{frame}");
    }
}
