//! The story of a simulated run, folded as the page folds the server's, is what the peers really hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use shared::gossip::node::Node;
use shared::ids::{FileId, PeerId, Version};
use shared::sim::host::{addr, peer_id};
use shared::sim::scenario::{Action, Name, Scenario};
use shared::sim::world::World;
use shared::time::Instant;
use shared::wire::event::PeerState;
use shared::wire::overview::Overview;

/// How far apart the moments are at which story and world are compared.
const STEP: Duration = Duration::from_millis(700);
/// Long enough for each of 16 peers to tell of itself.
const CENSUS: Duration = Duration::from_mins(5);

type Peer = (SocketAddr, Option<u32>, BTreeSet<PeerId>, BTreeMap<FileId, Version>);

/// The peers that run: where, how many files they know, with whom they are linked, and which versions they have.
fn held(world: &World) -> BTreeMap<PeerId, Peer> {
    let peer = |(host, node): (usize, &Node)| {
        let versions = node.catalogue().iter().map(|update| (update.file.clone(), update.version)).collect();
        (peer_id(host), (addr(host), Some(node.catalogue().files()), node.neighbours().collect(), versions))
    };
    world.nodes().map(peer).collect()
}

/// The same by what was told.
fn told(overview: &Overview) -> BTreeMap<PeerId, Peer> {
    let running = overview.peers.iter().filter(|(_, view)| view.state == PeerState::Up);
    let versions = |peer: &PeerId| {
        let held = overview.files.iter().filter_map(|(file, view)| Some((file, view.holders.get(peer)?)));
        held.map(|(file, held)| (file.clone(), held.version)).collect()
    };
    running.map(|(peer, view)| (*peer, (view.addr, view.files, view.neighbours.clone(), versions(peer)))).collect()
}

/// Watches `ours` of a scenario until `end`, looking at each step.
fn watch(scenario: Scenario, ours: Range<usize>, end: Duration, look: impl Fn(&World, &Overview)) -> (World, Overview) {
    let (mut world, mut overview) = (World::new(scenario).with_story(ours), Overview::new(100_000, false));
    let mut now = Instant::START;
    while now < Instant::START + end {
        now = now + STEP;
        world.run_until(now).unwrap();
        for told in world.take_story() {
            told.fold_into(&mut overview);
        }
        look(&world, &overview);
    }
    (world, overview)
}

fn ids<T>(peers: &BTreeMap<PeerId, T>) -> BTreeSet<PeerId> {
    peers.keys().copied().collect()
}

#[test]
fn story_of_a_simulated_run_adds_up_to_what_its_peers_hold() {
    for name in [Name::Churn, Name::Partition] {
        let scenario = Scenario::named(name, 16, 1);
        let end = scenario.faults_end + Duration::from_secs(5);
        let (_, overview) = watch(scenario, 0..16, end, |world, overview| assert_eq!(told(overview), held(world)));
        assert!(overview.seq > 100 && !overview.files.is_empty(), "something was told");
    }
}

#[test]
fn story_of_two_peers_tells_of_the_whole_overlay() {
    let scenario = Scenario::named(Name::OneSender, 16, 1);
    let end = scenario.faults_end + CENSUS;
    let (world, overview) = watch(scenario, 0..2, end, |_, _| {});
    let (ours, held) = ([peer_id(0), peer_id(1)], held(&world));
    assert_eq!(ids(&overview.peers), ids(&held));
    for (peer, (addr, _, neighbours, _)) in held {
        let view = &overview.peers[&peer];
        assert_eq!((view.addr, &view.neighbours), (addr, &neighbours));
        let state = match (ours.contains(&peer), neighbours.iter().any(|other| ours.contains(other))) {
            (true, _) => PeerState::Up,
            (false, true) => PeerState::Remote,
            (false, false) => PeerState::Unknown,
        };
        assert_eq!((view.state, view.files.is_some()), (state, true));
    }
}

#[test]
fn story_of_two_peers_tells_who_of_the_others_has_left_and_that_of_a_lost_one_nothing_is_known() {
    let mut scenario = Scenario::named(Name::OneSender, 16, 1);
    let at = scenario.faults_end + CENSUS;
    scenario.actions.extend([(at, Action::Leave(7)), (at, Action::Kill(8))]);
    let (world, overview) = watch(scenario, 0..2, at + CENSUS, |_, _| {});
    let mut shown = ids(&overview.peers);
    assert!(!shown.contains(&peer_id(7)) && shown.remove(&peer_id(8)));
    assert_eq!(shown, ids(&held(&world)));
    let lost = &overview.peers[&peer_id(8)];
    assert_eq!((lost.state, lost.files.is_some()), (PeerState::Unknown, true), "what it told last");
}
