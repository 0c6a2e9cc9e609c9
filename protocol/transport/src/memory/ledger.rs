//! The bookkeeping of a work queue: what is in it, who waits, what is out and until when. It holds
//! no lock and starts no task; [`queue`](super::queue) does.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::dedupe::Dedupe;
use crate::QueueState;

/// Deadlines of acknowledged messages are swept out when they outnumber the live ones by this.
const STALE_DEADLINES: usize = 1_024;

#[derive(Debug)]
pub(super) struct Ledger {
    ack_wait: Duration,
    messages: HashMap<u64, Entry, BuildHasherDefault<SeqHasher>>,
    bytes: usize,
    /// Of the messages, those delivered at least once.
    delivered: u64,
    next_seq: u64,
    next_delivery: u64,
    /// Never delivered, oldest first.
    fresh: VecDeque<u64>,
    /// To be delivered again, before the fresh ones. May name messages that are gone.
    again: VecDeque<u64>,
    /// To be delivered again later. May name messages that are gone.
    delayed: BTreeSet<(Instant, u64)>,
    /// When which delivery expires. Every wait is the same, so the order of entry is the order of
    /// expiry. May name deliveries that are settled.
    deadlines: VecDeque<(Instant, Taken)>,
    seats: Vec<Option<Seat>>,
    /// Seats with an unfilled request, in the order of their turns.
    hungry: VecDeque<usize>,
    dedupe: Dedupe,
}

#[derive(Debug)]
struct Entry {
    payload: Bytes,
    deliveries: u64,
    /// Which delivery is the latest.
    delivery: u64,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In `fresh` or `again`.
    Ready,
    /// In `delayed`.
    Delayed,
    /// With a consumer.
    Out,
}

/// One delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Taken {
    pub(super) seq: u64,
    /// Which delivery of all the queue's: the count below can come back, this cannot.
    delivery: u64,
    pub(super) deliveries: u64,
}

/// A consumer's place at the queue.
#[derive(Debug, Default)]
struct Seat {
    /// Given to it, and not yet picked up.
    given: VecDeque<Taken>,
    /// Requested and not yet given.
    wanted: u32,
    /// It stands in `hungry`.
    in_turn: bool,
    waker: Option<Waker>,
}

impl Ledger {
    pub(super) fn new(ack_wait: Duration, dedupe: Dedupe) -> Self {
        Self {
            ack_wait,
            messages: HashMap::default(),
            bytes: 0,
            delivered: 0,
            next_seq: 0,
            next_delivery: 0,
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            delayed: BTreeSet::new(),
            deadlines: VecDeque::new(),
            seats: Vec::new(),
            hungry: VecDeque::new(),
            dedupe,
        }
    }

    pub(super) fn state(&self) -> QueueState {
        QueueState { messages: self.messages.len() as u64, unacknowledged: self.delivered }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a message, unless its id was seen of late.
    pub(super) fn push(&mut self, now: Instant, id: &str, payload: Bytes) {
        if !self.dedupe.insert(now, id) {
            return;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.bytes += payload.len();
        let place = Place::Ready;
        self.messages.insert(seq, Entry { payload, deliveries: 0, delivery: 0, place });
        self.fresh.push_back(seq);
    }

    /// Gives what is ready to who wants it, in turns; the consumers to be woken.
    pub(super) fn serve(&mut self, now: Instant) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(&turn) = self.hungry.front() {
            let Some(seat) = self.seats[turn].as_mut() else {
                self.hungry.pop_front();
                continue;
            };
            let Some(seq) = self.again.pop_front().or_else(|| self.fresh.pop_front()) else {
                break;
            };
            // Acknowledged while it waited to be delivered again.
            let Some(entry) = self.messages.get_mut(&seq) else { continue };
            if entry.deliveries == 0 {
                self.delivered += 1;
            }
            let delivery = self.next_delivery;
            self.next_delivery += 1;
            entry.deliveries += 1;
            entry.delivery = delivery;
            entry.place = Place::Out;
            let taken = Taken { seq, delivery, deliveries: entry.deliveries };
            self.deadlines.push_back((now + self.ack_wait, taken));
            seat.given.push_back(taken);
            seat.wanted -= 1;
            woken.extend(seat.waker.take());
            self.hungry.pop_front();
            seat.in_turn = seat.wanted > 0;
            if seat.in_turn {
                self.hungry.push_back(turn);
            }
        }
        woken
    }

    /// Puts back what was not acknowledged in time, and what was to wait until now.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(at, taken)) = self.deadlines.front() {
            let live = self.is_live(taken);
            if live && at > now {
                break;
            }
            self.deadlines.pop_front();
            if live {
                self.put_back(taken.seq);
            }
        }
        while let Some(&(at, seq)) = self.delayed.first() {
            if at > now {
                break;
            }
            self.delayed.pop_first();
            self.put_back(seq);
        }
    }

    /// When [`Ledger::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let out = self.deadlines.front().map(|(at, _)| *at);
        let delayed = self.delayed.first().map(|(at, _)| *at);
        out.into_iter().chain(delayed).min()
    }

    /// Removes a message. As with a NATS server, whoever had it delivered may say so, late too.
    pub(super) fn ack(&mut self, seq: u64) {
        if let Some(entry) = self.messages.remove(&seq) {
            self.bytes -= entry.payload.len();
            self.delivered -= 1;
            self.sweep();
        }
    }

    /// Puts a delivery back, now or at an instant.
    pub(super) fn nack(&mut self, taken: Taken, at: Option<Instant>) {
        if !self.is_live(taken) {
            return;
        }
        match at {
            None => self.put_back(taken.seq),
            Some(at) => {
                if let Some(entry) = self.messages.get_mut(&taken.seq) {
                    entry.place = Place::Delayed;
                    self.delayed.insert((at, taken.seq));
                }
            }
        }
    }

    /// Opens a place for a consumer.
    pub(super) fn sit(&mut self) -> usize {
        match self.seats.iter().position(Option::is_none) {
            Some(free) => {
                self.seats[free] = Some(Seat::default());
                free
            }
            None => {
                self.seats.push(Some(Seat::default()));
                self.seats.len() - 1
            }
        }
    }

    /// Closes the place. What it was given and never looked at goes to the others at once, as if
    /// it had not been delivered.
    pub(super) fn leave(&mut self, seat: usize) {
        let Some(left) = self.seats[seat].take() else { return };
        self.hungry.retain(|turn| *turn != seat);
        for taken in left.given.into_iter().rev() {
            if !self.is_live(taken) {
                continue;
            }
            if let Some(entry) = self.messages.get_mut(&taken.seq) {
                entry.deliveries -= 1;
                entry.place = Place::Ready;
                if entry.deliveries == 0 {
                    self.delivered -= 1;
                }
                self.again.push_front(taken.seq);
            }
        }
    }

    /// Adds to what a consumer wants.
    pub(super) fn want(&mut self, seat: usize, more: u32) {
        let Some(held) = self.seats[seat].as_mut() else { return };
        held.wanted = held.wanted.saturating_add(more);
        if held.wanted > 0 && !held.in_turn {
            held.in_turn = true;
            self.hungry.push_back(seat);
        }
    }

    /// The next message given to a consumer.
    pub(super) fn poll_take(&mut self, seat: usize, cx: &mut Context<'_>) -> Poll<(Taken, Bytes)> {
        let mut expired = 0;
        while let Some(taken) = self.seats[seat].as_mut().and_then(|held| held.given.pop_front()) {
            // What lay here beyond its time is or was with somebody else.
            if !self.is_live(taken) {
                expired += 1;
                continue;
            }
            self.want(seat, expired);
            let payload = self.messages.get(&taken.seq).map(|entry| entry.payload.clone());
            return Poll::Ready((taken, payload.unwrap_or_default()));
        }
        self.want(seat, expired);
        if let Some(held) = self.seats[seat].as_mut()
            && held.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker()))
        {
            held.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The wakers of all consumers.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.seats.iter_mut().flatten().filter_map(|seat| seat.waker.take()).collect()
    }

    /// Whether this delivery is the message's latest and still unsettled.
    fn is_live(&self, taken: Taken) -> bool {
        self.messages
            .get(&taken.seq)
            .is_some_and(|entry| entry.place == Place::Out && entry.delivery == taken.delivery)
    }

    fn put_back(&mut self, seq: u64) {
        if let Some(entry) = self.messages.get_mut(&seq) {
            entry.place = Place::Ready;
            self.again.push_back(seq);
        }
    }

    /// Keeps `deadlines` in proportion to what is out: at a high rate the settled ones would
    /// otherwise pile up behind one that is not.
    fn sweep(&mut self) {
        while self.deadlines.front().is_some_and(|(_, taken)| !self.is_live(*taken)) {
            self.deadlines.pop_front();
        }
        if self.deadlines.len() > 2 * self.messages.len() + STALE_DEADLINES {
            let mut deadlines = std::mem::take(&mut self.deadlines);
            deadlines.retain(|(_, taken)| self.is_live(*taken));
            self.deadlines = deadlines;
        }
    }
}

/// Spreads sequence numbers, which nobody outside chooses, over a map.
#[derive(Debug, Default)]
struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The golden ratio in 64 bits: consecutive numbers land far apart.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests;
