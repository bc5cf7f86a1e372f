//! The census, told of peers that don't exist and of values that can't be.

use std::sync::Arc;
use std::time::Duration;

use shared::gossip::config::{CensusRate, Config, Limits};
use shared::wire::broadcast::Source;
use shared::wire::census::Record;
use shared::wire::frame::MAX_VERSION_BYTES;
use shared::wire::peer::{MAX_ENTRIES, MAX_RECORD_NEIGHBOURS, Payload, PeerMessage};

use super::stage::{BEGAN_MS, Stage, addr, broadcast, peer};

fn record(number: u32) -> Record {
    Record {
        peer: peer(number),
        source: Source(number.into()),
        started: BEGAN_MS,
        serial: 1,
        addr: addr(number),
        left: false,
        active: Box::default(),
        passive: 0,
        files: 0,
        applied: 0,
        duplicates: 0,
        load: 0,
        version: "0.1.0".into(),
    }
}

/// Everything as large as the wire allows.
fn absurd(number: u32) -> Record {
    Record {
        source: Source(u64::MAX),
        serial: u64::MAX,
        active: [u64::MAX; MAX_RECORD_NEIGHBOURS].into(),
        passive: u16::MAX,
        files: u32::MAX,
        applied: u64::MAX,
        duplicates: u64::MAX,
        load: u16::MAX,
        version: "x".repeat(MAX_VERSION_BYTES).into(),
        ..record(number)
    }
}

#[test]
fn bounded_memory_peers_that_are_told_of() {
    let census = CensusRate { peers: 1000, ..CensusRate::default() };
    let mut stage = Stage::new(Config { census, ..Config::default() });
    let link = stage.neighbour(5);
    for page in 0..40 {
        let numbers = (page * 256..).take(MAX_ENTRIES);
        let entries = numbers.map(|number| Arc::new(record(number + 1000))).collect();
        stage.say(link, PeerMessage::Records { entries, rest: None });
    }
    for number in 0..1000_u32 {
        let payload = Payload::Record(Arc::new(record(number + 100_000)));
        stage.say(link, broadcast(5, u64::from(number) + 1, payload));
    }
    assert!(stage.node.census().records().len() <= 1000);
    stage.check_it_still_works();
}

#[test]
fn peers_that_are_told_of_once_and_never_again_are_forgotten() {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    let entries = (1000..1256).map(|number| Arc::new(record(number))).collect();
    stage.say(link, PeerMessage::Records { entries, rest: None });
    assert!(stage.node.census().records().len() >= 256);
    stage.pass(CensusRate::default().keep + Duration::from_mins(10));
    // Comings and goings are what a node tells of, and tells of itself with whoever is left.
    stage.neighbour(6);
    stage.pass(Duration::from_mins(10));
    assert!(stage.node.census().records().len() < 256, "{}", stage.node.census().records().len());
    stage.check_it_still_works();
}

#[test]
fn absurd_values_harm_nothing() {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    let odd = Record { addr: "0.0.0.0:0".parse().unwrap(), left: true, started: 0, ..absurd(8) };
    for (seq, record) in (1..).zip([absurd(5), absurd(6), odd, absurd(7)]) {
        stage.say(link, broadcast(5, seq, Payload::Record(Arc::new(record))));
    }
    stage.pass(Duration::from_mins(10));
    stage.check_it_still_works();
}

#[test]
fn nobody_speaks_for_this_node() {
    let mut stage = Stage::new(Config::default());
    stage.pass(Duration::from_secs(5));
    let link = stage.neighbour(5);
    stage.say(link, broadcast(5, 1, Payload::Record(Arc::new(absurd(0)))));
    stage.pass(Duration::from_secs(10));
    let own = stage.node.census().of(peer(0)).unwrap();
    assert!(own.serial < 100 && own.files < 100, "{own:?}");
    stage.check_it_still_works();
}

#[test]
fn a_life_that_begins_in_the_future_doesnt_replace_the_present_one() {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    let ahead = u64::try_from(Limits::default().future.as_millis()).unwrap();
    for (seq, started) in (1..).zip([BEGAN_MS + ahead + 1000, u64::MAX]) {
        stage.say(link, broadcast(5, seq, Payload::Record(Arc::new(Record { started, ..absurd(7) }))));
    }
    let honest = stage.honest();
    stage.say(honest, broadcast(7, 1, Payload::Record(Arc::new(record(7)))));
    assert_eq!(stage.node.census().of(peer(7)).map(|record| record.serial), Some(1));
    stage.check_it_still_works();
}
