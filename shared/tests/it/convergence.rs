//! Promise 2: peers that can reach each other end with the same catalogue, whatever happened before. Random seeds; a
//! failure prints its own and the command that replays it.

use std::time::Duration;

use shared::sim::report::Report;
use shared::sim::scenario::{Name, Scenario};
use shared::sim::world::World;

use crate::seeds::seeds;

/// How long after the end of the faults everybody must agree: the longest pause between two looks at somebody beyond
/// the active view, and some.
const LIMIT: Duration = Duration::from_mins(5);
/// Seeds of chaos that each run of the tests tries.
const CHAOS: u64 = 1000;
/// Seeds of each scenario with one kind of fault.
const EACH: u64 = 40;

/// Runs one seed; `test` is the name of the test that replays it.
fn check(test: &str, scenario: Scenario) -> (Duration, Report) {
    let seed = scenario.seed;
    let mut world = World::new(scenario);
    let after = world.run(LIMIT).unwrap_or_else(|violation| {
        panic!("seed {seed}: {violation}; replay with GRAPEVINE_SEED={seed} cargo test -p shared {test}")
    });
    let report = world.report();
    assert!(report.lost == 0 && report.rmr >= 0.0, "seed {seed}: {report:?}");
    (after, report)
}

/// Between 4 and 24 peers.
fn peers(seed: u64) -> usize {
    4 + usize::try_from(seed % 21 * 5 % 21).unwrap()
}

/// Runs the seeds of a scenario. Nothing may be missing anywhere at the end; but for churn, where what somebody alone
/// knew may have died with it.
fn check_named(test: &str, name: Name) {
    let mut longest = Duration::ZERO;
    for seed in seeds(EACH) {
        let (after, report) = check(test, Scenario::named(name, peers(seed), seed));
        assert!(
            report.unreachable == 0 || name == Name::Churn,
            "seed {seed}: {} deliveries lost; replay with GRAPEVINE_SEED={seed} cargo test -p shared {test}",
            report.unreachable
        );
        longest = longest.max(after);
    }
    println!("{name}: the slowest run agreed {longest:?} after its faults ended");
}

#[test]
fn convergence_of_all_connected_peers_after_chaos() {
    let longest = seeds(CHAOS).map(|seed| check("after_chaos", Scenario::chaos(seed)).0).max();
    println!("chaos: the slowest run agreed {longest:?} after its faults ended");
}

#[test]
fn convergence_of_all_connected_peers_after_churn() {
    check_named("after_churn", Name::Churn);
}

#[test]
fn convergence_of_all_connected_peers_after_a_partition() {
    check_named("after_a_partition", Name::Partition);
}

#[test]
fn convergence_of_all_connected_peers_after_losses() {
    check_named("after_losses", Name::Loss);
}

#[test]
fn convergence_of_all_connected_peers_after_deaths() {
    for percent in [30, 50, 80] {
        check_named("after_deaths", Name::Kill(percent));
    }
}
