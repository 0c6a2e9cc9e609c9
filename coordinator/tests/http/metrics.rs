//! `/metrics`, line by line.

use std::collections::{BTreeMap, BTreeSet};

use visor_protocol::api::ApiError;
use visor_testkit::FakeWorkerOptions;
use visor_testkit::build::noop_config;

use crate::site::{Door, Site, options};
use crate::stub::Stub;

/// Name with labels, to value.
type Samples = BTreeMap<String, f64>;

/// Reads a page as a scraper does, and is as strict.
fn parse(page: &str) -> Samples {
    let mut samples = Samples::new();
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeMap::new());
    let mut current = String::new();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()), "twice: {line}");
            assert!(!help.is_empty(), "{line}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            typed.insert(name.to_owned(), kind.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let family = match typed[&current].as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or_else(|| panic!("{line}")),
                kind => {
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                    name
                }
            };
            assert_eq!(family, current, "{line}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

async fn scrape(door: &Door) -> Samples {
    let response = door.get("/metrics").send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    parse(&response.text().await.unwrap())
}

#[tokio::test]
async fn a_finished_run_shows_in_what_is_counted() {
    let site = Site::open().await;
    let _worker = site.worker(FakeWorkerOptions::new("one", 4)).await;
    let run = site.submit(&noop_config(3)).await;
    site.finished(&run).await;
    let samples = visor_testkit::eventually_some("the run is counted", async || {
        let samples = scrape(&site).await;
        (samples["visor_runs_finished_total"] == 1.0).then_some(samples)
    })
    .await;
    for (series, value) in [
        ("visor_run_total", 1.0),
        ("visor_jobs_queued_total", 3.0),
        ("visor_jobs_settled_total", 3.0),
        ("visor_check_executions_total", 3.0),
        ("visor_check_duration_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("visor_check_duration_seconds_count", 3.0),
        ("visor_check_duration_ms_bucket{le=\"3600000\"}", 3.0),
        ("visor_channels", 1.0),
        ("visor_run_duration_ms_count", 1.0),
        ("visor_check_issues_total{severity=\"critical\"}", 0.0),
        ("visor_reports_stale_total", 0.0),
        ("visor_ready", 1.0),
        ("visor_slots{pool=\"default\"}", 4.0),
        ("visor_workers_ready{pool=\"default\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("visor_build_info{{version=\"{version}\",transport=\"memory\"}}");
    assert_eq!(samples[&build], 1.0);
}

#[tokio::test]
async fn what_the_fleet_looks_like_is_shown_by_pool_and_limit() {
    let door = Door::open(options(None), Stub::refusing(ApiError::new("x", "x"))).await;
    let samples = scrape(&door).await;
    for (series, value) in [
        ("visor_open_runs", 2.0),
        ("visor_dead_letters", 5.0),
        ("visor_oldest_waiting_seconds", 1.5),
        ("visor_start_time_seconds", 1.0),
        ("visor_jobs_waiting{pool=\"default\"}", 3.0),
        ("visor_slots{pool=\"default\"}", 8.0),
        ("visor_in_flight{pool=\"default\"}", 4.0),
        ("visor_workers_ready{pool=\"default\"}", 1.0),
        ("visor_workers_not_ready{pool=\"default\"}", 2.0),
        (r#"visor_limit_waiting{limit="quote\" and \\ slash"}"#, 7.0),
        ("visor_notices_dropped_total", 0.0),
        ("visor_messages_rejected_total", 0.0),
        ("visor_attempts_requeued_total", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}
