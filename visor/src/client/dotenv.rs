//! The `.env` file of the directory somebody stands in, read as the original tool reads it: before
//! anything else, and over what the environment has already.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// A file larger than this is none.
const MAX_BYTES: u64 = 1024 * 1024;

/// The name of the file.
pub(crate) const NAME: &str = ".env";

/// The variables of a directory's file; none when there is no file.
///
/// Visor's own (`VISOR_…`) are left out: a tree that somebody cloned must not say which fleet gets
/// a token, or which secrets travel.
///
/// # Errors
/// When it is there and cannot be read.
pub(crate) fn read(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let path = directory.join(NAME);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(BTreeMap::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    }
    let mut text = String::new();
    File::open(&path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than such a file may be"));
    }
    let mut variables = parse(&text);
    variables.retain(|name, _| !name.starts_with("VISOR_"));
    Ok(variables)
}

/// Gives them to this process, and so to every check it starts.
///
/// Only for as long as this process has one thread.
#[expect(
    unsafe_code,
    reason = "nothing else can read the environment meanwhile: no thread is there yet"
)]
pub(crate) fn apply_before_any_thread(variables: &BTreeMap<String, String>) {
    for (name, value) in variables.iter().filter(|(_, value)| !value.contains('\0')) {
        // SAFETY: the caller has started no thread.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The variables of a text. Lines that are none are passed over, as the original does.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let Some((name, value)) = assignment(line) else {
            rest = after;
            continue;
        };
        // A quoted value may go on over lines; without its end, the quote is a letter like others.
        let from_value = &rest[line.len() - value.len()..];
        let quoted = from_value.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
        match quoted.and_then(|quote| Some((quote, closing(&from_value[1..], quote)?))) {
            Some((quote, end)) => {
                let inner = &from_value[1..=end];
                let value = match quote {
                    '"' => inner.replace("\\n", "\n").replace("\\r", "\r"),
                    _ => inner.to_owned(),
                };
                variables.insert(name.to_owned(), value);
                let behind = &from_value[end + 2..];
                rest = behind.split_once('\n').map_or("", |(_, after)| after);
            }
            None => {
                let value = value.split('#').next().unwrap_or_default().trim();
                variables.insert(name.to_owned(), value.to_owned());
                rest = after;
            }
        }
    }
    variables
}

/// `NAME=`, `export NAME =`, `NAME: `, and what follows it on the line.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        Some(_) | None => line,
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = line.find(|c| !letter(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let value = match rest.strip_prefix(':') {
        Some(value) if value.starts_with([' ', '\t']) => value,
        Some(_) => return None,
        None => rest.trim_start().strip_prefix('=')?,
    };
    (!name.is_empty()).then(|| (name, value.trim_start()))
}

/// Where the closing quote is that no backslash precedes.
fn closing(text: &str, quote: char) -> Option<usize> {
    text.char_indices()
        .find_map(|(at, c)| (c == quote && !text[..at].ends_with('\\')).then_some(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_that_such_files_have_are_read() {
        let text = "# comment\n\
            PLAIN=one two # behind\n\
            export EXPORTED = yes\r\n\
            SINGLE='a # b\\n'\n\
            DOUBLE=\"line\\nnext\" # behind\n\
            MULTI=\"first\nsecond\"\n\
            COLON: value\n\
            EMPTY=\n\
            OPEN=\"no end\n\
            not an assignment\n\
            LAST=`x`";
        let read = parse(text);
        let expected = [
            ("COLON", "value"),
            ("DOUBLE", "line\nnext"),
            ("EMPTY", ""),
            ("EXPORTED", "yes"),
            ("LAST", "x"),
            ("MULTI", "first\nsecond"),
            ("OPEN", "\"no end"),
            ("PLAIN", "one two"),
            ("SINGLE", "a # b\\n"),
        ];
        let read: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_tree_does_not_configure_visor_itself() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), BTreeMap::new());
        std::fs::write(dir.path().join(NAME), "VISOR_FLEET=http://evil\nA=1\n").unwrap();
        assert_eq!(read(dir.path()).unwrap(), [("A".to_owned(), "1".to_owned())].into());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(A|=|\"|'|#|\\\\|\n|\r| |é|:|export ){0,40}") {
            let _ = parse(&text);
        }
    }
}
