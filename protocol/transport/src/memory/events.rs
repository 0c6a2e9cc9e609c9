//! The latest recorded events. In one process nobody reads them back but tests and tools, so a
//! small ring is enough; live readers subscribe.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use visor_protocol::subject::Subject;

#[derive(Debug)]
pub(super) struct Events {
    ring: Mutex<Ring>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<(Subject, Bytes)>,
    bytes: usize,
}

impl Events {
    pub(super) fn new(limit: usize) -> Self {
        Self { ring: Mutex::default(), limit }
    }

    pub(super) fn push(&self, subject: &Subject, payload: Bytes) {
        let mut ring = self.ring.lock();
        ring.bytes += cost(&payload);
        ring.events.push_back((subject.clone(), payload));
        while ring.bytes > self.limit {
            let Some((_, oldest)) = ring.events.pop_front() else { break };
            ring.bytes -= cost(&oldest);
        }
    }

    pub(super) fn all(&self) -> Vec<(Subject, Bytes)> {
        self.ring.lock().events.iter().cloned().collect()
    }
}

/// Empty payloads take room too.
fn cost(payload: &Bytes) -> usize {
    payload.len() + 128
}
