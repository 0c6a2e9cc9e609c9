//! The output of an attempt: what is kept of it, and what those who watch see as it comes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::capture::{Capture, Output};

/// Live output goes out at most this often, so that a check that prints byte by byte does not
/// become as many messages.
const LIVE_INTERVAL: Duration = Duration::from_millis(50);

/// Live output goes out at once when this much has gathered.
const LIVE_BYTES: usize = 16 * 1024;

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Where live output goes. Must not wait: output that nobody can take in time is lost to those
/// who watch, not to the record.
pub trait LogSink: Send + Sync {
    /// Takes bytes that stand at `offset` in their stream.
    fn chunk(&self, stream: Stream, offset: u64, bytes: Bytes);
}

/// Records both streams of one attempt.
pub struct Recorder {
    stdout: Track,
    stderr: Track,
    sink: Option<Box<dyn LogSink>>,
    last_flush: Option<Instant>,
}

struct Track {
    stream: Stream,
    capture: Capture,
    /// Bytes not yet shown, and where the first of them stands.
    pending: BytesMut,
    offset: u64,
    /// Bytes shown at most. Past it, those who watch get the end when it is known.
    live_limit: u64,
}

impl Track {
    fn new(stream: Stream, limit: u64) -> Self {
        Self {
            stream,
            capture: Capture::new(limit),
            pending: BytesMut::new(),
            offset: 0,
            live_limit: limit,
        }
    }

    fn push(&mut self, bytes: &[u8], live: bool) {
        let before = self.capture.total();
        self.capture.push(bytes);
        if live && before < self.live_limit {
            let room = usize::try_from(self.live_limit - before).unwrap_or(usize::MAX);
            self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn flush(&mut self, sink: &dyn LogSink) {
        if !self.pending.is_empty() {
            let bytes = self.pending.split().freeze();
            let offset = self.offset;
            self.offset += bytes.len() as u64;
            sink.chunk(self.stream, offset, bytes);
        }
    }
}

impl Recorder {
    /// Keeps up to `limit` bytes of each stream.
    pub fn new(limit: u64, sink: Option<Box<dyn LogSink>>) -> Self {
        Self {
            stdout: Track::new(Stream::Stdout, limit),
            stderr: Track::new(Stream::Stderr, limit),
            sink,
            last_flush: None,
        }
    }

    /// Takes the next bytes of a stream.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let live = self.sink.is_some();
        match stream {
            Stream::Stdout => self.stdout.push(bytes, live),
            Stream::Stderr => self.stderr.push(bytes, live),
        }
        if live {
            let now = Instant::now();
            let due = self.last_flush.is_none_or(|last| now >= last + LIVE_INTERVAL);
            if due || self.stdout.pending.len() + self.stderr.pending.len() >= LIVE_BYTES {
                self.flush(now);
            }
        }
    }

    /// When [`Recorder::flush`] wants to be called, if nothing more is written until then.
    pub fn flush_due(&self) -> Option<Instant> {
        let pending = !self.stdout.pending.is_empty() || !self.stderr.pending.is_empty();
        let last = self.last_flush.filter(|_| pending && self.sink.is_some())?;
        Some(last + LIVE_INTERVAL)
    }

    /// Shows what has gathered.
    pub fn flush(&mut self, now: Instant) {
        if let Some(sink) = &self.sink {
            self.stdout.flush(sink.as_ref());
            self.stderr.flush(sink.as_ref());
            self.last_flush = Some(now);
        }
    }

    /// Shows the rest and hands over what was kept of standard output and standard error.
    pub fn finish(mut self) -> (Output, Output) {
        if let Some(sink) = &self.sink {
            self.stdout.flush(sink.as_ref());
            self.stderr.flush(sink.as_ref());
        }
        (self.stdout.capture.finish(), self.stderr.capture.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Chunks = Arc<Mutex<Vec<(Stream, u64, Bytes)>>>;

    struct Kept(Chunks);

    impl LogSink for Kept {
        fn chunk(&self, stream: Stream, offset: u64, bytes: Bytes) {
            self.0.lock().unwrap().push((stream, offset, bytes));
        }
    }

    fn watched(limit: u64) -> (Recorder, Chunks) {
        let chunks = Chunks::default();
        (Recorder::new(limit, Some(Box::new(Kept(Arc::clone(&chunks))))), chunks)
    }

    #[tokio::test(start_paused = true)]
    async fn live_output_is_gathered_between_two_moments() {
        let (mut recorder, chunks) = watched(1_000_000);
        recorder.push(Stream::Stdout, b"first");
        for _ in 0..100 {
            recorder.push(Stream::Stdout, b"x");
        }
        assert_eq!(chunks.lock().unwrap().len(), 1, "the first goes out at once");
        tokio::time::sleep_until(recorder.flush_due().unwrap()).await;
        recorder.flush(Instant::now());
        assert_eq!(recorder.flush_due(), None);
        let chunks = chunks.lock().unwrap();
        assert_eq!(chunks[1], (Stream::Stdout, 5, Bytes::from(vec![b'x'; 100])));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_shown_is_bounded_like_what_is_kept() {
        let (mut recorder, chunks) = watched(10_000);
        for _ in 0..100 {
            recorder.push(Stream::Stderr, &[7; 50_000]);
        }
        let (_, stderr) = recorder.finish();
        assert_eq!(stderr.total, 5_000_000);
        let shown: usize = chunks.lock().unwrap().iter().map(|(_, _, bytes)| bytes.len()).sum();
        assert_eq!(shown, 10_000);
    }
}
