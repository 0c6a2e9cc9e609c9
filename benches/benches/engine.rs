//! What does it cost to load and plan a large file, and is the cost of a step flat?

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use visor_benches::config;
use visor_engine::{Context, Effect, Event, Plan, RunMachine};
use visor_protocol::api::Selection;
use visor_protocol::outcome::End;
use visor_protocol::result::CheckResult;

/// Runs a whole run through the machine: every check passes as soon as it is started.
fn run_through(plan: &Arc<Plan>) -> usize {
    let mut machine = RunMachine::new(Arc::clone(plan));
    let mut effects = machine.start();
    let mut steps = 0;
    while let Some(effect) = effects.pop() {
        if let Effect::Start { check, .. } = effect {
            steps += 1;
            let (end, result) = (End::Exited { code: 0 }, CheckResult::default());
            effects.extend(machine.apply(Event::Settled { check, end, result }));
        }
    }
    steps
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.sample_size(20);
    for checks in [100, 1_000, 10_000] {
        let source = config(checks);
        let loaded = visor_engine::config::load(&source).expect("the file is valid");
        let (selection, context) = (Selection::default(), Context::default());
        group.throughput(Throughput::Elements(u64::from(checks)));
        if checks <= 1_000 {
            group.bench_function(format!("load {checks} checks"), |b| {
                b.iter(|| visor_engine::config::load(black_box(&source)));
            });
        }
        let selection = Selection { tags: vec!["bench".to_owned()], ..selection };
        group.bench_function(format!("plan {checks} checks"), |b| {
            b.iter(|| Plan::new(black_box(&loaded.config), &selection, &context));
        });
        let plan = Plan::new(&loaded.config, &selection, &context).expect("the plan is valid");
        let plan = Arc::new(plan);
        assert_eq!(run_through(&plan), checks as usize);
        group.bench_function(format!("run {checks} checks through the machine"), |b| {
            b.iter_batched(|| Arc::clone(&plan), |plan| run_through(&plan), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
