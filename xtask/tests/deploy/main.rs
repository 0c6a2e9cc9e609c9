//! What lies in `deploy/` fits the program: every flag and variable it uses exists, every file it
//! names is there, and the servers it configures take their configuration.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod compose;
mod nats;
mod program;
mod units;

use std::path::{Path, PathBuf};

/// The folder under test.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = deploy().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Says that a test could not run, where people and `cargo xtask test` look for it.
#[expect(clippy::print_stdout, reason = "a skipped test says so on stdout")]
fn skipped(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    let must_run = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!must_run, "SKIPPED {test}: {why}, and with CI=true nothing may be skipped");
}

/// Where a program is: in `PATH`, or where a distribution puts servers.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
