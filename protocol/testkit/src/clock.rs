//! Wall time that follows tokio's clock, so that the two cannot drift apart in a test that pauses
//! and advances it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use visor_protocol::time::{Clock, Timestamp};

/// A clock that starts at a fixed instant and runs with tokio's.
#[derive(Debug)]
pub struct VirtualClock {
    base: Mutex<Timestamp>,
    started: Instant,
}

impl VirtualClock {
    /// Starts at 2026-01-01 00:00 UTC.
    pub fn new() -> Self {
        Self::starting_at(Timestamp::from_micros(1_767_225_600_000_000))
    }

    /// Starts at this instant.
    pub fn starting_at(base: Timestamp) -> Self {
        Self { base: Mutex::new(base), started: Instant::now() }
    }

    /// Puts the clock forward, as an operator or a time server would: tokio's clock stays.
    pub fn jump_forward(&self, by: Duration) {
        let mut base = self.base.lock();
        *base = *base + by;
    }

    /// Puts the clock back.
    pub fn jump_back(&self, by: Duration) {
        let mut base = self.base.lock();
        *base = *base - by;
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        *self.base.lock() + self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wall_time_passes_with_tokios() {
        let clock = VirtualClock::new();
        let before = clock.now();
        tokio::time::sleep(Duration::from_secs(34)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(34));
        clock.jump_back(Duration::from_secs(60));
        assert!(clock.now() < before);
    }
}
