//! Reading the file of a configuration, whatever the name turns out to stand for.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, IsTerminal as _, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use visor_protocol::api::{ConfigSource, MAX_CONFIG_BYTES};

use super::project::NAMES;
use crate::failure::Failure;
use crate::render::text;

const UNREADABLE: &str = "visor::cli::config_unreadable";
const MAX: u64 = MAX_CONFIG_BYTES as u64;

/// How standard input is named, and how it is called in messages.
const DASH: &str = "-";
const STANDARD_INPUT: &str = "standard input";

/// Somebody begins to write within this time, or nobody does.
const WRITER_WITHIN: Duration = Duration::from_secs(5);
/// A program that makes a configuration says something at least this often.
const DATA_WITHIN: Duration = Duration::from_secs(30);

/// The text of a file or of a pipe.
///
/// # Errors
/// When it is none, cannot be read, or is larger than a configuration may be.
pub(super) fn read(path: &Path) -> Result<ConfigSource, Failure> {
    read_within(path, WRITER_WITHIN, DATA_WITHIN)
}

fn read_within(path: &Path, writer: Duration, data: Duration) -> Result<ConfigSource, Failure> {
    let unreadable = |error: &io::Error| unreadable(path, error);
    let (name, bytes) = if path == Path::new(DASH) {
        if io::stdin().is_terminal() {
            return Err(terminal_instead(path));
        }
        let open = || Ok(Box::new(io::stdin()) as Box<dyn Read>);
        (STANDARD_INPUT.to_owned(), piped(path, open, writer, data)?)
    } else {
        let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
        let kind = metadata.file_type();
        let name = path.display().to_string();
        if metadata.is_file() {
            let file = File::open(path).map_err(|error| unreadable(&error))?;
            (name, bounded(file).map_err(|error| unreadable(&error))?)
        } else if kind.is_fifo() {
            // Opening a pipe waits for somebody who writes to it: that is done aside.
            let owned = path.to_owned();
            let open = move || File::open(owned).map(|file| Box::new(file) as Box<dyn Read>);
            (name, piped(path, open, writer, data)?)
        } else {
            return Err(no_file(path, &metadata));
        }
    };
    let Some(bytes) = bytes else {
        let size = fs::metadata(path).ok().filter(Metadata::is_file).map(|m| text::size(m.len()));
        let has = size.unwrap_or_else(|| format!("more than {}", text::size(MAX)));
        let what = format!("`{name}` has {has}; a configuration has at most {}", text::size(MAX));
        return Err(Failure::usage("visor::config::too_large", what)
            .help("is this the right file? long scripts belong into files of their own"));
    };
    let text = String::from_utf8(bytes)
        .map_err(|error| not_text(path, error.as_bytes(), error.utf8_error().valid_up_to()))?;
    Ok(ConfigSource { name, text })
}

/// The configuration as somebody types it who wants the same again: what came through a pipe is
/// gone, and is to be filled in.
pub(crate) fn name_again(name: &str) -> Cow<'_, str> {
    let is_gone = name == DASH
        || name == STANDARD_INPUT
        || name == "/dev/stdin"
        || name.starts_with("/dev/fd/")
        || name.starts_with("/proc/");
    if is_gone { Cow::Borrowed("FILE") } else { text::shell_word(name) }
}

/// What is known of a pipe that is being read.
enum Progress {
    Opened,
    Data,
    /// Everything; none when it was too much.
    Over(Option<Vec<u8>>),
    Failed(io::Error),
}

/// The bytes of a pipe, none when there are more than are allowed. Reading waits without a bound,
/// so it has a thread of its own, which ends with the process at the latest.
fn piped(
    path: &Path,
    open: impl FnOnce() -> io::Result<Box<dyn Read>> + Send + 'static,
    writer: Duration,
    data: Duration,
) -> Result<Option<Vec<u8>>, Failure> {
    let (sender, progress) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let end = match open() {
            Ok(from) => {
                // Whoever waited may have gone; then there is nobody to tell either.
                let _ = sender.send(Progress::Opened);
                drain(from, &sender)
            }
            Err(error) => Progress::Failed(error),
        };
        let _ = sender.send(end);
    });
    let mut patience = writer;
    loop {
        match progress.recv_timeout(patience) {
            Ok(Progress::Opened | Progress::Data) => patience = data,
            Ok(Progress::Over(bytes)) => return Ok(bytes),
            Ok(Progress::Failed(error)) => return Err(unreadable(path, &error)),
            Err(_) => return Err(silent(path, patience, patience == writer)),
        }
    }
}

fn drain(mut from: Box<dyn Read>, progress: &SyncSender<Progress>) -> Progress {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        match from.read(&mut part) {
            Ok(0) => return Progress::Over(Some(bytes)),
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Progress::Failed(error),
        }
        if bytes.len() as u64 > MAX {
            return Progress::Over(None);
        }
        let _ = progress.send(Progress::Data);
    }
}

/// Nothing comes out of a pipe.
fn silent(path: &Path, waited: Duration, nobody: bool) -> Failure {
    let (shown, waited) = (path.display(), text::duration(waited));
    let what = match nobody {
        true => format!("`{shown}` is a pipe, and nobody has opened it to write for {waited}"),
        false => format!("nothing has come from `{shown}` for {waited}, and it is not closed"),
    };
    Failure::usage("visor::cli::config_silent", what).help(
        "start what writes the configuration at the same time: `generate | visor run --config -`",
    )
}

fn terminal_instead(path: &Path) -> Failure {
    let what = format!("`{}` is this terminal: no configuration comes from it", path.display());
    Failure::usage(UNREADABLE, what)
        .help("pipe one in: `generate | visor run --config -`, or name a file")
}

/// The bytes of a file, none when there are more than are allowed.
fn bounded(file: File) -> std::io::Result<Option<Vec<u8>>> {
    // One byte more than is allowed tells a file that is too large from one that just fits.
    let limit = MAX + 1;
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
    if kind.is_char_device() && File::open(path).is_ok_and(|file| file.is_terminal()) {
        return terminal_instead(path);
    }
    let what = match kind {
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
    use std::io::Write as _;

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
        let short = Duration::from_millis(50);
        let nobody = read_within(&pipe, short, short).unwrap_err().render(Style::plain());
        assert!(nobody.contains("is a pipe, and nobody has opened it to write"), "{nobody}");

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

    #[test]
    fn a_pipe_is_read_to_its_end_within_bounds_of_size_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let writes = |bytes: Vec<u8>| {
            let pipe = pipe.clone();
            std::thread::spawn(move || {
                let mut file = File::options().write(true).open(pipe).unwrap();
                // Whoever reads may have had enough.
                let _ = file.write_all(&bytes);
                file
            })
        };
        let long = Duration::from_secs(60);
        let writer = writes(b"checks: {}".to_vec());
        let closed = std::thread::spawn(move || drop(writer.join()));
        let source = read_within(&pipe, long, long).unwrap();
        closed.join().unwrap();
        assert_eq!((source.name, source.text.as_str()), (pipe.display().to_string(), "checks: {}"));

        let writer = writes(vec![b'#'; MAX_CONFIG_BYTES + 1]);
        let said = read_within(&pipe, long, long).unwrap_err().render(Style::plain());
        assert!(said.contains("has more than 524 kB"), "{said}");
        drop(writer.join());

        // It stays open and says nothing.
        let writer = writes(b"half".to_vec());
        let short = Duration::from_millis(200);
        let said = read_within(&pipe, long, short).unwrap_err().render(Style::plain());
        assert!(said.contains("nothing has come from"), "{said}");
        drop(writer.join());
    }
}
