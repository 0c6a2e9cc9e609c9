//! The rules applied to the graph.

use super::graph::{Graph, Package};
use super::rules::Rules;
use super::spdx;

/// Every broken rule, in sentences. `here` is the graph of this platform alone.
pub(super) fn judge(rules: &Rules, all: &Graph, here: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    licenses(rules, all, &mut findings);
    sources_and_bans(rules, all, &mut findings);
    duplicates(rules, here, &mut findings);
    layers(rules, all, &mut findings);
    findings
}

fn licenses(rules: &Rules, graph: &Graph, findings: &mut Vec<String>) {
    let mut needed = vec![false; rules.licenses.exceptions.len()];
    for package in graph.packages() {
        let Package { name, version, .. } = package;
        let Some(expression) = &package.license else {
            findings.push(format!("{name} {version} states no licence"));
            continue;
        };
        let everybodys =
            |license: &str| rules.licenses.allow.iter().any(|allowed| allowed == license);
        let own = |license: &str| {
            let exceptions = &rules.licenses.exceptions;
            exceptions.iter().position(|one| one.name == *name && one.license == license)
        };
        match spdx::is_satisfied(expression, &everybodys) {
            Some(true) => continue,
            Some(false) => {}
            None => {
                findings.push(format!("{name} {version}: licence `{expression}` cannot be read"));
                continue;
            }
        }
        let excepted = |license: &str| everybodys(license) || own(license).is_some();
        if spdx::is_satisfied(expression, &excepted) == Some(true) {
            for (exception, needed) in rules.licenses.exceptions.iter().zip(&mut needed) {
                *needed |= exception.name == *name;
            }
        } else {
            findings.push(format!(
                "{name} {version}: licence `{expression}` is not allowed; use another crate, or add \
                 it to [licenses] with a reason"
            ));
        }
    }
    for (exception, needed) in rules.licenses.exceptions.iter().zip(needed) {
        if !needed {
            findings.push(format!(
                "the licence exception for {} ({}: {}) is not needed any more",
                exception.name, exception.license, exception.reason
            ));
        }
    }
}

fn sources_and_bans(rules: &Rules, graph: &Graph, findings: &mut Vec<String>) {
    for package in graph.packages() {
        let Package { name, version, .. } = package;
        if let Some(source) = &package.source
            && !rules.sources.contains(source)
        {
            findings.push(format!("{name} {version} comes from {source}, which is not allowed"));
        }
        if let Some(reason) = rules.bans.get(name) {
            let importers: Vec<String> = graph
                .packages()
                .filter(|one| one.source.is_none())
                .filter_map(|own| graph.path(own, name, true))
                .map(|way| way.join(" → "))
                .take(1)
                .collect();
            findings.push(format!("{name} {version} is banned: {reason} ({})", importers.join("")));
        }
    }
}

fn duplicates(rules: &Rules, graph: &Graph, findings: &mut Vec<String>) {
    let found = graph.duplicates();
    for (name, versions) in &found {
        if !rules.duplicates.contains_key(*name) {
            let versions: Vec<&str> = versions.iter().copied().collect();
            findings.push(format!(
                "{name} is built in several versions ({}); align them, or say in [duplicates] why \
                 not",
                versions.join(", ")
            ));
        }
    }
    for name in rules.duplicates.keys().filter(|name| !found.contains_key(name.as_str())) {
        findings.push(format!("{name} is no duplicate any more; take it out of [duplicates]"));
    }
}

fn layers(rules: &Rules, graph: &Graph, findings: &mut Vec<String>) {
    for layer in &rules.layers {
        let Some(package) = graph.own(&layer.name) else {
            findings.push(format!("[[layers]] names {}, which is no crate of ours", layer.name));
            continue;
        };
        for target in &layer.never {
            if let Some(way) = graph.path(package, target, !layer.except_tests) {
                findings.push(format!("layering: {} ({})", way.join(" → "), layer.reason));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: &str = r#"
        sources = ["crates"]
        [licenses]
        allow = ["MIT"]
        exceptions = [{ crate = "odd", license = "Zlib", reason = "tested" }]
        [bans]
        banned = "it is bad"
        [duplicates]
        twice = "needed by two"
        [[layers]]
        crate = "ours"
        never = ["runtime"]
        except_tests = true
        reason = "ours is pure"
    "#;

    fn package(name: &str, version: &str, license: &str) -> serde_json::Value {
        let source = (name != "ours").then_some("crates");
        let id = format!("{name}@{version}");
        json!({ "id": id, "name": name, "version": version, "license": license, "source": source })
    }

    fn graph(packages: Vec<serde_json::Value>, edges: &[(&str, &str, Option<&str>)]) -> Graph {
        let nodes = packages.iter().map(|package| {
            let id = package["id"].as_str().unwrap();
            let deps: Vec<_> = edges
                .iter()
                .filter(|(from, ..)| *from == id)
                .map(|(_, to, kind)| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] }))
                .collect();
            json!({ "id": id, "deps": deps })
        });
        let nodes: Vec<_> = nodes.collect();
        let metadata = json!({ "packages": packages, "resolve": { "nodes": nodes } });
        Graph::from_metadata(&metadata).unwrap()
    }

    fn good() -> Vec<serde_json::Value> {
        vec![
            package("ours", "0.1.0", "MIT"),
            package("odd", "1.0.0", "Zlib AND MIT"),
            package("twice", "1.0.0", "MIT"),
            package("twice", "2.0.0", "MIT OR GPL-3.0"),
        ]
    }

    fn findings(packages: Vec<serde_json::Value>, edges: &[(&str, &str, Option<&str>)]) -> String {
        let graph = graph(packages, edges);
        let rules: Rules = toml::from_str(RULES).unwrap();
        judge(&rules, &graph, &graph).join("\n")
    }

    #[test]
    fn a_graph_that_keeps_the_rules_has_no_findings() {
        assert_eq!(findings(good(), &[]), "");
    }

    #[test]
    fn each_kind_of_breach_is_found() {
        let mut packages = good();
        packages.push(package("copyleft", "1.0.0", "GPL-3.0"));
        packages.push(package("banned", "1.0.0", "MIT"));
        packages.push(package("thrice", "1.0.0", "MIT"));
        packages.push(package("thrice", "1.1.0", "MIT"));
        packages.push(package("runtime", "1.0.0", "MIT"));
        packages.push(package("between", "1.0.0", "MIT"));
        let mut elsewhere = package("elsewhere", "1.0.0", "MIT");
        elsewhere["source"] = json!("git+https://example.com");
        packages.push(elsewhere);
        let edges = [
            ("ours@0.1.0", "between@1.0.0", None),
            ("between@1.0.0", "runtime@1.0.0", None),
            ("ours@0.1.0", "banned@1.0.0", None),
        ];
        let found = findings(packages, &edges);
        for expected in [
            "copyleft 1.0.0: licence `GPL-3.0` is not allowed",
            "banned 1.0.0 is banned: it is bad (ours → banned)",
            "thrice is built in several versions (1.0.0, 1.1.0)",
            "elsewhere 1.0.0 comes from git+https://example.com",
            "layering: ours → between → runtime (ours is pure)",
        ] {
            assert!(found.contains(expected), "{expected} not in\n{found}");
        }
    }

    #[test]
    fn tests_may_cross_a_layer_that_says_so() {
        let mut packages = good();
        packages.push(package("runtime", "1.0.0", "MIT"));
        let edges = [("ours@0.1.0", "runtime@1.0.0", Some("dev"))];
        assert_eq!(findings(packages, &edges), "");
    }

    #[test]
    fn a_waiver_nobody_needs_is_a_finding() {
        let found = findings(vec![package("ours", "0.1.0", "MIT")], &[]);
        assert!(found.contains("the licence exception for odd"), "{found}");
        assert!(found.contains("twice is no duplicate any more"), "{found}");
    }
}
