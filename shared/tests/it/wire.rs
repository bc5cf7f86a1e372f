//! A snapshot of every message of the peer protocol. A change here is a change of protocol: see docs/PROTOCOL.md.

use std::fmt::Write;
use std::sync::Arc;

use shared::ids::{ContentHash, PeerId, Version};
use shared::stamp::Stamp;
use shared::wire::broadcast::{Announced, IdRange, MessageId, Source};
use shared::wire::census::Record;
use shared::wire::frame::{Decoder, encode};
use shared::wire::peer::{
    Claim, DURABLE, Feature, Fingerprint, Hello, Incarnation, Key, MAJOR, MINOR, Partner, Payload, PeerMessage, Prefix,
    Presence, Purpose, Set, Unknown, Wanted,
};
use shared::wire::update::FileUpdate;

const SOURCE: Source = Source(0x00ab_cdef);
const PREFIX: Prefix = Prefix { depth: 2, digits: 0x5e };

fn update() -> FileUpdate {
    FileUpdate {
        owner: Some("alice".parse().unwrap()),
        size_bytes: 300,
        content: Some(ContentHash([3; 32])),
        ..FileUpdate::injected("f1".parse().unwrap(), Version(2), Stamp(65_537), PeerId([1; 32]))
    }
}

fn record() -> Record {
    Record {
        peer: PeerId([1; 32]),
        source: SOURCE,
        started: 1_700_000_000_000,
        serial: 3,
        addr: "127.0.0.1:9001".parse().unwrap(),
        left: false,
        active: [1, 2].into(),
        passive: 30,
        files: 4,
        applied: 5,
        duplicates: 6,
        load: 7,
        version: "0.1.0".into(),
    }
}

fn links() -> Vec<PeerMessage> {
    let addrs = vec!["127.0.0.1:9002".parse().unwrap(), "[::1]:9003".parse().unwrap()];
    let hello = Hello {
        major: MAJOR,
        minor: MINOR,
        cluster: "grapevine".to_owned(),
        peer: PeerId([1; 32]),
        listen: Some("127.0.0.1:9001".parse().unwrap()),
        purpose: Purpose::Join,
        presence: Some(Presence {
            life: Incarnation { started: 1_700_000_000_000, source: SOURCE },
            sees: "127.0.0.1:9002".parse().unwrap(),
        }),
        features: vec![Feature { name: DURABLE.to_owned(), version: 1 }],
    };
    let catalogue = Fingerprint { count: 3, sum: 0x1234 };
    vec![
        PeerMessage::Hello(hello),
        PeerMessage::Welcome { others: addrs.clone() },
        PeerMessage::Goodbye { reason: "leaving".to_owned(), leaving: true, others: addrs.clone() },
        PeerMessage::ForwardJoin { addr: "127.0.0.1:9002".parse().unwrap(), ttl: 6 },
        PeerMessage::Shuffle { walk: 9, ttl: 5, addrs: addrs.clone() },
        PeerMessage::ShuffleReply { walk: 9, addrs },
        PeerMessage::Ping { nonce: 1, catalogue, partner: Partner::You },
        PeerMessage::Pong { nonce: 1, catalogue, partner: Partner::Another },
    ]
}

fn broadcasts() -> Vec<PeerMessage> {
    let id = MessageId { source: SOURCE, seq: 8 };
    let range = IdRange { source: SOURCE, first: 2, last: 8 };
    let carried = [
        Payload::Update(Arc::new(update())),
        Payload::Record(Arc::new(record())),
        Payload::Suspect(PeerId([2; 32]).into()),
        Payload::Beacon,
        Payload::Unknown(Unknown { kind: 200, body: [7, 8, 9].into() }.into()),
    ];
    let pushed = carried.map(|payload| PeerMessage::Broadcast { id, hops: 4, payload });
    let rest =
        [PeerMessage::IHave(vec![Announced { range, hops: 5 }]), PeerMessage::Graft(vec![range]), PeerMessage::Prune];
    pushed.into_iter().chain(rest).collect()
}

fn exchanges() -> Vec<PeerMessage> {
    let fingerprint = Fingerprint { count: 3, sum: 0x1234 };
    let keys = vec![(Key(0x5e00), 0x77)];
    vec![
        PeerMessage::Reconcile(
            Set::Catalogue,
            vec![Claim::Fingerprint(PREFIX, fingerprint), Claim::ItemSet(PREFIX, keys.clone()), Claim::Missing(keys)],
        ),
        PeerMessage::Request(Set::Census, vec![Wanted::Range(PREFIX, Key(0)), Wanted::Keys(vec![Key(0x5e00)])]),
        PeerMessage::State { entries: vec![Arc::new(update())], rest: Some((PREFIX, Key(0x5e01))) },
        PeerMessage::Records { entries: vec![Arc::new(record())], rest: None },
    ]
}

fn submissions() -> Vec<PeerMessage> {
    vec![
        PeerMessage::Submit { request: 7, update: Arc::new(update()) },
        PeerMessage::Accepted { request: 7 },
        PeerMessage::Refused { request: 7, reason: "no".to_owned() },
        PeerMessage::Deferred { request: 7, reason: "full".to_owned() },
    ]
}

/// One message of each kind.
pub(crate) fn messages() -> impl Iterator<Item = PeerMessage> {
    [links(), broadcasts(), exchanges(), submissions()].into_iter().flatten()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_message_looks_as_yesterday() {
    let mut text = String::new();
    for message in messages() {
        let bytes = encode(&message).unwrap();
        writeln!(text, "{message:?}\n{}\n", hex(&bytes)).unwrap();
    }
    insta::assert_snapshot!(text);
}

/// The bytes of the examples in PROTOCOL.md: of each line what stands before its explanation.
fn examples() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md")).unwrap();
    let blocks = text.split("```hex\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let bytes = |line: &str| line.split("   ").next().unwrap().trim().to_owned();
    blocks.map(|block| block.lines().map(bytes).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_examples_in_the_protocol_are_frames_as_they_are() {
    let frames: Vec<String> = messages().map(|message| hex(&encode(&message).unwrap())).collect();
    let examples = examples();
    assert_eq!(examples.len(), 3);
    for example in examples {
        assert!(frames.contains(&example), "{example}");
    }
}

#[test]
fn every_message_survives_the_wire() {
    for message in messages() {
        let mut decoder = Decoder::default();
        decoder.push(&encode(&message).unwrap());
        assert_eq!(decoder.next_message(), Ok(Some(message)));
    }
}
