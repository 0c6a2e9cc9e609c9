//! `/metrics`: what a coordinator counts and what its fleet looks like.
//!
//! Each thing has one name, that of existing boards and alerts where they ask for it. How long
//! checks ran has two: some boards ask for seconds and some for milliseconds. No label takes its
//! value from a job, a run or a check: series would multiply without bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use visor_protocol::api::FleetStatus;

use super::exposition::{self, Exposition, Kind};
use super::router::App;
use crate::gauges::{Gauges, Histogram};

/// Metrics in the Prometheus text format, version 0.0.4.
#[utoipa::path(
    get, path = "/metrics",
    operation_id = "get_metrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let status = app.service.status().await;
    let is_ready = app.service.trouble().await.is_none();
    let mut page = Exposition::default();
    counters(&mut page, app.service.gauges());
    page.single(
        "visor_channels",
        Kind::Gauge,
        "Channels that have a run, or had one a moment ago.",
        app.service.gauges().channels.load(Ordering::Relaxed) as f64,
    );
    checks(&mut page, app.service.gauges());
    fleet(&mut page, &status, is_ready);
    let streams = app.options.limits.streams - app.streams.available_permits();
    page.single(
        "visor_http_event_streams",
        Kind::Gauge,
        "Followers of runs that are connected.",
        streams as f64,
    );
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], page.finish())
}

fn counters(page: &mut Exposition, gauges: &Gauges) {
    let all: [(&str, &str, &AtomicU64); 8] = [
        ("visor_run_total", "Runs accepted.", &gauges.runs_accepted),
        ("visor_runs_finished_total", "Runs finished.", &gauges.runs_finished),
        ("visor_jobs_queued_total", "Jobs asked for.", &gauges.jobs_queued),
        ("visor_jobs_settled_total", "Jobs settled.", &gauges.jobs_settled),
        (
            "visor_attempts_requeued_total",
            "Attempts that came to nothing and were followed by another.",
            &gauges.attempts_requeued,
        ),
        (
            "visor_reports_stale_total",
            "Reports that came too late and changed nothing.",
            &gauges.reports_stale,
        ),
        (
            "visor_messages_rejected_total",
            "Messages that could not be read.",
            &gauges.messages_rejected,
        ),
        (
            "visor_notices_dropped_total",
            "Notices that nobody was told because telling could not keep up.",
            &gauges.notices_dropped,
        ),
    ];
    for (name, help, counter) in all {
        page.single(name, Kind::Counter, help, counter.load(Ordering::Relaxed) as f64);
    }
}

fn checks(page: &mut Exposition, gauges: &Gauges) {
    let durations = &gauges.check_duration;
    page.single(
        "visor_check_executions_total",
        Kind::Counter,
        "Checks that ran to an end.",
        durations.count() as f64,
    );
    let help = "How long checks ran.";
    histogram(page, "visor_check_duration_seconds", help, &[], durations, 1.0);
    histogram(page, "visor_check_duration_ms", help, &[], durations, 1e3);
    page.family("visor_check_issues_total", Kind::Counter, "Issues that checks found.");
    for (severity, count) in gauges.issues() {
        let labels = [("severity", severity.as_str())];
        page.sample("visor_check_issues_total", &labels, count as f64);
    }
    let help = "How long runs took, from acceptance to end.";
    histogram(page, "visor_run_duration_ms", help, &[], &gauges.run_duration, 1e3);
}

fn histogram(
    page: &mut Exposition,
    name: &str,
    help: &str,
    labels: &[(&str, &str)],
    histogram: &Histogram,
    unit: f64,
) {
    page.family(name, Kind::Histogram, help);
    let bucket = format!("{name}_bucket");
    let snapshot = histogram.snapshot();
    for (bound, count) in &snapshot.buckets {
        // Rounded: 0.005 s is 5 ms and not 5.000000000000001.
        let bound = (bound * unit * 1e6).round() / 1e6;
        let bound = bound.to_string();
        let labels = [labels, &[("le", bound.as_str())]].concat();
        page.sample(&bucket, &labels, *count as f64);
    }
    let labels_inf = [labels, &[("le", "+Inf")]].concat();
    page.sample(&bucket, &labels_inf, snapshot.count as f64);
    page.sample(&format!("{name}_sum"), labels, snapshot.sum_seconds * unit);
    page.sample(&format!("{name}_count"), labels, snapshot.count as f64);
}

fn fleet(page: &mut Exposition, status: &FleetStatus, is_ready: bool) {
    let singles = [
        ("visor_ready", "1 while runs can be accepted.", f64::from(u8::from(is_ready))),
        ("visor_open_runs", "Runs that are not finished.", status.open_runs.into()),
        ("visor_dead_letters", "Jobs given up on.", status.dead_letters.into()),
        (
            "visor_oldest_waiting_seconds",
            "How long the job that waits longest has waited.",
            status.oldest_waiting_ms as f64 / 1e3,
        ),
        (
            "visor_start_time_seconds",
            "When the coordinator started, in seconds since 1970.",
            status.since.as_micros() as f64 / 1e6,
        ),
    ];
    for (name, help, value) in singles {
        page.single(name, Kind::Gauge, help, value);
    }
    type OfPool = fn(&visor_protocol::api::PoolStatus) -> u32;
    let of_pools: [(&str, &str, OfPool); 5] = [
        ("visor_jobs_waiting", "Jobs that wait for a slot.", |pool| pool.waiting),
        ("visor_slots", "Slots of workers that take work.", |pool| pool.slots),
        ("visor_in_flight", "Attempts handed to workers and not settled.", |pool| pool.in_flight),
        ("visor_workers_ready", "Workers that take work.", |pool| pool.ready),
        ("visor_workers_not_ready", "Workers that take no work.", |pool| pool.not_ready),
    ];
    for (name, help, of_pool) in of_pools {
        page.family(name, Kind::Gauge, help);
        for pool in &status.pools {
            page.sample(name, &[("pool", pool.pool.as_str())], of_pool(pool).into());
        }
    }
    page.family("visor_limit_waiting", Kind::Gauge, "Jobs that wait for a token of a limit.");
    for limit in &status.limits {
        page.sample("visor_limit_waiting", &[("limit", &limit.limit)], limit.waiting.into());
    }
    page.family("visor_build_info", Kind::Gauge, "The build that runs; always 1.");
    let labels = [("version", status.version.as_str()), ("transport", status.transport.as_str())];
    page.sample("visor_build_info", &labels, 1.0);
}
