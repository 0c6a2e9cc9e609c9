//! What may be depended on. An equal of `cargo deny` for the parts that need no network:
//! licences, sources, bans and duplicates, and one thing more, the layers of this workspace.
//! Advisories need a database that is fetched over git, and are said not to be checked.
//!
//! - [`rules`]: the file `deps.toml`
//! - [`graph`]: what `cargo metadata` resolved
//! - [`spdx`]: licence expressions
//! - [`verdict`]: the rules applied to the graph

mod graph;
mod rules;
mod spdx;
mod verdict;

use anyhow::{Result, bail};

use crate::{say, tools};
use graph::Graph;
use rules::Rules;

/// Check licences, sources, duplicates, bans and layers of all dependencies.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Applies `deps.toml` to the resolved dependencies.
pub(crate) fn run(_: &Args) -> Result<()> {
    let rules = Rules::load(&tools::root().join("deps.toml"))?;
    // Licences, sources and bans hold for every platform; two versions of one crate cost
    // something only where both are built.
    let all = Graph::from_metadata(&tools::metadata(&[])?)?;
    let here = Graph::from_metadata(&tools::metadata(&["--filter-platform", HOST])?)?;
    let findings = verdict::judge(&rules, &all, &here);
    for finding in &findings {
        say::result(&format!("deps: {finding}"));
    }
    if !findings.is_empty() {
        bail!("{} dependency rules are broken (deps.toml)", findings.len());
    }
    say::result(&format!(
        "deps: {} crates, {} here: licences, sources, bans, duplicates and layers are in order",
        all.external_len(),
        here.external_len()
    ));
    say::result(
        "deps: advisories are not checked (their database is fetched over git): run `cargo audit` \
         where it can be reached",
    );
    Ok(())
}

/// The platform whose duplicates count.
const HOST: &str = "x86_64-unknown-linux-gnu";
