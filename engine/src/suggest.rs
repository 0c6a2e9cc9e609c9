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
        let likeness = likeness(&folded, &candidate.to_lowercase());
        if likeness > best.map_or(0.0, |(best, _)| best) {
            best = Some((likeness, candidate));
        }
    }
    // Two of three characters right: `lnt` finds `lint`, `build` does not find `lint`.
    best.filter(|(likeness, _)| *likeness >= NEAR).map(|(_, candidate)| candidate)
}

/// The least likeness of a slip.
const NEAR: f64 = 0.6;

/// From 0, nothing in common, to 1.
fn likeness(a: &str, b: &str) -> f64 {
    let likeness = strsim::normalized_damerau_levenshtein(a, b);
    if likeness < NEAR && is_short_slip(a, b) { NEAR } else { likeness }
}

/// One key too many, too few or two swapped, in names of two characters, of which one is half:
/// `bb` for `b`, `ba` for `ab`. A different one is more likely another name: `a1` and `a2`.
fn is_short_slip(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(3).collect(), b.chars().take(3).collect());
    match (a.as_slice(), b.as_slice()) {
        ([a, b], [c, d]) => a == d && b == c,
        ([one], [first, _]) | ([first, _], [one]) => one == first,
        _ => false,
    }
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

    #[test]
    fn short_names_are_found_and_other_short_names_are_not_taken_for_them() {
        let names = ["a", "b", "if", "ci", "on"];
        for (written, meant) in
            [("bb", "b"), ("A", "a"), ("c", "ci"), ("fi", "if"), ("no", "on"), ("iff", "if")]
        {
            assert_eq!(nearest(written, names), Some(meant), "{written}");
        }
        for written in ["d", "é", "cd", "xb", "db", "xyz", "test", "1", "in", "of"] {
            assert_eq!(nearest(written, names), None, "{written}");
        }
        assert_eq!(nearest("a3", ["a1", "a2"]), None);
        assert_eq!(nearest("ab", ["a", "abc"]), Some("abc"), "the nearer one");
    }
}
