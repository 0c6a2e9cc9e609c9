//! What a server's version lacks.

/// A server's version; pre-release and build marks are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32, pub(super) u32);

/// The oldest that works: direct reads of a stream came with it.
pub(super) const OLDEST: Version = Version(2, 9, 0);

impl Version {
    /// Reads `2.9.10`, `v2.10.0-RC.1`; what cannot be read counts as 0.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim_start_matches('v');
        let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self(next(), next(), next())
    }

    /// What is missing, a sentence for each.
    pub(super) fn degraded(self) -> Vec<String> {
        let mut lacks = Vec::new();
        if self < Self(2, 10, 0) {
            lacks.push(
                "Before 2.10 the server cannot be told to write to disk before it acknowledges \
                 (`sync_interval: always`): a power failure can lose what was acknowledged in the \
                 last minutes, and the coordinator puts it back from its journal."
                    .into(),
            );
        }
        if self < Self(2, 11, 0) {
            lacks.push(
                "Before 2.11 keys have no lifetime of their own: a lease ends when its whole \
                 bucket's `max_age` has passed."
                    .into(),
            );
        }
        lacks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(Version::parse("2.9.10"), Version(2, 9, 10));
        assert_eq!(Version::parse("v2.10.0-RC.1"), Version(2, 10, 0));
        assert_eq!(Version::parse("junk"), Version(0, 0, 0));
        assert!(Version(2, 9, 10) < Version(2, 10, 0));
    }

    #[test]
    fn an_old_server_lacks_more_than_a_new_one() {
        assert!(Version(2, 9, 10).degraded()[0].contains("sync_interval: always"));
        assert_eq!(Version(2, 10, 4).degraded().len(), 1);
        assert!(Version(2, 12, 0).degraded().is_empty());
    }
}
