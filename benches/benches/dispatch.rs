//! What does it cost to queue, admit and release a job, alone and among many channels?

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use visor_benches::{START, ticket};
use visor_coordinator::dispatch::core::{Core, Event, JobKey, PoolCapacity, Waiting};
use visor_protocol::api::Priority;
use visor_protocol::ids::{ChannelId, PoolName};

const JOBS: u32 = 10_000;

fn waiting(seq: u32, channels: u32) -> Waiting {
    Waiting {
        ticket: ticket(seq),
        pool: PoolName::default_pool(),
        priority: Priority::Normal,
        key: JobKey {
            channel: ChannelId::new(format!("tenant-{}", seq % channels)).expect("a valid name"),
            provider: "noop",
            credential: None,
        },
        weight: 1,
        since: START,
    }
}

/// All jobs wait, then go through 64 slots.
fn drain(channels: u32) {
    let mut core = Core::new(&[], Duration::from_secs(2));
    for seq in 0..JOBS {
        core.apply(START, Event::Submit(waiting(seq, channels)));
    }
    let pool = PoolName::default_pool();
    let capacity = PoolCapacity { pool, slots: 64, ready: 1, not_ready: 0 };
    let mut effects = core.apply(START, Event::Capacity(vec![capacity]));
    let mut gone = 0;
    while !effects.is_empty() {
        let tickets: Vec<_> = effects
            .iter()
            .map(|visor_coordinator::dispatch::core::Effect::Admit(ticket, _)| *ticket)
            .collect();
        gone += tickets.len();
        core.apply(START, Event::Claimed(tickets.clone()));
        let over = tickets.into_iter().map(|ticket| (ticket, Some(Duration::from_millis(1))));
        effects = core.apply(START, Event::Released(over.collect()));
    }
    assert_eq!(gone, JOBS as usize);
}

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(JOBS)));
    for channels in [1, 1_000] {
        group.bench_function(format!("10 000 jobs of {channels} channels"), |b| {
            b.iter(|| drain(channels));
        });
    }
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
