//! Scenarios: what is submitted, and how it arrives. Files in `scenarios/`; those that come with
//! the program are compiled in, so that their names work from anywhere.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use visor_protocol::api::{ConfigSource, MAX_CONFIG_BYTES, Selection};

use crate::arrivals::{Shape, Until};

const BUILT_IN: [(&str, &str); 5] = [
    ("noop-many-runs", include_str!("../scenarios/noop-many-runs.yaml")),
    ("noop-few-runs-of-many", include_str!("../scenarios/noop-few-runs-of-many.yaml")),
    ("fast-and-slow", include_str!("../scenarios/fast-and-slow.yaml")),
    ("echo-steady", include_str!("../scenarios/echo-steady.yaml")),
    ("bursts", include_str!("../scenarios/bursts.yaml")),
];

/// A scenario as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// The checks of each run.
    pub checks: Checks,
    /// Only checks with one of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Checks of one run that may be under way at once.
    #[serde(default)]
    pub max_parallelism: Option<u32>,
    /// How runs arrive.
    pub arrivals: Shape,
    /// Runs to send.
    #[serde(default)]
    pub runs: Option<u64>,
    /// Seconds to send them in.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Runs to keep in flight instead of arrivals, to find the highest rate.
    #[serde(default)]
    pub in_flight: Option<u32>,
}

/// The checks of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Checks {
    /// One check, this many times.
    Copies {
        /// How many.
        count: u32,
        /// The check's own lines, as a configuration writes them.
        of: String,
    },
    /// A whole configuration.
    Config {
        /// Its text.
        text: String,
        /// How many of its checks are selected.
        selected: u32,
    },
}

impl Checks {
    /// How many checks a run has.
    pub fn len(&self) -> u32 {
        match self {
            Self::Copies { count, .. } => *count,
            Self::Config { selected, .. } => *selected,
        }
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Scenario {
    /// The scenario of a name that comes with the program, or of a file.
    ///
    /// # Errors
    /// When there is neither, or the file is no scenario.
    pub fn load(name: &str) -> Result<Self> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None if Path::new(name).is_file() => {
                fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?
            }
            None => {
                let known: Vec<&str> = Self::built_in().collect();
                bail!("no scenario and no file is called `{name}`; there are {}", known.join(", "));
            }
        };
        let scenario: Self = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{name} is no scenario: {error}"))?;
        scenario.validate().with_context(|| format!("{name} is no scenario"))?;
        Ok(scenario)
    }

    /// Names of the scenarios that come with the program.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    fn validate(&self) -> Result<()> {
        if self.checks.is_empty() {
            bail!("a run has at least one check");
        }
        if self.runs.is_none() && self.seconds.is_none() {
            bail!("it needs `runs`, `seconds`, or both");
        }
        if self.seconds.is_some_and(|seconds| !(0.0..=1e6).contains(&seconds)) {
            bail!("`seconds` is no sensible duration");
        }
        if self.in_flight == Some(0) {
            bail!("`in_flight` is at least 1");
        }
        let text = self.config().text;
        if text.len() > MAX_CONFIG_BYTES {
            bail!("its configuration has {} bytes; {MAX_CONFIG_BYTES} are allowed", text.len());
        }
        Ok(())
    }

    /// The configuration of each run.
    pub fn config(&self) -> ConfigSource {
        let text = match &self.checks {
            Checks::Config { text, .. } => text.clone(),
            Checks::Copies { count, of } => {
                let mut text = String::from("version: \"1.0\"\nchecks:\n");
                for number in 0..*count {
                    writeln!(text, "  c{number}: {{ {of} }}").expect("a String takes all text");
                }
                text
            }
        };
        ConfigSource { name: format!("{}.yaml", self.name), text }
    }

    /// Which of its checks are meant.
    pub fn selection(&self) -> Selection {
        Selection {
            tags: self.tags.clone(),
            max_parallelism: self.max_parallelism,
            ..Selection::default()
        }
    }

    /// When arrivals end.
    pub fn until(&self) -> Until {
        Until { count: self.runs, duration: self.seconds.map(Duration::from_secs_f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_that_comes_along_loads_under_its_own_name() {
        for name in Scenario::built_in() {
            assert_eq!(Scenario::load(name).unwrap().name, name);
        }
    }

    #[test]
    fn every_scenario_file_comes_along() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(Scenario::built_in().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn copies_are_spelled_out_and_stay_under_the_limit() {
        let scenario = Scenario::load("noop-few-runs-of-many").unwrap();
        let config = scenario.config().text;
        assert!(config.contains("  c0: { type: noop }\n"), "{}", &config[..80]);
        assert_eq!(config.lines().count() as u32, scenario.checks.len() + 2);
    }

    #[test]
    fn what_is_wrong_with_a_scenario_is_said() {
        let unknown = Scenario::load("no-such").unwrap_err().to_string();
        assert!(unknown.contains("noop-many-runs"), "{unknown}");
        let mut scenario = Scenario::load("noop-many-runs").unwrap();
        scenario.runs = None;
        scenario.seconds = None;
        assert!(scenario.validate().unwrap_err().to_string().contains("`runs`"));
    }
}
