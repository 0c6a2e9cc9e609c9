//! The engine vectors of the language, and the behaviour around them.

use std::sync::Arc;

use visor_protocol::api::{ConfigSource, Selection};
use visor_protocol::outcome::End;
use visor_protocol::result::{CheckResult, CheckState, RunState, SkipReason};

use super::{Effect, Event, RunMachine};
use crate::plan::{CheckIndex, Context, Plan};
use crate::{config, expression, result};

/// A run whose commands do what their text says: `exit N`, or print what follows `echo`.
struct Driver {
    machine: RunMachine,
    started: Vec<String>,
}

impl Driver {
    #[track_caller]
    fn run(text: &str) -> Self {
        Self::select(text, &Selection::default())
    }

    #[track_caller]
    fn select(text: &str, selection: &Selection) -> Self {
        let source = ConfigSource { name: "visor.yaml".into(), text: text.into() };
        let loaded = config::load(&source).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let plan = Plan::new(&loaded.config, selection, &Context::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let mut driver = Self { machine: RunMachine::new(Arc::new(plan)), started: Vec::new() };
        let mut effects: std::collections::VecDeque<Effect> = driver.machine.start().into();
        while let Some(effect) = effects.pop_front() {
            effects.extend(driver.carry_out(effect));
        }
        driver
    }

    fn carry_out(&mut self, effect: Effect) -> Vec<Effect> {
        match effect {
            Effect::Evaluate(evaluation) => {
                let value = expression::evaluate(&evaluation);
                let (check, which) = (evaluation.check, evaluation.which);
                self.machine.apply(Event::Evaluated { check, which, value })
            }
            Effect::Start { check, .. } => {
                let plan = Arc::clone(self.machine.plan());
                let planned = plan.check(check);
                self.started.push(planned.name.to_string());
                let (code, stdout) = match &planned.work {
                    visor_protocol::job::Work::Command { exec } => match exec.strip_prefix("exit ")
                    {
                        Some(code) => (code.parse().unwrap(), ""),
                        None => (0, exec.strip_prefix("echo ").unwrap_or("")),
                    },
                    _ => (0, ""),
                };
                let end = End::Exited { code };
                let result = result::interpret(planned, &end, stdout.as_bytes(), &b""[..]);
                let mut effects = self.machine.apply(Event::Started { check });
                effects.extend(self.machine.apply(Event::Settled { check, end, result }));
                effects
            }
            Effect::Skip { .. }
            | Effect::Fail { .. }
            | Effect::Cancel { .. }
            | Effect::Finish { .. } => Vec::new(),
        }
    }

    #[track_caller]
    fn index(&self, name: &str) -> CheckIndex {
        self.machine.plan().find(name).unwrap_or_else(|| panic!("{name} is not planned"))
    }

    #[track_caller]
    fn state(&self, name: &str) -> CheckState {
        self.machine.check_state(self.index(name))
    }

    #[track_caller]
    fn skipped(&self, name: &str) -> SkipReason {
        self.machine.report(self.index(name)).skipped.expect("it was skipped")
    }

    #[track_caller]
    fn result(&self, name: &str) -> CheckResult {
        self.machine.result(self.index(name)).as_ref().clone()
    }

    #[track_caller]
    fn rules(&self, name: &str) -> Vec<String> {
        self.result(name).issues.into_iter().map(|issue| issue.rule_id).collect()
    }
}

#[test]
fn the_load_test_of_the_capacity_guide_runs_as_it_is_written() {
    let text = r#"
version: "1.0"
max_parallelism: 10

checks:
  synthetic-fast:
    type: command
    command: "echo ok"
    tags: [load-test]

  synthetic-slow:
    type: command
    command: "sleep 2 && echo ok"
    tags: [load-test]

  synthetic-ai:
    type: ai
    prompt: "Say 'ok' in one word."
    tags: [load-test]
"#;
    let selection = Selection {
        checks: vec!["all".into()],
        tags: vec!["load-test".into()],
        ..Selection::default()
    };
    let run = Driver::select(text, &selection);
    assert_eq!(run.state("synthetic-fast"), CheckState::Passed);
    assert_eq!(run.state("synthetic-slow"), CheckState::Passed);
    assert_eq!(run.state("synthetic-ai"), CheckState::Failed);
    assert_eq!(run.rules("synthetic-ai"), ["synthetic-ai/system/error"]);
    assert_eq!(run.machine.state(), RunState::Failed);
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn failed_dependency(on: &[&str]) -> SkipReason {
    SkipReason::DependencyFailed { dependencies: names(on) }
}

#[test]
fn a_failure_keeps_its_dependents_from_running_and_theirs() {
    let run = Driver::run(
        "version: '1.0'
checks:
  a: { type: command, exec: exit 1 }
  b: { type: command, exec: echo b, depends_on: a }
  c: { type: command, exec: echo c, depends_on: [b] }
  d: { type: command, exec: echo d }
",
    );
    assert_eq!(run.started, ["a", "d"]);
    assert_eq!(run.skipped("b"), failed_dependency(&["a"]));
    assert_eq!(run.skipped("c"), failed_dependency(&["b"]));
    assert_eq!(run.rules("a"), ["a/command/execution_error"]);
    assert_eq!(run.machine.state(), RunState::Failed);
}

#[test]
fn dependents_of_a_check_that_continues_on_failure_run() {
    for mark in ["continue_on_failure: true", "criticality: info"] {
        let run = Driver::run(&format!(
            "version: '1.0'
checks:
  a: {{ type: command, exec: exit 1, {mark} }}
  b: {{ type: command, exec: echo b, depends_on: [a] }}
",
        ));
        assert_eq!(run.started, ["a", "b"]);
        assert_eq!(run.state("a"), CheckState::Failed);
        assert_eq!(run.machine.state(), RunState::Failed, "a failed check fails its run");
    }
}

#[test]
fn fail_if_makes_a_failure_of_what_a_check_printed() {
    let run = Driver::run(
        r#"version: '1.0'
checks:
  analyze-bug: { type: command, exec: 'echo {"ticket":{},"error":"x"}', fail_if: output.error }
  after: { type: noop, depends_on: [analyze-bug] }
  fine: { type: command, exec: 'echo {"error":""}', fail_if: output.error }
"#,
    );
    assert_eq!(run.rules("analyze-bug"), ["analyze-bug_fail_if"]);
    assert_eq!(run.state("analyze-bug"), CheckState::Failed);
    assert_eq!(run.skipped("after"), failed_dependency(&["analyze-bug"]));
    assert_eq!(run.state("fine"), CheckState::Passed);
    let issue = &run.result("analyze-bug").issues[0];
    assert_eq!(issue.message, "Check failure condition met: output.error");
    assert_eq!(issue.check_name.as_deref(), Some("analyze-bug"));
}

#[test]
fn a_failed_log_that_only_informs_lets_its_dependents_run() {
    let run = Driver::run(
        "version: '1.0'
checks:
  a: { type: log, message: hello, fail_if: 'true', criticality: info }
  b: { type: log, message: world, depends_on: [a] }
",
    );
    assert_eq!(run.state("a"), CheckState::Failed);
    assert_eq!(run.state("b"), CheckState::Passed);
    assert_eq!(run.result("b").content, "world");
}

#[test]
fn the_files_own_fail_if_is_reported_and_stops_nothing() {
    let run = Driver::run(
        r#"version: '1.0'
fail_if: output.bad
checks:
  a: { type: command, exec: 'echo {"bad":true}' }
  b: { type: command, exec: 'echo {"bad":false}', depends_on: [a] }
"#,
    );
    assert_eq!(run.rules("a"), ["global_fail_if"]);
    assert_eq!(run.rules("b"), Vec::<String>::new());
    assert_eq!(run.state("a"), CheckState::Passed);
    assert_eq!(run.state("b"), CheckState::Passed);
}

#[test]
fn a_fail_if_that_cannot_be_evaluated_is_not_met_and_is_said() {
    let run = Driver::run(
        "version: '1.0'
checks:
  a: { type: command, exec: echo ok, fail_if: outptu.error }
",
    );
    assert_eq!(run.state("a"), CheckState::Passed);
    assert_eq!(run.rules("a"), ["a/expression/not_evaluated"]);
    assert!(run.result("a").issues[0].message.contains("outptu is not defined"));
}

#[test]
fn a_condition_that_is_false_or_broken_skips_its_check_and_blocks_its_dependents() {
    let run = Driver::run(
        "version: '1.0'
checks:
  yes: { type: noop, if: '1 + 1 === 2' }
  no: { type: noop, if: 'false' }
  broken: { type: noop, if: nothing.at.all }
  after-no: { type: noop, depends_on: [no] }
  after-broken: { type: noop, depends_on: [broken] }
",
    );
    assert_eq!(run.state("yes"), CheckState::Passed);
    assert_eq!(
        run.skipped("no"),
        SkipReason::IfCondition { condition: "false".into(), error: None }
    );
    let SkipReason::IfCondition { error: Some(error), .. } = run.skipped("broken") else {
        panic!()
    };
    assert!(error.contains("nothing is not defined"), "{error}");
    assert_eq!(run.skipped("after-no"), failed_dependency(&["no"]));
    assert_eq!(run.skipped("after-broken"), failed_dependency(&["broken"]));
    assert_eq!(run.machine.state(), RunState::Passed, "nothing failed");
}

#[test]
fn a_false_condition_of_a_check_that_continues_on_failure_blocks_nobody() {
    let run = Driver::run(
        "version: '1.0'
checks:
  a: { type: noop, if: 'false', continue_on_failure: true }
  b: { type: noop, depends_on: [a] }
",
    );
    assert_eq!(run.state("b"), CheckState::Passed);
}

#[test]
fn conditions_see_what_ran_before() {
    let run = Driver::run(
        r#"version: '1.0'
env: { MODE: deep }
checks:
  lint: { type: command, exec: 'echo {"count": 3}' }
  plain: { type: command, exec: echo words }
  quiet: { type: noop }
  a: { type: noop, depends_on: [lint], if: outputs.lint.count > 2 }
  b: { type: noop, depends_on: [plain], if: "outputs['plain'] === 'words'" }
  c: { type: noop, depends_on: [lint, plain], if: "Object.keys(outputs).length >= 2" }
  d: { type: noop, depends_on: [quiet], if: "outputs.quiet.issues.length === 0" }
  e: { type: noop, if: "env.MODE === 'deep'" }
"#,
    );
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(run.state(name), CheckState::Passed, "{name}");
    }
}

#[test]
fn one_satisfied_option_of_a_group_is_enough() {
    let text = "version: '1.0'
checks:
  a: { type: command, exec: exit 1 }
  b: { type: command, exec: echo b }
  either: { type: noop, depends_on: ['a|b'] }
  both: { type: noop, depends_on: ['a|b', a] }
  none: { type: noop, depends_on: ['a|a'] }
";
    let run = Driver::run(text);
    assert_eq!(run.state("either"), CheckState::Passed);
    assert_eq!(run.skipped("both"), failed_dependency(&["a"]));
    assert_eq!(run.state("none"), CheckState::Skipped);
}

#[test]
fn a_critical_issue_fails_the_run_and_not_its_check() {
    let run = Driver::run(
        r#"version: '1.0'
checks:
  scan: { type: command, exec: 'echo [{"message":"leak","severity":"critical","file":"a.c","line":3}]' }
  after: { type: noop, depends_on: [scan] }
"#,
    );
    assert_eq!(run.state("scan"), CheckState::Passed);
    assert_eq!(run.state("after"), CheckState::Passed);
    assert_eq!(run.machine.state(), RunState::Failed);
    assert_eq!(run.result("scan").output, None);
}

#[test]
fn fail_fast_starts_nothing_after_the_first_failure() {
    let text = "version: '1.0'
max_parallelism: 1
fail_fast: true
checks:
  a: { type: command, exec: exit 1 }
  b: { type: command, exec: echo b }
  c: { type: noop, depends_on: [a] }
";
    let run = Driver::run(text);
    assert_eq!(run.started, ["a"]);
    assert_eq!(run.skipped("b"), SkipReason::FailFast);
    assert_eq!(run.skipped("c"), SkipReason::FailFast);
    assert_eq!(run.machine.state(), RunState::Failed);
    let off = Selection { fail_fast: Some(false), ..Selection::default() };
    assert_eq!(Driver::select(text, &off).started, ["a", "b"]);
}

#[test]
fn the_command_line_decides_about_parallelism_before_the_file() {
    let plan = |text: &str, max_parallelism| {
        let source = ConfigSource { name: "visor.yaml".into(), text: text.into() };
        let config = config::load(&source).unwrap().config;
        let selection = Selection { max_parallelism, ..Selection::default() };
        Plan::new(&config, &selection, &Context::default()).unwrap().max_parallelism()
    };
    let with = "version: 1\nmax_parallelism: 4\nchecks: { a: { type: noop } }";
    let without = "version: 1\nchecks: { a: { type: noop } }";
    assert_eq!(plan(with, Some(7)), 7);
    assert_eq!(plan(with, None), 4);
    assert_eq!(plan(without, None), 10);
}

#[test]
fn a_lost_worker_moves_a_check_back_into_the_queue() {
    let mut run = waiting_run("checks: { a: { type: noop } }");
    let check = CheckIndex(0);
    run.start();
    assert_eq!(run.check_state(check), CheckState::Queued);
    run.apply(Event::Started { check });
    assert_eq!(run.check_state(check), CheckState::Running);
    run.apply(Event::Requeued { check });
    assert_eq!(run.check_state(check), CheckState::Queued);
    assert_eq!(run.counts().queued, 1);
}

#[test]
fn what_comes_twice_or_too_late_changes_nothing() {
    let mut run = waiting_run("checks: { a: { type: noop }, b: { type: noop, depends_on: [a] } }");
    let settled = |check, code| Event::Settled {
        check,
        end: End::Exited { code },
        result: CheckResult::default(),
    };
    assert_eq!(run.start(), [Effect::Start { seq: 0, check: CheckIndex(0) }]);
    assert_eq!(run.start(), []);
    assert_eq!(run.apply(settled(CheckIndex(1), 0)), [], "it was never started");
    let next = run.apply(settled(CheckIndex(0), 0));
    assert_eq!(next, [Effect::Start { seq: 1, check: CheckIndex(1) }]);
    assert_eq!(run.apply(settled(CheckIndex(0), 1)), []);
    assert_eq!(run.check_state(CheckIndex(0)), CheckState::Passed);
    assert_eq!(run.apply(settled(CheckIndex(7), 0)), [], "there is no such check");
    let last = run.apply(settled(CheckIndex(1), 0));
    assert_eq!(last, [Effect::Finish { state: RunState::Passed }]);
    assert_eq!(run.apply(Event::Cancel), []);
    assert_eq!(run.state(), RunState::Passed);
}

#[test]
fn cancelling_stops_what_is_under_way_and_skips_the_rest() {
    let mut run = waiting_run(
        "max_parallelism: 1\nchecks: { a: { type: noop }, b: { type: noop }, c: { type: noop, depends_on: [a] } }",
    );
    run.start();
    let effects = run.apply(Event::Cancel);
    assert_eq!(
        effects,
        [
            Effect::Cancel { seq: 0, check: CheckIndex(0) },
            Effect::Skip { check: CheckIndex(1), reason: SkipReason::Cancelled },
            Effect::Skip { check: CheckIndex(2), reason: SkipReason::Cancelled },
        ]
    );
    assert_eq!(run.state(), RunState::Running, "one is still to come back");
    let end = End::Cancelled;
    let last =
        run.apply(Event::Settled { check: CheckIndex(0), end, result: CheckResult::default() });
    assert_eq!(last, [Effect::Finish { state: RunState::Cancelled }]);
    assert_eq!(run.check_state(CheckIndex(0)), CheckState::Cancelled);
    assert_eq!(run.counts().total(), 3);
}

#[test]
fn a_run_whose_time_is_over_has_failed() {
    let mut run = waiting_run("checks: { a: { type: noop }, b: { type: noop, depends_on: [a] } }");
    run.start();
    let effects = run.apply(Event::TimedOut);
    assert_eq!(effects.len(), 2);
    let end = End::Cancelled;
    run.apply(Event::Settled { check: CheckIndex(0), end, result: CheckResult::default() });
    assert_eq!(run.state(), RunState::Failed);
    assert_eq!(run.report(CheckIndex(1)).skipped, Some(SkipReason::RunTimeout));
}

#[test]
fn a_fault_outside_a_check_fails_it_and_is_not_judged_by_its_expressions() {
    let mut run = waiting_run("checks: { a: { type: command, exec: x, fail_if: 'true' } }");
    run.start();
    let fault = visor_protocol::outcome::Fault {
        code: "visor::worker::lost".into(),
        message: "worker w-1 was lost".into(),
        retry: false,
    };
    let end = End::Infrastructure(fault.clone());
    let plan = Arc::clone(run.plan());
    let result = result::interpret(plan.check(CheckIndex(0)), &end, &b""[..], &b""[..]);
    let effects = run.apply(Event::Settled { check: CheckIndex(0), end, result });
    assert_eq!(effects, [Effect::Finish { state: RunState::Failed }]);
    let report = run.report(CheckIndex(0));
    assert_eq!(report.fault, Some(fault));
    assert_eq!(report.result.issues[0].rule_id, "a/system/error");
}

#[test]
fn a_run_of_nothing_passes_at_once() {
    let mut run = waiting_run("checks: {}");
    assert_eq!(run.start(), [Effect::Finish { state: RunState::Passed }]);
}

#[test]
fn reports_say_what_a_check_waits_for() {
    let mut run = waiting_run(
        "max_parallelism: 1\nchecks: { a: { type: noop }, b: { type: noop }, c: { type: noop, depends_on: ['a|b', a] } }",
    );
    run.start();
    let reports = run.reports();
    assert_eq!(reports[1].waits_for, Vec::<String>::new(), "it waits for a place");
    assert_eq!(reports[2].waits_for, ["a", "b"]);
}

/// A run that nobody carries out.
#[track_caller]
fn waiting_run(text: &str) -> RunMachine {
    let text = format!("version: '1.0'\n{text}");
    let source = ConfigSource { name: "visor.yaml".into(), text };
    let loaded = config::load(&source).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let plan = Plan::new(&loaded.config, &Selection::default(), &Context::default()).unwrap();
    RunMachine::new(Arc::new(plan))
}
