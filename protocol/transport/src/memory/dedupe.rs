//! Message ids seen of late.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use tokio::time::Instant;

/// Remembers ids for a time, and at most so many of them, the newest first.
///
/// It keeps 64 bits of a keyed hash instead of the id. With the tens of thousands of ids that are
/// remembered, two of them meet once in about 10^14 messages, and a message lost so is repaired
/// like any lost message.
#[derive(Debug)]
pub(super) struct Dedupe {
    window: Duration,
    limit: usize,
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<(Instant, u64)>,
}

impl Dedupe {
    pub(super) fn new(window: Duration, limit: usize) -> Self {
        let (known, order) = (HashSet::new(), VecDeque::new());
        Self { window, limit, hasher: RandomState::new(), known, order }
    }

    /// Remembers the id; whether it was new. An empty id is always new.
    pub(super) fn insert(&mut self, now: Instant, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        while let Some(&(seen, oldest)) = self.order.front() {
            if self.order.len() < self.limit && now.duration_since(seen) < self.window {
                break;
            }
            self.order.pop_front();
            self.known.remove(&oldest);
        }
        let hash = self.hasher.hash_one(id);
        let new = self.known.insert(hash);
        if new {
            self.order.push_back((now, hash));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_until_its_window_ends() {
        let mut dedupe = Dedupe::new(Duration::from_secs(120), 100);
        let start = Instant::now();
        assert!(dedupe.insert(start, "a"));
        assert!(!dedupe.insert(start + Duration::from_secs(119), "a"));
        assert!(dedupe.insert(start + Duration::from_secs(120), "a"));
    }

    #[test]
    fn no_more_ids_are_kept_than_the_limit() {
        let mut dedupe = Dedupe::new(Duration::from_secs(120), 10);
        let start = Instant::now();
        for n in 0..1_000 {
            assert!(dedupe.insert(start, &n.to_string()));
        }
        assert_eq!((dedupe.known.len(), dedupe.order.len()), (10, 10));
        assert!(!dedupe.insert(start, "999"));
    }
}
