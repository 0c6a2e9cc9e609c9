//! Server-sent events, as far as a client of ours needs them.

/// An event with more data than this is dropped: none of ours is that large.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Puts the events of a stream together from chunks torn anywhere.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    too_large: bool,
}

impl Parser {
    /// The data of the events that are complete by this chunk.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for &byte in chunk {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                events.extend(self.take_line(line));
            } else if self.line.len() < MAX_EVENT_BYTES {
                self.line.push(byte);
            } else {
                self.too_large = true;
            }
        }
        events
    }

    fn take_line(&mut self, line: &[u8]) -> Option<String> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let whole = self.has_data && !self.too_large;
            (self.has_data, self.too_large) = (false, false);
            return whole.then_some(data);
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            if self.has_data {
                self.data.push('\n');
            }
            self.has_data = true;
            if self.data.len() + data.len() > MAX_EVENT_BYTES {
                self.too_large = true;
            } else {
                self.data.push_str(&String::from_utf8_lossy(data));
            }
        }
        // `event:` repeats what the data says; `id:`, `retry:` and comments are not used.
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str =
        ": hello\n\nevent: check\ndata: {\"a\":1}\n\ndata: x\r\ndata: y\r\n\r\ndata: torn";

    #[test]
    fn events_are_the_same_wherever_the_stream_is_torn() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let events: Vec<_> =
                STREAM.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk)).collect();
            assert_eq!(events, ["{\"a\":1}", "x\ny"], "chunks of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_dropped_and_the_next_one_read() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 256 * 1024];
        parser.push(b"data: ");
        for _ in 0..16 {
            assert!(parser.push(&chunk).is_empty());
        }
        assert_eq!(parser.push(b"\n\ndata: next\n\n"), ["next"]);
    }

    proptest! {
        #[test]
        fn junk_is_no_panic(bytes: Vec<u8>) {
            Parser::default().push(&bytes);
        }
    }
}
