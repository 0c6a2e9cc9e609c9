//! Log lines as they are written.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, in functions that clippy does not take for such"
)]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::Dispatch;
use visor_protocol::time::{Clock, Timestamp};
use visor_telemetry::{Color, LogFormat, Output, TelemetryConfig, TelemetryError, fields};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_208_999)
    }
}

fn logged(change: impl FnOnce(&mut TelemetryConfig), act: impl FnOnce()) -> String {
    let buffer = Arc::new(Mutex::new(Vec::<u8>::new()));
    let mut config = TelemetryConfig::new("visor-test");
    let output: Output = Arc::<Mutex<Vec<u8>>>::clone(&buffer);
    config.output = Some(output);
    config.clock = Arc::new(Fixed);
    config.color = Color::Never;
    change(&mut config);
    let (dispatch, guard) = visor_telemetry::subscriber(&config).unwrap();
    tracing::dispatcher::with_default(&dispatch, act);
    drop(guard);
    let bytes = buffer.lock().clone();
    String::from_utf8(bytes).unwrap()
}

fn lose_a_lease() {
    let span = tracing::info_span!(
        "attempt",
        { fields::JOB } = "3k9f-0",
        { fields::ATTEMPT } = 1,
        took = tracing::field::Empty
    );
    let _entered = span.enter();
    span.record("took", "2.1s");
    let silent = tracing::field::debug(Duration::from_millis(2_100));
    tracing::warn!({ fields::WORKER } = "w-eu-1", silent, "lease lost");
}

#[test]
fn a_line_for_people_has_the_time_the_level_the_fact_and_its_fields() {
    let line = logged(|_| {}, lose_a_lease);
    // The minutes depend on the zone of the machine.
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.ends_with(".208") && time.len() == "12:04:31.208".len(), "{time}");
    assert_eq!(
        rest,
        "WARN  lease lost  worker=w-eu-1 silent=2.1s job=3k9f-0 attempt=1 took=2.1s\n"
    );
}

#[test]
fn a_line_for_programs_has_the_same_fields_and_utc() {
    let line = logged(|config| config.format = LogFormat::Json, lose_a_lease);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["time"], "2023-11-14T22:13:20.208999Z");
    assert_eq!(object["level"], "WARN");
    assert_eq!(object["message"], "lease lost");
    assert_eq!(object["worker.id"], "w-eu-1");
    assert_eq!(object["job.id"], "3k9f-0");
    assert_eq!(object["attempt"], 1);
}

#[test]
fn the_nearest_span_has_the_last_word() {
    let line = logged(
        |_| {},
        || {
            let _outer = tracing::info_span!("outer", attempt = 1, pool = "gpu").entered();
            let _inner = tracing::info_span!("inner", attempt = 2).entered();
            tracing::info!("x");
        },
    );
    assert!(line.ends_with("x  attempt=2 pool=gpu\n"), "{line}");
}

#[test]
fn what_others_wrote_starts_no_line_and_speaks_to_no_terminal() {
    let line = logged(|_| {}, || tracing::info!(name = "a\nb\u{1b}[2J", "said \"it\"\r\nINFO ha"));
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(!line.contains('\u{1b}'), "{line}");
    assert!(line.contains("name=\"a\\nb\\u{1b}[2J\""), "{line}");
}

#[test]
fn a_value_with_spaces_stands_in_quotes_and_a_long_one_is_cut() {
    let long = "x".repeat(5_000);
    let line = logged(|_| {}, || tracing::info!(reason = "no \"slot\"", long, "y"));
    assert!(line.contains("reason=\"no \\\"slot\\\"\""), "{line}");
    assert!(line.len() < 1_200 && line.contains('…'), "{}", line.len());
}

#[test]
fn colours_are_there_only_when_asked_for() {
    let act = || tracing::error!("x");
    assert!(!logged(|_| {}, act).contains('\u{1b}'));
    assert!(logged(|config| config.color = Color::Always, act).contains("\u{1b}[31mERROR"));
}

#[test]
fn the_filter_decides_what_is_written() {
    let act = || {
        tracing::info!(target: "visor_worker", "worker");
        tracing::debug!(target: "visor_worker", "detail");
        tracing::info!(target: "visor_other", "other");
        let _span = tracing::info_span!(target: "visor_worker", "wanted").entered();
        tracing::trace!(target: "visor_worker", "inside");
    };
    let filtered = |filter: &str| {
        let text = logged(|config| config.filter = filter.to_owned(), act);
        let facts = ["worker", "detail", "other", "inside"];
        facts.map(|fact| text.contains(&format!(" {fact}")))
    };
    assert_eq!(filtered("info"), [true, false, true, false]);
    assert_eq!(filtered("warn,visor_worker=debug"), [true, true, false, false]);
    assert_eq!(filtered("off,visor_worker[wanted]=trace"), [false, false, false, true]);
}

#[test]
fn a_wrong_filter_is_refused_with_a_right_one_as_an_example() {
    let config =
        TelemetryConfig { filter: "visor=louder".into(), ..TelemetryConfig::new("visor-test") };
    let error = visor_telemetry::subscriber(&config).map(|_: (Dispatch, _)| ()).unwrap_err();
    assert!(matches!(error, TelemetryError::Filter { .. }));
    assert!(error.to_string().contains("visor=louder") && error.to_string().contains("info"));
}
