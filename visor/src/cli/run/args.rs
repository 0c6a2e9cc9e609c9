//! The flags of `visor run`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use visor_protocol::api::{Priority, Selection};
use visor_protocol::ids::{ChannelId, PoolName};

use crate::cli::file;
use crate::render::progress::screen::Volume;
use crate::render::text;

/// Arguments of `visor run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration; `-` reads standard input [default: visor.yaml or .visor.yaml of the repository or this directory]
    #[arg(long, value_name = "FILE", env = "VISOR_CONFIG_PATH")]
    pub(super) config: Option<PathBuf>,
    /// Only this check and what it depends on; can be given several times; `all` is the same as none: all checks without tags, with --tags also those with one of them
    #[arg(long = "check", short = 'c', value_name = "NAME")]
    pub(super) checks: Vec<String>,
    /// Also checks with one of these tags (those without tags run anyway)
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    pub(super) tags: Vec<String>,
    /// No checks with one of these tags
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    pub(super) exclude_tags: Vec<String>,
    /// What to print
    #[arg(
        long,
        short,
        value_name = "FORMAT",
        env = "VISOR_OUTPUT_FORMAT",
        default_value = "table"
    )]
    pub(super) output: Output,
    /// Write the result there instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(super) output_file: Option<PathBuf>,
    /// Checks under way at once [default: the file's, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) max_parallelism: Option<u32>,
    /// Stop at the first failure
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Only checks that run on this event, for example pr_updated
    #[arg(long, value_name = "EVENT")]
    pub(super) event: Option<String>,
    /// Stop the run after this time: milliseconds, or a number with ms, s, m or h
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub(super) timeout: Option<u64>,
    /// Show only what failed and the summary; no progress, no warnings
    #[arg(long, short, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Show every check with its output as it comes
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Show what Visor itself is doing
    #[arg(long)]
    pub(super) debug: bool,
    /// Run on this fleet: nats://HOST:PORT or http://HOST:PORT
    #[arg(long, value_name = "URL", env = "VISOR_FLEET")]
    pub(super) fleet: Option<String>,
    /// The token for the fleet's HTTP API
    #[arg(long, value_name = "TOKEN", env = "VISOR_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Keep the run's journal there (runs on this machine)
    #[arg(long, value_name = "DIR", env = "VISOR_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The channel the run belongs to, for example acme/api
    #[arg(long, value_name = "CHANNEL", env = "VISOR_CHANNEL")]
    pub(super) channel: Option<ChannelId>,
    /// The pool of workers its checks run in (runs on a fleet)
    #[arg(long, value_name = "POOL", env = "VISOR_POOL")]
    pub(super) pool: Option<PoolName>,
    /// Whom the run goes before
    #[arg(long, value_name = "PRIORITY", default_value = "normal")]
    pub(super) priority: PriorityArg,
}

/// What is printed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// Results by group, as existing tools read them: of the checks that ran
    Json,
    /// The whole run as JSON: how it ended, and every check with its state and why
    Report,
    /// A document for comments and job summaries
    Markdown,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PriorityArg {
    High,
    Normal,
    Low,
}

impl PriorityArg {
    /// As it is written where it is not the usual one.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::High => Some("high"),
            Self::Normal => None,
            Self::Low => Some("low"),
        }
    }
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::High => Self::High,
            PriorityArg::Normal => Self::Normal,
            PriorityArg::Low => Self::Low,
        }
    }
}

/// `1500`, `1500ms`, `30s`, `5m`, `1h`.
fn milliseconds(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        unit => return Err(format!("`{unit}` is not ms, s, m or h")),
    };
    let number: u64 = number.parse().map_err(|_| "a number, for example 30s".to_owned())?;
    match number.checked_mul(factor) {
        Some(0) => Err("no time at all".to_owned()),
        Some(millis) => Ok(millis),
        None => Err("that is more time than there is".to_owned()),
    }
}

impl RunArgs {
    /// Which checks, and how.
    pub(in crate::cli) fn selection(&self) -> Selection {
        let clean = |tags: &[String]| -> Vec<String> {
            tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
        };
        Selection {
            checks: self.checks.clone(),
            tags: clean(&self.tags),
            exclude_tags: clean(&self.exclude_tags),
            // The original's way to say that events do not matter.
            event: self.event.clone().filter(|event| event != "all"),
            max_parallelism: self.max_parallelism,
            fail_fast: self.fail_fast.then_some(true),
        }
    }

    /// How much is said.
    pub(super) fn volume(&self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (false, true) => Volume::Verbose,
            (false, false) => Volume::Normal,
        }
    }

    /// This command without its choice of checks: everything that makes the run what it is, and
    /// nothing of how it was shown. The token is a secret, and the journal is of that run.
    pub(super) fn again(&self) -> String {
        let mut out = "visor run".to_owned();
        if let Some(path) = &self.config {
            let _ = write!(out, " --config {}", file::name_again(&path.display().to_string()));
        }
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, " {name} {}", text::shell_word(&value));
            }
        };
        let list = |tags: &[String]| (!tags.is_empty()).then(|| tags.join(","));
        flag("--tags", list(&self.tags));
        flag("--exclude-tags", list(&self.exclude_tags));
        flag("--event", self.event.clone());
        flag("--max-parallelism", self.max_parallelism.map(|number| number.to_string()));
        flag("--timeout", self.timeout.map(|millis| millis.to_string()));
        flag("--fleet", self.fleet.clone());
        flag("--channel", self.channel.as_ref().map(ToString::to_string));
        flag("--pool", self.pool.as_ref().map(ToString::to_string));
        flag("--priority", self.priority.word().map(str::to_owned));
        if self.fail_fast {
            out.push_str(" --fail-fast");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn the_line_that_runs_a_check_again_has_every_flag_of_the_run() {
        let flags = "--config a.yaml --tags x,y --exclude-tags z --event manual \
                     --max-parallelism 3 --timeout 5000 --fleet nats://h:4222 --channel acme/api \
                     --pool gpu --priority high --fail-fast";
        let shown = "-q --output json --token secret --data-dir d --check a";
        let line = Line::parse_from(format!("visor {flags} {shown}").split_whitespace());
        assert_eq!(line.run.again(), format!("visor run {flags}"));
        let again = Line::parse_from(format!("visor {flags}").split_whitespace()).run;
        assert_eq!(again.again(), line.run.again());
        assert_eq!(Line::parse_from(["visor"]).run.again(), "visor run");
    }

    #[test]
    fn a_time_may_have_a_unit() {
        assert_eq!(milliseconds("1500"), Ok(1_500));
        assert_eq!(milliseconds("30s"), Ok(30_000));
        assert_eq!(milliseconds("5 m"), Ok(300_000));
        for wrong in ["", "s", "0", "1d", "99999999999999999999", "-1", "1.5s"] {
            assert!(milliseconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
