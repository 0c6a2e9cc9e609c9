//! What does it cost to put a job and a batch of outcomes on the wire, and to read them?

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use visor_benches::{START, job, outcome};
use visor_protocol::{Envelope, Job, Outcome};

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let message = Envelope::new(job(1), START);
    let bytes = message.encode().expect("a job fits");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode a job", |b| b.iter(|| black_box(&message).encode()));
    group.bench_function("decode a job", |b| b.iter(|| Envelope::<Job>::decode(black_box(&bytes))));
    let outcomes: Vec<Outcome> = (0..100).map(outcome).collect();
    let message = Envelope::new(outcomes, START);
    let bytes = message.encode().expect("a hundred outcomes fit");
    group.throughput(Throughput::Elements(100));
    group.bench_function("encode 100 outcomes", |b| b.iter(|| black_box(&message).encode()));
    group.bench_function("decode 100 outcomes", |b| {
        b.iter(|| Envelope::<Vec<Outcome>>::decode(black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
