use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use visor_protocol::CheckName;
use visor_protocol::issue::{Issue, Severity};
use visor_protocol::result::CheckResult;

use super::javascript::evaluate;
use super::scope::Scope;

fn scope(output: Value) -> Scope {
    let issues = vec![
        Issue::system("style/long-line", Severity::Warning, "too long"),
        Issue {
            file: "src/main.rs".into(),
            ..Issue::system("security/eval", Severity::Critical, "never")
        },
    ];
    let result = CheckResult { issues, output: Some(output), ..CheckResult::default() };
    Scope::for_tests(CheckName::new("lint").unwrap(), Arc::new(result))
}

fn truth(source: &str) -> Result<bool, String> {
    evaluate(source, &scope(json!({ "ok": true, "n": 3, "items": [{ "a": 1 }, { "a": 2 }] })))
}

#[track_caller]
fn holds(source: &str) {
    assert_eq!(truth(source), Ok(true), "{source}");
}

#[track_caller]
fn error_of(source: &str) -> String {
    truth(source).expect_err(source)
}

#[test]
fn expressions_see_what_their_check_produced() {
    for source in [
        "output.ok && output.n === 3",
        "output.issues.length === 2",
        "output.items.some(item => item.a > 1)",
        "output.items.map(i => i.a).join('-') === '1-2'",
        "issues.length === totalIssues && totalIssues === 2",
        "criticalIssues === 1 && warningIssues === 1 && errorIssues === 0 && infoIssues === 0",
        "metadata.criticalIssues === 1 && metadata.checkName === 'lint'",
        "checkName === 'lint' && group === 'lint'",
        "event.event_name === 'manual' && filesCount === 0 && filesChanged.length === 0",
        "hasIssue(issues, 'ruleId', 'security/eval')",
        "countIssues(issues, 'severity', 'warning') === 1",
        "hasFileMatching(issues, 'main') && !hasFileMatching(issues, 'lib')",
        "contains('Hello', 'ELL') && startsWith('Hello', 'he') && endsWith('Hello', 'LO')",
        "length('abc') === 3 && length([1]) === 1 && length({ a: 1 }) === 1 && length(null) === 0",
        "always() && success() && !failure()",
        "isMember() && hasMinPermission('OWNER') && !isFirstTimer()",
        "memory.get('x') === undefined && !memory.has('x')",
        "outputs.missing === undefined && !outputs['missing']?.deep",
    ] {
        holds(source);
    }
}

#[test]
fn several_statements_count_by_their_last() {
    for source in [
        "log('x'); output.ok",
        "// a comment\noutput.ok",
        "output.ok // a comment",
        "output.ok;",
        "return output.ok",
        "const n = output.n;\nreturn n > 2;",
        "const n = output.n; n > 2",
        "if (output.n > 2) { true } else { false }",
        "output.ok &&\n  output.n > 2",
    ] {
        holds(source);
    }
    assert_eq!(truth("output.ok; false"), Ok(false));
    assert_eq!(truth("log('only that')"), Ok(false));
}

#[test]
fn built_in_functions_do_what_they_do_elsewhere() {
    for source in [
        "[3, 1, 2].sort().join() === '1,2,3'",
        "[3, 1, 2].sort((a, b) => b - a)[0] === 3",
        "`${[1, [2, 3]]}` === '1,2,3'",
        "[1].concat([2], 3).length === 3",
        "[[1], [2, [3]]].flat().length === 3 && [[1, [2, [3]]]].flat(Infinity).length === 3",
        "[1, 2].flatMap(n => [n, n * 10]).join() === '1,10,2,20'",
        "[1, 2, 3].slice(1).length === 2 && 'abc'.slice(1) === 'bc'",
        "[1, 2].reverse()[0] === 2 && [1, 2].shift() === 1 && [1, 2, 3].splice(0, 2).length === 2",
        "'a-b-c'.split('-').length === 3 && 'ab'.split('').length === 2 && 'ab'.split().length === 1",
        "'a-b-c'.replaceAll('-', '+') === 'a+b+c' && 'aXb'.replaceAll(/x/gi, '_') === 'a_b'",
        "'abc'.replace(/b/, 'x') === 'axc' && 'abc'.replace('b', c => c.toUpperCase()) === 'aBc'",
        "'abc'.includes('b') && 'abc'.indexOf('c') === 2 && 'aba'.lastIndexOf('a') === 2",
        "'v1.2.3'.match(/v(\\d+)/)[1] === '1'",
        "['b', 'a'].sort((x, y) => x.localeCompare(y))[0] === 'a'",
        "new Set([1, 1, 2]).size === 2 && [...new Set([1, 1])].length === 1",
        "new Map([['a', 1]]).get('a') === 1",
        "JSON.parse('{\"a\":[1]}').a.includes(1) && JSON.stringify({ a: 1 }) === '{\"a\":1}'",
        "Object.entries({ a: 1 }).map(([k, v]) => k + v)[0] === 'a1'",
        "Math.max(...[1, 5, 2]) === 5 && Number('5') === 5",
        "new Date('2024-01-02T03:04:05Z').getTime() === 1704164645000",
    ] {
        holds(source);
    }
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    assert!(error_of("outptu.ok").contains("outptu is not defined"));
    assert!(error_of("output.a.b").contains("'b'"));
    assert!(error_of("throw new Error('no disk')").contains("no disk"));
    assert!(error_of("throw 'words'").contains("words"));
    assert!(error_of("(").contains("ends too early"));
    assert!(error_of(&"x".repeat(100_000)).contains("longer than"));
    // Not even the message of an error can hold anything up.
    let source = "const e = new Error('a'); \
                  Object.defineProperty(e, 'message', { get() { for (;;); } }); throw e";
    assert!(error_of(source).contains("longer than 100 ms"));
}

#[test]
fn endless_work_is_stopped() {
    for source in [
        "while (true);",
        "(() => { for (;;); })()",
        "(function again(n) { return n > 0 ? again(n - 1) + again(n - 1) : 0 })(60)",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "new Array(4294967295).indexOf(1) > 0",
        "new Set(new Array(4294967295)).size",
        "new (new Set().constructor)(new Array(4294967295)).size",
        "[new Array(4294967295)].flat()",
        "Object.prototype.toString = () => { for (;;); }; `${{}}`",
        "let text = 'x'.repeat(5e5); for (;;) text = text.toUpperCase()",
        "const text = 'x'.repeat(5e5); for (;;) text.trim()",
        "const text = 'x'.repeat(1e5); for (;;) text.includes('y'.repeat(100))",
        "const text = 'x'.repeat(5e5); for (;;) text.startsWith('x'.repeat(100))",
        "const text = JSON.stringify('x'.repeat(2e5)); for (;;) JSON.parse(text)",
        "const list = Array.from({ length: 1e4 }, (_, n) => n); for (;;) list.slice()",
        "const list = Array.from({ length: 1e4 }, (_, n) => n); for (;;) Object.keys(list)",
        "for (;;) 'x'.repeat(5e5)",
        "const text = 'ab'.repeat(1e5); for (;;) text.split('b', 1)",
        "const text = 'ab'.repeat(1e5); for (;;) /c/.test(text)",
        "Object.defineProperty(globalThis, 'output', { get() { for (;;); } }); output",
    ] {
        let error = error_of(source);
        assert!(
            error.contains("longer than 100 ms") || error.contains("memory"),
            "{source}: {error}"
        );
    }
}

#[test]
fn work_that_nothing_could_interrupt_is_refused() {
    for source in [
        "new Array(4294967295).reverse()",
        "new Array(4294967295).sort()",
        "new Array(4294967295).slice().length",
        "`${new Array(4294967295)}`",
        "Array.prototype.splice.call({ length: 2 ** 53 - 1 }, 0, 1)",
        "Array.prototype['unsh' + 'ift'].call({ length: 2 ** 53 - 3 }, 1)",
        "new Array(4294967295).values().drop(4e9).next()",
        "RegExp.prototype[Symbol.split] = undefined; Object.defineProperty(RegExp, Symbol.hasInstance, \
         { value: () => true }); const re = /x/; re.toString = () => 'a'.repeat(1e6) + 'c'; \
         'a'.repeat(1e6).indexOf(re) > 0",
        "String = () => ({ length: 1 }); ('a'.repeat(1e6)).indexOf('a'.repeat(5e5) + 'c') > 0",
        "String.raw({ raw: { length: 2 ** 53 - 1 } })",
        "('a'.repeat(2e6)).lastIndexOf('a'.repeat(1e6) + 'c')",
        "(10n ** 1000000n).toString()",
        "BigInt(10) ** BigInt(1000000)",
    ] {
        error_of(source);
    }
}

#[test]
fn memory_and_stack_are_bounded() {
    assert!(error_of("'x'.repeat(1e9).length").contains("memory"));
    assert!(error_of("(function f() { f() })()").contains("stack"));
    assert!(error_of("JSON.parse('['.repeat(100000))").contains("stack"));
    error_of("new Array(4294967295).fill(1)");
    error_of("let text = 'x'; for (;;) text += text");
    error_of("const list = []; for (;;) list.push(list)");
    error_of("'a'.repeat(5e6).replaceAll('a', 'b'.repeat(100)).length");
}

#[test]
fn nothing_of_the_host_and_no_way_to_make_code_is_there() {
    for source in [
        "eval('1')",
        "Function('return 1')()",
        "(() => {}).constructor('return this')()",
        "(async () => {}).constructor('return this')()",
        "(function* () {}).constructor('return this')()",
        "[].constructor.constructor('return 1')()",
        "Reflect.construct(Object.getPrototypeOf(() => {}).constructor, ['return 1'])()",
        "require('fs')",
        "process.exit()",
        "std.open('/etc/passwd')",
        "os.exec(['true'])",
        "fetch('http://localhost')",
        "setTimeout(() => {}, 1)",
        "console.log(1)",
        "new Worker('x')",
        "__proto__.constructor.constructor('return 1')()",
    ] {
        error_of(source);
    }
}

#[test]
fn nothing_is_left_behind_for_the_next_evaluation() {
    holds(
        "globalThis.left = 1; Object.prototype.polluted = 1; Array.prototype.map = () => 0; true",
    );
    holds(
        "typeof left === 'undefined' && ({}).polluted === undefined && [1].map(n => n + 1)[0] === 2",
    );
}

#[test]
fn text_and_list_outputs_are_seen_as_the_language_has_it() {
    let of = |output: Value, source: &str| evaluate(source, &scope(output));
    assert_eq!(of(json!(["a", "b"]), "output.items.length === 2"), Ok(true));
    assert_eq!(of(json!([{ "x": 1 }, { "error": true }]), "output.error"), Ok(true));
    assert_eq!(of(json!("{\"bad\": true}"), "output.bad"), Ok(true));
    assert_eq!(of(json!("all fine, error: false"), "output.error === false"), Ok(true));
    assert_eq!(of(json!("words"), "output.error === undefined"), Ok(true));
    assert_eq!(of(json!("words"), "output.output === 'words'"), Ok(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_breaks_the_evaluator(source in "[-a-z0-9 .,;:(){}\\[\\]'\"`$=<>!&|?/*+\n]{0,60}") {
        let _ = truth(&source);
    }

    #[test]
    fn no_output_breaks_the_evaluator(text in ".{0,60}") {
        prop_assert_eq!(
            evaluate("output.text.length >= 0", &scope(json!({ "text": text }))),
            Ok(true)
        );
    }
}

#[test]
fn what_is_wrong_with_the_form_names_only_what_is_in_the_text() {
    let too_early = "the expression ends too early";
    for (source, said) in [
        ("output.x <", too_early),
        ("output.x && // and", too_early),
        ("output.x ==\n", too_early),
        ("(output.x", too_early),
        ("hasIssue(issues,", too_early),
        ("output.x ? 1", too_early),
        ("if (output.x) {", too_early),
        ("return output.x <", too_early),
        ("output.x }", "Unexpected token '}'"),
        ("1 + ;", "unexpected token in expression: ';'"),
        ("'true", "unexpected end of string"),
    ] {
        let checked = super::check_syntax(std::iter::once(source));
        assert_eq!(checked, [Some(said.to_owned())], "{source}");
        assert_eq!(error_of(source), said, "{source}");
    }
}
