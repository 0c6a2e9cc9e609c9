//! What people see when a file has mistakes.

use visor_engine::diagnostic::Style;
use visor_engine::{Context, Diagnostics, Plan, config};
use visor_protocol::api::{ConfigSource, MAX_CONFIG_BYTES, Selection};

fn load(text: &str) -> Result<config::Loaded, Diagnostics> {
    config::load(&ConfigSource { name: "visor.yaml".into(), text: text.into() })
}

/// Mistakes, or warnings where nothing worse was found.
#[track_caller]
fn found(text: &str) -> Diagnostics {
    match load(text) {
        Ok(loaded) => loaded.warnings,
        Err(mistakes) => mistakes,
    }
}

#[track_caller]
fn codes(text: &str) -> Vec<&'static str> {
    found(text).iter().map(|item| item.code.trim_start_matches("visor::config::")).collect()
}

macro_rules! assert_shown {
    ($text:expr) => {
        let found = found($text);
        let shown = format!("{}{}", found.render(Style::Plain, 100), found.summary());
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(shown) });
    };
}

#[test]
fn every_mistake_of_a_file_is_shown_at_once() {
    assert_shown!(
        r#"version: "1.0"
max_parallelism: none
checks:
  unit-tests:
    type: command
    exec: npm test
    timout: 30000
  integration:
    type: comand
    exec: npm run integration
  publish:
    type: command
    depends_on: [integraton, unit-tests]
    exec: npm publish
    tags: ["no good"]
    on: [pr_open]
  deploy:
    type: command
    sandbox: nodee
sandboxes:
  node:
    image: node:22
    engine: podman
    resources: { memory: much }
"#
    );
}

#[test]
fn keys_of_the_language_that_are_not_supported_yet_are_named() {
    assert_shown!(
        "version: '1.0'
extends: ./base.yaml
routing: { max_loops: 3 }
checks:
  list:
    type: command
    exec: echo '[1, 2]'
    forEach: true
    triggers: ['**/*.rs']
  each:
    type: command
    exec: echo {{ outputs.list }}
    depends_on: list
    on_fail: { retry: { max: 2 } }
    triggers: ['**/*.ts']
  review:
    type: ai
    prompt: Look at this.
    ai: { provider: mock }
  second-review:
    type: ai
    prompt: Look again.
  say:
    type: log
    message: 'found {{ outputs.list | size }}'
    on_success: null
    forEach: false
"
    );
}

#[test]
fn an_expression_that_cannot_be_right_is_seen_before_it_runs() {
    assert_shown!(
        "version: 1
fail_if: output.error ==== true
checks:
  a:
    type: noop
    if: env.CI === 'true
  b:
    type: noop
    if: |
      const branches = ['main', 'next'];
      branches.includes(branch)
    fail_if: log(output); return output.failed
  c: { type: noop, if: 10n > 1 }
"
    );
}

#[test]
fn keys_of_another_type_are_pointed_at() {
    let text = "version: 1
checks:
  a: { type: noop, exec: make }
  b: { type: command, exec: make, message: hello }
  c: { type: log, message: hello, level: warn }
";
    assert_eq!(
        found(text).to_string(),
        "visor.yaml:3:20: warning: `exec` means nothing to a check of type `noop` \
         [visor::config::unknown_key] (only `command` has this)\n\
         visor.yaml:4:35: warning: `message` means nothing to a check of type `command` \
         [visor::config::unknown_key] (only `log` has this)"
    );
}

#[test]
fn what_other_files_would_add_is_not_guessed_at() {
    for text in [
        "version: 1\nextends: ./base.yaml",
        "version: 1\ninclude: [a.yaml]\nchecks: { a: { type: noop, depends_on: [elsewhere] } }",
    ] {
        assert_eq!(codes(text), ["unsupported_key"]);
    }
}

#[test]
fn one_renamed_check_is_one_mistake() {
    let mut text = String::from("version: 1\nchecks:\n  set-up: { type: noop }\n");
    for n in 0..40 {
        text.push_str(&format!("  c{n}: {{ type: noop, depends_on: [setup] }}\n"));
    }
    assert_shown!(&text);
}

#[test]
fn a_circle_is_shown_with_its_path() {
    assert_shown!(
        "version: 1
checks:
  a: { type: noop, depends_on: [c] }
  b: { type: noop, depends_on: [a] }
  c:
    type: noop
    depends_on:
      - x|b
  alone: { type: noop, depends_on: [alone] }
"
    );
}

#[test]
fn duplicate_keys_are_all_found_beside_other_mistakes() {
    assert_shown!(
        "version: 1
checks:
  a: { type: noop }
  b: { type: command, exec: one, exec: two, fail_fast: 3 }
  a: { type: nop }
"
    );
}

#[test]
fn a_file_that_is_only_half_there_has_one_mistake() {
    assert_shown!("version: \"1.0\"\nchecks:\n  lint:\n    type: command\n    exec: \"cargo clip");
    for text in [
        "version: '1.0'\nchecks:\n  a:\n    type: command\n    exec: [1, 2",
        "version: '1.0'\nchecks:\n  a:\n    type: command\n    depends_on: {x: ",
        "version: '1.0'\nchecks:\n  a:\n    type: command\n    ex",
        "version: '1.0'\nchecks:\n  a:\n    type: com",
        "version: '1.0'\nchecks:\n  a:\n    type:",
        "version: '1.0'\nchecks:\n  a:",
        "version: '1.0'\nchecks:",
        "version: '1.0'\nche",
        "version: '1.0'",
    ] {
        let found = found(text);
        assert_eq!(found.errors(), 1, "{text}\n{found}");
    }
}

#[test]
fn files_that_are_no_configuration_are_refused_in_one_sentence() {
    for (text, code) in [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("just words", "not_a_mapping"),
        ("[1, 2]", "not_a_mapping"),
        ("\u{1}\u{2}\u{3}ELF", "not_text"),
        ("v\0e\0r\0s\0i\0o\0n\0", "not_text"),
        ("a: *nowhere", "syntax"),
        ("a: &x [*x]", "syntax"),
        ("a: 1\n---\nb: 2", "syntax"),
        ("version:\n\ta: 1", "syntax"),
        ("%YAML 9.9\n---\n", "syntax"),
    ] {
        let codes = codes(text);
        assert_eq!(codes.first(), Some(&code), "{text:?}");
        assert_eq!(codes.len(), 1, "{text:?}: {codes:?}");
    }
}

#[test]
fn what_would_cost_too_much_is_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 10].join(",");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    let deep: String = (0..700).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    for text in [
        bomb,
        "[".repeat(10_000),
        "{a: ".repeat(10_000),
        "- ".repeat(10_000),
        "? ".repeat(10_000),
        deep,
        format!("a: [{}]", "x,".repeat(250_000)),
    ] {
        let start: String = text.chars().take(20).collect();
        let codes = codes(&text);
        assert_eq!(codes, ["too_complex"], "{start}");
    }
    let huge = "x".repeat(100 * 1024 * 1024);
    assert_eq!(codes(&huge), ["too_large"]);
    assert_eq!(codes(&"#".repeat(MAX_CONFIG_BYTES)), ["empty"]);
}

#[test]
fn a_file_with_thousands_of_mistakes_is_shown_in_a_page() {
    let mut text = String::from("version: 1\nchecks:\n");
    for n in 0..5_000 {
        text.push_str(&format!("  c{n}: {{ type: noop, k{n}: 1, depends_on: m{n} }}\n"));
    }
    let found = found(&text);
    assert_eq!(found.errors(), 5_000);
    assert_eq!(found.warnings(), 5_000);
    let shown = found.render(Style::Plain, 100);
    assert!(shown.lines().count() < 1_000);
    assert!(shown.ends_with("… and 9950 more like these\n"), "{shown}");
    assert!(!shown.contains("visor::config::unknown_key"), "warnings hide no errors");
}

#[test]
fn nothing_in_a_file_reaches_a_terminal_as_a_command() {
    let text = "version: 1\nchecks:\n  a: { type: noop, \"x\\e[31m\u{202e}y\u{9b}2J\": 1 }\n";
    for style in [Style::Plain, Style::Line, Style::Ascii] {
        let shown = found(text).render(style, 100);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{style:?} {shown:?}");
    }
    let long = format!("version: 1\nchecks: {{ a: {{ type: noop, x: {} }} }}", "y".repeat(100_000));
    assert!(found(&long).render(Style::Plain, 100).len() < 1_000);
}

#[test]
fn each_style_shows_the_same_mistake() {
    let text =
        "version: 1\nchecks:\n  a: { type: noop, depends_on: [é, bb] }\n  bbb: { type: noop }\n";
    let found = found(text);
    assert_eq!(
        found.to_string(),
        "visor.yaml:3:33: error: check `a` depends on `é`, which does not exist \
         [visor::config::unknown_dependency] (no check has this name)\n\
         visor.yaml:3:36: error: check `a` depends on `bb`, which does not exist \
         [visor::config::unknown_dependency] (did you mean `bbb` (line 4)?)"
    );
    assert!(found.render(Style::Colour, 100).contains('\u{1b}'));
    assert!(!found.render(Style::Plain, 100).contains('\u{1b}'));
    let ascii = found.render(Style::Ascii, 100);
    assert!(ascii.lines().filter(|line| !line.contains("depends")).all(str::is_ascii), "{ascii}");
}

#[test]
fn windows_line_endings_and_a_byte_order_mark_are_no_mistake() {
    let text = "\u{feff}version: '1.0'\r\nchecks:\r\n  a:\r\n    type: command\r\n    exec: |\r\n      echo a\r\n      echo b\r\n";
    let loaded = load(text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(loaded.warnings.is_empty());
    let text = "\u{feff}version: 1\nchecks:\n  é: { type: nop }\n";
    assert!(found(text).to_string().starts_with("visor.yaml:3:14: error: check `é` is of type"));
    assert_shown!("version: 1\r\nchecks:\r\n  a:\r\n    type: nop\r\n");
}

#[test]
fn names_that_do_not_exist_are_refused_with_the_nearest_that_do() {
    let config = load("version: 1\nchecks: { lint: { type: noop } }").unwrap().config;
    let refused = |selection: Selection| {
        Plan::new(&config, &selection, &Context::default()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(Selection { checks: vec!["lnt".into()], ..Selection::default() }),
        "visor.yaml: error: there is no check `lnt` in visor.yaml [visor::plan::unknown_check] \
         (did you mean `lint`?)"
    );
    assert_eq!(
        refused(Selection { event: Some("pr_open".into()), ..Selection::default() }),
        "visor.yaml: error: `pr_open` is not an event [visor::plan::unknown_event] \
         (did you mean `pr_opened`?)"
    );
}
