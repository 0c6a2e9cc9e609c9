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
