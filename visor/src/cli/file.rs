//! Reading the file of a configuration, whatever the name turns out to stand for.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use visor_protocol::api::{ConfigSource, MAX_CONFIG_BYTES};

use super::project::NAMES;
use crate::failure::Failure;
use crate::render::text;

const UNREADABLE: &str = "visor::cli::config_unreadable";

/// The text of a file.
///
/// # Errors
/// When it is none, cannot be read, or is larger than a configuration may be.
pub(super) fn read(path: &Path) -> Result<ConfigSource, Failure> {
    let unreadable = |error: &std::io::Error| unreadable(path, error);
    // Opening a pipe that nobody writes to would wait for ever.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(no_file(path, &metadata));
    }
    let bytes = bounded(file).map_err(|error| unreadable(&error))?;
    let Some(bytes) = bytes else {
        let what = format!(
            "`{}` has {}; a configuration has at most {}",
            path.display(),
            text::size(metadata.len().max(MAX_CONFIG_BYTES as u64 + 1)),
            text::size(MAX_CONFIG_BYTES as u64),
        );
        return Err(Failure::usage("visor::config::too_large", what)
            .help("is this the right file? long scripts belong into files of their own"));
    };
    let text = String::from_utf8(bytes)
        .map_err(|error| not_text(path, error.as_bytes(), error.utf8_error().valid_up_to()))?;
    Ok(ConfigSource { name: path.display().to_string(), text })
}

/// The bytes of a file, none when there are more than are allowed.
fn bounded(file: File) -> std::io::Result<Option<Vec<u8>>> {
    // One byte more than is allowed tells a file that is too large from one that just fits.
    let limit = MAX_CONFIG_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 != limit).then_some(bytes))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    let refused = |why: &str| {
        Failure::usage(UNREADABLE, format!("cannot read the configuration `{shown}`: {why}"))
    };
    match error.kind() {
        ErrorKind::NotFound => refused("it does not exist")
            .help("--config or VISOR_CONFIG_PATH names it; `visor init` writes one"),
        ErrorKind::PermissionDenied => refused("this user may not")
            .help(format!("`ls -l {}` shows who may", text::shell_word(&shown.to_string()))),
        ErrorKind::NotADirectory => {
            refused("a part of the path is a file").help("correct the path of --config")
        }
        _ => refused("the system refuses").because(error),
    }
}

/// A name that stands for something else than a file.
fn no_file(path: &Path, metadata: &Metadata) -> Failure {
    let shown = path.display();
    let kind = metadata.file_type();
    let refused = |what: &str| {
        Failure::usage(UNREADABLE, format!("cannot read the configuration `{shown}`: it is {what}"))
    };
    if kind.is_dir() {
        let inside = NAMES.iter().map(|name| path.join(name)).find(|path| path.is_file());
        return refused("a directory").help(match inside {
            Some(inside) => format!("the file in it is meant? --config {}", inside.display()),
            None => "name a file; `visor init` writes one into the current directory".to_owned(),
        });
    }
    let what = match kind {
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "no file",
    };
    refused(what).help("write the configuration to a file first, and name that")
}

/// Bytes that are no UTF-8 from this place on.
fn not_text(path: &Path, bytes: &[u8], at: usize) -> Failure {
    let shown = path.display();
    let convert = |from: &str| {
        let file = text::shell_word(&shown.to_string()).into_owned();
        format!("save it as UTF-8: `iconv -f {from} -t UTF-8 {file} > visor.yaml`")
    };
    let (what, help) = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("is text in UTF-16".to_owned(), convert("UTF-16")),
        _ => {
            let before = bytes.get(..at).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
            // Text in an older encoding has no control characters.
            let is_text = !bytes.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31));
            let help = match is_text {
                true => convert("LATIN1"),
                false => "is this the right file? configurations are YAML in UTF-8".to_owned(),
            };
            let what = format!("is no text in UTF-8: see byte {at}, line {line}, column {column}");
            (what, help)
        }
    };
    Failure::usage("visor::config::not_text", format!("`{shown}` {what}")).help(help)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::render::style::Style;

    fn error_of(path: &Path) -> String {
        read(path).unwrap_err().render(Style::plain())
    }

    /// Every kind of thing a path can stand for: what it is, and what to do.
    #[test]
    fn what_is_no_configuration_is_refused_before_it_is_parsed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let said = |path: &Path, words: &[&str]| {
            let said = error_of(path);
            for word in words.iter().chain(&["help: "]) {
                assert!(said.contains(word), "{word}: {said}");
            }
            assert!(!said.contains("os error"), "{said}");
        };
        said(&path, &["does not exist", "visor init"]);
        said(dir.path(), &["it is a directory", "name a file"]);
        fs::write(dir.path().join("visor.yaml"), "").unwrap();
        said(dir.path(), &["it is a directory", "/visor.yaml"]);
        said(&dir.path().join("visor.yaml/x"), &["a part of the path is a file"]);
        said(Path::new("/dev/zero"), &["`/dev/zero`", "it is a device"]);
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        said(&pipe, &["it is a pipe", "to a file first"]);

        fs::write(&path, [b'a', b'\n', b'b', 0xe9]).unwrap();
        said(&path, &["byte 3, line 2, column 2", "iconv -f LATIN1"]);
        fs::write(&path, [0x7f, b'E', b'L', b'F', 2, 1, 0xff]).unwrap();
        said(&path, &["is no text in UTF-8", "is this the right file"]);
        fs::write(&path, b"\xff\xfev\0e\0r\0").unwrap();
        said(&path, &["is text in UTF-16", "iconv -f UTF-16"]);
        File::create(&path).unwrap().set_len(100 * 1024 * 1024).unwrap();
        said(&path, &["has 105 MB", "at most 524 kB"]);
        fs::write(&path, vec![b'#'; MAX_CONFIG_BYTES]).unwrap();
        assert_eq!(read(&path).unwrap().text.len(), MAX_CONFIG_BYTES);
    }
}
