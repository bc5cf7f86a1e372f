//! Content connections. Here: a snapshot of every message; a change in it is a change of protocol, see docs/PROTOCOL.md.

use std::fmt::Write;

use shared::ids::{ManifestHash, PeerId};
use shared::wire::content::frame::encode;
use shared::wire::content::{Blob, ContentHello, ContentMessage, Held, Refusal, Run};
use shared::wire::peer::{MAJOR, MINOR};

/// One message of each kind.
pub(crate) fn messages() -> Vec<ContentMessage> {
    let manifest = ManifestHash([3; 32]);
    let (request, chunks) = (7, Run { first: 300, count: 2 });
    let hello = ContentHello { major: MAJOR, minor: MINOR, cluster: "grapevine".to_owned(), peer: PeerId([1; 32]) };
    vec![
        ContentMessage::Hello(hello),
        ContentMessage::Goodbye { reason: "leaving".to_owned() },
        ContentMessage::Interest { manifest },
        ContentMessage::NoInterest { manifest },
        ContentMessage::Have { manifest, held: Held::All },
        ContentMessage::Have { manifest, held: Held::Runs(vec![Run { first: 0, count: 16 }, chunks]) },
        ContentMessage::Gone { manifest },
        ContentMessage::AskRoot { request, manifest },
        ContentMessage::AskPages { request, manifest, pages: Run { first: 0, count: 4 } },
        ContentMessage::Root { request, bytes: Blob(vec![1, 1, 0]) },
        ContentMessage::Page { request, number: 2, bytes: Blob(vec![1, 0]) },
        ContentMessage::AskChunks { request, manifest, chunks },
        ContentMessage::Cancel { request },
        ContentMessage::Refused { request, why: Refusal::Busy },
        ContentMessage::Refused { request, why: Refusal::Other(200) },
        ContentMessage::Damaged { manifest, chunk: 301 },
        ContentMessage::Chunks { len_bytes: 5, request, chunks },
        ContentMessage::Unknown { kind: 100, len_bytes: 0 },
        ContentMessage::Unknown { kind: 200, len_bytes: 3 },
    ]
}

#[test]
fn every_message_on_content_connections_looks_as_yesterday() {
    let mut text = String::new();
    for message in messages() {
        let bytes = encode(&message).unwrap();
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        writeln!(text, "{message:?}\n{hex}\n").unwrap();
    }
    insta::assert_snapshot!(text);
}
