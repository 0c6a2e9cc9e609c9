//! The systemd units.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::program::{Known, visor};
use super::{deploy, find, read, skipped};

const UNITS: [&str; 3] = ["visor-coordinator", "visor-serve", "visor-worker"];

/// Values of a setting, in the order of the file.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == setting).map(|(_, value)| value).collect()
}

#[test]
fn every_unit_file_is_known_to_these_tests() {
    let mut found: Vec<String> = fs::read_dir(deploy().join("systemd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "service"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, UNITS);
}

#[test]
fn every_unit_starts_a_command_with_flags_and_variables_it_knows() {
    for name in UNITS {
        let unit = read(format!("systemd/{name}.service"));
        let start = values(&unit, "ExecStart");
        let words: Vec<&str> = start[0].split_whitespace().collect();
        assert_eq!(words[0], "/usr/local/bin/visor");
        let Some(known) = Known::of(words[1]) else {
            return skipped(
                "deploy::units::every_unit_starts_a_command_with_flags_and_variables_it_knows",
                "visor was not built along; run the tests of the whole workspace",
            );
        };
        known.check(name, &words[2..]);
        for line in values(&unit, "Environment") {
            known.check(name, &line.split_whitespace().collect::<Vec<_>>());
        }
        // What the comments tell people to set exists as well.
        let comments = unit.lines().filter(|line| line.starts_with('#'));
        let words =
            comments.flat_map(|line| line.split(|c: char| !c.is_ascii_uppercase() && c != '_'));
        known.check(name, &words.collect::<Vec<_>>());
    }
}

#[test]
fn a_workers_state_lies_where_its_unit_may_write() {
    for name in UNITS {
        let unit = read(format!("systemd/{name}.service"));
        let state = format!("VISOR_DATA_DIR=/var/lib/{}", values(&unit, "StateDirectory")[0]);
        let environment = values(&unit, "Environment").join(" ");
        assert!(environment.split_whitespace().any(|one| one == state), "{name}: {environment}");
    }
}

#[test]
fn systemd_takes_every_unit_and_finds_it_hardened() {
    let Some(analyze) = find("systemd-analyze") else {
        return skipped(
            "deploy::units::systemd_takes_every_unit_and_finds_it_hardened",
            "systemd-analyze is not installed",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    // The program is not installed here; any other file that can be executed does.
    let program = visor().unwrap_or_else(|| "/bin/true".into());
    for name in UNITS {
        let unit = read(format!("systemd/{name}.service"))
            .replace("/usr/local/bin/visor", program.to_str().unwrap());
        let file = folder.path().join(format!("{name}.service"));
        fs::write(&file, unit).unwrap();
        ask(&analyze, &["verify", "--man=no"], &file);
        // Tenths: 2.0 is what systemd itself calls well protected.
        ask(&analyze, &["security", "--offline=true", "--threshold=20", "--no-pager"], &file);
    }
}

#[track_caller]
fn ask(analyze: &Path, arguments: &[&str], file: &Path) {
    let mut command = Command::new(analyze);
    let output = command.args(arguments).arg(file).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = file.file_name().unwrap().to_string_lossy();
    // Complaints about units of the machine itself are none of ours.
    assert!(!said.contains(&*name), "{said}");
    assert!(output.status.success(), "{arguments:?} {name}: {said}");
}
