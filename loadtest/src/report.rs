//! What a load came to: one JSON object, or a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drive::Driven;
use crate::ledger::Account;
use crate::measure::Summary;
use crate::usage::{Crowd, Sample};

/// The generator may be this late at the 99th percentile; beyond it, what it measures is itself.
pub const LARGEST_SEND_LAG: Duration = Duration::from_millis(1);

/// Everything about one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which scenario.
    pub scenario: String,
    /// What it was put on.
    pub target: String,
    /// How runs arrived, in words.
    pub arrivals: String,
    /// The seed of the timetable.
    pub seed: u64,
    /// The run means something: the generator kept its timetable.
    pub valid: bool,
    /// Why it does not.
    pub void_because: Vec<String>,
    /// Submitted = settled + failed, nothing twice.
    pub adds_up: bool,
    /// Runs sent a second.
    pub sent_per_second: f64,
    /// Checks settled a second, from the first to the last.
    pub settled_per_second: f64,
    /// Checks settled in the middle one of all full seconds.
    pub median_second: u64,
    /// Part of the runs that failed or were refused, 0 to 1.
    pub error_rate: f64,
    /// Runs whose end had to be asked for.
    pub asked: u64,
    /// How far the coordinator's clock is ahead of ours, in milliseconds.
    pub clock_offset_ms: f64,
    /// The account with its latencies.
    pub account: Account,
    /// What went wrong, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What each process used.
    pub processes: BTreeMap<String, Sample>,
    /// What the processes of single runs used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_processes: Option<Crowd>,
}

/// What is known of a load beside what was driven.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of the report")]
pub struct About {
    pub scenario: String,
    pub target: String,
    pub arrivals: String,
    pub seed: u64,
    pub is_open: bool,
    pub clock_offset_ms: f64,
    pub processes: BTreeMap<String, Sample>,
    pub run_processes: Option<Crowd>,
}

impl Report {
    /// Puts it together.
    pub fn new(about: About, driven: Driven) -> Self {
        let account = driven.account;
        let counts = account.counts;
        let mut void_because = Vec::new();
        let lag = Duration::from_secs_f64(account.send_lag.p99_ms / 1_000.0);
        if about.is_open && lag > LARGEST_SEND_LAG {
            void_because.push(format!(
                "the generator was late: send lag p99 {:.1} ms, at most {} ms is allowed",
                account.send_lag.p99_ms,
                LARGEST_SEND_LAG.as_millis()
            ));
        }
        if about.clock_offset_ms.abs() > 5.0 {
            void_because.push(format!(
                "the coordinator's clock differs by {:.1} ms, which its moments carry",
                about.clock_offset_ms
            ));
        }
        Self {
            scenario: about.scenario,
            target: about.target,
            arrivals: about.arrivals,
            seed: about.seed,
            valid: void_because.is_empty(),
            void_because,
            adds_up: account.adds_up,
            sent_per_second: per_second(counts.submitted, driven.sending),
            settled_per_second: per_second(counts.checks_settled, account.settling),
            median_second: median_of_full(&driven.per_second),
            error_rate: counts.failed as f64 / (counts.submitted.max(1)) as f64,
            asked: driven.asked,
            clock_offset_ms: about.clock_offset_ms,
            account,
            faults: driven.faults,
            processes: about.processes,
            run_processes: about.run_processes,
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes all text");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let counts = &self.account.counts;
        writeln!(out, "{} on {}", self.scenario, self.target)?;
        writeln!(out, "{}, seed {}", self.arrivals, self.seed)?;
        writeln!(out)?;
        writeln!(
            out,
            "  sent        {} runs in {:.1} s, {:.0}/s",
            counts.submitted,
            counts.submitted as f64 / self.sent_per_second.max(f64::MIN_POSITIVE),
            self.sent_per_second
        )?;
        writeln!(
            out,
            "  settled     {} checks, {:.0}/s ({}/s in the middle second)",
            counts.checks_settled, self.settled_per_second, self.median_second
        )?;
        writeln!(
            out,
            "  ledger      {} submitted = {} settled + {} failed, {} missing, {} duplicates: {}",
            counts.submitted,
            counts.settled,
            counts.failed,
            counts.missing + counts.checks_missing,
            counts.duplicates,
            if self.adds_up { "adds up" } else { "DOES NOT ADD UP" }
        )?;
        writeln!(out, "  errors      {:.2} %", self.error_rate * 100.0)?;
        writeln!(out)?;
        writeln!(
            out,
            "  {:<19}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "ms", "p50", "p95", "p99", "max", "count"
        )?;
        let account = &self.account;
        for (name, summary) in [
            ("submit to start", &account.submit_to_start),
            ("finish to settled", &account.finish_to_settled),
            ("end to end", &account.end_to_end),
            ("own send lag", &account.send_lag),
        ] {
            line(out, name, summary)?;
        }
        if !self.processes.is_empty() || self.run_processes.is_some() {
            writeln!(out)?;
            writeln!(out, "  {:<19}{:>10}{:>10}", "process", "peak MB", "CPU s")?;
        }
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        for (name, sample) in &self.processes {
            let (peak, cpu) = (megabytes(sample.peak_bytes), sample.cpu_micros as f64 / 1e6);
            writeln!(out, "  {name:<19}{peak:>10.1}{cpu:>10.2}")?;
        }
        if let Some(crowd) = &self.run_processes {
            let name = format!("{} × visor run", crowd.ended);
            let (peak, cpu) = (megabytes(crowd.largest_bytes), crowd.cpu_micros as f64 / 1e6);
            writeln!(
                out,
                "  {name:<19}{peak:>10.1}{cpu:>10.2}   (largest; together {:.1} MB)",
                megabytes(crowd.together_bytes)
            )?;
        }
        for (kind, count) in &self.faults {
            writeln!(out, "  fault       {kind}: {count}")?;
        }
        for why in &self.void_because {
            writeln!(out, "  VOID        {why}")?;
        }
        Ok(())
    }
}

fn line(out: &mut String, name: &str, summary: &Summary) -> std::fmt::Result {
    if summary.count == 0 {
        return writeln!(out, "  {name:<19}{:>10}", "unseen");
    }
    let Summary { count, p50_ms, p95_ms, p99_ms, max_ms, .. } = summary;
    writeln!(out, "  {name:<19}{p50_ms:>10.2}{p95_ms:>10.2}{p99_ms:>10.2}{max_ms:>10.2}{count:>10}")
}

fn per_second(count: u64, span: Duration) -> f64 {
    // One thing, or all at one moment, has no rate.
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}

/// The median of all seconds but the first and the last, which are not full.
fn median_of_full(per_second: &[u64]) -> u64 {
    let full = match per_second {
        [_, full @ .., _] if !full.is_empty() => full,
        all => all,
    };
    let mut sorted = full.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Fact, Ledger};

    fn driven(lag: Duration) -> Driven {
        let mut ledger = Ledger::new(1);
        for run in 0..100 {
            let at = u64::from(run) * 1_000;
            ledger.take(Fact::Intended { run, at });
            ledger.take(Fact::Sent { lag });
            ledger.take(Fact::Settled { run, check: 0, passed: true, ran: None, at: at + 10 });
            ledger.take(Fact::Finished { run, passed: true, at: at + 20 });
        }
        Driven {
            account: ledger.close(),
            per_second: vec![1, 30, 40, 50, 2],
            asked: 0,
            sending: Duration::from_millis(100),
            faults: BTreeMap::new(),
        }
    }

    fn open() -> About {
        About { scenario: "s".into(), is_open: true, ..About::default() }
    }

    #[test]
    fn a_load_whose_generator_was_late_is_void() {
        let on_time = Report::new(open(), driven(Duration::from_micros(200)));
        assert!(on_time.valid && on_time.adds_up, "{}", on_time.table());
        let late = Report::new(open(), driven(Duration::from_millis(7)));
        assert!(!late.valid);
        assert!(late.table().contains("VOID"), "{}", late.table());
        // Without a timetable there is nothing to be late for.
        let closed = About { is_open: false, ..open() };
        assert!(Report::new(closed, driven(Duration::from_millis(7))).valid);
    }

    #[test]
    fn rates_come_from_what_settled_and_the_middle_second() {
        let report = Report::new(open(), driven(Duration::ZERO));
        assert!((report.settled_per_second - 100.0 / 0.099).abs() < 1.0);
        assert_eq!(report.median_second, 40);
        assert!((report.sent_per_second - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn the_report_survives_json() {
        let report = Report::new(open(), driven(Duration::ZERO));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
