//! Who gets how much, over time: a pool whose jobs take a while, in given time.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use visor_protocol::api::Priority;
use visor_protocol::ids::{Attempt, ChannelId, JobId, PoolName, RunId};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

use super::core::{Core, Effect, Event, JobKey, PoolCapacity, Waiting};
use crate::config::LimitRule;

const START: Timestamp = Timestamp::from_micros(1_000_000_000);

/// A channel with so many jobs, all there from the start.
#[derive(Debug, Clone)]
struct Tenant {
    weight: u32,
    jobs: u32,
    priority: Priority,
}

/// A pool in given time: jobs that were admitted end after a while.
struct World {
    core: Core,
    now: Timestamp,
    tenants: Vec<Tenant>,
    /// Whose job it is.
    owner: HashMap<u32, usize>,
    /// What ends when.
    ends: BTreeMap<(Timestamp, u32), Duration>,
    started: Vec<u32>,
    /// The order in which jobs went, by tenant.
    order: Vec<usize>,
    rng: u64,
    longest: u64,
}

impl World {
    fn new(tenants: &[Tenant], limits: &[LimitRule], seed: u64, longest: u64) -> Self {
        let mut world = Self {
            core: Core::new(limits, Duration::from_secs(3_600)),
            now: START,
            tenants: tenants.to_vec(),
            owner: HashMap::new(),
            ends: BTreeMap::new(),
            started: vec![0; tenants.len()],
            order: Vec::new(),
            rng: seed | 1,
            longest,
        };
        // One channel's whole backlog after the other's: the later ones must not wait for it.
        let mut seq = 0;
        for (place, tenant) in tenants.iter().enumerate() {
            for _ in 0..tenant.jobs {
                world.owner.insert(seq, place);
                let waiting = world.waiting(seq, place);
                world.apply(Event::Submit(waiting));
                seq += 1;
            }
        }
        world
    }

    fn waiting(&self, seq: u32, place: usize) -> Waiting {
        let tenant = &self.tenants[place];
        Waiting {
            ticket: ticket(seq),
            pool: PoolName::default_pool(),
            priority: tenant.priority,
            key: JobKey {
                channel: ChannelId::new(format!("tenant-{place}")).unwrap(),
                provider: "command",
                credential: None,
            },
            weight: tenant.weight,
            since: self.now,
        }
    }

    fn slots(&mut self, slots: u32) {
        let pool = PoolName::default_pool();
        self.apply(Event::Capacity(vec![PoolCapacity { pool, slots, ready: 1, not_ready: 0 }]));
    }

    fn apply(&mut self, event: Event) {
        for Effect::Admit(ticket, publication) in self.core.apply(self.now, event) {
            if publication > 0 {
                continue;
            }
            // An xorshift: times that look like chance and are the same for one seed.
            self.rng ^= self.rng << 13;
            self.rng ^= self.rng >> 7;
            self.rng ^= self.rng << 17;
            let ran = Duration::from_millis(20 + self.rng % self.longest);
            let seq = ticket.job.seq;
            self.ends.insert((self.now + ran, seq), ran);
            let owner = self.owner[&seq];
            self.started[owner] += 1;
            self.order.push(owner);
        }
    }

    fn waits(&self, place: usize) -> bool {
        self.started[place] < self.tenants[place].jobs
    }

    /// Time goes on while the condition holds and anything happens.
    fn run_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            let wake = self.core.next_wake();
            let end = self.ends.first_key_value().map(|((at, _), _)| *at);
            match (end, wake) {
                (Some(end), wake) if wake.is_none_or(|wake| end <= wake) => {
                    let ((at, seq), ran) = self.ends.pop_first().unwrap();
                    self.now = at;
                    self.apply(Event::Released(vec![(ticket(seq), Some(ran))]));
                }
                (_, Some(wake)) => {
                    self.now = self.now.max(wake);
                    self.apply(Event::Tick { connected: true });
                }
                (_, None) => return,
            }
        }
    }
}

fn ticket(seq: u32) -> Ticket {
    Ticket { job: JobId { run: RunId::from_bytes([7; 16]), seq }, attempt: Attempt::FIRST }
}

/// Jain's index of what each got for its weight: 1 when all got the same.
fn jain(shares: impl Iterator<Item = f64> + Clone) -> f64 {
    let (sum, squares) =
        shares.clone().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    sum * sum / (squares * shares.count() as f64)
}

fn tenant(jobs: u32) -> Tenant {
    Tenant { weight: 1, jobs, priority: Priority::Normal }
}

#[test]
fn a_hundredfold_backlog_gets_no_more_of_the_slots() {
    for seed in 1..20 {
        let mut world = World::new(&[tenant(20_000), tenant(200)], &[], seed, 400);
        world.slots(16);
        world.run_while(|world| world.waits(1));
        let index = jain(world.started.iter().map(|started| f64::from(*started)));
        assert!(index >= 0.95, "seed {seed}: {:?}: {index}", world.started);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Weighted shares: as long as all have something waiting, each gets slots by its weight.
    #[test]
    fn slots_go_by_weight_whatever_the_backlogs(
        weights in prop::collection::vec(1..5_u32, 2..5),
        longest in 50..800_u64,
        seed: u64,
    ) {
        let tenants: Vec<Tenant> = weights
            .iter()
            .enumerate()
            .map(|(place, weight)| Tenant {
                weight: *weight,
                jobs: 400 * weight * (1 + 4 * (place as u32 % 2)),
                priority: Priority::Normal,
            })
            .collect();
        let mut world = World::new(&tenants, &[], seed, longest);
        // A whole number of slots for each share, so that rounding hides nothing.
        world.slots(weights.iter().sum::<u32>() * 4);
        world.run_while(|world| (0..world.tenants.len()).all(|place| world.waits(place)));
        let shares = world.started.iter().zip(&weights);
        let index = jain(shares.map(|(started, weight)| f64::from(*started) / f64::from(*weight)));
        prop_assert!(index >= 0.95, "{weights:?}: {:?}: {index}", world.started);
    }

    /// Nothing of a lower priority goes while anything of a higher one waits.
    #[test]
    fn a_lower_priority_waits_until_nothing_higher_does(
        backlogs in prop::collection::vec((0..3_usize, 1..60_u32), 1..8),
        slots in 1..20_u32,
        seed: u64,
    ) {
        let tenants: Vec<Tenant> = backlogs
            .iter()
            .map(|(priority, jobs)| Tenant {
                weight: 1,
                jobs: *jobs,
                priority: Priority::ALL[*priority],
            })
            .collect();
        let mut world = World::new(&tenants, &[], seed, 300);
        world.slots(slots);
        world.run_while(|_| true);
        let class = |place: &usize| backlogs[*place].0;
        prop_assert!(world.order.is_sorted_by_key(class), "{:?}", world.order);
    }

    /// Nobody starves: within any round of slots, each channel with something waiting gets one.
    #[test]
    fn no_channel_waits_for_ever_beside_others(
        jobs in prop::collection::vec(20..400_u32, 2..8),
        slots in 1..6_u32,
        seed: u64,
    ) {
        let tenants: Vec<Tenant> = jobs.iter().map(|jobs| tenant(*jobs)).collect();
        let mut world = World::new(&tenants, &[], seed, 200);
        world.slots(slots);
        world.run_while(|_| true);
        prop_assert_eq!(world.order.len(), jobs.iter().sum::<u32>() as usize);
        let mut left = jobs.clone();
        let mut since = vec![0_usize; jobs.len()];
        for owner in world.order {
            left[owner] -= 1;
            since[owner] = 0;
            for place in (0..jobs.len()).filter(|place| *place != owner && left[*place] > 0) {
                since[place] += 1;
                // Each other may take a turn, and once more for each slot that it holds longer.
                let bound = jobs.len() * (slots as usize + 1);
                prop_assert!(since[place] <= bound, "{place} waited for {} others", since[place]);
            }
        }
    }

    /// The rate of a limit is the fleet's: with ten times the slots no more starts in any window.
    #[test]
    fn adding_workers_never_raises_the_rate_of_a_limit(
        per_second in 1..50_u32,
        burst in 1..10_u32,
        slots in 1..40_u32,
        seed: u64,
    ) {
        let limit = LimitRule {
            name: "calls".into(),
            provider: None,
            credential: None,
            channel: None,
            each: Vec::new(),
            every: Duration::from_secs(1) / per_second,
            burst: NonZeroU32::new(burst).unwrap(),
        };
        for times in [1, 10] {
            let mut world =
                World::new(&[tenant(600), tenant(600)], std::slice::from_ref(&limit), seed, 60);
            world.slots(slots * times);
            let end = START + Duration::from_secs(8);
            world.run_while(|world| world.now < end);
            let started: u32 = world.started.iter().sum();
            prop_assert!(started <= 8 * per_second + burst + 1, "{started} with {} slots", slots * times);
        }
    }
}
