//! Names of things, as types: two of them cannot be swapped by accident.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// Why a text is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not the canonical form of the id.
    #[error("`{text}` is not a valid {kind}: {rule}")]
    Malformed {
        /// What kind of id was expected.
        kind: &'static str,
        /// The text that was given, shortened.
        text: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

fn malformed(kind: &'static str, text: &str, rule: &'static str) -> IdError {
    IdError::Malformed { kind, text: text.chars().take(64).collect(), rule }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// One run of a configuration: 48 bits of milliseconds since the epoch, 80 random bits.
///
/// The submitter makes it, so a submit that is repeated after a lost answer is the same run.
/// Written as 26 characters of lower-case Crockford base32; ids of later runs sort later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(u128);

impl RunId {
    /// An id from the moment of submission and 80 random bits (the upper 48 of `random` are ignored).
    pub fn new(at: crate::Timestamp, random: u128) -> Self {
        let millis = u128::from(at.as_micros() / 1_000) & 0xffff_ffff_ffff;
        Self((millis << 80) | (random & ((1 << 80) - 1)))
    }

    /// The id as big-endian bytes, the order in which stores keep runs.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id that [`RunId::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The last six characters: enough to tell runs on a screen apart.
    pub fn short(self) -> String {
        self.to_string().split_off(20)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.pad(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let rule = "26 characters of base32 (0-9, a-z without i, l, o, u)";
        if text.len() != 26 {
            return Err(malformed("run id", text, rule));
        }
        let mut value: u128 = 0;
        for (position, byte) in text.bytes().enumerate() {
            let digit = ALPHABET
                .iter()
                .position(|&known| known == byte.to_ascii_lowercase())
                .ok_or_else(|| malformed("run id", text, rule))?;
            // 26 × 5 is 130 bits: the first character has room for three.
            if position == 0 && digit > 7 {
                return Err(malformed("run id", text, rule));
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value))
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RunId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a run id: 26 characters of base32, or 16 bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RunId, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<RunId, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(RunId::from_bytes(bytes))
            }
        }
        // What is buffered on its way (a flattened or tagged enum) no longer knows its format, so
        // the value itself has to say which of the two it is.
        deserializer.deserialize_any(Visitor)
    }
}

/// One unit of work of a run: the run and the position in which its engine asked for it.
///
/// The engine is deterministic, so a run that is rebuilt from its journal gives the same work the
/// same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    /// The run that wants the work done.
    pub run: RunId,
    /// Position within the run, from 0.
    pub seq: u32,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.seq)
    }
}

impl FromStr for JobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let rule = "a run id, a hyphen and a number";
        let (run, seq) = text.split_once('-').ok_or_else(|| malformed("job id", text, rule))?;
        let seq = seq.parse().map_err(|_| malformed("job id", text, rule))?;
        Ok(Self { run: run.parse()?, seq })
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.run, self.seq).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = JobId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job id: a run id, a hyphen and a number, or the two in a sequence")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<JobId, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<JobId, A::Error> {
                let missing = |at| de::Error::invalid_length(at, &self);
                let run = parts.next_element()?.ok_or_else(|| missing(0))?;
                let seq = parts.next_element()?.ok_or_else(|| missing(1))?;
                Ok(JobId { run, seq })
            }
        }
        // As with a run id, the value itself says which form it has.
        deserializer.deserialize_any(Visitor)
    }
}

/// A numbered try at a job, from 1. It fences: what an older attempt reports settles nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// The try after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of all channels that has one leader and one journal. There is one, 0, for now; subjects
/// and keys carry it from the first day so that a second needs no migration.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Shard(pub u16);

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names that stand in a subject are one token of it.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and takes it as a name.
            ///
            /// # Errors
            /// When the text breaks the rule for these names.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(malformed($kind, text, $rule)) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

name_type! {
    /// A worker node. One token of a subject.
    WorkerId, "worker id", is_token, "1 to 128 letters, digits, `-` or `_`"
}
name_type! {
    /// A pool of workers that take each other's jobs. One token of a subject.
    PoolName, "pool name", is_token, "1 to 128 letters, digits, `-` or `_`"
}
name_type! {
    /// A tenant or repository whose runs share a fair part of the fleet, for example `acme/api`.
    ChannelId, "channel",
    |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@+".contains(&byte);
        !text.is_empty() && text.len() <= 256 && text.bytes().all(plain)
    },
    "1 to 256 letters, digits or any of `-_./:@+`"
}
name_type! {
    /// The name of a check, as its file spells it.
    CheckName, "check name",
    |text| !text.is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control),
    "1 to 1024 bytes without control characters"
}

impl PoolName {
    /// The pool of workers and checks that name none.
    pub fn default_pool() -> Self {
        Self("default".into())
    }
}

impl ChannelId {
    /// The channel of runs that name none.
    pub fn local() -> Self {
        Self("local".into())
    }
}

/// The SHA-256 of some bytes, by which the blob store keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for ContentHash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let rule = "64 hexadecimal digits";
        if text.len() != 64 || !text.is_ascii() {
            return Err(malformed("content hash", text, rule));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(malformed("content hash", text, rule));
            };
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    proptest! {
        #[test]
        fn a_run_id_survives_text_and_bytes(raw: u128) {
            let id = RunId(raw);
            prop_assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
            prop_assert_eq!(RunId::from_bytes(id.to_bytes()), id);
            let job = JobId { run: id, seq: raw as u32 };
            prop_assert_eq!(job.to_string().parse::<JobId>().unwrap(), job);
            let packed = rmp_serde::to_vec_named(&job).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<JobId>(&packed).unwrap(), job);
        }

        #[test]
        fn no_text_makes_an_id_parser_panic(text: String) {
            let _ = text.parse::<RunId>();
            let _ = text.parse::<JobId>();
            let _ = text.parse::<ContentHash>();
            let _ = WorkerId::new(&text);
        }
    }

    #[test]
    fn later_runs_sort_later() {
        let early = RunId::new(Timestamp::from_micros(1_000_000), u128::MAX);
        let late = RunId::new(Timestamp::from_micros(2_000_000), 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn a_name_that_would_split_a_subject_is_refused() {
        for text in ["", "a.b", "a b", "*", ">", "é"] {
            assert!(WorkerId::new(text).is_err(), "{text:?}");
        }
    }
}
