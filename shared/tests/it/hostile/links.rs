//! How many may link, how soon they must say who they are, and how much they may say.

use std::net::SocketAddr;
use std::time::Duration;

use shared::gossip::config::{Config, Limits, Liveness};
use shared::gossip::io::{Input, LinkId, NodeEvent, Output};
use shared::gossip::node::Node;
use shared::wire::peer::{Fingerprint, Hello, Partner, PeerMessage, Purpose};

use super::stage::{Stage, addr, hello, news, offences, peer, sent, unknown, update};

/// How many of so many strangers, each from its own address, are taken in.
fn taken_in(stage: &mut Stage, strangers: u32, from: impl Fn(u32) -> SocketAddr) -> usize {
    (0..strangers).filter(|number| offences(&stage.open_from(from(*number)).1).is_empty()).count()
}

#[test]
fn bounded_memory_links_in_all() {
    let mut stage = Stage::new(Config::default());
    let taken = taken_in(&mut stage, 1000, addr);
    assert_eq!(taken, Limits::default().links - 1, "the honest neighbour has one");
    stage.check_it_still_works();
}

#[test]
fn bounded_memory_links_with_one_address() {
    let mut stage = Stage::new(Config::default());
    let port = |number: u32| u16::try_from(1000 + number).unwrap();
    let taken = taken_in(&mut stage, 60, |number| SocketAddr::from(([20, 0, 0, 7], port(number))));
    assert_eq!(taken, Limits::default().links_per_ip);
    let local = taken_in(&mut stage, 20, |number| SocketAddr::from(([127, 0, 0, 1], port(number))));
    assert_eq!(local, 20, "one machine may run many peers");
    let mut stage = Stage::new(Config::default());
    let local = taken_in(&mut stage, 60, |number| SocketAddr::from(([127, 0, 0, 1], port(number))));
    assert_eq!(local, 60);
    stage.check_it_still_works();
}

#[test]
fn a_link_without_hello_is_closed_in_time() {
    let mut stage = Stage::new(Config::default());
    let limit = Liveness::default().hello;
    let (silent, _) = stage.open_from(addr(5));
    stage.pass(limit * 9 / 10);
    assert!(!stage.is_closed(silent));
    stage.pass(limit / 5);
    assert!(stage.is_closed(silent));
    stage.check_it_still_works();
}

#[test]
fn a_link_whose_hello_is_never_followed_by_a_welcome_is_closed_in_time() {
    let mut stage = Stage::new(Config::default());
    stage.feed(Input::Contact { addr: addr(5) });
    assert_eq!(stage.dials, [addr(5)]);
    let link = LinkId(1 << 40);
    stage.feed(Input::LinkUp { link, remote: addr(5), dialled: Some(addr(5)) });
    stage.say(link, PeerMessage::Hello(hello(5, Purpose::Answer)));
    stage.pass(Liveness::default().hello + Duration::from_millis(1));
    assert!(stage.is_closed(link));
    stage.check_it_still_works();
}

#[test]
fn messages_beyond_the_rate_close_the_link() {
    let at_once = usize::try_from(Limits::default().burst).unwrap();
    for message in [PeerMessage::Prune, PeerMessage::Unknown { kind: 100 }, unknown(5, 1)] {
        let mut stage = Stage::new(Config::default());
        let hasty = stage.neighbour(5);
        // Hello was the first of them.
        stage.say_all(hasty, vec![message.clone(); at_once - 1]);
        assert!(!stage.is_closed(hasty), "a burst is allowed");
        stage.pass(Duration::from_secs(1));
        stage.say_all(hasty, vec![message.clone(); at_once / 2]);
        assert!(!stage.is_closed(hasty), "and after a while another");
        let outputs = stage.say_all(hasty, vec![message.clone(); at_once]);
        assert_eq!(offences(&outputs), ["too many messages"]);
        assert!(stage.is_closed(hasty));
        stage.check_it_still_works();
    }
}

#[test]
fn who_doesnt_keep_to_the_order_of_a_link_is_refused() {
    let ping = PeerMessage::Ping { nonce: 1, catalogue: Fingerprint::default(), partner: Partner::You };
    let check = |messages: Vec<PeerMessage>, reason: &str| {
        let mut stage = Stage::new(Config::default());
        let (link, _) = stage.open_from(addr(5));
        let outputs = stage.say_all(link, messages);
        assert_eq!(offences(&outputs), [reason]);
        assert!(stage.is_closed(link));
        stage.check_it_still_works();
    };
    let joins = || PeerMessage::Hello(hello(5, Purpose::Join));
    check(vec![ping.clone()], "a message before hello");
    check(vec![news(1, 1, update("f", 1))], "a message before hello");
    check(vec![joins(), joins()], "a second hello");
    check(vec![PeerMessage::Hello(hello(5, Purpose::Answer))], "an unexpected purpose");
    let client = Hello { listen: None, ..hello(5, Purpose::Submit) };
    check(vec![PeerMessage::Hello(client), news(1, 1, update("f", 1))], "a client that speaks as a neighbour");
}

#[test]
fn what_ends_links_and_what_isnt_taken_is_counted_by_its_reason() {
    let mut stage = Stage::new(Config::default());
    let (hasty, client, leaver) = (stage.open_from(addr(5)).0, stage.client(6), stage.neighbour(7));
    stage.say(hasty, PeerMessage::Prune);
    stage.say(client, PeerMessage::Prune);
    stage.say(leaver, PeerMessage::Unknown { kind: 100 });
    stage.say(leaver, unknown(7, 1));
    stage.say(leaver, news(7, 2, update("f", u64::MAX >> 1)));
    stage.say(leaver, PeerMessage::Goodbye { reason: "leaving".to_owned(), leaving: true, others: Vec::new() });
    let stats = stage.node.stats();
    assert_eq!(stats.offences, [("before_hello", 1), ("no_neighbour", 1)].into());
    assert_eq!(stats.closed, [("before_hello", 1), ("leaving", 1), ("no_neighbour", 1)].into());
    assert_eq!((stats.unknown, stats.applied), (2, 0));
    assert_eq!(stats.rejected, [("version_jump", 1)].into());
}

#[test]
fn bytes_that_break_the_format_are_told_and_counted_whoever_they_come_from() {
    let mut stage = Stage::new(Config::default());
    let (stranger, _) = stage.open_from(addr(5));
    let links = [stranger, stage.client(6), stage.neighbour(7)];
    for (before, link) in (0..).zip(links) {
        let unreadable = || Input::Unreadable { link, reason: "bad frame: too large".to_owned() };
        assert_eq!(stage.node.stats().offences.values().sum::<u64>(), before);
        assert_eq!(offences(&stage.feed(unreadable())), ["bad frame: too large"]);
        assert_eq!(offences(&stage.feed(unreadable())), [""; 0], "a link ends once");
    }
    assert_eq!(
        (stage.node.stats().offences, stage.node.stats().closed),
        ([("unreadable", 3)].into(), [("unreadable", 3)].into())
    );
    stage.check_it_still_works();
}

#[test]
fn what_comes_behind_the_offence_isnt_heard() {
    let mut stage = Stage::new(Config::default());
    let (link, _) = stage.open_from(addr(5));
    stage.say_all(
        link,
        vec![PeerMessage::Prune, PeerMessage::Hello(hello(5, Purpose::Join)), news(1, 1, update("f", 1))],
    );
    assert!(stage.node.catalogue().is_empty());
    stage.check_it_still_works();
}

#[test]
fn a_crowd_of_joiners_leaves_the_active_view_within_its_bound() {
    let mut stage = Stage::new(Config::default());
    for number in 0..50 {
        stage.neighbour(number + 100);
    }
    assert!(stage.node.neighbours().count() <= Config::default().views.active_max);
    stage.check_it_still_works();
}

#[test]
fn who_claims_to_be_this_node_is_sent_away() {
    let mut stage = Stage::new(Config::default());
    let (link, outputs) = stage.greet(5, Hello { peer: peer(0), ..hello(5, Purpose::Join) });
    assert!(stage.is_closed(link), "{:?}", sent(&outputs).collect::<Vec<_>>());
    stage.check_it_still_works();
}

#[test]
fn one_peer_has_one_link_however_often_it_dials() {
    let mut stage = Stage::new(Config::default());
    for _ in 0..100 {
        stage.greet(5, hello(5, Purpose::Join));
    }
    assert_eq!(Node::neighbours(&stage.node).filter(|other| *other == peer(5)).count(), 1);
    stage.check_it_still_works();
}

#[test]
fn neighbours_that_fall_silent_together_leave_nothing_to_do_at_once() {
    let mut stage = Stage::new(Config::default());
    for number in 5..8 {
        stage.neighbour(number);
    }
    for _ in 0..1000 {
        stage.now = stage.node.next_wake();
        stage.node.handle(stage.now, Input::Wake);
        while stage.node.poll_output().is_some() {}
        assert!(stage.node.next_wake() > stage.now, "it would be woken again at once");
    }
    assert_eq!(stage.node.neighbours().count(), 0);
}

#[test]
fn liveness_a_neighbour_that_takes_nothing_holds_up_nobody_and_what_it_misses_is_counted_and_reconciled() {
    let mut stage = Stage::new(Config::default());
    let (full, other) = (stage.neighbour(5), stage.neighbour(6));
    let slow = stage.feed(Input::Congested { link: full });
    assert!(slow.contains(&Output::Event(NodeEvent::Slow { peer: peer(5) })), "{slow:?}");
    let honest = stage.honest();
    for version in 1..=3 {
        let outputs = stage.say(honest, news(7, version, update("f", version)));
        let to: Vec<LinkId> = sent(&outputs).flat_map(|(to, _)| to.to_vec()).collect();
        assert!(to.contains(&other) && !to.contains(&full), "{outputs:?}");
    }
    let relieved = stage.feed(Input::Drained { link: full });
    assert!(relieved.contains(&Output::Event(NodeEvent::KeepsUp { peer: peer(5), withheld: 3 })), "{relieved:?}");
    assert!(sent(&relieved).any(|(to, message)| to == [full] && matches!(message, PeerMessage::Reconcile(..))));
    let outputs = stage.say(honest, news(7, 4, update("f", 4)));
    assert!(sent(&outputs).any(|(to, _)| to.contains(&full)), "{outputs:?}");
    stage.check_it_still_works();
}
