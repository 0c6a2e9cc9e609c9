//! The fleet in short.

use std::fmt::Write as _;
use std::time::Duration;

use visor_protocol::api::{FleetStatus, PoolStatus};
use visor_protocol::time::Timestamp;

use super::style::Style;
use super::text;

/// A few lines an operator can read before the first coffee.
pub(crate) fn render(status: &FleetStatus, now: Timestamp, verbose: bool, style: Style) -> String {
    let up = text::duration(now.since(status.since));
    let mut out = format!(
        "{} {} · {} · up {up}\n",
        style.bold("coordinator"),
        text::clean_line(&status.version),
        text::clean_line(&status.transport),
    );
    let mut line = |name: &str, body: String| {
        let _ = writeln!(out, "{}  {body}", style.dim(&format!("{name:<8}")));
    };
    let oldest = match status.waiting {
        0 => String::new(),
        _ => {
            format!(" (oldest {})", text::duration(Duration::from_millis(status.oldest_waiting_ms)))
        }
    };
    let slots: u32 = status.pools.iter().map(|pool| pool.slots).sum();
    line(
        "queue",
        format!(
            "{} waiting{oldest} · {} of {slots} slots busy · {}",
            status.waiting,
            status.in_flight,
            text::count(status.open_runs, "open run"),
        ),
    );
    let rate = match status.settled_last_minute {
        few @ 0..60 => format!("{} in the last minute", text::count(few, "check")),
        many => format!("{:.1} checks/s over the last minute", f64::from(many) / 60.0),
    };
    line("rate", rate);
    let pools: Vec<_> = status.pools.iter().map(pool).collect();
    let none = "none: `visor worker` starts a worker".to_owned();
    line("pools", if pools.is_empty() { none } else { pools.join(" · ") });
    if !status.limits.is_empty() {
        let limits = status.limits.iter();
        let limits: Vec<_> = limits
            .map(|l| format!("{}: {} waiting", text::clean_line(&l.limit), l.waiting))
            .collect();
        line("limits", limits.join(" · "));
    }
    if status.dead_letters > 0 {
        let number = text::count(status.dead_letters, "dead letter");
        line("lost", format!("{number}: `visor deadletter list`"));
    }
    match status.warnings.as_slice() {
        [] => line("signals", style.green("all well")),
        warnings => warnings.iter().for_each(|warning| {
            line("signals", style.yellow(&format!("! {}", text::clean_line(warning))));
        }),
    }
    if verbose {
        status.notes.iter().for_each(|note| line("note", text::clean_line(note)));
    }
    out
}

fn pool(pool: &PoolStatus) -> String {
    let workers = text::count(pool.ready, "worker");
    let not_ready = match pool.not_ready {
        0 => String::new(),
        some => format!(" ({some} not ready)"),
    };
    let free = pool.slots.saturating_sub(pool.in_flight);
    let room = match (free, pool.waiting) {
        (_, 0) if pool.slots == 0 => "no slots".to_owned(),
        (_, waiting) if pool.slots == 0 => format!("no slots, {waiting} waiting"),
        (0, 0) => "full".to_owned(),
        (0, waiting) => format!("full, {waiting} waiting"),
        (free, 0) => format!("{free} of {} free", pool.slots),
        (free, waiting) => format!("{free} of {} free, {waiting} waiting", pool.slots),
    };
    format!("{} {workers}{not_ready}, {room}", pool.pool)
}

#[cfg(test)]
mod tests {
    use visor_protocol::api::LimitStatus;
    use visor_protocol::ids::PoolName;

    use super::*;
    use crate::render::samples;

    #[test]
    fn status_says_what_waits_where_and_what_is_wrong() {
        let status = FleetStatus {
            version: "0.1.0".into(),
            transport: "NATS 2.12.3".into(),
            since: samples::start(),
            open_runs: 3,
            waiting: 41,
            oldest_waiting_ms: 2_100,
            in_flight: 118,
            pools: vec![PoolStatus {
                pool: PoolName::default_pool(),
                ready: 8,
                not_ready: 1,
                slots: 120,
                in_flight: 118,
                waiting: 41,
            }],
            limits: vec![LimitStatus { limit: "anthropic/team-a".into(), waiting: 12 }],
            settled_last_minute: 2_280,
            dead_letters: 1,
            warnings: vec!["worker w-1 has been silent for 3 s".into()],
            notes: vec!["Before 2.11 keys have no lifetime of their own.".into()],
        };
        let now = samples::start() + Duration::from_secs(3 * 86_400);
        let short = render(&status, now, false, Style::plain());
        let whole = render(&status, now, true, Style::plain());
        // What is always so must not stand among what is wrong now.
        assert_eq!(
            format!("{short}note      Before 2.11 keys have no lifetime of their own.\n"),
            whole
        );
        insta::assert_snapshot!(short);
    }
}
