//! The example files of this repository.

use std::path::{Path, PathBuf};

use visor_engine::config;
use visor_protocol::api::ConfigSource;

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn the_examples_of_this_repository_load_without_a_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files = Vec::new();
    yaml_files(&folder, &mut files);
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = config::load(&ConfigSource { name, text })
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}
