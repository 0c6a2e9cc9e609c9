//! How long does one durable commit take, and how many events a second go through when many wait?

use std::sync::Arc;
use std::sync::mpsc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use visor_benches::{START, outcome, run_id};
use visor_coordinator::store::disk::DiskBackend;
use visor_coordinator::store::{Journal, RunWrite};
use visor_protocol::event::{Recorded, RunEvent};
use visor_protocol::result::CheckResult;

fn write(run: u64, first: u32) -> RunWrite {
    let mut write = RunWrite::new(run_id(run), first);
    let event = RunEvent::Settled {
        outcome: Box::new(outcome(first)),
        result: Box::new(CheckResult::default()),
    };
    write.push(&Recorded { at: START, event }).expect("an event is encoded");
    write
}

/// Commits one event of each of so many runs at once, and waits until all are on the disk.
fn commit(journal: &Journal, runs: u64, first: u32) {
    let (sender, receiver) = mpsc::channel();
    for run in 0..runs {
        let sender = sender.clone();
        journal.commit(write(run, first), move |result| {
            sender.send(result).expect("the bench waits");
        });
    }
    for _ in 0..runs {
        receiver.recv().expect("the journal answers").expect("the disk has room");
    }
}

fn journal(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let backend = DiskBackend::open(directory.path()).expect("a new journal");
    let journal = Journal::start(Arc::new(backend), 1_000_000).expect("a writer");
    let mut group = c.benchmark_group("journal");
    group.sample_size(20);
    let mut place = 0;
    for runs in [1, 64, 1_000] {
        group.throughput(Throughput::Elements(runs));
        group.bench_function(format!("{runs} waiting"), |b| {
            b.iter(|| {
                place += 1;
                commit(&journal, runs, place);
            });
        });
    }
    group.finish();
    journal.stop();
}

criterion_group!(benches, journal);
criterion_main!(benches);
