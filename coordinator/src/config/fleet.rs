//! `fleet.yaml`: what the operator of a fleet decides. Every key is optional.

use std::num::NonZeroU32;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use visor_protocol::ids::{ChannelId, PoolName};

/// The file as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FleetFile {
    limits: IndexMap<String, LimitFile>,
    channels: IndexMap<String, ChannelFile>,
    default_pool: Option<PoolName>,
    retry: RetryFile,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFile {
    requests: NonZeroU32,
    #[serde(default)]
    per: Per,
    burst: Option<NonZeroU32>,
    provider: Option<String>,
    credential: Option<String>,
    channel: Option<String>,
    #[serde(default)]
    each: Vec<Key>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Per {
    Second,
    #[default]
    Minute,
    Hour,
}

/// The tokens that a waiting job holds are a set of 64 bits.
pub(crate) const MAX_LIMITS: usize = 64;

/// What a limit counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Each provider has tokens of its own.
    Provider,
    /// Each credential has tokens of its own.
    Credential,
    /// Each channel has tokens of its own.
    Channel,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelFile {
    #[serde(default = "one")]
    weight: NonZeroU32,
    pool: Option<PoolName>,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryFile {
    lost_worker: Option<NonZeroU32>,
    infrastructure: Option<NonZeroU32>,
}

/// `fleet.yaml`, checked.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Token buckets, in the order of the file. A job needs a token of each that applies to it.
    pub limits: Vec<LimitRule>,
    /// Shares and pools by channel pattern; the first that matches counts.
    pub channels: Vec<ChannelPolicy>,
    /// The pool of runs that name none.
    pub default_pool: PoolName,
    /// Attempts of a job that may be lost with their workers before it is given up as the cause.
    pub lost_worker_attempts: u32,
    /// Attempts that may fail for reasons outside the check.
    pub infrastructure_attempts: u32,
}

/// A token bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRule {
    /// Its name.
    pub name: String,
    /// Jobs of this provider only.
    pub provider: Option<String>,
    /// Jobs using this credential only.
    pub credential: Option<String>,
    /// Jobs of channels matching this pattern only.
    pub channel: Option<String>,
    /// What is counted apart.
    pub each: Vec<Key>,
    /// The time in which one token comes back.
    pub every: Duration,
    /// Tokens that may be taken at once after a quiet time.
    pub burst: NonZeroU32,
}

/// What channels matching a pattern get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPolicy {
    /// A name, or a beginning with `*` at its end.
    pub pattern: String,
    /// Share of the slots against channels of weight 1.
    pub weight: NonZeroU32,
    /// The pool its runs use when they name none.
    pub pool: Option<PoolName>,
}

/// `fleet.yaml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub struct FleetConfigError {
    /// The file.
    pub name: String,
    /// What is wrong, with line and column where known.
    pub why: String,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            channels: Vec::new(),
            default_pool: PoolName::default_pool(),
            lost_worker_attempts: 3,
            infrastructure_attempts: 5,
        }
    }
}

impl FleetConfig {
    /// Reads the text of a `fleet.yaml`.
    ///
    /// # Errors
    /// When it is no valid YAML, has unknown keys or values out of range.
    pub fn parse(name: &str, text: &str) -> Result<Self, FleetConfigError> {
        let failed = |why: String| FleetConfigError { name: name.to_owned(), why };
        let file: FleetFile = if text.trim().is_empty() {
            FleetFile::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| failed(error.to_string()))?
        };
        if file.limits.len() > MAX_LIMITS {
            let count = file.limits.len();
            return Err(failed(format!("{count} limits; at most {MAX_LIMITS} are kept apart")));
        }
        let mut limits = Vec::new();
        for (name, limit) in file.limits {
            let period = match limit.per {
                Per::Second => Duration::from_secs(1),
                Per::Minute => Duration::from_secs(60),
                Per::Hour => Duration::from_secs(3_600),
            };
            let every = period / limit.requests.get();
            if every.is_zero() {
                return Err(failed(format!("limit `{name}`: more than one request a nanosecond")));
            }
            limits.push(LimitRule {
                name,
                provider: limit.provider,
                credential: limit.credential,
                channel: limit.channel,
                each: limit.each,
                every,
                burst: limit.burst.unwrap_or(NonZeroU32::MIN),
            });
        }
        let channels = file
            .channels
            .into_iter()
            .map(|(pattern, channel)| ChannelPolicy {
                pattern,
                weight: channel.weight,
                pool: channel.pool,
            })
            .collect();
        let usual = Self::default();
        Ok(Self {
            limits,
            channels,
            default_pool: file.default_pool.unwrap_or(usual.default_pool),
            lost_worker_attempts: file
                .retry
                .lost_worker
                .map_or(usual.lost_worker_attempts, NonZeroU32::get),
            infrastructure_attempts: file
                .retry
                .infrastructure
                .map_or(usual.infrastructure_attempts, NonZeroU32::get),
        })
    }

    /// The share of a channel against channels of weight 1.
    pub fn weight(&self, channel: &ChannelId) -> NonZeroU32 {
        self.policy(channel).map_or(NonZeroU32::MIN, |policy| policy.weight)
    }

    /// The pool a channel's runs use when they name none.
    pub fn pool(&self, channel: &ChannelId) -> &PoolName {
        self.policy(channel).and_then(|policy| policy.pool.as_ref()).unwrap_or(&self.default_pool)
    }

    fn policy(&self, channel: &ChannelId) -> Option<&ChannelPolicy> {
        self.channels.iter().find(|policy| matches_pattern(&policy.pattern, channel.as_str()))
    }
}

/// A pattern is a name, or a beginning with `*` at its end.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_read() {
        let text = "
limits:
  commands:
    requests: 120
    per: minute
    burst: 5
    provider: command
    each: [channel]
channels:
  acme/*: { weight: 3, pool: big }
retry: { lost_worker: 2 }
";
        let config = FleetConfig::parse("fleet.yaml", text).unwrap();
        assert_eq!(config.limits[0].every, Duration::from_millis(500));
        assert_eq!(config.limits[0].burst.get(), 5);
        let channel = ChannelId::new("acme/api").unwrap();
        assert_eq!(config.weight(&channel).get(), 3);
        assert_eq!(config.pool(&channel).as_str(), "big");
        assert_eq!(config.weight(&ChannelId::local()).get(), 1);
        assert_eq!(config.lost_worker_attempts, 2);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = FleetConfig::parse("fleet.yaml", "limts: {}").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("limts") && text.contains("fleet.yaml"), "{text}");
    }

    #[test]
    fn more_limits_than_can_be_kept_apart_are_refused() {
        let one = |n| format!("  l{n}: {{ requests: 1 }}\n");
        let text = |count| format!("limits:\n{}", (0..count).map(one).collect::<String>());
        assert_eq!(FleetConfig::parse("fleet.yaml", &text(64)).unwrap().limits.len(), 64);
        let error = FleetConfig::parse("fleet.yaml", &text(65)).unwrap_err();
        assert!(error.to_string().contains("65 limits"), "{error}");
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(FleetConfig::parse("fleet.yaml", "").unwrap().default_pool.as_str(), "default");
    }
}
