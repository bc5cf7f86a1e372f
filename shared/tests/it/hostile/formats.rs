//! Frames that no honest encoder makes: each list and text beyond its limit, lengths that lie.

use std::net::SocketAddr;

use serde::Serialize;
use shared::ids::PeerId;
use shared::wire::broadcast::{Announced, IdRange, MessageId, Source};
use shared::wire::census::Record;
use shared::wire::frame::{Decoder, FrameError, MAX_CLUSTER_BYTES, MAX_FRAME_BYTES, MAX_VERSION_BYTES, decode};
use shared::wire::peer::{
    Claim, Feature, Hello, Key, MAX_ADDRS, MAX_CLAIMS, MAX_ENTRIES, MAX_FEATURE_BYTES, MAX_FEATURES, MAX_KEYS,
    MAX_PAYLOAD_BYTES, MAX_RANGES, MAX_REASON_BYTES, MAX_RECORD_NEIGHBOURS, MAX_WANTED, Prefix, Purpose, Set, Wanted,
};
use shared::wire::update::{FileUpdate, MAX_NAME_BYTES};

use super::stage::{addr, hello, update};

/// A frame's payload as somebody writes it who knows no limit.
fn payload(kind: u8, fields: &impl Serialize) -> Vec<u8> {
    let mut payload = vec![kind];
    payload.extend(postcard::to_stdvec(fields).unwrap());
    payload
}

/// At its limit a list is read, one beyond it isn't.
fn check<T: Serialize>(kind: u8, limit: usize, fields: impl Fn(usize) -> T) {
    let at = decode(&payload(kind, &fields(limit)));
    assert!(at.is_ok(), "kind {kind} with {limit}: {at:?}");
    let beyond = decode(&payload(kind, &fields(limit + 1)));
    let max = Err((limit + 1, limit));
    let is = beyond.map_err(|error| match error {
        FrameError::Limit { len, max, .. } => (len, max),
        other => panic!("kind {kind}: {other}"),
    });
    assert_eq!(is, max, "kind {kind}");
}

fn text(len: usize) -> String {
    "x".repeat(len)
}

fn addrs(len: usize) -> Vec<SocketAddr> {
    vec![addr(1); len]
}

fn keys(len: usize) -> Vec<(Key, u64)> {
    vec![(Key(1), 1); len]
}

fn named(len: usize) -> FileUpdate {
    FileUpdate { name: text(len), ..update("f", 1) }
}

fn record(neighbours: usize, version: usize) -> Record {
    let (peer, source) = (PeerId([1; 32]), Source(1));
    let (active, version) = (vec![1; neighbours].into(), text(version).into());
    Record {
        peer,
        source,
        started: 0,
        serial: 0,
        addr: addr(1),
        left: false,
        active,
        passive: 0,
        files: 0,
        applied: 0,
        duplicates: 0,
        load: 0,
        version,
    }
}

fn feature(name: usize) -> Feature {
    Feature { name: text(name), version: 1 }
}

const ID: MessageId = MessageId { source: Source(1), seq: 1 };
const RANGE: IdRange = IdRange { source: Source(1), first: 1, last: 1 };
/// A broadcast around its payload.
fn enveloped(payload: &impl Serialize) -> (MessageId, u16, Vec<u8>) {
    (ID, 1, postcard::to_stdvec(payload).unwrap())
}

const PREFIX: Prefix = Prefix { depth: 0, digits: 0 };

#[test]
fn texts_and_addresses_have_a_limit() {
    check(0, MAX_CLUSTER_BYTES, |len| Hello { cluster: text(len), ..hello(1, Purpose::Join) });
    check(0, MAX_FEATURES, |len| Hello { features: vec![feature(1); len], ..hello(1, Purpose::Join) });
    check(0, MAX_FEATURE_BYTES, |len| Hello { features: vec![feature(len)], ..hello(1, Purpose::Join) });
    check(1, MAX_ADDRS, addrs);
    check(2, MAX_REASON_BYTES, |len| (text(len), true, addrs(0)));
    check(2, MAX_ADDRS, |len| (text(0), true, addrs(len)));
    check(4, MAX_ADDRS, |len| (1_u64, 1_u8, addrs(len)));
    check(5, MAX_ADDRS, |len| (1_u64, addrs(len)));
    check(17, MAX_REASON_BYTES, |len| (1_u64, text(len)));
}

#[test]
fn news_has_a_limit() {
    check(128, MAX_NAME_BYTES, |len| enveloped(&named(len)));
    check(129, MAX_RECORD_NEIGHBOURS, |len| enveloped(&record(len, 0)));
    check(129, MAX_VERSION_BYTES, |len| enveloped(&record(0, len)));
    check(200, MAX_PAYLOAD_BYTES, |len| (ID, 1_u16, vec![0_u8; len]));
    check(8, MAX_RANGES, |len| vec![Announced { range: RANGE, hops: 1 }; len]);
    check(9, MAX_RANGES, |len| vec![RANGE; len]);
    check(15, MAX_NAME_BYTES, |len| (1_u64, named(len)));
}

#[test]
fn pages_and_claims_have_a_limit() {
    check(11, MAX_CLAIMS, |len| (Set::Catalogue, vec![Claim::Missing(keys(0)); len]));
    check(11, MAX_KEYS, |len| (Set::Catalogue, vec![Claim::Missing(keys(len))]));
    check(11, MAX_KEYS, |len| (Set::Catalogue, vec![Claim::ItemSet(PREFIX, keys(len))]));
    check(12, MAX_WANTED, |len| (Set::Catalogue, vec![Wanted::Range(PREFIX, Key(0)); len]));
    check(12, MAX_ENTRIES, |len| (Set::Catalogue, vec![Wanted::Keys(vec![Key(1); len])]));
    let rest: Option<(Prefix, Key)> = None;
    check(13, MAX_ENTRIES, |len| (vec![named(1); len], rest));
    check(13, MAX_NAME_BYTES, |len| (vec![named(len)], rest));
    check(14, MAX_ENTRIES, |len| (vec![record(0, 0); len], rest));
    check(14, MAX_RECORD_NEIGHBOURS, |len| (vec![record(len, 0)], rest));
    check(14, MAX_VERSION_BYTES, |len| (vec![record(0, len)], rest));
}

#[test]
fn a_frame_has_a_limit_that_is_checked_on_its_length() {
    let header = |len: usize| u32::try_from(len).unwrap().to_be_bytes();
    let mut decoder = Decoder::default();
    decoder.push(&header(MAX_FRAME_BYTES));
    assert_eq!(decoder.next_message(), Ok(None), "the rest may come");
    let mut decoder = Decoder::default();
    decoder.push(&header(MAX_FRAME_BYTES + 1));
    assert_eq!(decoder.next_message(), Err(FrameError::TooLarge(MAX_FRAME_BYTES + 1)));
}

#[test]
fn a_length_that_lies_is_an_error_and_allocates_nothing() {
    // 2^63 things, of which none follows, where each kind has its list.
    let lie = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for (kind, before) in [(1, &[][..]), (2, &[]), (4, &[1, 1]), (5, &[1]), (8, &[]), (9, &[]), (11, &[0]), (12, &[0])]
    {
        let payload: Vec<u8> = [&[kind], before, &lie].concat();
        assert!(matches!(decode(&payload), Err(FrameError::Malformed { .. })), "kind {kind}");
    }
    for kind in 128..=255 {
        let payload: Vec<u8> = [&[kind, 1, 1, 1], &lie[..]].concat();
        assert!(matches!(decode(&payload), Err(FrameError::Malformed { .. })), "kind {kind}");
    }
    for kind in [13, 14] {
        let payload: Vec<u8> = [&[kind], &lie[..]].concat();
        assert!(matches!(decode(&payload), Err(FrameError::Malformed { .. })), "kind {kind}");
    }
}

#[test]
fn ids_that_cant_be_are_errors() {
    let good = payload(15, &(1_u64, update("f", 1)));
    assert!(decode(&good).is_ok());
    // Request, the id's length, its text, its version.
    for (place, value) in [(2, 0), (3, b'\n'), (4, 0)] {
        let mut bad = good.clone();
        bad[place] = value;
        assert!(decode(&bad).is_err(), "byte {place} as {value}");
    }
}
