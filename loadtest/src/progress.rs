//! What is shown while a load runs: one line that is redrawn on a terminal, a line every few
//! seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::book::Book;

const REDRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(5);

/// Shows how far a load is, until it is dropped.
#[derive(Debug)]
pub struct Display {
    bar: ProgressBar,
    _task: AbortOnDropHandle<()>,
}

impl Display {
    /// Begins to show a load.
    pub fn start(book: Arc<Book>, begin: Instant) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").expect("the template is sound"),
        );
        let drawn = bar.clone();
        let task = tokio::spawn(async move {
            let mut tick = interval(if terminal { REDRAW } else { LINE });
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let standing = book.standing();
                let text = format!(
                    "{:.0} s · {} runs sent · {} open · {} checks settled",
                    begin.elapsed().as_secs_f64(),
                    standing.submitted,
                    standing.open,
                    standing.checks_settled
                );
                if terminal {
                    drawn.set_message(text);
                    drawn.tick();
                } else if standing.submitted > 0 {
                    crate::say::line(&text);
                }
            }
        });
        Self { bar, _task: AbortOnDropHandle::new(task) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
