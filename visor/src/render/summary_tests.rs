use super::*;
use crate::render::samples;

fn options() -> Options<'static> {
    Options {
        style: Style::plain(),
        width: 120,
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
    let text = render(&samples::mixed(), &Options { width: 60, ..options() });
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
