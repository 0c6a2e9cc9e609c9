//! What was probably meant.

/// The candidate nearest to what was written, when one is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Comparing is quadratic in length; nobody mistypes a name of hundreds of characters.
    if written.is_empty() || written.len() > 128 {
        return None;
    }
    let folded = written.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        if candidate.len() > 128 || candidate == written {
            continue;
        }
        let likeness = strsim::normalized_damerau_levenshtein(&folded, &candidate.to_lowercase());
        if likeness > best.map_or(0.0, |(best, _)| best) {
            best = Some((likeness, candidate));
        }
    }
    // Two of three characters right: `lnt` finds `lint`, `build` does not find `lint`.
    best.filter(|(likeness, _)| *likeness >= 0.6).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_neighbour_and_a_different_word_finds_none() {
        let names = ["lint", "integration", "depends_on", "continue_on_failure"];
        assert_eq!(nearest("lnt", names), Some("lint"));
        assert_eq!(nearest("integraton", names), Some("integration"));
        assert_eq!(nearest("dependsOn", names), Some("depends_on"));
        assert_eq!(nearest("publish", names), None);
        assert_eq!(nearest("", names), None);
    }
}
