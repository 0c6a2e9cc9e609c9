//! `visor init`
//!
//! - [`detect`]: what this directory holds, and which checks fit it
//! - [`write`]: those checks as a commented file

mod detect;
mod write;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use clap::Args;
use visor_engine::config;
use visor_protocol::api::ConfigSource;

use super::target::print;
use super::{Context, project};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::json;

/// Arguments of `visor init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

impl InitArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let here = Path::new(".");
        if let Some(there) = project::NAMES.iter().find(|name| here.join(name).exists()) {
            return Err(exists(there));
        }
        let found = detect::detect(here, &detect::on_path);
        let text = write::file(&found);
        let source = ConfigSource { name: "visor.yaml".into(), text };
        // What is written is valid, whatever names and scripts the directory had.
        let loaded = config::load(&source).map_err(|mistakes| {
            let what = format!("the file that was to be written is not valid:\n{mistakes}");
            Failure::new(ExitCode::Bug, "visor::init::invalid", what)
        })?;
        create(&source)?;
        let checks: Vec<&str> = loaded.config.checks.keys().map(|name| name.as_str()).collect();
        if self.json {
            let answer = serde_json::json!({ "file": source.name, "checks": checks });
            print(&json::pretty(&answer))?;
        } else {
            let style = context.terminal.out;
            print(&format!(
                "{} wrote visor.yaml for {}: {}\n  run them with `visor run`; undo with `rm \
                 visor.yaml`\n",
                style.green("✓"),
                found.language,
                checks.join(", "),
            ))?;
        }
        Ok(ExitCode::Passed)
    }
}

fn create(source: &ConfigSource) -> Result<(), Failure> {
    // `create_new`: a file that appeared in this moment is not overwritten either.
    let opened = fs::OpenOptions::new().write(true).create_new(true).open(&source.name);
    let written = opened.and_then(|mut file| file.write_all(source.text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(&source.name),
        _ => {
            let what = format!("cannot write `{}`", source.name);
            Failure::usage("visor::init::unwritable", what).because(&error)
        }
    })
}

fn exists(name: &str) -> Failure {
    Failure::usage("visor::init::exists", format!("`{name}` is there already; nothing was changed"))
        .help("`visor validate` finds its mistakes; move it away to have a new one written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)], tools: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let tools: Vec<String> = tools.iter().map(|&tool| tool.to_owned()).collect();
        let found = detect::detect(dir.path(), &|tool| tools.iter().any(|known| known == tool));
        let text = write::file(&found);
        let source = ConfigSource { name: "visor.yaml".into(), text: text.clone() };
        let loaded = config::load(&source).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
        assert!(loaded.warnings.is_empty(), "{}\n{text}", loaded.warnings);
        text
    }

    #[test]
    fn a_rust_crate_gets_build_and_tests() {
        let files = [("Cargo.toml", "[package]\nname = \"x\"\n"), ("rustfmt.toml", "")];
        insta::assert_snapshot!(written(&files, &["cargo", "rustfmt"]));
    }

    #[test]
    fn a_node_package_gets_the_scripts_it_has() {
        let package = r#"{
            "scripts": {
                "lint": "eslint .",
                "test": "echo \"Error: no test specified\" && exit 1",
                "build": "tsc"
            },
            "devDependencies": { "typescript": "5" }
        }"#;
        let files = [("package.json", package), ("package-lock.json", "{}")];
        insta::assert_snapshot!(written(&files, &["npm", "node"]));
    }

    #[test]
    fn a_python_project_gets_its_tests_and_linter() {
        let files =
            [("pyproject.toml", "[tool.ruff]\n"), ("tests/test_a.py", "def test_a(): pass\n")];
        insta::assert_snapshot!(written(&files, &["python3", "pytest", "ruff"]));
    }

    #[test]
    fn a_go_module_gets_vet_and_tests() {
        insta::assert_snapshot!(written(&[("go.mod", "module x\n")], &["go"]));
    }

    #[test]
    fn a_directory_of_nothing_known_gets_an_example() {
        insta::assert_snapshot!(written(&[], &[]));
    }

    #[test]
    fn a_tool_that_is_not_there_is_not_called() {
        let text = written(&[("Cargo.toml", "[package]\n")], &[]);
        assert!(!text.lines().any(|line| line.trim_start().starts_with("exec: cargo")), "{text}");
        assert!(text.contains("cargo is not on the PATH"), "{text}");
    }
}
