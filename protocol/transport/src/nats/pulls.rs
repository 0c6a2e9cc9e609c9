//! How many messages are asked for, and where: the bookkeeping of requests for messages.
//!
//! The server tells nobody which request a message was delivered for, only which subscription. So
//! there are a few subscriptions, *lanes*, and each has one request under way at most: then it is
//! known exactly what is still to come, and no more is ever asked for than is wanted.

use std::time::Duration;

use tokio::time::Instant;

pub(super) const LANES: usize = 8;

/// While other requests stand, further ones are this far apart, so that slots that become free one
/// by one are asked for together.
const APART: Duration = Duration::from_micros(200);

/// Messages asked for at once at most.
const LARGEST: u32 = 1_024;

/// How much later than its expiry a request counts as forgotten by the server.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Pulls {
    lanes: [Lane; LANES],
    generation: u64,
    last: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// Messages of its request that are still to come.
    open: u32,
    /// Which request that is.
    generation: u64,
    /// When it counts as forgotten.
    deadline: Option<Instant>,
}

/// What to do about messages that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: as many as wanted are asked for, or every lane is in use.
    Rest,
    /// Look again then.
    Wait(Instant),
    /// Ask for this many on this lane.
    Pull { lane: usize, generation: u64, batch: u32 },
}

impl Pulls {
    pub(super) fn new() -> Self {
        Self { lanes: [Lane::default(); LANES], generation: 0, last: None }
    }

    /// Messages asked for and still to come.
    pub(super) fn open(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.open).sum()
    }

    /// Decides about the next request; it counts as sent.
    pub(super) fn plan(&mut self, now: Instant, wanted: u32, expiry: Duration) -> Plan {
        let open = self.open();
        let missing = wanted.saturating_sub(open).min(LARGEST);
        if missing == 0 {
            return Plan::Rest;
        }
        let Some(free) = self.lanes.iter().position(|lane| lane.open == 0) else {
            return Plan::Rest;
        };
        if let Some(due) = self.last.map(|last| last + APART)
            && open > 0
            && now < due
        {
            return Plan::Wait(due);
        }
        self.generation += 1;
        self.last = Some(now);
        let (generation, deadline) = (self.generation, Some(now + expiry + GRACE));
        self.lanes[free] = Lane { open: missing, generation, deadline };
        Plan::Pull { lane: free, generation, batch: missing }
    }

    /// A message came on a lane.
    pub(super) fn delivered(&mut self, lane: usize) {
        self.lanes[lane].open = self.lanes[lane].open.saturating_sub(1);
    }

    /// The server ended a request: it is filled no further.
    pub(super) fn ended(&mut self, lane: usize, generation: u64) {
        if self.lanes[lane].generation == generation {
            self.lanes[lane].open = 0;
        }
    }

    /// Gives up requests of which the server should have spoken long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        for lane in &mut self.lanes {
            if lane.open > 0 && lane.deadline.is_some_and(|deadline| deadline <= now) {
                lane.open = 0;
            }
        }
    }

    /// When [`Pulls::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.lanes.iter().filter(|lane| lane.open > 0).filter_map(|lane| lane.deadline).min()
    }

    /// Gives up every request: the server that had them is gone.
    pub(super) fn forget(&mut self) {
        for lane in &mut self.lanes {
            lane.open = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPIRY: Duration = Duration::from_secs(5);

    fn batch(plan: Plan) -> Option<u32> {
        match plan {
            Plan::Pull { batch, .. } => Some(batch),
            Plan::Rest | Plan::Wait(_) => None,
        }
    }

    #[test]
    fn slots_that_become_free_one_by_one_are_asked_for_together() {
        let (mut pulls, now) = (Pulls::new(), Instant::now());
        assert_eq!(batch(pulls.plan(now, 1, EXPIRY)), Some(1));
        assert_eq!(pulls.plan(now, 2, EXPIRY), Plan::Wait(now + APART));
        assert_eq!(batch(pulls.plan(now + APART, 4, EXPIRY)), Some(3));
        assert_eq!(pulls.plan(now + APART, 4, EXPIRY), Plan::Rest);
    }

    #[test]
    fn a_request_that_ended_or_was_forgotten_is_made_anew_for_the_rest() {
        let (mut pulls, now) = (Pulls::new(), Instant::now());
        let Plan::Pull { lane, generation, .. } = pulls.plan(now, 10, EXPIRY) else { panic!() };
        pulls.delivered(lane);
        pulls.ended(lane, generation + 7);
        assert_eq!(pulls.open(), 9, "the end of another request");
        pulls.ended(lane, generation);
        assert_eq!(batch(pulls.plan(now, 9, EXPIRY)), Some(9));
        let late = pulls.next_deadline().unwrap();
        pulls.expire(late);
        assert_eq!(batch(pulls.plan(late, 9, EXPIRY)), Some(9));
    }

    proptest! {
        #[test]
        fn never_more_is_asked_for_than_is_wanted(
            steps in prop::collection::vec((0..4_u8, 0..LANES, 0..50_u32), 0..300)
        ) {
            let (mut pulls, mut now, mut wanted) = (Pulls::new(), Instant::now(), 0_u32);
            for (step, lane, number) in steps {
                match step {
                    0 => wanted += number,
                    1 if pulls.lanes[lane].open > 0 => {
                        pulls.delivered(lane);
                        wanted -= 1;
                    }
                    2 => pulls.ended(lane, pulls.lanes[lane].generation),
                    _ => now += Duration::from_micros(u64::from(number) * 10),
                }
                while batch(pulls.plan(now, wanted, EXPIRY)).is_some() {}
                prop_assert!(pulls.open() <= wanted);
            }
            // With time enough and lanes free, everything wanted is asked for.
            pulls.forget();
            now += APART;
            if wanted > 0 {
                prop_assert_eq!(batch(pulls.plan(now, wanted, EXPIRY)), Some(wanted.min(LARGEST)));
            }
        }
    }
}
