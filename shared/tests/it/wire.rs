//! A snapshot of every message of the peer protocol. A change here is a change of protocol: see docs/PROTOCOL.md.

use std::fmt::Write;

use shared::ids::{ContentHash, PeerId, Version};
use shared::stamp::Stamp;
use shared::wire::frame::{Decoder, encode};
use shared::wire::peer::{Hello, MAJOR, MINOR, PeerMessage};
use shared::wire::update::FileUpdate;

fn messages() -> Vec<PeerMessage> {
    let update = FileUpdate {
        owner: Some("alice".parse().unwrap()),
        size_bytes: 300,
        content: Some(ContentHash([3; 32])),
        ..FileUpdate::injected("f1".parse().unwrap(), Version(2), Stamp(65_537), PeerId([1; 32]))
    };
    let listen = Some("127.0.0.1:9001".parse().unwrap());
    let cluster = "grapevine".to_owned();
    let hello =
        Hello { major: MAJOR, minor: MINOR, cluster, peer: PeerId([1; 32]), listen, neighbours: 3, durable: true };
    vec![
        PeerMessage::Hello(hello),
        PeerMessage::Peers(vec!["127.0.0.1:9002".parse().unwrap(), "[::1]:9003".parse().unwrap()]),
        PeerMessage::Pull { after: None },
        PeerMessage::Pull { after: Some("f1".parse().unwrap()) },
        PeerMessage::State { updates: vec![update.clone()], more: true },
        PeerMessage::Update { update: update.clone(), hops: 4 },
        PeerMessage::Submit { request: 7, update },
        PeerMessage::Accepted { request: 7 },
        PeerMessage::Refused { request: 7, reason: "no".to_owned() },
        PeerMessage::Ping { nonce: 1 },
        PeerMessage::Pong { nonce: 1 },
        PeerMessage::Goodbye { reason: "leaving".to_owned(), leaving: true },
    ]
}

#[test]
fn every_message_looks_as_yesterday() {
    let mut text = String::new();
    for message in messages() {
        let bytes = encode(&message).unwrap();
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{message:?}\n{}\n", hex.join(" ")).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_message_survives_the_wire() {
    for message in messages() {
        let mut decoder = Decoder::default();
        decoder.push(&encode(&message).unwrap());
        assert_eq!(decoder.next_message(), Ok(Some(message)));
    }
}
