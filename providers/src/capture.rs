//! One output stream, kept within a limit: its beginning and its last 4 KiB.
//!
//! A check may print a gigabyte. What explains a failure is nearly always at one of the two ends,
//! so the middle is what is dropped.

use bytes::Bytes;

/// Bytes of a stream's end that are kept when the limit cuts it.
pub const TAIL_BYTES: usize = 4 * 1024;

/// No limit is larger: an attempt's output is held in memory while it runs.
pub const MAX_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Collects a stream.
#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    head_limit: usize,
    /// A ring of the bytes after the head; `next` is where the oldest stands once it is full.
    tail: Vec<u8>,
    tail_limit: usize,
    next: usize,
    total: u64,
}

impl Capture {
    /// Keeps up to `limit` bytes, the last few of them from the stream's end.
    pub fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit.min(MAX_LIMIT_BYTES)).unwrap_or(usize::MAX);
        let tail_limit = TAIL_BYTES.min(limit / 2);
        Self {
            head: Vec::new(),
            head_limit: limit - tail_limit,
            tail: Vec::new(),
            tail_limit,
            next: 0,
            total: 0,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let fits = bytes.len().min(self.head_limit - self.head.len());
        let (head, rest) = bytes.split_at(fits);
        self.head.extend_from_slice(head);
        if !rest.is_empty() {
            self.push_tail(rest);
        }
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        if self.tail_limit == 0 {
            return;
        }
        // Of a long piece only the end can survive.
        let bytes = &bytes[bytes.len().saturating_sub(self.tail_limit)..];
        let grow = bytes.len().min(self.tail_limit - self.tail.len());
        let (grown, over) = bytes.split_at(grow);
        self.tail.extend_from_slice(grown);
        for part in over.chunks(self.tail_limit) {
            let until_wrap = (self.tail_limit - self.next).min(part.len());
            let (first, second) = part.split_at(until_wrap);
            self.tail[self.next..self.next + first.len()].copy_from_slice(first);
            self.tail[..second.len()].copy_from_slice(second);
            self.next = (self.next + part.len()) % self.tail_limit;
        }
    }

    /// Bytes seen so far, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What was kept.
    pub fn finish(mut self) -> Output {
        let kept = (self.head.len() + self.tail.len()) as u64;
        self.tail.rotate_left(self.next);
        let dropped = self.total - kept;
        if dropped > 0 {
            let note = format!("\n[visor: {dropped} bytes left out here]\n");
            self.head.extend_from_slice(note.as_bytes());
        }
        self.head.extend_from_slice(&self.tail);
        Output { bytes: self.head.into(), total: self.total, kept }
    }
}

/// A stream after its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// What was kept; where the limit cut the stream, a note stands in place of the middle.
    pub bytes: Bytes,
    /// Bytes that were written.
    pub total: u64,
    /// Bytes of them that were kept.
    pub kept: u64,
}

impl Output {
    /// A stream that was kept whole.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let total = bytes.len() as u64;
        Self { bytes, total, kept: total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_within_its_limit_is_kept_whole() {
        for pieces in [1, 7, 4096, 10_000] {
            let bytes: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
            let mut capture = Capture::new(10_000);
            bytes.chunks(pieces).for_each(|piece| capture.push(piece));
            assert_eq!(capture.finish(), Output::whole(bytes));
        }
    }

    #[test]
    fn both_ends_of_a_long_stream_are_kept() {
        for pieces in [1, 5, 4095, 4096, 4097, 9_000, 60_000] {
            let bytes: Vec<u8> = (0..60_000_u32).map(|n| (n / 7) as u8).collect();
            let mut capture = Capture::new(10_000);
            bytes.chunks(pieces).for_each(|piece| capture.push(piece));
            let output = capture.finish();
            assert_eq!((output.total, output.kept), (60_000, 10_000), "pieces of {pieces}");
            assert!(output.bytes.starts_with(&bytes[..10_000 - TAIL_BYTES]));
            assert!(output.bytes.ends_with(&bytes[60_000 - TAIL_BYTES..]), "pieces of {pieces}");
            let note = &output.bytes[10_000 - TAIL_BYTES..output.bytes.len() - TAIL_BYTES];
            assert_eq!(note, b"\n[visor: 50000 bytes left out here]\n");
        }
    }

    #[test]
    fn a_limit_of_nothing_keeps_nothing_and_counts() {
        let mut capture = Capture::new(0);
        capture.push(b"abc");
        let output = capture.finish();
        assert_eq!((output.total, output.kept), (3, 0));
    }
}
