//! The simulated overlay, held to figures: how updates spread over links of 10 to 50 ms, and what deaths and partitions
//! do to it. Fixed seeds; each bound says what it is meant to become, and what was measured.

mod faults;
mod life;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::ids::PeerId;
use shared::sim::host::peer_id;
use shared::sim::report::Report;
use shared::sim::scenario::{Name, Scenario};
use shared::sim::world::World;

/// How long after the end of the faults everybody must agree.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs a scenario to its end. Nothing is lost, nobody is alone, and all are one overlay.
fn check(name: Name, peers: usize, seed: u64) -> (Duration, Report) {
    let mut world = World::new(Scenario::named(name, peers, seed));
    let after = world.run(LIMIT).unwrap_or_else(|violation| {
        panic!("{violation}; replay with grapevine simulate --scenario {name} --peers {peers} --seed {seed}")
    });
    let report = world.report();
    println!(
        "{name}, {peers} peers, seed {seed}: rmr {:.3}, ldh {:.1}, last delivery {:.0} ms (max {:.0}), {:.4} within 1 s of \
         the fault, agreed after {after:?}",
        report.rmr, report.ldh, report.last_delivery_ms.mean, report.last_delivery_ms.max, report.first_after_fault
    );
    assert_eq!((report.lost, report.unreachable), (0, 0), "of {} deliveries", report.expected);
    assert_eq!(overlays(&world), 1);
    (after, report)
}

/// How many overlays there are that can't reach each other. Somebody without a neighbour is one.
fn overlays(world: &World) -> usize {
    let by_id: BTreeMap<PeerId, usize> = world.nodes().map(|(host, _)| (peer_id(host), host)).collect();
    let links: BTreeMap<usize, Vec<usize>> = world
        .nodes()
        .map(|(host, node)| (host, node.neighbours().filter_map(|other| by_id.get(&other).copied()).collect()))
        .collect();
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for host in links.keys() {
        if !seen.insert(*host) {
            continue;
        }
        count += 1;
        let mut todo = vec![*host];
        while let Some(host) = todo.pop() {
            todo.extend(links[&host].iter().filter(|other| seen.insert(**other)));
        }
    }
    count
}
