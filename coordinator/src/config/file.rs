//! Reading a `fleet.yaml`: every mistake at once, with its place, as for a `.visor.yaml`.

use std::num::NonZeroU32;
use std::time::Duration;

use visor_engine::config::{
    Also, Key as Entry, Node, OTHER_TYPES, Reader, TYPES, Value, read_other,
};
use visor_engine::diagnostic::{Diagnostic, Diagnostics, Source};
use visor_protocol::ids::PoolName;

use super::fleet::{ChannelPolicy, FleetConfig, Key, LimitRule, MAX_LIMITS};

const TOP: [&str; 4] = ["limits", "channels", "default_pool", "retry"];
const LIMIT: [&str; 7] = ["requests", "per", "burst", "provider", "credential", "channel", "each"];
const CHANNEL: [&str; 2] = ["weight", "pool"];
const RETRY: [&str; 2] = ["lost_worker", "infrastructure"];

/// Reads the text of a file.
pub(super) fn read(name: &str, text: &str) -> Result<(FleetConfig, Diagnostics), Diagnostics> {
    let text = text.trim_start_matches('\u{feff}').to_owned();
    read_other(Source { name: name.to_owned(), text }, |reader, tree| {
        let mut config = FleetConfig::default();
        match tree.value {
            Value::Map(_) => top(reader, tree, &mut config),
            Value::Null => {}
            _ => reader.push(
                Diagnostic::error(
                    "visor::config::not_a_mapping",
                    format!("a `fleet.yaml` is a mapping with any of {}", listed(&TOP)),
                )
                .label(tree.span(), format!("this is {}", tree.kind())),
            ),
        }
        config
    })
}

fn top(reader: &mut Reader<'_>, tree: &Node, config: &mut FleetConfig) {
    for (key, node) in reader.entries(tree, "") {
        match key.name {
            "default_pool" => {
                if let Some(name) = pool(reader, &key, node) {
                    config.default_pool = name;
                }
            }
            "limits" => config.limits = limits(reader, &key, node),
            "channels" => config.channels = channels(reader, &key, node),
            "retry" => retry(reader, &key, node, config),
            _ => unknown(reader, &key, &TOP, "`fleet.yaml`"),
        }
    }
}

fn limits(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Vec<LimitRule> {
    let mut limits = Vec::new();
    if matches!(node.value, Value::Null)
        || !reader.is_map(key, node, "a mapping of names to limits")
    {
        return limits;
    }
    let entries = reader.entries(node, "");
    if entries.len() > MAX_LIMITS {
        let message = format!("{} limits; at most {MAX_LIMITS} are kept apart", entries.len());
        reader.invalid(key, node, message, "too many");
    }
    for (key, node) in entries {
        limits.extend(limit(reader, &key, node));
    }
    limits
}

fn limit(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Option<LimitRule> {
    if !reader.is_map(key, node, "a mapping with `requests` and what it narrows") {
        return None;
    }
    let owner = format!("limit `{}`", key.name);
    let mut rule = LimitRule {
        name: key.name.to_owned(),
        provider: None,
        credential: None,
        channel: None,
        each: Vec::new(),
        every: Duration::ZERO,
        burst: NonZeroU32::MIN,
    };
    let (mut requests, mut is_given, mut period) = (None, false, Duration::from_secs(60));
    for (key, node) in reader.entries(node, &owner) {
        match key.name {
            "requests" => {
                is_given = true;
                requests = number(reader, &key, node);
            }
            "per" => {
                let words = [("second", 1), ("minute", 60), ("hour", 3_600)];
                if let Some(seconds) = reader.word(&key, node, &words) {
                    period = Duration::from_secs(seconds);
                }
            }
            "burst" => rule.burst = number(reader, &key, node).unwrap_or(rule.burst),
            "provider" => rule.provider = provider(reader, &key, node),
            "credential" => {
                rule.credential = reader.some_text(&key, node);
                no_credentials(reader, &key, "the limit never applies");
            }
            "channel" => rule.channel = reader.some_text(&key, node),
            "each" => rule.each = each(reader, &key, node),
            _ => unknown(reader, &key, &LIMIT, "a limit"),
        }
        if key.name == "channel"
            && let Some(pattern) = &rule.channel
        {
            check_pattern(reader, &key, key.place_of(node), pattern);
        }
    }
    if !is_given {
        reader.push(
            Diagnostic::error(
                "visor::config::missing_key",
                format!("{owner} does not say how many `requests` it lets through"),
            )
            .label(key.span.clone(), "no `requests`")
            .help("add `requests: 60`, and `per:` unless a minute is meant"),
        );
    }
    rule.every = period / requests?.get();
    (!rule.every.is_zero()).then_some(rule)
}

/// A provider that no check of this build has is either a slip or waits for a later build.
fn provider(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Option<String> {
    let name = reader.some_text(key, node)?;
    if name == "logger" {
        return Some("log".into()); // its other name
    }
    if OTHER_TYPES.contains(&name.as_str()) {
        reader.push(
            Diagnostic::warning(
                "visor::config::unsupported_type",
                format!(
                    "checks of type `{name}` do not run in this version: the limit never applies"
                ),
            )
            .label(key.place_of(node), "not supported yet"),
        );
    } else if !TYPES.contains(&name.as_str()) {
        let near = reader.near(&name, TYPES.into_iter().chain(OTHER_TYPES));
        let help = near.map_or_else(
            || format!("one of {}", listed(&TYPES)),
            |near| format!("did you mean `{near}`?"),
        );
        reader.push(
            Diagnostic::error(
                "visor::config::unknown_type",
                format!("{} names no type of check", key.says()),
            )
            .label(key.place_of(node), "not known")
            .help(help),
        );
    }
    Some(name)
}

/// No type of check says yet which credential it uses. A file that counts on it must not seem to.
fn no_credentials(reader: &mut Reader<'_>, key: &Entry<'_>, so: &str) {
    reader.push(
        Diagnostic::warning(
            "visor::config::unsupported_key",
            format!("no type of check of this version uses a credential, so {so}"),
        )
        .label(key.span.clone(), "has no meaning yet"),
    );
}

fn each(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Vec<Key> {
    let words =
        [("provider", Key::Provider), ("credential", Key::Credential), ("channel", Key::Channel)];
    let mut keys = Vec::new();
    for (text, span) in reader.texts(key, node, Also::Nothing) {
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, Key::Credential)) => {
                keys.push(Key::Credential);
                no_credentials(reader, key, "all jobs are counted as of one");
            }
            Some((_, found)) => keys.push(*found),
            None => {
                let words = words.map(|(word, _)| word);
                let near = reader.near(&text, words);
                let help = near.map_or_else(
                    || format!("any of {}", listed(&words)),
                    |near| format!("did you mean `{near}`?"),
                );
                reader.push(
                    Diagnostic::error(
                        "visor::config::invalid_value",
                        format!("{} cannot count by that", key.says()),
                    )
                    .label(span, "not known")
                    .help(help),
                );
            }
        }
    }
    keys
}

fn channels(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Vec<ChannelPolicy> {
    let mut channels = Vec::new();
    if matches!(node.value, Value::Null)
        || !reader.is_map(key, node, "a mapping of patterns to what their channels get")
    {
        return channels;
    }
    for (key, node) in reader.entries(node, "") {
        check_pattern(reader, &key, key.span.clone(), key.name);
        if !reader.is_map(&key, node, "a mapping with `weight` and `pool`") {
            continue;
        }
        let owner = format!("channel `{}`", key.name);
        let mut policy =
            ChannelPolicy { pattern: key.name.to_owned(), weight: NonZeroU32::MIN, pool: None };
        for (key, node) in reader.entries(node, &owner) {
            match key.name {
                "weight" => policy.weight = number(reader, &key, node).unwrap_or(policy.weight),
                "pool" => policy.pool = pool(reader, &key, node),
                _ => unknown(reader, &key, &CHANNEL, "a channel"),
            }
        }
        channels.push(policy);
    }
    channels
}

fn retry(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node, config: &mut FleetConfig) {
    if matches!(node.value, Value::Null) || !reader.is_map(key, node, "a mapping") {
        return;
    }
    for (key, node) in reader.entries(node, "`retry`") {
        let place = match key.name {
            "lost_worker" => &mut config.lost_worker_attempts,
            "infrastructure" => &mut config.infrastructure_attempts,
            _ => {
                unknown(reader, &key, &RETRY, "`retry`");
                continue;
            }
        };
        if let Some(number) = number(reader, &key, node) {
            *place = number.get();
        }
    }
}

fn number(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Option<NonZeroU32> {
    // A million a second is more than any fleet starts, and keeps all sums far from their limits.
    let number = reader.number(key, node, 1..=1_000_000)?;
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

fn pool(reader: &mut Reader<'_>, key: &Entry<'_>, node: &Node) -> Option<PoolName> {
    let name = reader.some_text(key, node)?;
    match PoolName::new(&name) {
        Ok(name) => Some(name),
        Err(error) => {
            let message = format!("{} cannot be the name of a pool", key.says());
            reader.push(
                Diagnostic::error("visor::config::invalid_name", message)
                    .label(key.place_of(node), "this name")
                    .help(error.to_string()),
            );
            None
        }
    }
}

fn check_pattern(
    reader: &mut Reader<'_>,
    key: &Entry<'_>,
    place: std::ops::Range<usize>,
    pattern: &str,
) {
    if pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
        reader.push(
            Diagnostic::error(
                "visor::config::invalid_value",
                format!("{} has a `*` that is not at its end", key.says()),
            )
            .label(place, "matches no channel")
            .help("a pattern is a name, or a beginning with `*` at its end"),
        );
    }
}

fn unknown(reader: &mut Reader<'_>, key: &Entry<'_>, known: &[&'static str], of: &str) {
    let near = reader.near(key.name, known.iter().copied());
    let help = near.map_or_else(
        || format!("{of} has {}", listed(known)),
        |near| format!("did you mean `{near}`?"),
    );
    reader.push(
        Diagnostic::error(
            "visor::config::unknown_key",
            format!("`{}` is not a key of {of}", key.name.chars().take(60).collect::<String>()),
        )
        .label(key.span.clone(), "not known")
        .help(help),
    );
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let found = match read("fleet.yaml", text) {
            Ok((_, warnings)) => warnings,
            Err(mistakes) => mistakes,
        };
        found.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn all_mistakes_are_found_at_once_with_their_places() {
        let text = "\
limts: {}
default_pool: no good
limits:
  a: { requests: lots, per: minut, provider: comand }
  b: { channel: 'a*b', each: [chanel] }
channels:
  'x*y': { wieght: 2 }
retry: { lost_worker: 0 }
";
        assert_eq!(
            mistakes(text),
            [
                "fleet.yaml:1:1: error: `limts` is not a key of `fleet.yaml` [visor::config::unknown_key] (did you mean `limits`?)",
                "fleet.yaml:2:15: error: `default_pool` cannot be the name of a pool [visor::config::invalid_name] (`no good` is not a valid pool name: 1 to 128 letters, digits, `-` or `_`)",
                "fleet.yaml:4:18: error: `requests` of limit `a` must be a whole number [visor::config::wrong_type] (this is text)",
                "fleet.yaml:4:29: error: `minut` is not a value of `per` of limit `a` [visor::config::invalid_value] (did you mean `minute`?)",
                "fleet.yaml:4:46: error: `provider` of limit `a` names no type of check [visor::config::unknown_type] (did you mean `command`?)",
                "fleet.yaml:5:3: error: limit `b` does not say how many `requests` it lets through [visor::config::missing_key] (add `requests: 60`, and `per:` unless a minute is meant)",
                "fleet.yaml:5:17: error: `channel` of limit `b` has a `*` that is not at its end [visor::config::invalid_value] (a pattern is a name, or a beginning with `*` at its end)",
                "fleet.yaml:5:31: error: `each` of limit `b` cannot count by that [visor::config::invalid_value] (did you mean `channel`?)",
                "fleet.yaml:7:3: error: `x*y` has a `*` that is not at its end [visor::config::invalid_value] (a pattern is a name, or a beginning with `*` at its end)",
                "fleet.yaml:7:12: error: `wieght` is not a key of a channel [visor::config::unknown_key] (did you mean `weight`?)",
                "fleet.yaml:8:23: error: `lost_worker` of `retry` must be a whole number from 1 to 1000000 [visor::config::invalid_value] (out of range)",
            ]
        );
    }

    #[test]
    fn limits_that_can_never_apply_are_warned_of() {
        let text = "\
limits:
  by-key: { requests: 1, credential: team-a }
  models: { requests: 1, provider: ai, each: [credential] }
";
        let (config, warnings) = read("fleet.yaml", text).unwrap();
        assert_eq!((config.limits.len(), warnings.errors(), warnings.warnings()), (2, 0, 3));
        assert_eq!(
            warnings.to_string().lines().next().unwrap(),
            "fleet.yaml:2:26: warning: no type of check of this version uses a credential, so the \
             limit never applies [visor::config::unsupported_key] (has no meaning yet)"
        );
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        for text in [
            "",
            "[]",
            "5",
            "limits: 5",
            "limits: { a: 5 }",
            "channels: [a]",
            "\u{0}",
            "a: [",
            "retry: [1]",
            "limits: { 1: { requests: 1 } }",
            "{? [a] : b}",
        ] {
            let _ = read("fleet.yaml", text);
        }
    }
}
