//! What does a sweep cost while 100 000 leases are held by 1 000 workers, and a heartbeat that
//! renews 100 of them?

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use visor_benches::{START, ticket};
use visor_coordinator::fleet::core::{Core, Event};
use visor_protocol::ids::{PoolName, WorkerId};
use visor_protocol::worker::{Execution, Heartbeat, HostUsage, WorkerState};

const WORKERS: u32 = 1_000;
const HELD: u32 = 100;

fn heartbeat(n: u32) -> Event {
    Event::Heartbeat(Box::new(Heartbeat {
        worker: WorkerId::new(format!("w-{n}")).expect("a valid name"),
        boot: 1,
        pool: PoolName::default_pool(),
        slots: HELD,
        held: (n * HELD..(n + 1) * HELD).map(ticket).collect(),
        state: WorkerState::Ready,
        execution: Execution::Host,
        images: Vec::new(),
        host: HostUsage::default(),
        version: "bench".to_owned(),
        since: START,
    }))
}

fn fleet(c: &mut Criterion) {
    let mut core = Core::new(Duration::from_secs(2));
    for n in 0..WORKERS {
        core.apply(START, heartbeat(n));
    }
    let mut group = c.benchmark_group("fleet");
    group.bench_function("a sweep", |b| {
        b.iter(|| core.apply(START, Event::Sweep { connected: true }));
    });
    group.bench_function("a heartbeat of 100 leases", |b| {
        b.iter_batched(
            || heartbeat(7),
            |event| core.apply(START, event),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, fleet);
criterion_main!(benches);
