//! Files that were written for the original, by others. They are data of another project and not
//! part of this repository: the test looks for them beside the checkout.

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
fn existing_files_load_or_are_refused_for_what_is_not_supported_yet() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/visor");
    let mut files = Vec::new();
    yaml_files(&folder, &mut files);
    if files.is_empty() {
        // Not a part that a machine lacks: the files belong to others and lie beside a checkout
        // or nowhere.
        println!("no corpus beside this checkout: nothing to check");
        return;
    }
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Overlays of another format, and parts that only mean something in another file.
        let is_part = path.components().any(|part| part.as_os_str() == "openapi")
            || ["toolkit-tools.yaml", "test-no-steps-or-checks.yaml"].contains(&name.as_str());
        if is_part {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let found = match config::load(&ConfigSource { name, text }) {
            Ok(loaded) => loaded.warnings,
            Err(mistakes) => mistakes,
        };
        for item in &found {
            let expected =
                ["unsupported_key", "unsupported_type", "unsupported_template", "checks_and_steps"];
            let code = item.code.trim_start_matches("visor::config::");
            // One file has filters of the template language in a condition.
            let known = code == "expression_syntax" && item.message.contains("`jira-ticket`");
            assert!(known || expected.contains(&code), "{found}");
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
