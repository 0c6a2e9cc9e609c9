//! What `cargo metadata` resolved, reduced to what the rules ask about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// One crate in one version.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    /// Where it comes from; none for a crate of this workspace.
    pub(super) source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// The edge is there in a build, or only for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Build,
    TestOnly,
}

/// Crates and what each depends on.
#[derive(Debug, Default)]
pub(super) struct Graph {
    packages: BTreeMap<String, Package>,
    edges: HashMap<String, Vec<(String, Kind)>>,
}

impl Graph {
    /// Reads the output of `cargo metadata`.
    pub(super) fn from_metadata(metadata: &Value) -> Result<Self> {
        let metadata =
            Metadata::deserialize(metadata).context("cargo metadata has an unknown shape")?;
        let mut graph = Self::default();
        // With a platform filter the packages still list everything; the nodes do not.
        let resolved: BTreeSet<&str> =
            metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
        for package in metadata.packages.iter().filter(|one| resolved.contains(one.id.as_str())) {
            graph.packages.insert(package.id.clone(), package.clone());
        }
        for node in metadata.resolve.nodes {
            let edges = node.deps.into_iter().map(|dependency| {
                let tests = |kind: &DependencyKind| kind.kind.as_deref() == Some("dev");
                let only_tests = dependency.dep_kinds.iter().all(tests);
                (dependency.pkg, if only_tests { Kind::TestOnly } else { Kind::Build })
            });
            graph.edges.insert(node.id, edges.collect());
        }
        Ok(graph)
    }

    /// Every crate.
    pub(super) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// How many crates come from elsewhere.
    pub(super) fn external_len(&self) -> usize {
        self.packages().filter(|package| package.source.is_some()).count()
    }

    /// The workspace's own crate of this name.
    pub(super) fn own(&self, name: &str) -> Option<&Package> {
        self.packages().find(|package| package.source.is_none() && package.name == name)
    }

    /// A shortest way from a crate to one of this name, both ends included. Edges for tests count
    /// only from the first crate, and only when asked for.
    pub(super) fn path(&self, from: &Package, to: &str, with_tests: bool) -> Option<Vec<String>> {
        let mut queue = vec![vec![from.id.as_str()]];
        let mut seen = BTreeSet::from([from.id.as_str()]);
        let mut next = 0;
        while let Some(way) = queue.get(next).cloned() {
            next += 1;
            let last = *way.last().expect("a way has a beginning");
            for (id, kind) in self.edges.get(last).into_iter().flatten() {
                let counts = *kind == Kind::Build || (with_tests && way.len() == 1);
                if !counts || !seen.insert(id) {
                    continue;
                }
                let mut longer = way.clone();
                longer.push(id);
                if self.packages.get(id).is_some_and(|package| package.name == to) {
                    let name = |id: &&str| {
                        self.packages.get(*id).map_or_else(String::new, |one| one.name.clone())
                    };
                    return Some(longer.iter().map(name).collect());
                }
                queue.push(longer);
            }
        }
        None
    }

    /// Crates from elsewhere that are there in several versions.
    pub(super) fn duplicates(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in self.packages().filter(|package| package.source.is_some()) {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
        versions.retain(|_, versions| versions.len() > 1);
        versions
    }
}
