//! The story of a simulated run, folded as the page folds the server's, is what the peers really hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use shared::gossip::node::Node;
use shared::ids::{FileId, PeerId, Version};
use shared::sim::host::{addr, peer_id};
use shared::sim::scenario::{Name, Scenario};
use shared::sim::world::World;
use shared::time::Instant;
use shared::wire::event::PeerState;
use shared::wire::overview::Overview;

/// How far apart the moments are at which story and world are compared.
const STEP: Duration = Duration::from_millis(700);

type Peer = (SocketAddr, u32, BTreeSet<PeerId>, BTreeMap<FileId, Version>);

/// The peers that run: where, how many files they know, with whom they are linked, and which versions they have.
fn held(world: &World) -> BTreeMap<PeerId, Peer> {
    let peer = |(host, node): (usize, &Node)| {
        let versions = node.catalogue().iter().map(|update| (update.file.clone(), update.version)).collect();
        (peer_id(host), (addr(host), node.catalogue().files(), node.neighbours().collect(), versions))
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

/// Compares story and world all along a run.
fn check(scenario: Scenario) {
    let end = Instant::START + scenario.faults_end + Duration::from_secs(5);
    let (mut world, mut overview) = (World::new(scenario).with_story(), Overview::new(100_000, false));
    let mut now = Instant::START;
    while now < end {
        now = now + STEP;
        world.run_until(now).unwrap();
        for told in world.take_story() {
            told.fold_into(&mut overview);
        }
        assert_eq!(told(&overview), held(&world), "at {now:?}");
    }
    assert!(overview.seq > 100 && !overview.files.is_empty(), "something was told");
}

#[test]
fn story_of_a_simulated_run_adds_up_to_what_its_peers_hold() {
    check(Scenario::named(Name::Churn, 16, 1));
    check(Scenario::named(Name::Partition, 16, 1));
}
