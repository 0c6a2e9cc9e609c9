//! Where the programs of this crate write. Results go to stdout, everything for people to stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

/// A line for people.
pub fn line(text: &str) {
    eprintln!("{text}");
}

/// A line of the result.
pub fn result(text: &str) {
    println!("{text}");
}
