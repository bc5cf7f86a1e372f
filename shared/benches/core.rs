//! What the core costs: one message through the codec, one change into a catalogue, one comparison of two, and a whole
//! simulated overlay.
#![expect(clippy::unwrap_used, reason = "a benchmark is no part of the program")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use shared::gossip::catalogue::Catalogue;
use shared::gossip::reconcile;
use shared::ids::{PeerId, Version};
use shared::sim::scenario::Scenario;
use shared::sim::world::World;
use shared::stamp::Stamp;
use shared::wire::frame::{Decoder, encode};
use shared::wire::peer::{MessageId, Payload, PeerMessage, Source};
use shared::wire::update::FileUpdate;

fn update(n: u64, version: u64) -> FileUpdate {
    FileUpdate::injected(format!("file-{n:08}").parse().unwrap(), Version(version), Stamp(version), PeerId([1; 32]))
}

fn codec(c: &mut Criterion) {
    let id = MessageId { source: Source(1 << 55), seq: 1_000_000 };
    let message = PeerMessage::Broadcast { id, hops: 3, payload: Payload::Update(Arc::new(update(1, 1))) };
    let frame = encode(&message).unwrap();
    c.bench_function("encode an update", |b| b.iter(|| encode(black_box(&message)).unwrap()));
    let mut decoder = Decoder::default();
    c.bench_function("decode an update", |b| {
        b.iter(|| {
            decoder.push(black_box(&frame));
            decoder.next_message().unwrap()
        });
    });
}

fn catalogue(c: &mut Criterion) {
    let mut catalogue: Catalogue = (0..100_000).map(|n| Arc::new(update(n, 1))).collect();
    let mut version = 1;
    c.bench_function("merge news into 100,000 files", |b| {
        b.iter(|| {
            version += 1;
            catalogue.merge(Arc::new(update(version * 7919 % 100_000, version)))
        });
    });
    let other: Catalogue = catalogue.iter().skip(10).cloned().collect();
    let opening = [reconcile::opening(&other)];
    c.bench_function("answer a claim on 100,000 files", |b| {
        b.iter(|| reconcile::answer(&catalogue, black_box(&opening)));
    });
}

fn overlay(c: &mut Criterion) {
    let mut group = c.benchmark_group("simulator");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("30 s of chaos and its healing, seed 7", |b| {
        b.iter(|| World::new(Scenario::chaos(7)).run(Duration::from_mins(2)).unwrap());
    });
    group.finish();
}

criterion_group!(core, codec, catalogue, overlay);
criterion_main!(core);
