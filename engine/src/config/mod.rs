//! The `.visor.yaml` language: from text to a checked [`Config`], or to every mistake in the text.
//!
//! - `model`: the checked configuration that everything else uses
//! - `node`: the text as written, a tree with places
//! - `reader`: reading values out of the tree while gathering mistakes
//! - `keys`: every key of the language, and what this build does with it
//! - `document`, `check`, `work`, `sandbox`: the parts of a file
//! - `graph`: dependencies that do not exist or go round in circles
//! - `syntax`: what is no YAML, in words
//! - `references`: `$NAME` in values of `env`

mod check;
mod document;
mod graph;
mod keys;
mod model;
mod node;
mod reader;
mod references;
mod sandbox;
mod syntax;
mod work;

use std::sync::Arc;

use visor_protocol::api::{ConfigSource, MAX_CONFIG_BYTES};

pub use keys::{EVENTS, OTHER_TYPES, TYPES};
pub use model::{Check, Config, Criticality, Dependency, Does, SandboxDefinition, TagFilter};
pub use node::{Node, Value};
pub use reader::{Also, Key, Reader};
pub use references::resolve;
pub use sandbox::PASSED_ALWAYS;

use crate::diagnostic::{Diagnostic, Diagnostics, Source};

/// A configuration that can be run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says.
    pub config: Arc<Config>,
    /// What in it is probably not as meant.
    pub warnings: Diagnostics,
}

/// Reads a configuration.
///
/// # Errors
/// All mistakes of the file at once, its warnings among them.
pub fn load(source: &ConfigSource) -> Result<Loaded, Diagnostics> {
    if source.text.len() > MAX_CONFIG_BYTES {
        return Err(too_large(source));
    }
    // Editors of another system put a byte order mark first; places are counted without it.
    let text = source.text.trim_start_matches('\u{feff}').to_owned();
    let source = Arc::new(Source { name: source.name.clone(), text });
    let mut found = Diagnostics::new(Arc::clone(&source));
    let parsed = node::parse(&source);
    parsed.mistakes.into_iter().for_each(|mistake| found.push(mistake));
    let config = parsed.tree.and_then(|tree| match parsed.repeated {
        0 | 1 => document::read(&source, &tree, true, &mut found),
        times => read_each(&source, &tree, times, &mut found),
    });
    found.settle();
    match config {
        Some(config) if found.errors() == 0 => {
            Ok(Loaded { config: Arc::new(config), warnings: found })
        }
        _ => Err(found),
    }
}

/// Reads another file in the same YAML, with the same diagnostics: `fleet.yaml`. What `read` makes
/// of it comes with what is probably not as meant.
///
/// # Errors
/// All mistakes of the file at once, its warnings among them.
pub fn read_other<T>(
    source: Source,
    read: impl FnOnce(&mut Reader<'_>, &Node) -> T,
) -> Result<(T, Diagnostics), Diagnostics> {
    let source = Arc::new(source);
    let mut found = Diagnostics::new(Arc::clone(&source));
    let parsed = node::parse(&source);
    parsed.mistakes.into_iter().for_each(|mistake| found.push(mistake));
    let value = parsed.tree.map(|tree| read(&mut Reader::new(&source.text, &mut found), &tree));
    found.settle();
    match value {
        Some(value) if found.errors() == 0 => Ok((value, found)),
        _ => Err(found),
    }
}

/// Readings of a file that gives keys several times.
const READINGS: usize = 4;

/// Reads a file that gives keys several times once for each time, so that none hides the mistakes
/// of another.
fn read_each(
    source: &Arc<Source>,
    tree: &node::Node,
    times: usize,
    found: &mut Diagnostics,
) -> Option<Config> {
    // With two mappings of checks each would miss what is in the other.
    let is_whole = !tree.repeats(&source.text);
    let config = document::read(source, &tree.reading(&source.text, 0), is_whole, found);
    for before_last in 1..times.min(READINGS) {
        let mut hidden = Diagnostics::new(Arc::clone(source));
        document::read(source, &tree.reading(&source.text, before_last), is_whole, &mut hidden);
        found.add_new(hidden);
    }
    config
}

/// The text of a refused file is not kept.
fn too_large(source: &ConfigSource) -> Diagnostics {
    let kept = Source { name: source.name.clone(), text: String::new() };
    Diagnostics::one(
        Arc::new(kept),
        Diagnostic::error(
            "visor::config::too_large",
            format!(
                "the file has {} bytes; a configuration has at most {MAX_CONFIG_BYTES}",
                source.text.len()
            ),
        )
        .help("is this the right file? long scripts belong into files of their own"),
    )
}
