//! What holds for every run, whatever its graph and whatever the order of outcomes.

use std::sync::Arc;

use proptest::prelude::*;
use visor_protocol::api::{ConfigSource, Selection};
use visor_protocol::event::Expression;
use visor_protocol::outcome::End;
use visor_protocol::result::{CheckResult, CheckState, Counts, RunState};

use super::{Effect, Event, RunMachine};
use crate::config;
use crate::plan::{CheckIndex, Context, Plan};

/// A check of a random graph: on which earlier ones it depends, and its flags.
#[derive(Debug, Clone)]
struct Node {
    /// Each an entry of one or two options, as distances backwards.
    dependencies: Vec<(usize, Option<usize>)>,
    continues: bool,
    has_if: bool,
    has_fail_if: bool,
}

fn node() -> impl Strategy<Value = Node> {
    let dependency = (1_usize..6, proptest::option::of(1_usize..6));
    let dependencies = proptest::collection::vec(dependency, 0..3);
    (dependencies, any::<bool>(), proptest::bool::weighted(0.3), proptest::bool::weighted(0.3))
        .prop_map(|(dependencies, continues, has_if, has_fail_if)| Node {
            dependencies,
            continues,
            has_if,
            has_fail_if,
        })
}

fn plan_of(nodes: &[Node], parallelism: u32, fail_fast: bool, global: bool) -> Arc<Plan> {
    use std::fmt::Write;
    let mut text = format!("version: 1\nmax_parallelism: {parallelism}\nfail_fast: {fail_fast}\n");
    if global {
        text.push_str("fail_if: output.bad\n");
    }
    text.push_str(if nodes.is_empty() { "checks: {}\n" } else { "checks:\n" });
    for (position, node) in nodes.iter().enumerate() {
        let _ = write!(text, "  c{position}: {{ type: noop");
        if node.continues {
            text.push_str(", continue_on_failure: true");
        }
        if node.has_if {
            text.push_str(", if: 'a'");
        }
        if node.has_fail_if {
            text.push_str(", fail_if: 'b'");
        }
        let entries: Vec<String> = node
            .dependencies
            .iter()
            .filter_map(|(first, second)| {
                let first = position.checked_sub(*first)?;
                let second = second.and_then(|second| position.checked_sub(second));
                Some(match second {
                    Some(second) => format!("'c{first}|c{second}'"),
                    None => format!("c{first}"),
                })
            })
            .collect();
        if !entries.is_empty() {
            let _ = write!(text, ", depends_on: [{}]", entries.join(", "));
        }
        text.push_str(" }\n");
    }
    let source = ConfigSource { name: "random.yaml".into(), text };
    let config = config::load(&source).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
    Arc::new(Plan::new(&config, &Selection::default(), &Context::default()).unwrap())
}

/// What the world decides: which open thing is answered next, and how.
#[derive(Debug, Clone, Copy)]
struct Choice {
    which: usize,
    how: u8,
}

fn choice() -> impl Strategy<Value = Choice> {
    (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Choice { which, how })
}

/// Something that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Open {
    Expression(CheckIndex, Expression),
    Check(CheckIndex),
}

/// Carries a run out and checks after every step what must hold.
struct World {
    machine: RunMachine,
    open: Vec<Open>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    starts: u32,
}

impl World {
    fn take(&mut self, effects: Vec<Effect>) {
        for effect in &effects {
            match effect {
                Effect::Evaluate(evaluation) => {
                    self.open.push(Open::Expression(evaluation.check, evaluation.which));
                }
                Effect::Start { seq, check } => {
                    assert_eq!(*seq, self.starts, "starts are numbered without gaps");
                    self.starts += 1;
                    let plan = Arc::clone(self.machine.plan());
                    for dependency in &plan.check(*check).waits_for {
                        let state = self.machine.check_state(*dependency);
                        assert!(state.is_settled(), "{check:?} started before {dependency:?}");
                    }
                    assert!(!self.open.contains(&Open::Check(*check)), "{check:?} started twice");
                    self.open.push(Open::Check(*check));
                }
                Effect::Cancel { check, .. } => {
                    assert!(self.open.contains(&Open::Check(*check)), "only what runs is stopped");
                }
                Effect::Skip { check, .. } | Effect::Fail { check, .. } => {
                    assert!(self.machine.check_state(*check).is_settled());
                }
                Effect::Finish { state } => {
                    assert_eq!(*state, self.machine.state());
                    assert!(state.is_finished());
                }
            }
        }
        self.effects.extend(effects);
        let running = self.open.iter().filter(|open| matches!(open, Open::Check(_))).count();
        assert!(running <= self.machine.plan().max_parallelism());
        let mut counted = Counts::default();
        for place in 0..self.machine.plan().checks().len() {
            counted.add(self.machine.check_state(CheckIndex::of(place)));
        }
        assert_eq!(counted, self.machine.counts());
    }

    fn tell(&mut self, event: Event) {
        self.events.push(event.clone());
        let effects = self.machine.apply(event);
        self.take(effects);
    }

    /// Answers one open thing.
    fn answer(&mut self, choice: Choice) {
        let open = self.open.remove(choice.which % self.open.len());
        match open {
            Open::Expression(check, which) => {
                let value = match choice.how % 4 {
                    0 => Err("broken".to_owned()),
                    1 => Ok(serde_json::Value::Bool(false)),
                    _ => Ok(serde_json::Value::Bool(which == Expression::If)),
                };
                self.tell(Event::Evaluated { check, which, value });
            }
            Open::Check(check) => {
                if choice.how & 0x80 != 0 {
                    self.tell(Event::Started { check });
                }
                let end = match choice.how % 6 {
                    0 => End::Exited { code: 1 },
                    1 => End::TimedOut,
                    2 => End::Cancelled,
                    _ => End::Exited { code: 0 },
                };
                self.tell(Event::Settled { check, end, result: CheckResult::default() });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_run_ends_with_every_check_settled_and_replays_the_same(
        nodes in proptest::collection::vec(node(), 0..20),
        parallelism in 1_u32..6,
        fail_fast in proptest::bool::weighted(0.2),
        global in proptest::bool::weighted(0.2),
        choices in proptest::collection::vec(choice(), 120),
        stop_at in proptest::option::weighted(0.3, 0_usize..40),
        by_time in any::<bool>(),
    ) {
        let plan = plan_of(&nodes, parallelism, fail_fast, global);
        let mut world = World {
            machine: RunMachine::new(Arc::clone(&plan)),
            open: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
            starts: 0,
        };
        let first = world.machine.start();
        world.take(first);
        let mut steps = 0;
        while !world.open.is_empty() {
            if stop_at == Some(steps) {
                world.tell(if by_time { Event::TimedOut } else { Event::Cancel });
            }
            // 20 checks have at most three open things each.
            world.answer(choices[steps % choices.len()]);
            steps += 1;
        }
        prop_assert!(world.machine.state().is_finished(), "nothing is open and it goes on");
        let finishes =
            world.effects.iter().filter(|effect| matches!(effect, Effect::Finish { .. })).count();
        prop_assert_eq!(finishes, 1);
        for place in 0..plan.checks().len() {
            prop_assert!(world.machine.check_state(CheckIndex::of(place)).is_settled());
        }
        if world.machine.state() == RunState::Passed {
            prop_assert_eq!(world.machine.counts().failed, 0);
        }

        let mut again = RunMachine::new(plan);
        let mut effects = again.start();
        for event in world.events {
            effects.extend(again.apply(event));
        }
        prop_assert_eq!(effects, world.effects);
        prop_assert_eq!(again.reports(), world.machine.reports());
    }
}

#[test]
fn ten_thousand_checks_cost_no_more_each_than_a_few() {
    // Counted in effects, not in seconds: each check is started once and told once.
    let nodes: Vec<Node> = (0..10_000)
        .map(|n| Node {
            dependencies: if n % 3 == 0 { vec![] } else { vec![(1, None)] },
            continues: false,
            has_if: false,
            has_fail_if: false,
        })
        .collect();
    let plan = plan_of(&nodes, 8, false, false);
    let mut machine = RunMachine::new(plan);
    let mut open: std::collections::VecDeque<Effect> = machine.start().into();
    let mut started = 0;
    while let Some(effect) = open.pop_front() {
        if let Effect::Start { check, .. } = effect {
            started += 1;
            let end = End::Exited { code: 0 };
            let result = CheckResult::default();
            open.extend(machine.apply(Event::Settled { check, end, result }));
        }
    }
    assert_eq!(started, 10_000);
    assert_eq!(machine.state(), RunState::Passed);
    assert_eq!(machine.counts().passed, 10_000);
    assert!(machine.reports().iter().all(|report| report.state == CheckState::Passed));
}
