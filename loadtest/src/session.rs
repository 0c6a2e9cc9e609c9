//! One load: its clock, and the names of its runs.

use std::time::Duration;

use tokio::time::Instant;
use visor_protocol::ids::{ChannelId, RunId};
use visor_protocol::time::Timestamp;

use crate::ledger::Moment;

/// The beginning of a load on both clocks: the one that is never set, for intended moments, and
/// the wall clock, for what others report.
#[derive(Debug, Clone, Copy)]
pub struct LoadClock {
    begin: Instant,
    wall: Timestamp,
}

impl LoadClock {
    /// A load that begins at this instant, which the wall clock calls so.
    pub fn new(begin: Instant, wall: Timestamp) -> Self {
        Self { begin, wall }
    }

    /// When the load begins.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// This moment.
    pub fn now(&self) -> Moment {
        let since = Instant::now().saturating_duration_since(self.begin);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// What the wall clock called so.
    pub fn moment(&self, at: Timestamp) -> Moment {
        u64::try_from(at.since(self.wall).as_micros()).unwrap_or(u64::MAX)
    }

    /// How long after it was due something happens now.
    pub fn lag(&self, intended: Duration) -> Duration {
        Instant::now().saturating_duration_since(self.begin + intended)
    }
}

/// The ids of a load's runs: their numbers can be read back from them, and runs of others, or of
/// an earlier load, are told apart.
#[derive(Debug, Clone, Copy)]
pub struct RunIds {
    at: Timestamp,
    tag: u64,
}

/// The tag has 48 bits, the number 32: together the 80 random bits of a run's id.
const TAG_BITS: u64 = (1 << 48) - 1;

impl RunIds {
    /// Ids of the load that begins now.
    pub fn new(at: Timestamp, tag: u64) -> Self {
        Self { at, tag: tag & TAG_BITS }
    }

    /// The id of a run.
    pub fn id(&self, run: u32) -> RunId {
        RunId::new(self.at, (u128::from(self.tag) << 32) | u128::from(run))
    }

    /// The number of a run of this load.
    pub fn number(&self, id: RunId) -> Option<u32> {
        let bytes = id.to_bytes();
        let number = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        (self.id(number) == id).then_some(number)
    }
}

/// The channels that runs are spread over, round robin.
#[derive(Debug, Clone)]
pub struct Channels(Vec<ChannelId>);

impl Channels {
    /// So many channels; at least one.
    pub fn new(count: u32) -> Self {
        let name = |number| ChannelId::new(format!("load/{number}")).expect("it is a sound name");
        Self((0..count.max(1)).map(name).collect())
    }

    /// The channel of a run.
    pub fn of(&self, run: u32) -> ChannelId {
        self.0[run as usize % self.0.len()].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_number_is_read_back_from_its_id() {
        let ids = RunIds::new(Timestamp::from_micros(1_700_000_000_000_000), u64::MAX);
        for run in [0, 1, 77, u32::MAX] {
            assert_eq!(ids.number(ids.id(run)), Some(run));
        }
    }

    #[test]
    fn runs_of_others_have_no_number() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let ours = RunIds::new(at, 1);
        assert_eq!(ours.number(RunIds::new(at, 2).id(0)), None);
        let later = RunIds::new(at + Duration::from_secs(1), 1);
        assert_eq!(ours.number(later.id(0)), None);
    }

    #[test]
    fn runs_are_spread_evenly_over_channels() {
        let channels = Channels::new(3);
        assert_eq!(channels.of(0), channels.of(3));
        assert_ne!(channels.of(0), channels.of(1));
        assert_eq!(Channels::new(0).of(9), Channels::new(1).of(0));
    }
}
