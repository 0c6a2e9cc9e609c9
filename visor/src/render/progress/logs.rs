//! Output of checks as it comes: whole lines, each with the name of its check before it.

use std::collections::HashMap;

use visor_protocol::worker::{LogChunk, Ticket};

use crate::render::text;

/// A line that is longer is shown in pieces.
const MAX_LINE: usize = 8 * 1024;

/// Puts the lines together again that chunks tear apart.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    open: HashMap<(Ticket, bool), Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Bytes of the stream that have been seen.
    seen: u64,
    line: Vec<u8>,
}

impl Lines {
    /// The lines that are complete by this chunk.
    pub(crate) fn push(&mut self, chunk: &LogChunk) -> Vec<String> {
        let open = self.open.entry((chunk.ticket, chunk.stderr)).or_default();
        let mut lines = Vec::new();
        let end = chunk.offset.saturating_add(chunk.bytes.len() as u64);
        if end <= open.seen {
            return lines; // repeated
        }
        if chunk.offset > open.seen {
            lines.push(format!("… {} not shown", text::size(chunk.offset - open.seen)));
        }
        let known = usize::try_from(open.seen.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        open.seen = end;
        for &byte in chunk.bytes.iter().skip(known) {
            if byte == b'\n' || open.line.len() >= MAX_LINE {
                lines.push(take(&mut open.line));
            }
            if byte != b'\n' {
                open.line.push(byte);
            }
        }
        lines
    }

    /// What a finished check left without a line break.
    pub(crate) fn finish(&mut self, is_over: impl Fn(&Ticket) -> bool) -> Vec<(Ticket, String)> {
        let over: Vec<_> = self.open.keys().filter(|key| is_over(&key.0)).copied().collect();
        let rest = over.into_iter().filter_map(|key| {
            let mut open = self.open.remove(&key)?;
            (!open.line.is_empty()).then(|| (key.0, take(&mut open.line)))
        });
        rest.collect()
    }
}

fn take(line: &mut Vec<u8>) -> String {
    text::clean(&String::from_utf8_lossy(&std::mem::take(line))).into_owned()
}

#[cfg(test)]
mod tests {
    use visor_protocol::ids::{Attempt, JobId};

    use super::*;
    use crate::render::samples;

    fn chunk(offset: u64, bytes: &'static str) -> LogChunk {
        let job = JobId { run: samples::run_id(), seq: 0 };
        let ticket = Ticket { job, attempt: Attempt::FIRST };
        LogChunk { ticket, stderr: false, offset, bytes: bytes.as_bytes().into() }
    }

    #[test]
    fn torn_lines_are_put_together_and_repeats_are_dropped() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&chunk(0, "one\ntw")), ["one"]);
        assert_eq!(lines.push(&chunk(0, "one\ntw")), Vec::<String>::new());
        assert_eq!(lines.push(&chunk(4, "two\nthree")), ["two"]);
        let rest = lines.finish(|_| true);
        assert_eq!(rest.into_iter().map(|(_, line)| line).collect::<Vec<_>>(), ["three"]);
    }

    #[test]
    fn a_gap_is_said_and_a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&chunk(1_500, "x\n")), ["… 1.5 kB not shown", "x"]);
        let endless = "y".repeat(3 * MAX_LINE).leak();
        assert_eq!(lines.push(&chunk(1_502, endless)).len(), 2);
    }
}
