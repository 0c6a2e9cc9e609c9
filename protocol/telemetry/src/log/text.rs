//! Lines for people: `12:04:31.208 WARN  lease lost  job=3k9f-0 attempt=1 worker=w-eu-1`.

use std::fmt::Write;

use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::{Level, Metadata};
use visor_protocol::time::Timestamp;

use super::value::Fields;

/// Longer values are cut: a line is for the eye, the whole value stands in JSON.
const LONGEST_VALUE: usize = 1_000;

pub(super) fn line(
    at: Timestamp,
    zone: &TimeZone,
    metadata: &Metadata<'_>,
    fields: &Fields,
    color: bool,
) -> String {
    let mut line = String::with_capacity(128);
    let (dim, plain) = if color { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
    let level = level(*metadata.level());
    let tint = if color { tint(*metadata.level()) } else { "" };
    let _ = write!(line, "{dim}{}{plain} {tint}{level:<5}{plain} ", time_of_day(at, zone));
    clean(&fields.message, &mut line);
    let mut before = "  ";
    for (name, value) in &fields.named {
        let name = name.strip_suffix(".id").unwrap_or(name);
        let _ = write!(line, "{before}{dim}{name}={plain}");
        show(value, &mut line);
        before = " ";
    }
    if *metadata.level() >= Level::DEBUG {
        let _ = write!(line, "{before}{dim}from={}{plain}", metadata.target());
    }
    line.push('\n');
    line
}

fn time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(instant) => {
            let time = zone.to_datetime(instant).time();
            let (hour, minute, second) = (time.hour(), time.minute(), time.second());
            format!("{hour:02}:{minute:02}:{second:02}.{:03}", time.millisecond())
        }
        Err(_) => at.to_string(),
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn tint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG | Level::TRACE => "\u{1b}[2m",
    }
}

fn show(value: &Value, line: &mut String) {
    let text = match value {
        Value::String(text) => text,
        other => {
            let _ = write!(line, "{other}");
            return;
        }
    };
    let is_word = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
    if !text.is_empty() && text.chars().all(is_word) {
        cut(text, line);
    } else {
        line.push('"');
        cut(&text.replace('"', "\\\""), line);
        line.push('"');
    }
}

fn cut(text: &str, line: &mut String) {
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => {
            clean(&text[..end], line);
            line.push('…');
        }
        None => clean(text, line),
    }
}

/// What somebody else wrote may not start a line of its own or speak to the terminal.
fn clean(text: &str, line: &mut String) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}
