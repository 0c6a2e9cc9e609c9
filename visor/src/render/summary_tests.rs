use super::*;
use crate::render::samples;

fn options() -> Options<'static> {
    Options {
        style: Style::plain(),
        width: Some(120),
        verbose: false,
        quiet: false,
        again: "visor run",
        kept: None,
        places: false,
    }
}

#[test]
fn what_failed_stands_last_with_its_issues_output_and_command() {
    insta::assert_snapshot!(render(&samples::mixed(), &options()));
}

#[test]
fn a_fleet_run_says_where_and_at_which_attempt() {
    let options = Options { places: true, kept: Some(" --fleet nats://x"), ..options() };
    insta::assert_snapshot!(render(&samples::fleet(), &options));
}

#[test]
fn two_hundred_passing_checks_are_one_line() {
    insta::assert_snapshot!(render(&samples::many(200), &options()), @"  200 checks: 200 passed   2.3 s");
}

#[test]
fn quiet_shows_only_what_failed() {
    insta::assert_snapshot!(render(&samples::mixed(), &Options { quiet: true, ..options() }));
}

#[test]
fn colour_is_added_to_words_and_never_replaces_them() {
    let report = samples::mixed();
    let coloured = render(&report, &Options { style: Style::coloured(), ..options() });
    let plain = render(&report, &options());
    assert_ne!(coloured, plain);
    assert_eq!(console::strip_ansi_codes(&coloured), plain);
}

#[test]
fn a_narrow_screen_does_not_break_lines() {
    let text = render(&samples::mixed(), &Options { width: Some(60), ..options() });
    let long: Vec<_> = text
        .lines()
        .filter(|line| text::width(line) > 60 && !line.contains("again:"))
        .filter(|line| !line.contains("checks:"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn a_run_without_checks_says_so() {
    let report = samples::report(RunState::Passed, 1, vec![]);
    insta::assert_snapshot!(render(&report, &options()), @"  0 checks: nothing to do   1 ms");
}

#[test]
fn a_long_message_is_broken_on_a_screen_and_whole_elsewhere() {
    let mut report = samples::mixed();
    let message = "the connection is returned twice when the pool is closed while it waits";
    for check in &mut report.checks {
        check.result.issues.retain(|issue| issue.line == 41);
        check.result.issues.iter_mut().for_each(|issue| issue.message = message.into());
    }
    let on_screen = render(&report, &Options { width: Some(70), ..options() });
    insta::assert_snapshot!(on_screen);
    let piped = render(&report, &Options { width: None, ..options() });
    assert!(piped.contains(&format!("{message}  integration/double-release\n")), "{piped}");
}

#[test]
fn a_run_that_fails_without_a_failed_check_says_by_what_and_shows_it_last() {
    let mut bad = samples::check("audit", CheckState::Passed, 5);
    bad.result.issues =
        vec![Issue::system("audit/leak", Severity::Critical, "a key is in the tree")];
    let mut report = samples::report(
        RunState::Failed,
        9,
        vec![bad, samples::check("lint", CheckState::Passed, 3)],
    );
    report.summary.note = Some("1 critical issue".into());
    let quiet = Options { quiet: true, ..options() };
    insta::assert_snapshot!(render(&report, &options()), @r"
      ✓ lint      3 ms
      ✓ audit     5 ms       1 critical issue
          critical  a key is in the tree  audit/leak
          again: visor run --check audit

      2 checks: 2 passed · failed: 1 critical issue   9 ms
    ");
    assert!(render(&report, &quiet).contains("a key is in the tree"));
}

#[test]
fn what_ended_the_run_is_said_once() {
    let mut stopped = samples::check("slow", CheckState::Cancelled, 300);
    stopped.why = Some("the run's time was over".into());
    let mut skipped = samples::check("late", CheckState::Skipped, 0);
    skipped.skipped = Some(SkipReason::RunTimeout);
    skipped.why = Some("the run's time was over".into());
    let mut report = samples::report(RunState::Failed, 300, vec![stopped, skipped]);
    report.summary.note = Some("the run's time was over".into());
    insta::assert_snapshot!(render(&report, &options()), @r"
      ■ slow      0.30 s     cancelled

      2 checks: 1 cancelled, 1 skipped (late) · failed: the run's time was over   0.30 s
    ");
}
