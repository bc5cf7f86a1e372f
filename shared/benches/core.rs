//! What the core costs: one message through the codec, one change into a catalogue, one comparison of two, one delivery
//! through a node, and a whole simulated overlay.
#![expect(clippy::unwrap_used, reason = "a benchmark is no part of the program")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shared::gossip::catalogue::Catalogue;
use shared::gossip::config::Config;
use shared::gossip::io::{Identity, Input, LinkId, Output};
use shared::gossip::node::Node;
use shared::gossip::reconcile;
use shared::ids::{PeerId, Version};
use shared::sim::scenario::Scenario;
use shared::sim::world::World;
use shared::stamp::Stamp;
use shared::time::Instant;
use shared::wire::broadcast::{MessageId, Source};
use shared::wire::frame::{Decoder, encode};
use shared::wire::peer::{Hello, MAJOR, MINOR, Payload, PeerMessage, Purpose};
use shared::wire::update::FileUpdate;

/// Updates of a burst.
const BURST: u64 = 10_000;
/// What a driver reads at once.
const READ_BYTES: usize = 16 * 1024;

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
    let opening = [reconcile::initial_claim(&other)];
    c.bench_function("answer a claim on 100,000 files", |b| {
        b.iter(|| reconcile::answer(&catalogue, black_box(&opening)));
    });
}

/// A node with four neighbours, the first of which pushes to it.
fn relay() -> Node {
    let me = Identity {
        peer: PeerId([9; 32]),
        listen: "10.0.0.9:1".parse().unwrap(),
        durable: false,
        began_ms: 1_700_000_000_000,
        version: String::new(),
    };
    let mut node = Node::new(me, Config::default(), Catalogue::default(), 1, Instant::START);
    for number in 1..=4_u8 {
        let (link, addr) = (LinkId(number.into()), format!("10.0.0.{number}:1").parse().unwrap());
        let hello = PeerMessage::Hello(Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: Config::default().cluster.to_string(),
            peer: PeerId([number; 32]),
            listen: Some(addr),
            purpose: Purpose::Neighbour,
            presence: None,
            features: Vec::new(),
        });
        node.handle(Instant::START, Input::LinkUp { link, remote: addr, dialled: None });
        while node.poll_output().is_some() {}
        node.handle(Instant::START, Input::Messages { link, messages: vec![hello] });
        while node.poll_output().is_some() {}
    }
    node
}

/// Frames of `BURST` new files by one source, as they come from a neighbour.
fn burst() -> Vec<u8> {
    let frames = (1..=BURST).flat_map(|seq| {
        let id = MessageId { source: Source(1 << 55), seq };
        let file = format!("{:032x}", seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let update = FileUpdate::injected(file.parse().unwrap(), Version(1), Stamp(seq), PeerId([1; 32]));
        encode(&PeerMessage::Broadcast { id, hops: 3, payload: Payload::Update(Arc::new(update)) }).unwrap()
    });
    frames.collect()
}

/// What one delivery costs a node, sockets apart: decoded, merged, kept, encoded for the others.
fn delivery(c: &mut Criterion) {
    let bytes = burst();
    let mut group = c.benchmark_group("node");
    group.throughput(Throughput::Elements(BURST)).sample_size(20);
    group.bench_function("relay a burst of new files", |b| {
        b.iter_batched(
            || (relay(), Decoder::default()),
            |(mut node, mut decoder)| {
                let mut said = 0;
                for read in bytes.chunks(READ_BYTES) {
                    decoder.push(read);
                    let messages = std::iter::from_fn(|| decoder.next_message().unwrap()).collect();
                    node.handle(Instant::START, Input::Messages { link: LinkId(1), messages });
                    while let Some(output) = node.poll_output() {
                        if let Output::Send { to, message } = output {
                            said += to.len() * encode(&message).unwrap().len();
                        }
                    }
                }
                (node, said)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn overlay(c: &mut Criterion) {
    let mut group = c.benchmark_group("simulator");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("30 s of chaos and its healing, seed 7", |b| {
        b.iter(|| World::new(Scenario::chaos(7)).run(Duration::from_mins(2)).unwrap());
    });
    group.finish();
}

criterion_group!(core, codec, catalogue, delivery, overlay);
criterion_main!(core);
