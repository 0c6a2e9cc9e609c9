//! `fleet.yaml`: what the operator of a fleet decides. Every key is optional.

use std::num::NonZeroU32;
use std::time::Duration;

use visor_engine::Diagnostics;
use visor_protocol::ids::{ChannelId, PoolName};

/// The tokens that a waiting job holds are a set of 64 bits.
pub(crate) const MAX_LIMITS: usize = 64;

/// What a limit counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Each provider has tokens of its own.
    Provider,
    /// Each credential has tokens of its own.
    Credential,
    /// Each channel has tokens of its own.
    Channel,
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
    /// Reads the text of a `fleet.yaml`. What in it is probably not as meant comes with it.
    ///
    /// # Errors
    /// All mistakes of the file at once.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Diagnostics), Diagnostics> {
        super::file::read(name, text)
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
        let config = FleetConfig::parse("fleet.yaml", text).unwrap().0;
        assert_eq!(config.limits[0].every, Duration::from_millis(500));
        assert_eq!(config.limits[0].burst.get(), 5);
        let channel = ChannelId::new("acme/api").unwrap();
        assert_eq!(config.weight(&channel).get(), 3);
        assert_eq!(config.pool(&channel).as_str(), "big");
        assert_eq!(config.weight(&ChannelId::local()).get(), 1);
        assert_eq!(config.lost_worker_attempts, 2);
    }

    #[test]
    fn more_limits_than_can_be_kept_apart_are_refused() {
        let one = |n| format!("  l{n}: {{ requests: 1 }}\n");
        let text = |count| format!("limits:\n{}", (0..count).map(one).collect::<String>());
        assert_eq!(FleetConfig::parse("fleet.yaml", &text(64)).unwrap().0.limits.len(), 64);
        let error = FleetConfig::parse("fleet.yaml", &text(65)).unwrap_err();
        assert!(error.to_string().contains("65 limits"), "{error}");
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(
            FleetConfig::parse("fleet.yaml", "").unwrap().0.default_pool.as_str(),
            "default"
        );
    }
}
