//! Addresses without end, from neighbours who want to fill the book, push others out of it, or have the node dial.

use std::net::SocketAddr;
use std::time::Duration;

use shared::gossip::config::{Config, Views};
use shared::gossip::io::{Input, LinkId};
use shared::wire::peer::{Hello, MAX_ADDRS, PeerMessage, Purpose};

use super::stage::{Stage, addr, hello, own_addr, peer, sent};

/// Walks whose way back a node remembers.
const WALKS: u64 = 64;
/// Addresses of each kind of message.
const ANNOUNCED: u32 = 20_000;

/// The most addresses in the book: both its parts, and those in use or being dialled.
fn book_max() -> usize {
    let views = Views::default();
    views.passive + views.reserve + 3 * views.active_max
}

fn page(from: u32) -> Vec<SocketAddr> {
    (from..).take(MAX_ADDRS).map(|number| addr(0x1_0000 + number)).collect()
}

/// Says so many messages with other addresses each, on new links where the old one is closed.
fn flood(message: impl Fn(Vec<SocketAddr>, u32) -> PeerMessage) {
    let mut stage = Stage::new(Config::default());
    let named = [addr(1), addr(2), addr(3)];
    for addr in named {
        stage.feed(Input::Contact { addr });
    }
    let mut link = stage.neighbour(5);
    for from in (0..ANNOUNCED).step_by(MAX_ADDRS) {
        if stage.is_closed(link) {
            link = stage.neighbour(5);
        }
        stage.say(link, message(page(from), from));
        let known = stage.node.known().count();
        assert!(known <= book_max(), "{known} addresses in the book");
        if from % 4096 == 0 {
            stage.fail_dials();
            stage.pass(Duration::from_secs(2));
        }
    }
    for addr in named {
        assert!(stage.node.known().any(|known| known == addr), "{addr} was named by a person and is forgotten");
    }
    stage.check_it_still_works();
}

#[test]
fn bounded_memory_addresses_in_welcomes() {
    let mut stage = Stage::new(Config::default());
    for from in (0..ANNOUNCED).step_by(MAX_ADDRS) {
        // Only who was dialled may welcome.
        let (host, link) = (addr(5), LinkId(1 << 40 | u64::from(from)));
        stage.feed(Input::Contact { addr: host });
        stage.feed(Input::LinkUp { link, remote: host, dialled: Some(host) });
        stage.say_all(
            link,
            vec![PeerMessage::Hello(hello(5, Purpose::Answer)), PeerMessage::Welcome { others: page(from) }],
        );
        stage.feed(Input::LinkDown { link, reason: "gone".to_owned() });
        stage.fail_dials();
        let known = stage.node.known().count();
        assert!(known <= book_max(), "{known} addresses in the book");
    }
    assert!(stage.node.known().count() > Views::default().passive, "the welcomes were heard");
    stage.check_it_still_works();
}

#[test]
fn bounded_memory_addresses_in_goodbyes() {
    flood(|others, _| PeerMessage::Goodbye { reason: "bye".to_owned(), leaving: false, others });
}

#[test]
fn bounded_memory_addresses_in_shuffles() {
    flood(|addrs, walk| PeerMessage::Shuffle { walk: walk.into(), ttl: 1, addrs });
}

#[test]
fn bounded_memory_addresses_in_replies_to_shuffles() {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    let mut answered = 0;
    for from in (0..ANNOUNCED).step_by(MAX_ADDRS) {
        let outputs = stage.pass(Duration::from_secs(30));
        let walk = sent(&outputs).find_map(|(to, message)| match message {
            PeerMessage::Shuffle { walk, .. } if to == [link] => Some(*walk),
            _ => None,
        });
        answered += u32::from(walk.is_some());
        // Replies that nobody waits for are thrown away.
        stage.say(link, PeerMessage::ShuffleReply { walk: walk.unwrap_or(7), addrs: page(from) });
        let known = stage.node.known().count();
        assert!(known <= book_max(), "{known} addresses in the book");
        stage.fail_dials();
    }
    assert!(answered > 10, "only {answered} shuffles came here");
    stage.check_it_still_works();
}

#[test]
fn bounded_memory_newcomers_that_dont_exist() {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    for number in 0..ANNOUNCED {
        stage.say(link, PeerMessage::ForwardJoin { addr: addr(0x1_0000 + number), ttl: 0 });
    }
    let (known, dials) = (stage.node.known().count(), stage.dials.len());
    assert!(dials <= 2 * Views::default().active_max, "{dials} addresses are dialled at once");
    assert!(known <= book_max(), "{known} addresses in the book");
    stage.check_it_still_works();
}

#[test]
fn walks_are_no_longer_than_this_nodes_own() {
    let mut stage = Stage::new(Config::default());
    let (link, views) = (stage.neighbour(5), Views::default());
    let joined = stage.say(link, PeerMessage::ForwardJoin { addr: addr(7), ttl: u8::MAX });
    let shuffled = stage.say(link, PeerMessage::Shuffle { walk: 1, ttl: u8::MAX, addrs: page(0) });
    let mut walks = 0;
    for (_, message) in sent(&joined).chain(sent(&shuffled)) {
        if let PeerMessage::ForwardJoin { ttl, .. } | PeerMessage::Shuffle { ttl, .. } = message {
            assert!(*ttl < views.join_walk.max(views.shuffle.walk));
            walks += 1;
        }
    }
    assert_eq!(walks, 2);
    stage.check_it_still_works();
}

#[test]
fn bounded_memory_walks_of_shuffles() {
    let mut stage = Stage::new(Config::default());
    let (from, honest) = (stage.neighbour(5), stage.honest());
    let walks = 10 * WALKS;
    for walk in 0..walks {
        stage.say(from, PeerMessage::Shuffle { walk, ttl: 6, addrs: page(0) });
    }
    let mut returned = |walk| {
        let outputs = stage.say(honest, PeerMessage::ShuffleReply { walk, addrs: page(0) });
        sent(&outputs).any(|(to, message)| to == [from] && matches!(message, PeerMessage::ShuffleReply { .. }))
    };
    assert!(returned(walks - 1) && returned(walks - WALKS));
    assert!(!returned(0) && !returned(walks - WALKS - 1), "the way back of an old walk is still remembered");
    stage.check_it_still_works();
}

#[test]
fn nobody_takes_leave_for_a_contact_that_a_person_named() {
    let mut stage = Stage::new(Config::default());
    let named = addr(3);
    stage.feed(Input::Contact { addr: named });
    let (link, _) = stage.greet(5, Hello { listen: Some(named), ..hello(5, Purpose::Join) });
    stage.say(link, PeerMessage::Goodbye { reason: "leaving".to_owned(), leaving: true, others: Vec::new() });
    assert!(stage.node.known().any(|known| known == named));
    stage.check_it_still_works();
}

#[test]
fn bounded_memory_addresses_that_are_said_to_be_this_nodes_own() {
    let mut stage = Stage::new(Config::default());
    let liars = u32::try_from(Views::default().reserve).unwrap() + 50;
    for number in 0..liars {
        let liar = addr(0x1_0000 + number);
        let link = LinkId(1 << 40 | u64::from(number));
        stage.feed(Input::Contact { addr: liar });
        stage.feed(Input::LinkUp { link, remote: liar, dialled: Some(liar) });
        stage.say(link, PeerMessage::Hello(Hello { peer: peer(0), ..hello(5, Purpose::Answer) }));
        assert!(stage.is_closed(link) && stage.node.known().all(|known| known != liar));
    }
    let mut is_own = |number| {
        let liar = addr(0x1_0000 + number);
        stage.feed(Input::Contact { addr: liar });
        stage.node.known().all(|known| known != liar)
    };
    assert!(is_own(0));
    assert!(!is_own(liars - 1), "more of them are remembered than there are addresses in the book");
    stage.check_it_still_works();
}

#[test]
fn addresses_that_cant_be_dialled_arent_learned() {
    let mut stage = Stage::new(Config::default());
    let link = stage.neighbour(5);
    let before: Vec<SocketAddr> = stage.node.known().collect();
    let others = ["10.0.0.9:0", "0.0.0.0:9001", "[::]:9001", "224.0.0.1:9001", "[ff02::1]:9001"];
    let mut others: Vec<SocketAddr> = others.iter().map(|text| text.parse().unwrap()).collect();
    others.push(own_addr());
    stage.say(link, PeerMessage::Welcome { others: others.clone() });
    stage.say(link, PeerMessage::Shuffle { walk: 1, ttl: 0, addrs: others.clone() });
    for addr in others {
        stage.say(link, PeerMessage::ForwardJoin { addr, ttl: 0 });
    }
    assert_eq!(stage.node.known().collect::<Vec<_>>(), before);
    assert_eq!(stage.dials, []);
    stage.check_it_still_works();
}
