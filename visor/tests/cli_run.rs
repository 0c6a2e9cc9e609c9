//! `visor run` on this machine: what it prints, and how it ends.

mod support;

use std::io::Write as _;

use support::Project;

const MIXED: &str = r#"
version: "1.0"
checks:
  ok: { type: command, exec: echo fine }
  announce: { type: log, message: "hello there", depends_on: [ok] }
  bad: { type: command, exec: "echo some output; echo 'went wrong' >&2; exit 3" }
  after: { type: command, exec: echo never, depends_on: [bad] }
"#;

#[test]
fn a_run_that_passes_ends_with_0_and_one_that_fails_with_1() {
    let project = Project::new(MIXED);
    let passed = project.visor(&["run", "--check", "announce"]).ended(0);
    assert!(passed.out.contains("✓ ok"), "{}", passed.out);
    assert!(passed.out.contains("hello there"), "{}", passed.out);
    assert!(passed.out.contains("2 checks: 2 passed"), "{}", passed.out);
    assert_eq!(passed.err, "", "a run that passes is quiet");

    let failed = project.visor(&[]).ended(1);
    assert!(failed.out.contains("✗ bad"), "{}", failed.out);
    assert!(failed.out.contains("exit 3"), "{}", failed.out);
    assert!(failed.out.contains("went wrong"), "{}", failed.out);
    assert!(failed.out.contains("again: visor run --check bad"), "{}", failed.out);
    let last = failed.out.trim_end().lines().last().unwrap();
    assert!(last.contains("2 passed, 1 failed, 1 skipped (after: bad failed)"), "{last}");
}

#[test]
fn piped_output_has_no_colours_and_no_cursor_tricks() {
    let project = Project::new(MIXED);
    for args in [&["run"][..], &["run", "--verbose"], &["validate"], &["run", "-o", "markdown"]] {
        let said = project.visor(args);
        assert!(!said.out.contains('\u{1b}'), "{args:?}: {}", said.out);
        assert!(!said.err.contains('\u{1b}'), "{args:?}: {}", said.err);
    }
    let forced = project.command(&["run"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stdout.contains(&0x1b), "CLICOLOR_FORCE asks for colours");
    let mut both = project.command(&["run"]);
    let both = both.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().unwrap();
    assert!(!both.stdout.contains(&0x1b), "NO_COLOR wins");
}

#[test]
fn json_is_the_results_and_nothing_else() {
    let project = Project::new(MIXED);
    let said = project.visor(&["run", "--output", "json"]).ended(1);
    let results: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(results["ok"][0]["checkName"], "ok");
    assert_eq!(results["ok"][0]["output"], "fine");
    assert_eq!(results["bad"][0]["issues"][0]["severity"], "error");
    assert!(results.get("after").is_none(), "a check that did not run has no result");
}

#[test]
fn a_result_can_go_to_a_file_and_a_file_that_cannot_be_written_costs_no_run() {
    let project = Project::new(MIXED);
    let said = project.visor(&["-c", "ok", "-o", "json", "--output-file", "r.json"]).ended(0);
    assert_eq!(said.out, "");
    let text = std::fs::read_to_string(project.file("r.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["ok"].is_array());

    let project = Project::new("version: '1.0'\nchecks: { a: { type: command, exec: touch ran } }");
    project.visor(&["--output-file", "no/such/dir"]).ended(2);
    assert!(!project.file("ran").exists());
}

#[test]
fn the_flags_of_the_capacity_guide_work_without_a_command() {
    let project = Project::empty();
    project.write(
        "load.visor.yaml",
        r#"
version: "1.0"
checks:
  fast: { type: command, command: "echo fast", tags: [load-test] }
  slow: { type: command, command: "sleep 0.1", tags: [load-test] }
  other: { type: command, command: "touch other-ran", tags: [other] }
"#,
    );
    let args = ["--config", "load.visor.yaml", "--check", "all", "--tags", "load-test"];
    let said = project.visor(&args).ended(0);
    assert!(said.out.contains("2 checks: 2 passed"), "{}", said.out);
    assert!(!project.file("other-ran").exists());
}

#[test]
fn a_mistake_in_the_file_is_told_before_anything_runs() {
    let project = Project::new(
        "version: '1.0'\nchecks:\n  build: { type: command, exec: touch ran }\n  b: { type: command, \
         exec: 'true', depends_on: [buid], timout: 5 }\n",
    );
    let said = project.visor(&["run"]).ended(2);
    assert_eq!(said.out, "");
    assert!(said.err.contains("visor.yaml:4"), "{}", said.err);
    assert!(said.err.contains("did you mean `build`"), "{}", said.err);
    assert!(said.err.contains("1 error, 1 warning. Nothing was run."), "{}", said.err);
    assert!(!project.file("ran").exists());
}

#[test]
fn a_warning_goes_to_stderr_and_the_run_goes_on() {
    let project =
        Project::new("version: '1.0'\nchecks:\n  a: { type: command, exec: 'true', timout: 5 }\n");
    let said = project.visor(&["run", "-o", "json"]).ended(0);
    assert!(said.err.contains("timout"), "{}", said.err);
    assert!(serde_json::from_str::<serde_json::Value>(&said.out).is_ok());
    let quiet = project.visor(&["run", "--quiet"]).ended(0);
    assert_eq!(quiet.err, "");
}

#[test]
fn what_a_check_prints_cannot_move_the_cursor() {
    let project = Project::new(
        "version: '1.0'\nchecks:\n  evil: { type: command, exec: \"printf \
         '\\\\033[2J\\\\033]0;owned\\\\007shown'; exit 1\" }\n",
    );
    let said = project.visor(&["run", "--verbose"]).ended(1);
    assert!(said.out.contains("shown"), "{}", said.out);
    assert!(!said.out.contains('\u{1b}') && !said.out.contains("owned"), "{:?}", said.out);
    assert!(!said.err.contains('\u{1b}') && !said.err.contains("owned"), "{:?}", said.err);
}

#[test]
fn a_run_can_have_a_time_limit() {
    let project =
        Project::new("version: '1.0'\nchecks:\n  a: { type: command, exec: sleep 600 }\n");
    let said = project.visor(&["run", "--timeout", "300ms"]).ended(1);
    assert!(said.out.contains("time was over"), "{}", said.out);
}

#[test]
fn a_thousand_checks_are_one_line_when_all_pass() {
    let checks: String = (0..1_000).map(|i| format!("  c{i}: {{ type: noop }}\n")).collect();
    let project = Project::new(&format!("version: '1.0'\nchecks:\n{checks}"));
    let said = project.visor(&["run"]).ended(0);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    assert!(said.out.contains("1000 checks: 1000 passed"), "{}", said.out);
}

#[test]
fn a_selection_of_nothing_says_which_flag_would_select() {
    let project = Project::new(
        r#"
version: "1.0"
checks:
  a: { type: noop, tags: [slow] }
  b: { type: noop, tags: [fast, slow] }
  c: { type: noop, tags: [fast], on: [pr_opened] }
"#,
    );
    let cases: [(&[&str], &str); 6] = [
        (&[], "nothing is selected: all 3 checks have tags: add --tags fast,slow"),
        (&["--check", "all"], "all 3 checks have tags: add --tags fast,slow"),
        (&["--tags", "gpu"], "all 3 checks have other tags: --tags fast,slow would select"),
        (&["--exclude-tags", "fast,slow"], "all 3 checks have a tag that is excluded (fast, slow)"),
        (&["-c", "c", "--event", "manual"], "1 check is for other events: --event all, or one of"),
        (&["--event", "manual"], "2 checks have tags: add --tags fast,slow; 1 check is for other"),
    ];
    for (flags, told) in cases {
        let said = project.visor(&[&["run"], flags].concat()).ended(0);
        assert!(said.err.contains(told), "{flags:?}: {}", said.err);
    }
    project.visor(&["run", "--tags", "fast,slow"]).ended(0);
}

#[test]
fn a_journal_is_kept_where_it_was_asked_for() {
    let project = Project::new(MIXED);
    project.visor(&["run", "-c", "ok", "--data-dir", "state"]).ended(0);
    assert!(std::fs::read_dir(project.file("state")).unwrap().count() > 0);
    project.visor(&["run", "-c", "ok", "--data-dir", "state"]).ended(0);
}

/// Each example but the one that needs an image of its own, as its reader would run it.
#[test]
fn every_example_runs_and_passes() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("examples/quickstart/visor.yaml")];
    let folder = std::fs::read_dir(root.join("examples")).unwrap();
    files.extend(folder.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".yaml") && !name.starts_with("sandbox")
    });
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_visor"))
            .args(["run", "--config"])
            .arg(&file)
            .current_dir(&root)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{}:\n{said}{err}", file.display());
        assert!(said.contains(" checks: ") || said.contains(" check: "), "{said}");
    }
}

#[test]
fn a_check_whose_engine_is_not_there_fails_at_once_and_says_what_to_do() {
    let project = Project::new(
        r#"
version: "1.0"
sandboxes: { box: { image: "visor/base:busybox" } }
checks:
  boxed: { type: command, exec: echo hi, sandbox: box }
"#,
    );
    let mut command = project.command(&["run"]);
    command.env("DOCKER_HOST", "unix:///nonexistent/engine.sock");
    let said = support::said(command.output().unwrap()).ended(1);
    for part in ["visor::sandbox::engine_down", "/nonexistent/engine.sock", "start it", "sandbox:"]
    {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    // Tried again it would be the second attempt or a later one, seconds after the first.
    assert!(!said.out.contains(" attempt: "), "{}", said.out);
}

#[test]
fn a_long_message_is_whole_where_there_is_no_screen() {
    let message = "word ".repeat(60);
    let project = Project::new(&format!(
        "version: '1.0'\nchecks:\n  a:\n    type: command\n    exec: |\n      echo '{{\"issues\":[{{\"file\":\
         \"a.rs\",\"line\":1,\"ruleId\":\"x\",\"message\":\"{message}end\",\"severity\":\"critical\"}}]}}'\n"
    ));
    let said = project.visor(&["run"]).ended(1);
    assert!(said.out.contains(&format!("{message}end")), "{}", said.out);
    assert!(said.out.contains("1 check: 1 passed · failed: 1 critical issue"), "{}", said.out);
}

#[test]
fn a_configuration_comes_from_standard_input_as_well() {
    let project = Project::empty();
    let text = "version: '1.0'\nchecks: { a: { type: command, exec: exit 1 } }";
    for name in ["-", "/dev/stdin"] {
        let mut command = project.command(&["run", "--config", name]);
        let mut running = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let said = support::said(running.wait_with_output().unwrap()).ended(1);
        // What came through a pipe is gone: it is for the reader to name.
        assert!(said.out.contains("again: visor run --config FILE --check a"), "{}", said.out);
    }
}
