//! Text as people say and read it, and foreign text made harmless.

use std::borrow::Cow;
use std::time::Duration;

use console::measure_text_width;

/// A duration with the unit a person would use: `38 ms`, `0.31 s`, `2.4 s`, `3 min 10 s`.
pub(crate) fn duration(took: Duration) -> String {
    let millis = took.as_millis();
    let seconds = took.as_secs_f64();
    // Limits lie where the next unit's rounding takes over, so nothing reads `1000 ms` or `60 s`.
    if took.is_zero() {
        "0 ms".into()
    } else if millis == 0 {
        "<1 ms".into()
    } else if millis < 100 {
        format!("{millis} ms")
    } else if seconds < 0.995 {
        format!("{seconds:.2} s")
    } else if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 59.5 {
        format!("{seconds:.0} s")
    } else {
        let whole = seconds.round() as u64;
        let (days, hours) = (whole / 86_400, whole / 3_600 % 24);
        let (minutes, seconds) = (whole / 60 % 60, whole % 60);
        match (days, hours, minutes, seconds) {
            (0, 0, minutes, 0) => format!("{minutes} min"),
            (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
            (0, hours, 0, _) => format!("{hours} h"),
            (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
            (days, 0, _, _) => format!("{days} d"),
            (days, hours, _, _) => format!("{days} d {hours} h"),
        }
    }
}

/// A size with the unit a person would use: `212 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let name = UNITS[unit];
    if unit == 0 || value >= 9.95 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// `1 check`, `7 checks`.
pub(crate) fn count(number: impl Into<u64>, one: &str) -> String {
    let number = number.into();
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Text in which digests of SHA-256 have their first twelve digits only: enough to tell them apart.
pub(crate) fn short_digests(text: &str) -> String {
    const SHOWN: usize = 12;
    let mut parts = text.split("sha256:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        let (digits, rest) = part.split_at(end);
        out.push_str("sha256:");
        match digits.get(..SHOWN).filter(|_| digits.len() == 64) {
            Some(first) => {
                out.push_str(first);
                out.push('…');
            }
            None => out.push_str(digits),
        }
        out.push_str(rest);
    }
    out
}

/// Foreign text that can do nothing to the terminal: escape sequences are dropped, a line that
/// was overwritten by a carriage return is as it was left, other control characters and the ones
/// that reorder text become visible.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut line_start = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                out.push('\n');
                line_start = out.len();
            }
            '\r' => {
                // `\r\n` ends a line; a lone one goes back to its start.
                if chars.peek().is_some_and(|&next| next != '\n') {
                    out.truncate(line_start);
                }
            }
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\t' => out.push('\t'),
            c if (c as u32) < 0x20 => {
                out.extend(char::from_u32(0x2400 + c as u32));
            }
            '\u{7f}' => out.push('\u{2421}'),
            c if is_harmful(c) => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// One line of harmless text: line breaks and tabs become spaces.
pub(crate) fn clean_line(text: &str) -> String {
    clean(text).split(['\n', '\t']).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn is_harmful(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Overrides and isolates show text in another order than it has.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Everything of an escape sequence after its `ESC`.
fn skip_escape(chars: &mut Chars<'_>) {
    match chars.peek().copied() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        // Strings for the terminal (titles, links, clipboard) end with BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            while let Some(&c) = chars.peek() {
                match c {
                    '\u{7}' => {
                        chars.next();
                        return;
                    }
                    '\u{1b}' => {
                        chars.next();
                        if chars.peek() == Some(&'\\') {
                            chars.next();
                        }
                        return;
                    }
                    // Unterminated: do not swallow the rest of the output.
                    '\n' => return,
                    _ => {
                        chars.next();
                    }
                }
            }
        }
        Some(c) if c.is_ascii() && !c.is_ascii_control() => {
            chars.next();
            // `ESC ( B` and the like have one more.
            if matches!(c, '(' | ')' | '*' | '+' | '#' | '%' | ' ') {
                chars.next_if(|next| !next.is_control());
            }
        }
        _ => {}
    }
}

/// Parameters and the final byte of a CSI sequence.
fn skip_control_sequence(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next_if(|c| ('\u{20}'..='\u{7e}').contains(c)) {
        if ('\u{40}'..='\u{7e}').contains(&c) {
            return;
        }
    }
}

/// Cut to a number of terminal columns, the cut marked by `…`.
pub(crate) fn truncate(text: &str, columns: usize) -> Cow<'_, str> {
    if measure_text_width(text) <= columns {
        return Cow::Borrowed(text);
    }
    console::truncate_str(text, columns, "…")
}

/// Filled with spaces to a number of terminal columns; longer text is left whole.
pub(crate) fn fill(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(measure_text_width(text))))
}

/// Broken between words into lines of at most so many columns; a word that is longer is broken
/// where the line ends. At least one line.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    if measure_text_width(text) <= columns {
        return vec![text.to_owned()];
    }
    // Indented text goes on as deep as it began.
    let indent = text.len() - text.trim_start_matches(' ').len();
    if (1..=columns / 4).contains(&indent) {
        let (lead, rest) = text.split_at(indent);
        let lines = wrap(rest, columns - indent).into_iter();
        return lines.map(|line| format!("{lead}{line}")).collect();
    }
    let mut lines = Vec::new();
    let (mut line, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let of_word = measure_text_width(word);
        let space = usize::from(!line.is_empty());
        if width + space + of_word <= columns {
            line.push_str(&" ".repeat(space));
            line.push_str(word);
            width += space + of_word;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
            width = 0;
        }
        for c in word.chars() {
            let of_char = measure_text_width(c.encode_utf8(&mut [0; 4]));
            if width + of_char > columns && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                width = 0;
            }
            line.push(c);
            width += of_char;
        }
    }
    lines.push(line);
    lines
}

/// Filled with spaces to a number of terminal columns, or cut to it.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let text = truncate(text, columns);
    let width = measure_text_width(&text);
    format!("{text}{}", " ".repeat(columns.saturating_sub(width)))
}

/// Terminal columns of some text.
pub(crate) fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// The last lines of some text: harmless and without blank ends.
pub(crate) fn last_lines(text: &str, lines: usize) -> Vec<String> {
    let cleaned = clean(text);
    let all: Vec<&str> = cleaned.trim_end().lines().skip_while(|l| l.trim().is_empty()).collect();
    let from = all.len().saturating_sub(lines);
    all[from..].iter().map(|line| line.replace('\t', "    ")).collect()
}

/// An argument as a POSIX shell takes it back.
pub(crate) fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_a_person_says_them() {
        let said = |micros: u64| duration(Duration::from_micros(micros));
        let cases = [
            (0, "0 ms"),
            (400, "<1 ms"),
            (38_000, "38 ms"),
            (99_900, "99 ms"),
            (310_000, "0.31 s"),
            (994_000, "0.99 s"),
            (996_000, "1.0 s"),
            (2_400_000, "2.4 s"),
            (9_960_000, "10 s"),
            (12_300_000, "12 s"),
            (59_700_000, "1 min"),
            (190_000_000, "3 min 10 s"),
            (7_200_000_000, "2 h"),
            (7_500_000_000, "2 h 5 min"),
            (266_400_000_000, "3 d 2 h"),
        ];
        for (micros, expected) in cases {
            assert_eq!(said(micros), expected, "{micros} µs");
        }
    }

    #[test]
    fn sizes_read_as_a_person_says_them() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(212_000_000), "212 MB");
        assert_eq!(size(16_000_000_000), "16 GB");
    }

    #[test]
    fn escapes_of_a_check_do_not_reach_the_terminal() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m"), "red");
        assert_eq!(clean("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(clean("\u{1b}]52;c;AAAA\u{1b}\\text"), "text");
        assert_eq!(clean("a\u{8}b\u{7}c"), "a␈b␇c");
        assert_eq!(clean("10 %\r20 %\rdone\nnext\r\n"), "done\nnext\n");
        assert_eq!(clean("\u{9b}2Jtext"), "text");
        assert_eq!(clean("safe\u{202e}txt.exe"), "safe\u{fffd}txt.exe");
        assert_eq!(clean("plain\ttext\n"), "plain\ttext\n");
    }

    #[test]
    fn a_word_for_the_shell_is_quoted_only_when_it_must_be() {
        assert_eq!(shell_word("a/b.yaml"), "a/b.yaml");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn the_last_lines_are_the_last_and_not_blank() {
        assert_eq!(last_lines("1\n2\n3\n\n", 2), ["2", "3"]);
        assert_eq!(last_lines("", 2), Vec::<String>::new());
    }

    #[test]
    fn digests_are_short_for_people() {
        let digest = "0123456789abcdef".repeat(4);
        let short = short_digests(&format!("node@sha256:{digest}, again (sha256:{digest})"));
        assert_eq!(short, "node@sha256:0123456789ab…, again (sha256:0123456789ab…)");
        assert_eq!(short_digests("node@sha256:9f2c x"), "node@sha256:9f2c x");
    }

    #[test]
    fn text_is_broken_between_words_and_long_words_where_the_line_ends() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("  one two three", 10), ["  one two", "  three"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("one two", usize::MAX), ["one two"]);
    }

    proptest! {
        #[test]
        fn wrapping_loses_nothing_and_keeps_to_the_width(text in "[a-zé語 ]{0,60}", columns in 2_usize..20) {
            let lines = wrap(&text, columns);
            prop_assert!(lines.iter().all(|line| width(line) <= columns), "{lines:?}");
            let letters = |text: &str| text.replace(' ', "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        #[test]
        fn cleaned_text_has_nothing_harmful(text in "[\\x00-\\x7f\u{80}-\u{9f}\u{202a}-\u{202e}é]{0,80}") {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.chars().any(is_harmful), "{cleaned:?}");
        }
    }
}
