//! Dependencies that lead nowhere or round in circles.

use std::collections::HashMap;

use super::model::Config;
use super::reader::{Reader, clip};
use crate::diagnostic::Diagnostic;

/// So many circles are shown one by one; a file with more has one mistake, not many.
const MAX_CYCLES: usize = 10;

/// Reports dependencies on checks that do not exist.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    for check in config.checks.values() {
        for dependency in &check.depends_on {
            let missing: Vec<&str> = dependency
                .options
                .iter()
                .filter(|option| !config.checks.contains_key(*option))
                .map(visor_protocol::CheckName::as_str)
                .collect();
            let some_exist = missing.len() < dependency.options.len();
            for name in missing {
                let code = "visor::config::unknown_dependency";
                let message = format!(
                    "check `{}` depends on `{}`, which does not exist",
                    clip(check.name.as_str()),
                    clip(name)
                );
                let diagnostic = if some_exist {
                    Diagnostic::warning(code, message)
                } else {
                    Diagnostic::error(code, message)
                };
                let near =
                    reader.near(name, config.checks.keys().map(visor_protocol::CheckName::as_str));
                let help = near.map(|near| {
                    let line = config.position(near).map_or(0, |at| {
                        let check = &config.checks[at];
                        let before = config.source.text.get(..check.span.start).unwrap_or_default();
                        before.bytes().filter(|byte| *byte == b'\n').count() + 1
                    });
                    format!("did you mean `{near}` (line {line})?")
                });
                reader.push(
                    diagnostic
                        .about(name)
                        .label(dependency.span.clone(), "no check has this name")
                        .maybe_help(help),
                );
            }
        }
    }
}

/// Reports circles, each with its path.
pub(super) fn cycles(config: &Config, reader: &mut Reader<'_>) {
    let edges: Vec<Vec<usize>> = config
        .checks
        .values()
        .map(|check| {
            let options = check.depends_on.iter().flat_map(|dependency| &dependency.options);
            options.filter_map(|option| config.checks.get_index_of(option)).collect()
        })
        .collect();
    for cycle in find_cycles(&edges, MAX_CYCLES) {
        let name = |at: &usize| clip(config.checks[*at].name.as_str());
        let mut path: Vec<String> = cycle.iter().map(name).collect();
        path.push(path[0].clone());
        let message = if cycle.len() == 1 {
            format!("check `{}` depends on itself", path[0])
        } else if path.len() > 12 {
            let hidden = path.len() - 10;
            path.splice(9..path.len() - 1, [format!("… {hidden} more …")]);
            format!("checks depend on each other in a circle: {}", path.join(" → "))
        } else {
            format!("checks depend on each other in a circle: {}", path.join(" → "))
        };
        let first = &config.checks[cycle[0]];
        let next = cycle.get(1).unwrap_or(&cycle[0]);
        let entry = first.depends_on.iter().find(|dependency| {
            dependency
                .options
                .iter()
                .any(|option| config.checks.get_index_of(option) == Some(*next))
        });
        let span = entry.map_or_else(|| first.span.clone(), |entry| entry.span.clone());
        reader.push(
            Diagnostic::error("visor::config::dependency_cycle", message)
                .label(span, "closes the circle")
                .help("none of them could ever start; remove one of the dependencies"),
        );
    }
}

/// Circles of a graph given by its edges; those that share a node are found one after the other as
/// people break them.
fn find_cycles(edges: &[Vec<usize>], limit: usize) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    let mut found = Vec::new();
    for root in 0..edges.len() {
        // The path from the root, each node with the number of its edges already followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut place: HashMap<usize, usize> = HashMap::new();
        if marks[root] == Mark::New {
            marks[root] = Mark::OnPath;
            place.insert(root, 0);
            path.push((root, 0));
        }
        while let Some((node, followed)) = path.last_mut() {
            let Some(next) = edges[*node].get(*followed).copied() else {
                marks[*node] = Mark::Done;
                place.remove(node);
                path.pop();
                continue;
            };
            *followed += 1;
            match marks[next] {
                Mark::New => {
                    marks[next] = Mark::OnPath;
                    place.insert(next, path.len());
                    path.push((next, 0));
                }
                Mark::OnPath => {
                    let start = place.get(&next).copied().unwrap_or(0);
                    found.push(path[start..].iter().map(|(node, _)| *node).collect());
                    if found.len() == limit {
                        return found;
                    }
                }
                Mark::Done => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_long_chains_are_none() {
        assert_eq!(find_cycles(&[vec![1], vec![2], vec![0], vec![0]], 10), [vec![0, 1, 2]]);
        assert_eq!(find_cycles(&[vec![0]], 10), [vec![0]]);
        let chain: Vec<Vec<usize>> =
            (0..100_000).map(|n| if n == 0 { vec![] } else { vec![n - 1] }).collect();
        assert!(find_cycles(&chain, 10).is_empty());
        let backwards: Vec<Vec<usize>> =
            (0..100_000).map(|n| if n == 99_999 { vec![] } else { vec![n + 1] }).collect();
        assert!(find_cycles(&backwards, 10).is_empty());
    }
}
