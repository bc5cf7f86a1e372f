//! Promise 3: nobody is needed. Those who began an overlay may all be gone.

use std::time::Duration;

use shared::gossip::config::Config;
use shared::rng::Rng;
use shared::sim::network::Network;
use shared::sim::scenario::{Action, Scenario};
use shared::sim::world::World;

use super::{LIMIT, overlays};

/// Peers that begin, and newcomers that take their places.
const PEERS: usize = 100;

/// One after the other, a newcomer joins through anybody alive and somebody who was there from the beginning dies;
/// meanwhile and afterwards files are published. The last to come knows none but a newcomer.
fn generations(seed: u64) -> Scenario {
    let mut rng = Rng::from_seed(seed);
    let mut actions = vec![(Duration::ZERO, Action::Start(0, 0))];
    let mut now = Duration::from_millis(100);
    let mut alive = vec![0];
    for host in 1..PEERS {
        actions.push((now, Action::Start(host, rng.pick(alive.clone()).unwrap())));
        alive.push(host);
        now += Duration::from_millis(20);
    }
    now += Duration::from_secs(5);
    for old in 0..PEERS {
        let contact = rng.pick(alive.clone()).unwrap();
        actions.push((now, Action::Start(PEERS + old, contact)));
        alive.push(PEERS + old);
        alive.retain(|host| *host != old);
        now += Duration::from_millis(300);
        actions.push((now, Action::Publish(rng.pick(alive.clone()).unwrap(), u32::try_from(old).unwrap())));
        actions.push((now, Action::Kill(old)));
        now += Duration::from_millis(200);
    }
    actions.push((now, Action::Start(2 * PEERS, PEERS)));
    for file in 0..30 {
        now += Duration::from_millis(200);
        actions.push((now, Action::Publish(rng.pick(alive.clone()).unwrap(), 1000 + file)));
    }
    Scenario {
        seed,
        hosts: 2 * PEERS + 1,
        config: Config::default(),
        network: Network::good(),
        commit: Duration::from_millis(5),
        actions,
        measured_from: Duration::ZERO,
        fault_at: Duration::ZERO,
        faults_end: now,
    }
}

#[test]
fn no_coordinator_newcomers_carry_on_when_all_who_began_are_dead() {
    let mut world = World::new(generations(1));
    world.run(LIMIT).unwrap();
    let alive: Vec<usize> = world.nodes().map(|(host, _)| host).collect();
    assert_eq!(alive, (PEERS..=2 * PEERS).collect::<Vec<_>>());
    assert_eq!(overlays(&world), 1);
    let report = world.report();
    assert_eq!((report.updates, report.lost, report.unreachable), (PEERS + 30, 0, 0));
}
