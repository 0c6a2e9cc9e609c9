//! How many jobs a second go through a queue of the bus within one process?

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use visor_benches::{START, job};
use visor_protocol::Envelope;
use visor_protocol::ids::PoolName;
use visor_transport::Queue;
use visor_transport::memory::MemoryBus;

const JOBS: u32 = 10_000;

fn transport(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let payload = Envelope::new(job(1), START).encode().expect("a job fits");
    let mut round = 0_u64;
    let mut group = c.benchmark_group("transport");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(JOBS)));
    group.bench_function("10 000 jobs through memory", |b| {
        b.iter(|| {
            round += 1;
            let (payload, round) = (payload.clone(), round);
            runtime.block_on(async move {
                let bus = MemoryBus::shared();
                let queue = Queue::Jobs(PoolName::default_pool());
                bus.ensure_queue(&queue).await.expect("a queue");
                let mut consumer = bus.consume(&queue).await.expect("a consumer");
                let reader = tokio::spawn(async move {
                    consumer.request(JOBS);
                    for _ in 0..JOBS {
                        let delivery = consumer.next().await.expect("a delivery");
                        delivery.ack().await.expect("an acknowledgement");
                    }
                });
                for n in 0..JOBS {
                    let id = format!("{round}:{n}");
                    bus.enqueue(&queue, &id, payload.clone()).await.expect("room");
                }
                reader.await.expect("the reader ends");
            });
        });
    });
    group.finish();
}

criterion_group!(benches, transport);
criterion_main!(benches);
