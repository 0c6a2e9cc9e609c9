//! Repeating until a deadline.

use std::time::Duration;

use tokio::time::Instant;

use super::api::Failure;
use super::link::Link;
use crate::BusError;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Pauses that grow, until a deadline.
pub(super) struct Patience<'a> {
    link: &'a Link,
    what: &'a str,
    started: Instant,
    until: Instant,
    pause: Duration,
}

impl<'a> Patience<'a> {
    /// What is tried, for the error, and until when.
    pub(super) fn new(link: &'a Link, what: &'a str, until: Instant) -> Self {
        Self { link, what, started: Instant::now(), until, pause: FIRST_PAUSE }
    }

    /// When it ends.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// How long the next try may take.
    pub(super) fn try_timeout(&self) -> Duration {
        self.link.try_timeout(self.until)
    }

    /// Pauses after a failure that another try may not meet. Gives the failure back when trying
    /// again is no use or there is no time left.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), BusError> {
        self.link.open()?;
        let waits = !failure.is_final() && Instant::now() + self.pause < self.until;
        if !waits {
            return Err(failure.into_bus(self.what, self.started.elapsed()));
        }
        let mut connects = self.link.connects();
        tokio::select! {
            () = tokio::time::sleep(self.pause) => {}
            // A new connection is the best moment to try again. Without its sender there is none.
            Ok(()) = connects.changed() => {}
            () = self.link.closed.cancelled() => return Err(BusError::Closed),
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
