//! What crosses processes and what outlives them, as bytes: a build reads what earlier builds
//! wrote, and a change of what it writes is made on purpose.
//!
//! `fixtures/<name>.<n>.hex` is how `<name>` was written by some build; the one with the highest
//! number is how it is written today. When a test says that an encoding has changed:
//!
//! 1. Does an older build still read it? A field that is added with a default can be read; one
//!    that is renamed, removed or given another type cannot, and needs a new version of the
//!    envelope.
//! 2. `VISOR_WRITE_FIXTURES=1 cargo test -p visor-protocol --test wire` adds the next number. Keep
//!    the old file: builds that wrote it are out there.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod samples;

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use visor_protocol::envelope::Envelope;

/// The files of one name, oldest first.
fn fixtures(name: &str) -> Vec<PathBuf> {
    let file = |n| {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        directory.join(format!("{name}.{n}.hex"))
    };
    let mut files: Vec<PathBuf> = (1..).map(file).take_while(|file| file.exists()).collect();
    if files.is_empty() || std::env::var_os("VISOR_WRITE_FIXTURES").is_some() {
        files.push(file(files.len() + 1));
    }
    files
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.chunks(40).map(|line| line.concat() + "\n").collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Holds one value against the fixtures of its name.
#[track_caller]
fn holds<T: Debug + PartialEq>(
    name: &str,
    value: &T,
    today: &[u8],
    read: impl Fn(&[u8]) -> Result<T, String>,
) {
    let files = fixtures(name);
    let (newest, older) = files.split_last().unwrap();
    if std::env::var_os("VISOR_WRITE_FIXTURES").is_some() {
        let same = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|hex| bytes(&hex) == today);
        if !older.last().is_some_and(same) {
            fs::write(newest, hex(today)).unwrap();
        }
        return;
    }
    let stored = |file: &PathBuf| {
        let text = fs::read_to_string(file);
        bytes(&text.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    };
    for file in older {
        if let Err(error) = read(&stored(file)) {
            panic!("{}: this build cannot read what an earlier one wrote: {error}", file.display());
        }
    }
    let newest_bytes = stored(newest);
    let decoded = read(&newest_bytes).unwrap_or_else(|error| {
        panic!("{}: this build cannot read what an earlier one wrote: {error}", newest.display())
    });
    assert_eq!(decoded, *value, "{}: it is read as something else", newest.display());
    assert!(
        newest_bytes == today,
        "the encoding of `{name}` has changed; the beginning of tests/wire.rs says what to do\n\
         before:\n{}now:\n{}",
        hex(&newest_bytes),
        hex(today),
    );
}

/// A message.
#[track_caller]
fn message<T: Debug + PartialEq + Serialize + DeserializeOwned>(name: &str, body: T) {
    let envelope = Envelope::new(body, samples::at(1)).traced(Some(samples::trace()));
    let today = envelope.encode().unwrap();
    let read = |bytes: &[u8]| Envelope::decode(bytes).map_err(|error| format!("{error:?}"));
    holds(name, &envelope, &today, read);
}

/// A value of the journal.
#[track_caller]
fn kept<T: Debug + PartialEq + Serialize + DeserializeOwned>(name: &str, value: T) {
    let today = rmp_serde::to_vec_named(&value).unwrap();
    let read = |bytes: &[u8]| rmp_serde::from_slice(bytes).map_err(|error| error.to_string());
    holds(name, &value, &today, read);
}

#[test]
fn jobs_are_read_and_written_as_before() {
    for (name, job) in samples::jobs() {
        message(&format!("job_{name}"), job);
    }
}

#[test]
fn what_workers_say_is_read_and_written_as_before() {
    for (name, report) in samples::reports() {
        message(&format!("report_{name}"), report);
    }
    message("outcomes", samples::outcomes());
    message("log_chunk", samples::log_chunk());
}

#[test]
fn orders_to_workers_are_read_and_written_as_before() {
    for (name, control) in samples::controls() {
        message(&format!("control_{name}"), control);
    }
}

#[test]
fn requests_and_replies_are_read_and_written_as_before() {
    for (name, request) in samples::requests() {
        message(&format!("request_{name}"), request);
    }
    for (name, reply) in samples::replies() {
        message(&format!("reply_{name}"), reply);
    }
}

#[test]
fn notices_are_read_and_written_as_before() {
    message("notices", samples::notices());
}

#[test]
fn the_journal_is_read_and_written_as_before() {
    for (name, event) in samples::events() {
        kept(&format!("event_{name}"), event);
    }
    kept("summary", samples::summary());
    kept("dead_letter", samples::dead_letter());
}
