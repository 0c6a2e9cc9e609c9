//! What is wrong with a text before it means anything: in words for whoever wrote it, whatever the
//! parser calls it.

use std::ops::Range;

use super::reader::clip;
use crate::diagnostic::{Diagnostic, line_and_column};

const CODE: &str = "visor::config::syntax";

/// A text that has bytes which no text has.
pub(super) fn not_text(text: &str) -> Option<Diagnostic> {
    let (at, found) = text
        .char_indices()
        .find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}'))?;
    let name = match found {
        '\0' => "a NUL byte".to_owned(),
        '\u{1b}' => "an escape character".to_owned(),
        other => format!("the control character U+{:04X}", other as u32),
    };
    // Of ASCII text in UTF-16 every second byte is NUL.
    let is_wide = found == '\0' && text.chars().filter(|c| *c == '\0').count() * 3 > text.len();
    let help = if is_wide {
        "it looks like UTF-16: save it as UTF-8"
    } else {
        "is this the right file? where such a character is meant, write `\\x1b` and the like in \
         double quotes"
    };
    Some(
        Diagnostic::error(
            "visor::config::not_text",
            format!("the file is not text: it has {name}"),
        )
        .label(at..at + found.len_utf8(), "here for the first time")
        .help(help),
    )
}

/// A key that is given several times in one mapping.
pub(super) fn repeated(key: &str, places: &[Range<usize>], text: &str) -> Diagnostic {
    let shown: Vec<String> = places
        .iter()
        .filter_map(|place| line_and_column(text, place.start))
        .take(MOST_PLACES)
        .map(|(line, column)| format!("{line}:{column}"))
        .collect();
    let times = match places.len() {
        0..=2 => "twice".to_owned(),
        times => format!("{times} times"),
    };
    let at = match shown.as_slice() {
        [_, .., last] => format!(", at {} and {last}", shown[..shown.len() - 1].join(", ")),
        _ => String::new(),
    };
    let mut diagnostic = Diagnostic::error(
        "visor::config::duplicate_key",
        format!("`{}` is given {times} in one mapping{at}", clip(key)),
    )
    .help("keep one of them, or rename the others");
    // The first is shown where somebody looks for the mistake: where the key comes again.
    for (number, place) in places.iter().enumerate().skip(1).take(MOST_PLACES) {
        let again = if number == 1 { "again here" } else { "and here" };
        diagnostic = diagnostic.label(place.clone(), again);
    }
    match places {
        [one] => diagnostic.label(one.clone(), "again here"),
        [first, ..] => diagnostic.label(first.clone(), "the first"),
        [] => diagnostic,
    }
}

/// Places of one key that are shown.
const MOST_PLACES: usize = 5;

/// What the parser says, what is said here, and what to do.
const WORDS: [(&str, &str, &str); 22] = [
    ("unclosed quote", "a quote is never closed", "close it; is the file saved to its end?"),
    (
        "multiline quoted",
        "a quote is never closed, or the further lines of its text are not indented",
        "close it on its line",
    ),
    ("unclosed bracket", "a bracket is never closed", "close it; is the file saved to its end?"),
    ("mismatched bracket", "a bracket is closed by one of another kind", "`[` needs `]`, `{` `}`"),
    ("misplaced bracket", "a bracket is closed that was never opened", "remove it"),
    ("unexpected eof", "the file ends in the middle of a value", "is it saved to its end?"),
    ("end of stream", "the file ends in the middle of a value", "is it saved to its end?"),
    (
        "unexpected end of input",
        "the file ends in the middle of a value",
        "is it saved to its end?",
    ),
    ("tab", "a tab stands where only spaces may", "indent with spaces"),
    ("mapping values are not allowed", "a `:` stands where no key can be", QUOTE_COLON),
    ("illegal placement of ':'", "a `:` stands where no key can be", QUOTE_COLON),
    ("simple key", "this is no `key: value`", "is a `:` missing after the key, or is it indented?"),
    ("did not find expected key", "this is no key of the mapping before it", INDENT),
    ("'-' indicator", "this is no entry of the list before it", INDENT),
    ("invalid indentation", "the indentation does not fit the lines before", INDENT),
    ("wrongly indented", "the indentation does not fit the lines before", INDENT),
    ("block sequence entries are not allowed", "a list begins where a value cannot", INDENT),
    ("',' or", "a `,` or the closing bracket is missing", "separate entries by `,`"),
    ("unknown anchor", "this alias refers to an anchor that is not there", ANCHOR),
    ("trailing content", "there is more after the closing quote", "put the whole value in quotes"),
    ("unknown escape character", "this is no escape sequence", "use single quotes, or `\\\\`"),
    (
        "must be mapping or sequence of mappings",
        "`<<` takes mappings only",
        "give it an alias of one",
    ),
];

const QUOTE_COLON: &str =
    "put the value in quotes if `: ` is part of it, or correct the indentation";
const INDENT: &str = "keys of one mapping, and entries of one list, begin in the same column";
const ANCHOR: &str =
    "define it before with `&name`, or put the text in quotes if `*` is part of it";

/// A text that is no YAML.
pub(super) fn invalid(said: &str, at: Range<usize>, text: &str) -> Diagnostic {
    let lower = said.to_lowercase();
    let known = WORDS.iter().find(|(theirs, ..)| lower.contains(theirs));
    let (what, help) = known.map_or(
        ("this cannot be read", "look for a missing quote, a stray character or wrong indentation"),
        |(_, ours, help)| (*ours, *help),
    );
    // A command that prints JSON has quotes of both kinds: one pair more around it does not help.
    let key = if help == QUOTE_COLON { key_of_value_at(text, at.start) } else { None };
    let help = key.map_or_else(
        || help.to_owned(),
        |key| {
            format!(
                "write it as a block if `: ` is part of the text: `{}: |`, and the text on the \
                 next line, indented further",
                clip(key)
            )
        },
    );
    Diagnostic::error(CODE, format!("the file is not valid YAML: {what}"))
        .label(at, "here")
        .help(help)
}

/// The key of the line whose plain value has quotes and holds this place.
fn key_of_value_at(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, value) = line.split_once(": ")?;
    let is_within =
        at - start > key.len() && !value.trim_start().starts_with(['"', '\'', '{', '[']);
    let key = key.trim().trim_start_matches("- ").trim_start();
    (is_within && value.contains(['"', '\''])).then_some(key)
}
