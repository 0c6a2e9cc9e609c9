//! What a directory holds, and which checks fit it. Only what is there is called: a check for a
//! tool that is missing would fail at once.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// What fits a directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What it is, in words.
    pub(super) language: String,
    /// Checks that can run here.
    pub(super) checks: Vec<Suggestion>,
    /// Why some that would fit were left out.
    pub(super) notes: Vec<String>,
}

/// One check of the new file.
#[derive(Debug)]
pub(super) struct Suggestion {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    pub(super) exec: String,
    pub(super) depends_on: Option<&'static str>,
    pub(super) timeout_ms: u64,
}

/// Builds and tests take their time; the usual minute is for small commands.
const LONG_MS: u64 = 1_800_000;
const SHORT_MS: u64 = 300_000;
/// Manifests are read whole; one that is larger is none.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Whether a program of this name can be started.
pub(super) fn on_path(tool: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

/// Looks at a directory. `has` says which tools there are.
pub(super) fn detect(here: &Path, has: &dyn Fn(&str) -> bool) -> Found {
    let mut found = Found::default();
    let mut languages = Vec::new();
    let kinds: [(&str, &str, Detector); 4] = [
        ("Cargo.toml", "Rust", rust),
        ("package.json", "Node.js", node),
        ("go.mod", "Go", go),
        ("pyproject.toml", "Python", python),
    ];
    for (file, language, detector) in kinds {
        let python_too = language == "Python"
            && ["setup.py", "setup.cfg", "requirements.txt"].iter().any(|f| here.join(f).is_file());
        if here.join(file).is_file() || python_too {
            // Names are unique in a file; of two languages the first one has them.
            let before = found.checks.len();
            detector(here, has, &mut found);
            let (old, new) = found.checks.split_at(before);
            let doubled = new.iter().any(|check| old.iter().any(|known| known.name == check.name));
            if doubled {
                found.checks.truncate(before);
                found.notes.push(format!("{language} is here as well; give it checks of its own"));
            }
            languages.push(language);
        }
    }
    if found.checks.is_empty() {
        found.checks.push(Suggestion {
            name: "hello",
            why: "An example: any command that exits with 0 passes",
            exec: "echo \"checked $(ls | wc -l) files\"".into(),
            depends_on: None,
            timeout_ms: 0,
        });
    }
    found.language = match languages.as_slice() {
        [] => "this directory".into(),
        some => format!("this {} project", some.join(" and ")),
    };
    found
}

type Detector = fn(&Path, &dyn Fn(&str) -> bool, &mut Found);

fn read(path: &Path) -> String {
    let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= MAX_MANIFEST_BYTES);
    if small { fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

fn missing(found: &mut Found, tool: &str) {
    found.notes.push(format!("{tool} is not on the PATH here, so nothing below calls it"));
}

fn rust(here: &Path, has: &dyn Fn(&str) -> bool, found: &mut Found) {
    if !has("cargo") {
        return missing(found, "cargo");
    }
    let manifest = read(&here.join("Cargo.toml"));
    let formatted = ["rustfmt.toml", ".rustfmt.toml"].iter().any(|f| here.join(f).is_file());
    if formatted && has("rustfmt") {
        found.checks.push(Suggestion {
            name: "format",
            why: "The layout that rustfmt.toml asks for",
            exec: "cargo fmt --all --check".into(),
            depends_on: None,
            timeout_ms: SHORT_MS,
        });
    }
    found.checks.push(Suggestion {
        name: "build",
        why: "Everything compiles, tests included",
        exec: "cargo check --workspace --all-targets".into(),
        depends_on: None,
        timeout_ms: LONG_MS,
    });
    let linted = here.join("clippy.toml").is_file() || manifest.contains("lints.clippy");
    if linted && has("cargo-clippy") {
        found.checks.push(Suggestion {
            name: "lint",
            why: "The lints that this workspace has chosen",
            exec: "cargo clippy --workspace --all-targets".into(),
            depends_on: Some("build"),
            timeout_ms: LONG_MS,
        });
    }
    found.checks.push(Suggestion {
        name: "test",
        why: "The tests, once it compiles",
        exec: "cargo test --workspace --quiet".into(),
        depends_on: Some("build"),
        timeout_ms: LONG_MS,
    });
}

fn node(here: &Path, has: &dyn Fn(&str) -> bool, found: &mut Found) {
    let managers = [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lockb", "bun")];
    let locked = managers.iter().find(|(file, _)| here.join(file).is_file());
    let tool = locked.map_or("npm", |(_, tool)| tool);
    if !has(tool) {
        return missing(found, tool);
    }
    let package: Value =
        serde_json::from_str(&read(&here.join("package.json"))).unwrap_or_default();
    let has_dependencies = ["dependencies", "devDependencies"]
        .iter()
        .any(|key| package[key].as_object().is_some_and(|all| !all.is_empty()));
    let installs = has_dependencies && !here.join("node_modules").is_dir();
    if installs {
        let exec = match tool {
            "npm" if here.join("package-lock.json").is_file() => "npm ci".to_owned(),
            tool => format!("{tool} install"),
        };
        found.checks.push(Suggestion {
            name: "install",
            why: "What the other checks need",
            exec,
            depends_on: None,
            timeout_ms: LONG_MS,
        });
    }
    let scripts = [
        ("lint", "The linter of package.json"),
        ("typecheck", "The types are right"),
        ("build", "It builds"),
        ("test", "The tests of package.json"),
    ];
    for (name, why) in scripts {
        let Some(script) = package["scripts"][name].as_str() else { continue };
        // What `npm init` writes when there are no tests: it always fails.
        if script.contains("no test specified") {
            continue;
        }
        found.checks.push(Suggestion {
            name,
            why,
            exec: format!("{tool} run {name}"),
            depends_on: installs.then_some("install"),
            timeout_ms: LONG_MS,
        });
    }
}

fn go(_: &Path, has: &dyn Fn(&str) -> bool, found: &mut Found) {
    if !has("go") {
        return missing(found, "go");
    }
    let commands = [
        ("vet", "Suspicious code", "go vet ./...", None),
        ("test", "The tests", "go test ./...", Some("vet")),
    ];
    for (name, why, exec, depends_on) in commands {
        let exec = exec.to_owned();
        found.checks.push(Suggestion { name, why, exec, depends_on, timeout_ms: LONG_MS });
    }
}

fn python(here: &Path, has: &dyn Fn(&str) -> bool, found: &mut Found) {
    if !has("python3") {
        return missing(found, "python3");
    }
    let linted = here.join("ruff.toml").is_file()
        || read(&here.join("pyproject.toml")).contains("[tool.ruff");
    if linted && has("ruff") {
        found.checks.push(Suggestion {
            name: "lint",
            why: "The rules that this project has chosen",
            exec: "ruff check .".into(),
            depends_on: None,
            timeout_ms: SHORT_MS,
        });
    }
    found.checks.push(Suggestion {
        name: "syntax",
        why: "Every file of the project is Python",
        // Parsed and not compiled: nothing is written into the tree.
        exec: "python3 - <<'PY'\nimport ast, pathlib\nskip = {'.git', '.venv', 'venv', \
               'node_modules', '.tox'}\nfor path in pathlib.Path('.').rglob('*.py'):\n    if not \
               skip.intersection(path.parts):\n        ast.parse(path.read_bytes(), str(path))\nPY"
            .into(),
        depends_on: None,
        timeout_ms: SHORT_MS,
    });
    let tests = here.join("tests");
    let is_test = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py"))
    };
    let has_tests = [tests.as_path(), here].iter().any(|directory| {
        fs::read_dir(directory).is_ok_and(|mut all| all.any(|entry| entry.is_ok_and(is_test)))
    });
    if has_tests && has("pytest") {
        found.checks.push(Suggestion {
            name: "test",
            why: "The tests",
            exec: "pytest -q".into(),
            depends_on: Some("syntax"),
            timeout_ms: LONG_MS,
        });
    } else if has_tests {
        missing(found, "pytest");
    }
}
