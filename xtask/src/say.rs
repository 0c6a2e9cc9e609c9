//! Where this program writes. Results go to stdout, everything for people to stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

/// A line for people.
pub(crate) fn line(text: &str) {
    eprintln!("{text}");
}

/// A step of a longer piece of work, for people.
pub(crate) fn step(text: &str) {
    eprintln!("xtask: {text}");
}

/// A line of the result.
pub(crate) fn result(text: &str) {
    println!("{text}");
}
