//! The jobs that wait for one pool, in the order in which they go.
//!
//! A higher priority goes first. Within one priority, the channel with the smallest part of its
//! fair share under way goes next; equals take turns. Within a channel, jobs go in the order in
//! which they came, except that those held back by a token bucket let the others pass, and that a
//! job whose attempt was lost, or could not be run, goes before those that had no turn yet.

use std::collections::{BTreeSet, HashMap, VecDeque};

use visor_protocol::api::Priority;
use visor_protocol::ids::{Attempt, ChannelId};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

use super::buckets::{Blocked, Buckets, Held};
use super::core::Waiting;

/// A channel's place: what it has under way per share, then whose turn it is.
type Rank = (u64, u64, ChannelId);

#[derive(Default)]
struct Class {
    channels: HashMap<ChannelId, Channel>,
    order: BTreeSet<Rank>,
    parked: BTreeSet<(Timestamp, ChannelId)>,
}

struct Channel {
    lines: Vec<Line>,
    rank: Option<Rank>,
    parked_until: Option<Timestamp>,
}

/// When a job came: those that had their turn already and lost it before all others.
type Arrival = (Turn, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Lost,
    First,
}

/// Jobs that need the same token buckets, in the order of their arrival.
struct Line {
    needs: u64,
    entries: VecDeque<Entry>,
    blocked: Option<Blocked>,
}

struct Entry {
    arrival: Arrival,
    waiting: Waiting,
    held: Held,
}

/// A channel's part of the pool.
#[derive(Debug, Clone, Copy)]
struct Share {
    under_way: u32,
    weight: u32,
    turn: u64,
}

/// All waiting jobs of a pool.
#[derive(Default)]
pub(super) struct WaitingLine {
    classes: [Class; Priority::ALL.len()],
    shares: HashMap<ChannelId, Share>,
    arrivals: u64,
    turns: u64,
    /// Jobs withdrawn since their entries were last cleared away.
    withdrawn: u32,
}

/// Entries of withdrawn jobs that may stand in the line whatever its length.
const WITHDRAWN_KEPT: u32 = 64;

fn class_of(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl Share {
    fn rank(self, channel: &ChannelId) -> Rank {
        (
            u64::from(self.under_way) * 1_000 / u64::from(self.weight.max(1)),
            self.turn,
            channel.clone(),
        )
    }
}

impl WaitingLine {
    /// Adds a job to its channel's line: at the end, or behind those that lost their turn as well.
    pub(super) fn push(&mut self, waiting: Waiting, needs: u64) {
        let channel_id = waiting.key.channel.clone();
        let weight = waiting.weight;
        let turn = self.turns;
        self.shares
            .entry(channel_id.clone())
            .or_insert(Share { under_way: 0, weight, turn })
            .weight = weight;
        let class = &mut self.classes[class_of(waiting.priority)];
        let channel = class.channels.entry(channel_id.clone()).or_insert_with(|| Channel {
            lines: Vec::new(),
            rank: None,
            parked_until: None,
        });
        let turn = if waiting.ticket.attempt == Attempt::FIRST { Turn::First } else { Turn::Lost };
        let arrival = (turn, self.arrivals);
        let entry = Entry { arrival, waiting, held: Held::default() };
        self.arrivals += 1;
        match channel.lines.iter_mut().find(|line| line.needs == needs) {
            Some(line) if turn == Turn::First => line.entries.push_back(entry),
            Some(line) => {
                let place = line.entries.partition_point(|other| other.arrival < arrival);
                line.entries.insert(place, entry);
            }
            None => {
                channel.lines.push(Line { needs, entries: VecDeque::from([entry]), blocked: None })
            }
        }
        let share = self.shares[&channel_id];
        class.place(&channel_id, share);
    }

    /// Takes the next job that may go now. `is_waiting` says whether a job is still wanted:
    /// withdrawn ones are dropped here, where they are met.
    pub(super) fn pop(
        &mut self,
        buckets: &Buckets,
        now: Timestamp,
        is_waiting: &dyn Fn(Ticket) -> bool,
    ) -> Option<Waiting> {
        for class in &mut self.classes {
            class.wake(now, &self.shares);
            while let Some((_, _, channel_id)) = class.order.first().cloned() {
                let channel = class.channels.get_mut(&channel_id)?;
                let found = channel.pop(buckets, now, is_waiting);
                let share = self.shares.get_mut(&channel_id)?;
                if found.is_some() {
                    share.under_way += 1;
                    self.turns += 1;
                    share.turn = self.turns;
                }
                let share = *share;
                class.place(&channel_id, share);
                if let Some(waiting) = found {
                    self.replace(&channel_id);
                    return Some(waiting);
                }
            }
        }
        None
    }

    /// A job of this line was withdrawn; so many still wait. Its entry is dropped when it is met, or
    /// when there are more of its kind than jobs that wait: a line that nobody takes from, because
    /// its pool has no slots, does not grow with what comes and goes. On average that costs nothing.
    pub(super) fn withdrawn(&mut self, waiting: u32, is_waiting: &dyn Fn(Ticket) -> bool) {
        self.withdrawn += 1;
        if self.withdrawn <= waiting.max(WITHDRAWN_KEPT) {
            return;
        }
        self.withdrawn = 0;
        let Self { classes, shares, .. } = self;
        for class in classes.iter_mut() {
            let channels: Vec<ChannelId> = class.channels.keys().cloned().collect();
            for id in channels {
                for line in class.channels.get_mut(&id).into_iter().flat_map(|c| &mut c.lines) {
                    line.entries.retain(|entry| is_waiting(entry.waiting.ticket));
                    line.entries.shrink_to_fit();
                }
                if let Some(share) = shares.get(&id) {
                    class.place(&id, *share);
                }
            }
        }
        shares.retain(|id, share| {
            share.under_way > 0 || classes.iter().any(|class| class.channels.contains_key(id))
        });
    }

    /// A job of the channel goes without having waited here: a worker had it already.
    pub(super) fn charge(&mut self, channel: &ChannelId, weight: u32) {
        let turn = self.turns;
        let share =
            self.shares.entry(channel.clone()).or_insert(Share { under_way: 0, weight, turn });
        share.under_way += 1;
        self.replace(channel);
    }

    /// A job of the channel is no longer under way.
    pub(super) fn release(&mut self, channel: &ChannelId) {
        if let Some(share) = self.shares.get_mut(channel) {
            share.under_way = share.under_way.saturating_sub(1);
        }
        self.replace(channel);
        let idle = self.shares.get(channel).is_some_and(|share| share.under_way == 0)
            && self.classes.iter().all(|class| !class.channels.contains_key(channel));
        if idle {
            self.shares.remove(channel);
        }
    }

    /// When the next held-back job may go.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.classes.iter().filter_map(|class| class.parked.first().map(|(at, _)| *at)).min()
    }

    /// Channels under way or waiting, with their weights: what fair shares are computed from.
    pub(super) fn total_weight(&self) -> u32 {
        self.shares.values().map(|share| share.weight).sum()
    }

    /// What a channel has under way.
    pub(super) fn under_way(&self, channel: &ChannelId) -> u32 {
        self.shares.get(channel).map_or(0, |share| share.under_way)
    }

    /// The job's place in its channel's line from 1, and the bucket that holds it back.
    pub(super) fn find(
        &self,
        wanted: &Waiting,
        is_waiting: &dyn Fn(Ticket) -> bool,
    ) -> Option<(u32, Option<Blocked>)> {
        let channel = self.classes[class_of(wanted.priority)].channels.get(&wanted.key.channel)?;
        for line in &channel.lines {
            let mut place = 0;
            for entry in &line.entries {
                if is_waiting(entry.waiting.ticket) {
                    place += 1;
                }
                if entry.waiting.ticket == wanted.ticket {
                    return Some((place, line.blocked.clone()));
                }
            }
        }
        None
    }

    /// How many wait for which limit.
    pub(super) fn blocked(
        &self,
        is_waiting: &dyn Fn(Ticket) -> bool,
        into: &mut HashMap<String, u32>,
    ) {
        let lines =
            self.classes.iter().flat_map(|class| class.channels.values()).flat_map(|c| &c.lines);
        for line in lines {
            if let Some(blocked) = &line.blocked {
                let waiting =
                    line.entries.iter().filter(|entry| is_waiting(entry.waiting.ticket)).count();
                *into.entry(blocked.limit.clone()).or_default() +=
                    u32::try_from(waiting).unwrap_or(u32::MAX);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        let lines =
            self.classes.iter().flat_map(|class| class.channels.values()).flat_map(|c| &c.lines);
        lines.map(|line| line.entries.len()).sum()
    }

    /// Puts the channel where its share now says, in every class.
    fn replace(&mut self, channel: &ChannelId) {
        let Some(share) = self.shares.get(channel).copied() else { return };
        for class in &mut self.classes {
            class.place(channel, share);
        }
    }
}

impl Class {
    fn place(&mut self, id: &ChannelId, share: Share) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        if let Some(rank) = channel.rank.take() {
            self.order.remove(&rank);
        }
        if let Some(until) = channel.parked_until.take() {
            self.parked.remove(&(until, id.clone()));
        }
        channel.lines.retain(|line| !line.entries.is_empty());
        if channel.lines.is_empty() {
            self.channels.remove(id);
            return;
        }
        let free = channel.lines.iter().any(|line| line.blocked.is_none());
        if free {
            let rank = share.rank(id);
            channel.rank = Some(rank.clone());
            self.order.insert(rank);
        } else if let Some(until) =
            channel.lines.iter().filter_map(|line| line.blocked.as_ref().map(|b| b.until)).min()
        {
            channel.parked_until = Some(until);
            self.parked.insert((until, id.clone()));
        }
    }

    /// Brings back channels whose buckets have a token again.
    fn wake(&mut self, now: Timestamp, shares: &HashMap<ChannelId, Share>) {
        while let Some((until, id)) = self.parked.first().cloned() {
            if until > now {
                return;
            }
            if let Some(channel) = self.channels.get_mut(&id) {
                for line in &mut channel.lines {
                    if line.blocked.as_ref().is_some_and(|blocked| blocked.until <= now) {
                        line.blocked = None;
                    }
                }
            }
            match shares.get(&id) {
                Some(share) => self.place(&id, *share),
                None => _ = self.parked.remove(&(until, id)),
            }
        }
    }
}

impl Channel {
    fn pop(
        &mut self,
        buckets: &Buckets,
        now: Timestamp,
        is_waiting: &dyn Fn(Ticket) -> bool,
    ) -> Option<Waiting> {
        loop {
            for line in &mut self.lines {
                if line.blocked.as_ref().is_some_and(|blocked| blocked.until <= now) {
                    line.blocked = None;
                }
                while line.entries.front().is_some_and(|entry| !is_waiting(entry.waiting.ticket)) {
                    line.entries.pop_front();
                }
            }
            let line = self
                .lines
                .iter_mut()
                .filter(|line| line.blocked.is_none() && !line.entries.is_empty())
                .min_by_key(|line| line.entries.front().map(|entry| entry.arrival))?;
            let entry = line.entries.front_mut()?;
            match buckets.take(&entry.waiting.key, &mut entry.held, now) {
                Ok(()) => return line.entries.pop_front().map(|entry| entry.waiting),
                Err(blocked) => line.blocked = Some(blocked),
            }
        }
    }
}
