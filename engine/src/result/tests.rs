use proptest::prelude::*;
use serde_json::{Value, json};
use visor_protocol::api::{ConfigSource, Selection};
use visor_protocol::issue::Severity;
use visor_protocol::outcome::{End, Fault};
use visor_protocol::result::CheckResult;

use super::json::parse;
use super::{Stream, interpret};
use crate::plan::{Context, Plan, PlannedCheck};

fn check() -> PlannedCheck {
    let text = "version: 1\nchecks: { lint: { type: command, exec: x, group: g, schema: plain } }";
    let source = ConfigSource { name: "visor.yaml".into(), text: text.into() };
    let config = crate::config::load(&source).unwrap().config;
    Plan::new(&config, &Selection::default(), &Context::default()).unwrap().checks()[0].clone()
}

fn printed(stdout: &str) -> CheckResult {
    interpret(&check(), &End::Exited { code: 0 }, stdout.as_bytes(), &b""[..])
}

fn output(stdout: &str) -> Value {
    printed(stdout).output.unwrap_or(Value::String("(none)".into()))
}

#[test]
fn output_is_json_where_there_is_some() {
    for (stdout, expected) in [
        ("{\"a\": 1}\n", json!({ "a": 1 })),
        ("[1, 2]", json!([1, 2])),
        ("42", json!(42)),
        ("true", json!(true)),
        ("\"text\"", json!("text")),
        ("compiling…\ndone\n{\"a\": {\"b\": [1]}}\n", json!({ "a": { "b": [1] } })),
        ("log line {not json}\n[1, 2, 3]", json!([1, 2, 3])),
        ("result: {\"a\": \"}\"}", json!({ "a": "}" })),
        ("before {\"a\": 1} after", json!({ "a": 1 })),
        ("got {a: 1, 'b': 'x', c: [1, 2,],}", json!({ "a": 1, "b": "x", "c": [1, 2] })),
        ("all done, error: false", json!({ "error": false })),
        ("Error = TRUE", json!("Error = TRUE")),
        ("error = TRUE", json!({ "error": true })),
        ("plain words", json!("plain words")),
        ("[info] compiled {fast}", json!("[info] compiled {fast}")),
        ("", json!("")),
        ("  \n ", json!("")),
    ] {
        assert_eq!(output(stdout), expected, "{stdout}");
    }
}

#[test]
fn a_list_of_one_object_is_the_object() {
    assert_eq!(output("[{\"a\": 1}]"), json!({ "a": 1 }));
    assert_eq!(output("[\"{\\\"a\\\": 1}\"]"), json!({ "a": 1 }));
    assert_eq!(output("[\"words\"]"), json!(["words"]));
    assert_eq!(output("[1]"), json!([1]));
    assert_eq!(output("[[1]]"), json!([[1]]));
}

#[test]
fn text_is_shown_to_people_and_json_is_not() {
    assert_eq!(printed("plain words\n").content, "plain words");
    assert_eq!(printed("log\n{\"a\": 1}").content, "log\n{\"a\": 1}");
    assert_eq!(printed("{\"a\": 1}").content, "");
}

#[test]
fn issues_are_taken_out_whatever_their_fields_are_called() {
    let result = printed(
        r#"{"issues": [
            {"file": "a.rs", "line": 3, "message": "bad", "severity": "error", "ruleId": "x/y", "category": "security"},
            {"path": "b.rs", "startLine": "7", "text": "meh", "level": "minor", "rule": "z", "endLine": 9},
            {"filename": "c.rs", "lineNumber": 1, "description": "hm", "priority": "HIGH", "type": "style"},
            {"summary": "odd", "severity": "whatever", "suggestion": "do", "replacement": "this"}
        ], "note": "kept"}"#,
    );
    assert_eq!(result.output, Some(json!({ "note": "kept" })));
    let seen: Vec<_> = result
        .issues
        .iter()
        .map(|i| (i.file.as_str(), i.line, i.rule_id.as_str(), i.severity, i.category.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("a.rs", 3, "lint/x/y", Severity::Error, "security"),
            ("b.rs", 7, "lint/z", Severity::Info, "logic"),
            ("c.rs", 1, "lint/command", Severity::Error, "style"),
            ("system", 0, "lint/command", Severity::Warning, "logic"),
        ]
    );
    assert_eq!(result.issues[1].end_line, Some(9));
    assert_eq!(result.issues[3].suggestion.as_deref(), Some("do"));
    assert_eq!(result.issues[3].replacement.as_deref(), Some("this"));
    assert_eq!(result.issues[0].check_name.as_deref(), Some("lint"));
    assert_eq!(result.issues[0].group.as_deref(), Some("g"));
    assert_eq!(result.issues[0].schema.as_deref(), Some("plain"));
}

#[test]
fn lists_of_issues_leave_no_output_and_counts_are_no_issues() {
    let list = printed(r#"[{"message": "a", "line": 1}, {"message": "b", "file": "x"}]"#);
    assert_eq!((list.issues.len(), list.output), (2, None));
    let single = printed(r#"{"message": "a", "severity": "critical"}"#);
    assert_eq!((single.issues.len(), single.output), (1, None));
    let lists = printed(r#"[{"issues": [{"message": "a", "line": 1}]}, {"issues": []}]"#);
    assert_eq!((lists.issues.len(), lists.output), (1, None));
    let only = printed(r#"{"issues": []}"#);
    assert_eq!((only.issues.len(), only.output), (0, None));
    let number = printed(r#"{"issues": 25, "status": "warning"}"#);
    assert_eq!(number.issues, []);
    assert_eq!(number.output, Some(json!({ "issues": 25, "status": "warning" })));
    let mixed = printed(r#"[{"message": "a", "line": 1}, 7]"#);
    assert_eq!((mixed.issues.len(), mixed.output.is_some()), (2, true));
    let mostly_other = printed(r#"[{"message": "a", "line": 1}, 7, 8]"#);
    assert_eq!((mostly_other.issues.len(), mostly_other.output.is_some()), (0, true));
}

/// The issues without the last, and what the last says about malformed ones.
fn malformed(stdout: &str) -> (Vec<(String, Severity)>, String) {
    let mut issues = printed(stdout).issues;
    let last = issues.pop().unwrap();
    assert_eq!(last.rule_id, "lint/command/malformed_issues", "{stdout}");
    assert_eq!(last.severity, Severity::Warning);
    (issues.into_iter().map(|issue| (issue.message, issue.severity)).collect(), last.message)
}

#[test]
fn of_malformed_issues_what_can_be_is_kept_and_the_rest_is_told() {
    let (kept, said) = malformed(
        r#"{"issues": [
            {"message": "good", "line": 3},
            {"severity": "critical", "file": "a.rs"},
            {"message": "only words"},
            "bare text",
            7,
            {"message": "  ", "line": "soon", "severity": 2}
        ]}"#,
    );
    assert_eq!(
        kept,
        [
            ("good".to_owned(), Severity::Warning),
            (r#"{"severity":"critical","file":"a.rs"}"#.to_owned(), Severity::Critical),
            ("only words".to_owned(), Severity::Warning),
            ("bare text".to_owned(), Severity::Warning),
            (r#"{"message":"  ","line":"soon","severity":2}"#.to_owned(), Severity::Warning),
        ]
    );
    assert_eq!(
        said,
        "4 of the 6 issues that the check printed are malformed: number 2 has no message; number 4 \
         is a text, which is taken as its message; number 5 is no object, and is left out; and 1 \
         more"
    );
    let (kept, said) = malformed(r#"{"message": "", "severity": "critical"}"#);
    assert_eq!(kept[0].1, Severity::Critical);
    assert!(said.ends_with("number 1 has no message"), "{said}");
    let (kept, _) =
        malformed(r#"[{"issues": [{"message": "a", "line": 1}, null]}, {"issues": []}]"#);
    assert_eq!(kept.len(), 1);
    let (kept, said) = malformed(r#"{"issues": ["A-1", "A-2"], "n": 1}"#);
    assert_eq!(kept, []);
    assert!(said.contains("2 of the 2") && said.ends_with("left in the output"), "{said}");
    assert_eq!(output(r#"{"issues": ["A-1", "A-2"]}"#), json!({ "issues": ["A-1", "A-2"] }));
}

#[test]
fn a_list_of_issues_that_is_no_json_is_told() {
    for (stdout, words) in [
        ("log\n{\"issues\": [{\"message\": \"a\", \"line\": 1}, {\"mess", "ends before"),
        ("log\n{\"issues\": [\n{\"message\" \"a\"}]}", "line 3 of the output"),
        ("{\"issues\": [{\"message\": \"a\", \"line\": 1}]}\n{\"done\": true}", "another JSON"),
    ] {
        let (_, said) = malformed(stdout);
        assert!(said.contains(words), "{stdout}: {said}");
    }
    let end = End::Exited { code: 1 };
    let failed = interpret(&check(), &end, &b"{\"issues\": [{\"mess"[..], &b""[..]);
    assert_eq!(failed.issues.len(), 2, "{:?}", failed.issues);
    assert_eq!(printed("the \"issues\" are fine").issues, []);
}

#[test]
fn more_issues_than_are_kept_are_counted() {
    let one = r#"{"message": "a", "line": 1}"#;
    let result = printed(&format!("[{}]", [one; 10_002].join(",")));
    assert_eq!(result.issues.len(), 10_001);
    let said = &result.issues[10_000].message;
    assert_eq!(said, "the check printed 10002 issues, of which the first 10000 are kept");
    let bad = format!("[{},{}]", [one; 100].join(","), ["7"; 100].join(","));
    let (kept, said) = malformed(&bad);
    assert_eq!(kept.len(), 100);
    assert!(said.len() < 500 && said.ends_with("; and 97 more"), "{said}");
}

#[test]
fn a_command_that_fails_says_how_and_keeps_what_it_found() {
    let end = End::Exited { code: 3 };
    let stdout = br#"{"issues": [{"message": "double release", "file": "a.ts", "line": 41}]}"#;
    let result = interpret(&check(), &end, &stdout[..], &b"warn\nno such file\n"[..]);
    assert_eq!(result.issues.len(), 2);
    assert_eq!(result.issues[0].rule_id, "lint/command/execution_error");
    assert_eq!(result.issues[0].file, "command");
    assert_eq!(result.issues[0].message, "command exited with status 3: warn\nno such file");
    assert_eq!(result.issues[1].file, "a.ts");
    let output = result.output.unwrap();
    assert_eq!(output["error"], json!(true));
    assert_eq!(output["exit_code"], json!(3));
    assert!(output["stdout"].as_str().unwrap().contains("double release"));
}

#[test]
fn every_way_to_end_has_its_words() {
    let rule_and_output = |end: End| {
        let result = interpret(&check(), &end, &b""[..], &b""[..]);
        (result.issues[0].rule_id.clone(), result.output.unwrap_or_default())
    };
    let (rule, output) = rule_and_output(End::TimedOut);
    assert_eq!((rule.as_str(), &output["timeout"]), ("lint/command/timeout", &json!(true)));
    assert_eq!(output["message"], json!("command timed out after 60000 ms"));
    let (rule, output) = rule_and_output(End::Signaled { signal: 9 });
    assert_eq!(
        (rule.as_str(), &output["exit_code"]),
        ("lint/command/execution_error", &json!(137))
    );
    let (rule, _) = rule_and_output(End::OutOfMemory);
    assert_eq!(rule, "lint/command/execution_error");
    let (rule, output) = rule_and_output(End::OutOfDisk { limit: 2 << 30 });
    assert_eq!(rule, "lint/command/execution_error");
    let message = "command wrote more than 2048 MiB into its files and was ended";
    assert_eq!(output["message"], json!(message));
    let (rule, _) = rule_and_output(End::Cancelled);
    assert_eq!(rule, "lint/command/cancelled");
    let fault = Fault {
        code: "visor::sandbox::image_missing".into(),
        message: "no image".into(),
        retry: false,
    };
    let result = interpret(&check(), &End::Infrastructure(fault), &b""[..], &b""[..]);
    assert_eq!(result.issues[0].rule_id, "lint/system/error");
    assert_eq!(result.issues[0].message, "no image [visor::sandbox::image_missing]");
    assert_eq!(result.output, None);
}

#[test]
fn output_that_was_cut_is_text_and_said_to_be_cut() {
    let cut = Stream { bytes: b"{\"a\": 1}", total: 1_000_000_000 };
    let result = interpret(&check(), &End::Exited { code: 0 }, cut, &b""[..]);
    assert_eq!(result.output, Some(json!("{\"a\": 1}")));
    assert_eq!(result.issues.len(), 1);
    let issue = &result.issues[0];
    assert_eq!(issue.rule_id, "lint/command/output_truncated");
    assert_eq!(issue.severity, Severity::Warning);
    assert!(issue.message.contains("8 of 1000000000 bytes of its standard output"));
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let result = interpret(&check(), &End::Exited { code: 0 }, &b"\xff\xfe ok"[..], &b""[..]);
    assert_eq!(result.output, Some(json!("\u{fffd}\u{fffd} ok")));
    let stderr = "é".repeat(5_000);
    let result = interpret(&check(), &End::Exited { code: 1 }, &b""[..], stderr.as_bytes());
    assert!(result.issues[0].message.len() < 2_100);
}

#[test]
fn megabytes_of_brackets_take_no_time() {
    for text in [
        "[".repeat(1_000_000),
        "]".repeat(1_000_000),
        "{".repeat(1_000_000) + "}",
        "[]".repeat(500_000) + "x",
        "{\"a\":".repeat(200_000) + "}",
        "{'a':".repeat(200_000) + &"}".repeat(200_000),
        "\n{\n".repeat(300_000) + "}",
        "\"\\".repeat(500_000) + "}",
        "error ".repeat(200_000),
        "x".repeat(4_000_000) + "}",
    ] {
        printed(&text);
    }
}

proptest! {
    #[test]
    fn no_output_makes_the_interpreter_panic(
        stdout in proptest::collection::vec(any::<u8>(), 0..200),
        text in "[\\[\\]{}:,'\"\\\\a-c0-9 \n\u{e9}.-]{0,80}",
        code in 0..3_i32,
    ) {
        let end = End::Exited { code };
        interpret(&check(), &end, &stdout[..], &stdout[..]);
        interpret(&check(), &end, text.as_bytes(), &b""[..]);
    }

    #[test]
    fn json_comes_back_as_it_was_printed(a in any::<i64>(), text in ".{0,40}", log in "[a-z .\n]{0,60}") {
        let value = json!({ "count": a, "text": text, "list": [a, null, true] });
        let compact = value.to_string();
        prop_assert_eq!(parse(&compact).value, value.clone());
        let pretty = format!("{log}\n{value:#}");
        prop_assert_eq!(parse(&pretty).value, value);
    }
}
