use std::sync::Arc;

use visor_protocol::api::{ConfigSource, Selection};

use super::{Context, Exclusion, Plan};
use crate::config::{self, Config};

const TAGGED: &str = "version: 1
checks:
  plain: { type: noop }
  fast: { type: noop, tags: [fast] }
  slow: { type: noop, tags: [slow] }
  both: { type: noop, tags: [fast, slow] }
";

#[track_caller]
fn config(text: &str) -> Arc<Config> {
    let source = ConfigSource { name: "visor.yaml".into(), text: text.into() };
    config::load(&source).unwrap_or_else(|mistakes| panic!("{mistakes}")).config
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[track_caller]
fn plan(text: &str, selection: &Selection) -> Plan {
    Plan::new(&config(text), selection, &Context::default())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[track_caller]
fn selected(text: &str, selection: &Selection) -> Vec<String> {
    plan(text, selection).checks().iter().map(|check| check.name.to_string()).collect()
}

fn tags(include: &[&str], exclude: &[&str]) -> Selection {
    Selection { tags: words(include), exclude_tags: words(exclude), ..Selection::default() }
}

fn named(checks: &[&str]) -> Selection {
    Selection { checks: words(checks), ..Selection::default() }
}

fn on(event: &str) -> Selection {
    Selection { event: Some(event.into()), ..Selection::default() }
}

#[test]
fn tags_select_as_the_table_of_the_language_says() {
    assert_eq!(selected(TAGGED, &Selection::default()), ["plain"]);
    assert_eq!(selected(TAGGED, &named(&["all"])), ["plain"]);
    assert_eq!(selected(TAGGED, &tags(&["fast"], &[])), ["plain", "fast", "both"]);
    assert_eq!(selected(TAGGED, &tags(&[], &["slow"])), ["plain", "fast"]);
    assert_eq!(selected(TAGGED, &tags(&["fast"], &["slow"])), ["plain", "fast"]);
}

#[test]
fn the_file_filters_when_the_command_line_does_not() {
    let text = format!("{TAGGED}tag_filter: {{ include: [fast], exclude: [slow] }}");
    assert_eq!(selected(&text, &Selection::default()), ["plain", "fast"]);
    assert_eq!(selected(&text, &tags(&["slow"], &["fast"])), ["plain", "slow"]);
}

#[test]
fn whoever_names_a_check_gets_it_with_what_it_needs() {
    let text = "version: 1
checks:
  a: { type: noop, tags: [x] }
  b: { type: noop, depends_on: [a] }
  c: { type: noop, depends_on: [b] }
  d: { type: noop }
";
    assert_eq!(selected(text, &named(&["b"])), ["a", "b"]);
    assert_eq!(selected(text, &named(&["a", "d"])), ["a", "d"]);
    assert_eq!(
        selected(text, &named(&["d", "all"])),
        ["d"],
        "`a` is tagged and takes `b`, `c` along"
    );
    let excluded = Selection { exclude_tags: words(&["x"]), ..named(&["b"]) };
    assert_eq!(selected(text, &excluded), ["b"], "a filter makes dependencies soft");
}

#[test]
fn a_check_named_all_is_a_check() {
    let text = "version: 1\nchecks: { all: { type: noop }, other: { type: noop } }";
    assert_eq!(selected(text, &named(&["all"])), ["all"]);
}

#[test]
fn events_select_only_when_there_is_one() {
    let text = "version: 1
checks:
  always: { type: noop }
  opened: { type: noop, on: [pr_opened] }
  closed: { type: noop, on: [pr_closed] }
  never: { type: noop, on: [] }
";
    assert_eq!(selected(text, &Selection::default()), ["always", "opened", "closed"]);
    assert_eq!(selected(text, &on("all")), ["always", "opened", "closed"]);
    assert_eq!(selected(text, &on("pr_opened")), ["always", "opened"]);
    assert_eq!(selected(text, &on("manual")), ["always"]);
    let plan = plan(text, &on("pr_opened"));
    let excluded: Vec<(&str, &Exclusion)> =
        plan.excluded().iter().map(|(name, why)| (name.as_str(), why)).collect();
    assert_eq!(excluded, [("closed", &Exclusion::Event), ("never", &Exclusion::SwitchedOff)]);
}

#[test]
fn what_needs_a_check_that_does_not_run_does_not_run_either() {
    let text = "version: 1
checks:
  opened: { type: noop, on: [pr_opened] }
  after: { type: noop, depends_on: [opened] }
  last: { type: noop, depends_on: [after] }
  either: { type: noop, depends_on: ['opened|plain'] }
  plain: { type: noop }
";
    assert_eq!(selected(text, &on("pr_closed")), ["either", "plain"]);
    let plan = plan(text, &on("pr_closed"));
    let last = plan.excluded().iter().find(|(name, _)| name.as_str() == "last").unwrap();
    assert_eq!(last.1, Exclusion::Dependency { on: "after".into() });
    let either = plan.check(plan.find("either").unwrap());
    assert_eq!(either.dependencies, [vec![plan.find("plain").unwrap()]]);
}

#[test]
fn a_filter_drops_dependencies_that_do_not_run() {
    let text = "version: 1
checks:
  slow: { type: noop, tags: [slow] }
  after: { type: noop, tags: [fast], depends_on: [slow] }
";
    let plan = plan(text, &tags(&["fast"], &[]));
    assert_eq!(plan.checks().len(), 1);
    assert!(plan.checks()[0].dependencies.is_empty());
}

#[test]
fn variables_of_the_file_and_the_check_reach_programs() {
    let text = "version: 1
env: { WHO: '$USER', MODE: one }
checks:
  a: { type: command, exec: env, env: { MODE: 'two ${MODE} ${{ env.WHO }}', EMPTY: null, N: 1.10 } }
  b: { type: noop }
";
    let env = [("USER".to_owned(), "jo".to_owned())].into();
    let context = Context { env, ..Context::default() };
    let plan = Plan::new(&config(text), &Selection::default(), &context).unwrap();
    let env: Vec<(&str, &str)> =
        plan.checks()[0].env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("EMPTY", ""), ("MODE", "two one jo"), ("N", "1.10"), ("WHO", "jo")]);
    assert!(plan.checks()[1].env.is_empty(), "only programs have an environment");
}

#[test]
fn ten_thousand_checks_in_a_chain_are_planned_and_dropped_together() {
    let mut text = String::from("version: 1\nchecks:\n  c0: { type: noop, on: [manual] }\n");
    for n in 1..10_000 {
        text.push_str(&format!("  c{n}: {{ type: noop, depends_on: c{} }}\n", n - 1));
    }
    assert_eq!(selected(&text, &Selection::default()).len(), 10_000);
    assert_eq!(selected(&text, &on("pr_opened")).len(), 0);
    assert_eq!(selected(&text, &named(&["c9999"])).len(), 10_000);
}
