//! The local time zone.

use std::path::Path;

use jiff::tz::TimeZone;

const DATABASE: &str = "/usr/share/zoneinfo";

/// The zone that `TZ` names, or else the machine's.
///
/// A name is looked up here, in the one file that it means: a database that can be searched reads
/// all of them first, which takes longer than everything else at the start of a process.
pub(super) fn local() -> TimeZone {
    let named = std::env::var("TZ").ok().and_then(|name| named(&name));
    named.unwrap_or_else(TimeZone::system)
}

fn named(name: &str) -> Option<TimeZone> {
    let name = name.strip_prefix(':').unwrap_or(name);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
    if !name.split('/').all(is_part) {
        return None;
    }
    let data = std::fs::read(Path::new(DATABASE).join(name)).ok()?;
    TimeZone::tzif(name, &data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_not_looked_up() {
        for name in ["", ":", "/etc/passwd", "../../../etc/passwd", "CET-1CEST"] {
            assert!(named(name).is_none(), "{name}");
        }
    }
}
