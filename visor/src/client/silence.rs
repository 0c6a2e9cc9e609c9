//! How long a coordinator that does not answer is waited for.

use std::time::Duration;

/// Without an answer for so long, the person who waits is told.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// And told again.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// A coordinator that restarts, on another machine if need be, is back within this time.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// When the run's own time is over, there is only its end to be heard of.
const LAST_PATIENCE: Duration = Duration::from_secs(30);

/// What is to be done about a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait.
    Wait,
    /// Say so, and wait.
    Tell,
    /// Wait no longer.
    Leave,
}

/// A silence of the coordinator.
#[derive(Debug, Default)]
pub(super) struct Silence {
    told: u32,
}

impl Silence {
    /// It has lasted so long; the run may or may not take longer by its own limit.
    pub(super) fn lasted(&mut self, silent: Duration, is_overdue: bool) -> Step {
        if silent >= if is_overdue { LAST_PATIENCE } else { PATIENCE } {
            return Step::Leave;
        }
        if silent < TELL_AFTER + TELL_EVERY * self.told {
            return Step::Wait;
        }
        self.told += 1;
        Step::Tell
    }

    /// It is over. True when it was told of.
    pub(super) fn broken(&mut self) -> bool {
        std::mem::take(&mut self.told) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done in each second until the end.
    fn steps(overdue_after: u64) -> Vec<(u64, Step)> {
        let mut silence = Silence::default();
        let all = (0..1_000).map(|second| {
            (second, silence.lasted(Duration::from_secs(second), second >= overdue_after))
        });
        let mut steps: Vec<_> = all.filter(|(_, step)| *step != Step::Wait).collect();
        let leave = steps.iter().position(|(_, step)| *step == Step::Leave).unwrap();
        steps.truncate(leave + 1);
        steps
    }

    #[test]
    fn a_silence_is_told_of_each_minute_and_then_left() {
        let told: Vec<_> = (0..5).map(|minute| (3 + 60 * minute, Step::Tell)).collect();
        assert_eq!(steps(u64::MAX), [told, vec![(300, Step::Leave)]].concat());
    }

    #[test]
    fn a_run_whose_time_is_over_is_not_waited_for_much_longer() {
        assert_eq!(steps(10), [(3, Step::Tell), (30, Step::Leave)]);
    }

    #[test]
    fn a_silence_that_nobody_noticed_is_not_said_to_be_over() {
        let mut silence = Silence::default();
        assert!(!silence.broken());
        silence.lasted(Duration::from_secs(3), false);
        assert!(silence.broken() && !silence.broken());
    }
}
