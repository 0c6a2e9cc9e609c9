//! One mistake hides no other, and nothing of the wrong kind is taken silently.

use visor_engine::{Diagnostics, config};
use visor_protocol::api::ConfigSource;

fn found(text: &str) -> Diagnostics {
    match config::load(&ConfigSource { name: "visor.yaml".into(), text: text.into() }) {
        Ok(loaded) => loaded.warnings,
        Err(mistakes) => mistakes,
    }
}

/// `line:column code` of each mistake, in the order in which they are shown.
fn places(text: &str) -> Vec<String> {
    let found = found(text);
    let each = found.iter().map(|item| {
        let (line, column) = found.place(item).unwrap_or_default();
        format!("{line}:{column} {}", item.code.trim_start_matches("visor::config::"))
    });
    each.collect()
}

#[test]
fn an_unknown_type_hides_nothing_else_of_its_check() {
    let text = "version: '1.0'\nchecks:\n  a:\n    type: comand\n    timout: 3000\n";
    assert_eq!(places(text), ["4:11 unknown_type", "5:5 unknown_key"]);
    let text = "version: 1
checks:
  a:
    type: what
    exec: [1]
    tags: 5
    timeout: soon
    env: 3
    sandbox: none
    forEach: true
    if: 7
    level: loud
    depends_on: [b]
    exce: x
";
    assert_eq!(
        places(text),
        [
            "4:11 unknown_type",
            "5:5 wrong_type",
            "6:11 wrong_type",
            "7:14 wrong_type",
            "8:10 wrong_type",
            "9:14 unknown_sandbox",
            "10:5 unsupported_key",
            "11:9 wrong_type",
            "12:12 invalid_value",
            "13:18 unknown_dependency",
            "14:5 unknown_key",
        ]
    );
    // So does a type that is missing, or no text at all.
    let text = "version: 1\nchecks:\n  a: { exec: 5, tags: 5 }\n  b: { type: [x], tags: 5 }\n";
    assert_eq!(
        places(text),
        [
            "3:8 missing_type",
            "3:14 wrong_type",
            "3:23 wrong_type",
            "4:8 wrong_type",
            "4:25 wrong_type"
        ]
    );
}

#[test]
fn a_check_of_a_type_that_does_not_run_yet_is_read_as_far_as_it_is_known() {
    let text = "version: 1
checks:
  a:
    type: ai
    prompt: hello
    depnds_on: [b]
    env: 5
    sandbox: none
    tags: 5
    timeout: 30
";
    assert_eq!(
        places(text),
        [
            "7:10 wrong_type",
            "8:14 unknown_sandbox",
            "9:11 wrong_type",
            "4:11 unsupported_type",
            "6:5 unknown_key",
        ]
    );
}

#[test]
fn a_dependency_that_does_not_exist_hides_no_circle() {
    let text = "version: 1
checks:
  a: { type: noop, depends_on: [nowhere] }
  b: { type: noop, depends_on: [c] }
  c: { type: noop, depends_on: [b, elsewhere] }
";
    assert_eq!(
        places(text),
        ["3:33 unknown_dependency", "4:33 dependency_cycle", "5:36 unknown_dependency"]
    );
}

#[test]
fn a_repeated_key_hides_nothing_of_its_first_place() {
    let text = "version: 1
checks:
  a: { type: command, exec: 5, tags: [1] }
  b:
    type: command
    env: 5
    exec: make
    env: { A: [1] }
  a: { type: command, exec: make, timeout: 0 }
";
    assert_eq!(
        places(text),
        [
            "3:29 wrong_type",
            "3:39 wrong_type",
            "6:10 wrong_type",
            "8:5 duplicate_key",
            "8:12 wrong_type",
            "9:3 duplicate_key",
            "9:44 invalid_value",
        ]
    );
    let said = found(text).to_string();
    assert!(said.contains("`a` is given twice in one mapping, at 3:3 and 9:3"), "{said}");
    let thrice = "version: 1\nchecks: { a: { type: noop } }\nversion: [1]\nversion: 3\n";
    assert_eq!(places(thrice), ["3:1 duplicate_key", "3:1 wrong_type"]);
    let said = found(thrice).to_string();
    assert!(
        said.contains("`version` is given 3 times in one mapping, at 1:1, 3:1 and 4:1"),
        "{said}"
    );
    // What is in the other mapping is not missing.
    let two = "version: 1
checks:
  a: { type: noop, depends_on: [b] }
checks:
  b: { type: noop, depends_on: [a] }
";
    assert_eq!(places(two), ["4:1 duplicate_key"]);
}

/// Everything a value can be, as it is written in one line.
const VALUES: [(&str, &str); 7] = [
    ("text", "word"),
    ("whole", "5"),
    ("fraction", "1.5"),
    ("negative", "-3"),
    ("flag", "true"),
    ("list", "[[1]]"),
    ("mapping", "{ k: [1] }"),
];

/// A key in its place and the kinds of values that it takes.
fn takes(file: &str, accepted: &[&str]) {
    for (kind, value) in VALUES {
        let text = file.replace("VALUE", value);
        let found = found(&text);
        let refused = found.errors() > 0;
        assert_eq!(refused, !accepted.contains(&kind), "{kind}\n{text}\n{found}");
        if refused {
            let first = found.iter().find(|item| {
                item.labels.iter().any(|label| text.get(label.span.clone()).is_some())
            });
            assert!(first.is_some(), "a mistake without its place\n{text}\n{found}");
        }
    }
}

#[test]
fn every_key_refuses_values_of_the_wrong_kind() {
    let top = |key: &str| format!("version: 1\nchecks: {{ a: {{ type: noop }} }}\n{key}: VALUE\n");
    let check = |kind: &str, key: &str| {
        format!(
            "version: 1\nchecks:\n  word: {{ type: noop }}\n  a:\n    {kind}\n    {key}: VALUE\n"
        )
    };
    let command = |key: &str| check("type: command\n    exec: x", key);
    let sandbox = |key: &str| {
        format!(
            "version: 1\nchecks: {{ a: {{ type: noop }} }}\nsandboxes:\n  s:\n    image: x\n    {key}: VALUE\n"
        )
    };

    takes(
        "version: VALUE\nchecks: { a: { type: noop } }\n",
        &["text", "whole", "fraction", "negative"],
    );
    takes("version: 1\nchecks: VALUE\n", &[]);
    takes("version: 1\nsteps: VALUE\n", &[]);
    // Without a type it is one of the language that does not run yet.
    takes("version: 1\nchecks: { a: VALUE }\n", &["mapping"]);
    takes(&top("max_parallelism"), &["whole"]);
    takes(&top("fail_fast"), &["flag"]);
    takes(&top("fail_if"), &["text", "flag"]);
    takes(&top("env"), &[]);
    takes(&top("env: { A: VALUE }\nx-y"), &["text", "whole", "fraction", "negative", "flag"]);
    takes(&top("tag_filter"), &["mapping"]);
    takes(&top("tag_filter: { include: VALUE }\nx-y"), &["text"]);
    takes(&top("tag_filter: { exclude: [VALUE] }\nx-y"), &["text"]);
    takes(&top("sandboxes"), &[]);
    takes(&top("sandboxes: { s: VALUE }\nx-y"), &[]);
    takes(&top("sandbox"), &[]);
    takes(&top("sandbox_defaults"), &["mapping"]);
    takes(&top("sandbox_defaults: { env_passthrough: VALUE }\nx-y"), &["text"]);

    takes(&check("exec: x", "type"), &[]);
    takes(&check("type: command", "exec"), &["text", "flag"]);
    takes(&check("type: command", "command"), &["text", "flag"]);
    takes(&check("type: log", "message"), &["text"]);
    takes(&check("type: log\n    message: x", "level"), &[]);
    takes(&command("depends_on"), &["text"]);
    takes(&command("depends_on: [VALUE]\n    description"), &["text"]);
    takes(&command("on"), &[]);
    takes(&command("tags"), &["text"]);
    takes(&command("env"), &[]);
    takes(&command("timeout"), &["whole"]);
    takes(&command("group"), &["text"]);
    takes(&command("schema"), &["text"]);
    takes(&command("continue_on_failure"), &["flag"]);
    takes(&command("criticality"), &[]);
    takes(&command("if"), &["text", "flag"]);
    takes(&command("fail_if"), &["text", "flag"]);
    takes(&command("sandbox"), &[]);
    takes(&command("idempotent"), &["flag"]);

    takes(
        "version: 1\nchecks: { a: { type: noop } }\nsandboxes: { s: { image: VALUE } }\n",
        &["text"],
    );
    takes(&sandbox("engine"), &[]);
    takes(&sandbox("workdir"), &[]);
    takes(&sandbox("env_passthrough"), &["text"]);
    takes(&sandbox("network"), &["flag"]);
    takes(&sandbox("read_only"), &["flag"]);
    takes(&sandbox("resources"), &["mapping"]);
    takes(&sandbox("resources: { memory: VALUE }\n    visor_path"), &[]);
    takes(&sandbox("resources: { disk: VALUE }\n    visor_path"), &[]);
    takes(&sandbox("resources: { cpu: VALUE }\n    visor_path"), &["whole", "fraction"]);
}

#[test]
fn keys_that_would_change_a_run_are_refused_with_what_to_write_instead() {
    for (key, value) in [
        ("assume", "'true'"),
        ("guarantee", "output.ok"),
        ("forEach", "true"),
        ("fanout", "map"),
        ("reduce", "true"),
        ("retry", "{ max: 3 }"),
        ("on_init", "{ run: [a] }"),
        ("on_fail", "{ goto: a }"),
        ("on_success", "{ run: [a] }"),
        ("on_finish", "{ run: [a] }"),
        ("failure_conditions", "{ x: 'true' }"),
        ("transform", "'{{ output }}'"),
        ("transform_js", "output"),
        ("schema", "{ type: object }"),
        ("schema", "./schemas/report.json"),
        ("output_schema", "{ type: object }"),
        ("template", "{ content: x }"),
        ("stdin", "text"),
        ("debounce", "500"),
        ("policy", "{ require: admin }"),
    ] {
        let text = format!(
            "version: 1\nchecks:\n  a:\n    type: command\n    exec: x\n    {key}: {value}\n"
        );
        let found = found(&text);
        assert_eq!(found.errors(), 1, "{key}: {found}");
        for item in &found {
            assert_eq!(item.code, "visor::config::unsupported_key", "{key}");
            assert!(item.help.as_ref().is_some_and(|help| !help.is_empty()), "{key}: {found}");
            assert_eq!(found.place(item).unwrap().0, 6, "{key}");
        }
    }
    for (key, value) in [
        ("extends", "./base.yaml"),
        ("include", "[a.yaml]"),
        ("routing", "{ max_loops: 3 }"),
        ("failure_conditions", "{ x: 'true' }"),
        ("memory", "{ storage: file }"),
        ("workspace", "{ enabled: true }"),
        ("policy", "{ engine: local, rules: x }"),
        ("hooks", "{ before: x }"),
    ] {
        let found =
            found(&format!("version: 1\nchecks: {{ a: {{ type: noop }} }}\n{key}: {value}\n"));
        assert_eq!(found.errors(), 1, "{key}: {found}");
    }
    // Switched off they say what this version does anyway.
    let text = "version: 1
routing: {}
workspace: { enabled: false }
policy: { engine: disabled }
checks: { a: { type: noop, forEach: false, retry: null, on_fail: {} } }
";
    assert_eq!(places(text), Vec::<String>::new());
}

#[test]
fn an_unknown_key_is_told_of_whatever_its_value() {
    for value in ["false", "", "[]", "{}", "5"] {
        let text = format!("version: 1\nfail_fsat: {value}\nchecks: {{ a: {{ type: noop }} }}\n");
        assert_eq!(places(&text), ["2:1 unknown_key"], "{value}");
    }
    let said = found("version: 1\nchecks: { a: { type: noop, timout: 5 } }\n").to_string();
    assert!(said.ends_with("(`timeout`?)"), "{said}");
}

#[test]
fn what_is_no_yaml_is_told_in_plain_words() {
    let of_parser =
        ["while parsing", "while scanning", "did not find expected", "simple key", "eof"];
    for (text, words) in [
        ("version: '1.0\nchecks: {}", "a quote is never closed"),
        ("version: 1\nchecks: [a", "a bracket is never closed"),
        ("version: 1\nchecks: [a}", "a bracket is closed by one of another kind"),
        ("version: 1\nchecks:\n\ta: 1\n", "a tab stands where only spaces may"),
        ("version: 1\nchecks: a: b\n", "a `:` stands where no key can be"),
        ("version: 1\n  checks: {}\n", "a `:` stands where no key can be"),
        ("version: 1\nchecks:\n  a: 1\n b: 2\n", "this is no key of the mapping before it"),
        ("version: 1\nchecks: *base\n", "this alias refers to an anchor that is not there"),
        ("version: 1\nchecks\n", "this is no `key: value`"),
        ("version: 'a' b\n", "there is more after the closing quote"),
        ("version: \"\\q\"\n", "this is no escape sequence"),
        ("version: 1\nchecks: {a: 1 b: 2}\n", ""),
        ("version: @x\n", ""),
        ("version: 1\n<<: 5\nchecks: {}\n", "`<<` takes mappings only"),
        ("%YAML 9.9\n---\n", ""),
    ] {
        let found = found(text);
        let said = found.to_string();
        assert!(found.errors() > 0, "{text:?}");
        assert!(said.contains(words), "{text:?}: {said}");
        assert!(of_parser.iter().all(|word| !said.contains(word)), "{text:?}: {said}");
        assert!(found.iter().all(|item| item.help.is_some()), "{text:?}: {said}");
    }
}

#[test]
fn what_is_too_complex_says_what_is_too_much() {
    let deep = "a: ".to_owned() + &"[".repeat(10_000);
    assert!(found(&deep).to_string().contains("nested deeper than 32 levels"));
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 10].join(",");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    assert!(found(&bomb).to_string().contains("more than 250000 values"));
    let wide = "v\0e\0r\0s\0i\0o\0n\0:\0";
    assert!(found(wide).to_string().contains("looks like UTF-16: save it as UTF-8"));
    let junk = found("\u{7f}ELF\u{2}\u{1}").to_string();
    assert!(junk.starts_with("visor.yaml:1:1: error: the file is not text"), "{junk}");
}

/// What is advised about each mistake of a text.
fn advice(text: &str) -> Vec<String> {
    found(text).iter().map(|item| item.help.clone().unwrap_or_default()).collect()
}

#[test]
fn a_timeout_with_a_unit_is_told_in_milliseconds() {
    for (written, help) in [
        ("10s", "milliseconds: write 10000"),
        ("5m", "milliseconds: write 300000"),
        ("1.5 min", "milliseconds: write 90000"),
        ("'250'", "milliseconds: write 250"),
        ("2h", "milliseconds: write 7200000"),
        ("soon", "milliseconds: 10 seconds are 10000"),
        ("0s", "milliseconds: 10 seconds are 10000"),
        ("99999999999999999999d", "milliseconds: 10 seconds are 10000"),
        ("1.é", "milliseconds: 10 seconds are 10000"),
    ] {
        let text = format!("version: 1\nchecks: {{ a: {{ type: noop, timeout: {written} }} }}\n");
        assert_eq!(places(&text), ["2:37 wrong_type"], "{written}");
        assert_eq!(advice(&text), [help], "{written}");
    }
}

#[test]
fn a_plain_command_that_prints_json_is_to_be_a_block() {
    let with = |line: &str| format!("version: 1\nchecks:\n  a:\n    type: command\n{line}\n");
    for (line, block) in [
        ("    exec: echo '{\"percent\": 71}'", "`exec: |`"),
        ("    exec: curl -H \"Accept: text/plain\" $URL", "`exec: |`"),
        ("    message: it's: so", "`message: |`"),
    ] {
        let help = advice(&with(line)).concat();
        assert!(help.contains(block) && help.contains("next line"), "{line}: {help}");
    }
    // Where the place is no value, the indentation may be wrong.
    for line in ["    exec: a\n      b: 'c'", "    exec: a: b"] {
        let help = advice(&with(line)).concat();
        assert!(help.contains("put the value in quotes"), "{line}: {help}");
    }
}

#[test]
fn keys_that_are_not_indented_under_their_check_are_one_mistake() {
    let text = "version: 1\nchecks:\n  a:\n  type: command\n  exec: make\n  env: { A: b }\n  \
                tags: [x]\n  b: { type: noop, depends_on: [a] }\n";
    assert_eq!(places(text), ["3:3 wrong_type"]);
    assert_eq!(advice(text), ["indent `type` to `tags` under `a`"]);
    let text = "version: 1\nchecks:\n  a:\n  type: noop\n  b:\n  type: noop\n";
    assert_eq!(places(text), ["3:3 wrong_type", "5:3 wrong_type", "6:3 duplicate_key"]);
    assert!(advice(text).contains(&"indent `type` under `b`".to_owned()), "{:?}", advice(text));
    // A check may have the name of a key, and one may be empty without any that follow.
    let text = "version: 1\nchecks:\n  a:\n  message: { type: noop }\n  tags: 5\n";
    assert_eq!(places(text), ["3:3 wrong_type", "5:9 wrong_type"]);
}
