//! What is said to somebody who is mistaken, and how it ends.

mod support;

use support::Project;

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    let project = Project::new("version: '1.0'\nchecks: { a: { type: noop } }");
    let cases: [(&[&str], &str); 9] = [
        (&["run", "--bogus"], "--bogus"),
        (&["run", "--config", "nope.yaml"], "does not exist"),
        (&["run", "--check", "nope"], "nope"),
        (&["run", "--event", "pr_oppened"], "pr_opened"),
        (&["run", "--max-parallelism", "0"], "--max-parallelism"),
        (&["run", "--timeout", "soon"], "--timeout"),
        (&["run", "--output", "xml"], "json"),
        (&["run", "--fleet", "ftp://x"], "nats://"),
        (&["validate", "--config", "."], "cannot read"),
    ];
    for (args, expected) in cases {
        let said = project.visor(args).ended(2);
        assert_eq!(said.out, "", "{args:?}");
        assert!(said.err.contains(expected), "{args:?}: {}", said.err);
        assert!(!said.err.contains("panicked"), "{args:?}: {}", said.err);
    }
}

#[test]
fn without_a_configuration_the_way_out_is_named() {
    let project = Project::empty();
    let said = project.visor(&["run"]).ended(2);
    assert!(said.err.contains("visor init"), "{}", said.err);
}

#[test]
fn a_configuration_is_found_at_the_root_of_the_repository_first() {
    let project = Project::new("version: '1.0'\nchecks: { root: { type: noop } }");
    std::fs::create_dir(project.file(".git")).unwrap();
    project.write("sub/visor.yaml", "version: '1.0'\nchecks: { sub: { type: noop } }");
    let mut command = project.command(&["run"]);
    let said = support::said(command.current_dir(project.file("sub")).output().unwrap()).ended(0);
    assert!(said.out.contains("✓ root"), "{}", said.out);

    let named = project.visor(&["run", "--config", "sub/visor.yaml"]).ended(0);
    assert!(named.out.contains("✓ sub"), "{}", named.out);
    let mut by_variable = project.command(&["run"]);
    by_variable.env("VISOR_CONFIG_PATH", "sub/visor.yaml");
    assert!(support::said(by_variable.output().unwrap()).ended(0).out.contains("✓ sub"));
}

#[test]
fn validate_lists_every_mistake_and_runs_nothing() {
    let project = Project::new(
        "version: '1.0'\nchecks:\n  a: { type: command, exec: touch ran }\n  b: { type: comand }\n  \
         c: { type: noop, depends_on: [x] }\n",
    );
    let said = project.visor(&["validate"]).ended(2);
    assert!(said.err.contains("comand") && said.err.contains("`x`"), "{}", said.err);
    assert!(!project.file("ran").exists());

    let said = project.visor(&["lint", "--json"]).ended(2);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["valid"], false);
    assert!(answer["diagnostics"].as_array().unwrap().len() >= 2, "{answer}");
    assert_eq!(answer["diagnostics"][0]["file"], "visor.yaml");
}

#[test]
fn the_mistakes_of_the_guide_are_shown_as_the_guide_says() {
    let project = Project::new(
        "version: '1.0'\nchecks:\n  a:\n    type: comand\n    timout: 3000\n    exec: echo ok\n",
    );
    let said = project.visor(&["validate"]).ended(2);
    assert!(said.err.contains("did you mean `command`?"), "{}", said.err);
    assert!(said.err.contains("`timeout`?"), "{}", said.err);
    assert!(said.err.ends_with("\n1 error, 1 warning. Nothing was run.\n"), "{}", said.err);

    let said = project.visor(&["validate", "--json"]).ended(2);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&answer["errors"], &answer["warnings"]), (&1.into(), &1.into()));
    assert_eq!(answer["diagnostics"][1]["labels"][0]["text"], "`timeout`?");
    assert_eq!(answer["checks"], serde_json::json!([]));
}

#[test]
fn validate_says_where_each_check_would_run() {
    let project = Project::new(
        "version: '1.0'\nsandboxes:\n  net: { image: 'alpine:3', network: true }\nchecks:\n  \
         a: { type: command, exec: ls }\n  b: { type: command, exec: ls, sandbox: net }\n",
    );
    let said = project.visor(&["validate"]).ended(0);
    let line = |name: &str| {
        let lines = said.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.filter(|words| words.first() == Some(&name)).map(|words| words.join(" ")).next()
    };
    assert_eq!(line("a").unwrap(), "a command on the host everything");
    assert_eq!(line("b").unwrap(), "b command in sandbox net (alpine:3) network");
    assert!(said.out.contains("default sandbox of the pool"), "{}", said.out);

    let said = project.visor(&["validate", "--json"]).ended(0);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let places =
        |check: usize| (&answer["checks"][check]["here"], &answer["checks"][check]["fleet"]);
    assert_eq!(places(0), (&"host".into(), &"pool".into()));
    assert_eq!(places(1), (&"sandbox".into(), &"sandbox".into()));
    assert_eq!(answer["checks"][1]["sandbox"]["opens"], serde_json::json!(["network"]));
}

#[test]
fn nothing_that_can_be_named_as_a_configuration_keeps_us_waiting() {
    let project = Project::empty();
    let pipe = project.file("pipe");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    project.write("wide.yaml", b"\xff\xfev\0e\0r\0");
    std::fs::File::create(project.file("huge.yaml")).unwrap().set_len(100 << 20).unwrap();
    for (name, words) in [
        ("pipe", "is a pipe, and nobody has opened it"),
        ("/dev/zero", "it is a device"),
        (".", "it is a directory"),
        ("wide.yaml", "UTF-16"),
        ("huge.yaml", "105 MB"),
    ] {
        for command in ["run", "validate"] {
            let said = project.visor(&[command, "--config", name]).ended(2);
            assert!(said.err.contains(words) && said.err.contains("help:"), "{name}: {}", said.err);
        }
    }
}

#[test]
fn nothing_behind_an_address_is_told_as_such() {
    let project = Project::new("version: '1.0'\nchecks: { a: { type: noop } }");
    let http = format!("http://127.0.0.1:{}", support::free_port());
    let said = project.visor(&["status", "--fleet", &http]).ended(3);
    assert!(said.err.contains("visor serve"), "{}", said.err);
    let nats = format!("nats://127.0.0.1:{}", support::free_port());
    let said = project.visor(&["runs", "list", "--fleet", &nats]).ended(3);
    assert!(said.err.contains("nats-server -js"), "{}", said.err);
}

#[test]
fn junk_is_an_error_and_never_a_panic() {
    let project = Project::empty();
    let junk: [&[u8]; 7] = [
        b"",
        b"\xff\xfe\x00\x01",
        b"\x00\x00\x00\x00",
        b"[1, 2, 3]",
        b"checks: [",
        b"a: &a [*a, *a]",
        b"version: 1.0\nchecks: 5",
    ];
    for bytes in junk {
        project.write("visor.yaml", bytes);
        let said = project.visor(&["run"]).ended(2);
        assert!(!said.err.contains("visor::bug"), "{bytes:?}: {}", said.err);
        assert!(said.err.contains("visor::"), "{bytes:?}: {}", said.err);
    }
    let deep = "a:\n".to_owned() + &"[".repeat(10_000);
    project.write("visor.yaml", deep);
    project.visor(&["run"]).ended(2);
    project.write("visor.yaml", vec![b'x'; 5 * 1024 * 1024]);
    project.visor(&["run"]).ended(2);
}

#[test]
fn the_version_is_printed() {
    let said = Project::empty().visor(&["--version"]).ended(0);
    assert_eq!(said.out, format!("visor {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_lists_the_exit_codes() {
    let said = Project::empty().visor(&["--help"]).ended(0);
    assert!(said.out.contains("130  interrupted"), "{}", said.out);
}

#[test]
fn a_service_that_others_could_reach_wants_a_token() {
    let project = Project::empty();
    let said = project.visor(&["serve", "--http", "0.0.0.0:0"]).ended(2);
    assert!(said.err.contains("VISOR_TOKEN"), "{}", said.err);
    let short = ["serve", "--http", "0.0.0.0:0", "--token", "fifteen-letters"];
    let said = project.visor(&short).ended(2);
    assert!(said.err.contains("openssl rand -hex 16"), "{}", said.err);
    assert!(!said.err.contains("fifteen-letters"), "{}", said.err);
}

#[test]
fn wrong_settings_of_a_fleet_keep_it_from_starting() {
    let project = Project::empty();
    project.write("fleet.yaml", "limts: {}");
    let args = ["serve", "--config", "fleet.yaml", "--http", "127.0.0.1:0"];
    let said = project.visor(&args).ended(2);
    assert!(said.err.contains("limts") && said.err.contains("fleet.yaml"), "{}", said.err);
}
