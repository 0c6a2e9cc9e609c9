//! Tests that could not run. Such a test passes, and says so on a line of its own:
//! `SKIPPED <test>: <why>`.

use std::collections::BTreeSet;

use crate::say;

/// A test and why it did not run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skip {
    test: String,
    why: String,
}

/// The skip that a line reports. Other text may stand before it, as a report's markup does.
pub(super) fn of_line(line: &str) -> Option<Skip> {
    let (before, rest) = line.split_once("SKIPPED ")?;
    if !(before.trim().is_empty() || before.ends_with(['>', '['])) {
        return None;
    }
    let (test, why) = rest.split_once(": ")?;
    let is_name = !test.is_empty() && !test.contains(char::is_whitespace);
    let why = why.split("</").next().unwrap_or(why).trim();
    is_name.then(|| Skip { test: test.to_owned(), why: unescaped(why) })
}

/// All skips in a text, for example a JUnit report.
pub(super) fn find(text: &str) -> BTreeSet<Skip> {
    text.lines().filter_map(of_line).collect()
}

fn unescaped(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// Says which tests were skipped, and how many.
pub(super) fn report(skipped: &BTreeSet<Skip>) {
    for Skip { test, why } in skipped {
        say::step(&format!("skipped {test}: {why}"));
    }
    match skipped.len() {
        0 => say::step("no test was skipped"),
        count => say::step(&format!("{count} tests were skipped")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_found_alone_and_in_a_report() {
        let report = "<system-out>running 1 test\nSKIPPED it_nats::survives: no nats-server\n\
                      </system-out><system-out>SKIPPED other: a &amp; b</system-out>";
        let found: Vec<Skip> = find(report).into_iter().collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].test, "it_nats::survives");
        assert_eq!(found[0].why, "no nats-server");
        assert_eq!(found[1].why, "a & b");
    }

    #[test]
    fn a_sentence_that_mentions_skipping_is_no_skip() {
        for line in ["the check was SKIPPED because: x", "SKIPPED", "SKIPPED a b: c", "SKIPPED a"] {
            assert_eq!(of_line(line), None, "{line}");
        }
    }
}
