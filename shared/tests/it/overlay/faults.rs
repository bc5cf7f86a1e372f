//! Many die at once, or lose sight of each other for a while.

use std::time::Duration;

use shared::sim::scenario::{Name, Scenario};
use shared::sim::world::World;
use shared::time::Instant;

use super::{LIMIT, check, overlays};

/// The part of the survivors that has the first update after the fault within a second. Measured over 5 seeds of each: all.
const FIRST: f64 = 0.995;
const FIRST_OF_80: f64 = 0.999;
/// The longest that any later update took to its last peer. Measured: 1.15 s.
const LAST_MS: f64 = 5000.0;
/// How long after 95 % have died the rest is one overlay again.
const ONE_AGAIN: Duration = Duration::from_secs(10);

fn check_deaths(percent: u32, seed: u64, first: f64) {
    let (_, report) = check(Name::Kill(percent), 1000, seed);
    assert!(report.first_after_fault >= first, "{}", report.first_after_fault);
    assert!(report.last_delivery_ms.max <= LAST_MS, "{} ms", report.last_delivery_ms.max);
}

#[test]
fn overlay_of_1000_survives_the_death_of_30_percent() {
    check_deaths(30, 1, FIRST);
}

#[test]
fn overlay_of_1000_survives_the_death_of_50_percent() {
    check_deaths(50, 1, FIRST);
}

#[test]
fn overlay_of_1000_survives_the_death_of_80_percent() {
    for seed in 1..=2 {
        check_deaths(80, seed, FIRST_OF_80);
    }
}

#[test]
fn overlay_of_1000_is_one_again_10_seconds_after_95_percent_have_died() {
    for seed in 1..=2 {
        let scenario = Scenario::named(Name::Kill(95), 1000, seed);
        let fault_at = Instant::START + scenario.fault_at;
        let mut world = World::new(scenario);
        world.run_until(fault_at + Duration::from_millis(1)).unwrap();
        assert_eq!(world.nodes().count(), 50);
        world.run_until(fault_at + ONE_AGAIN).unwrap();
        assert_eq!(overlays(&world), 1, "seed {seed}");
        world.run(LIMIT).unwrap();
        let report = world.report();
        assert_eq!((overlays(&world), report.lost, report.unreachable), (1, 0, 0), "seed {seed}");
    }
}

#[test]
fn overlay_of_two_halves_is_one_again_seconds_after_they_see_each_other() {
    // Measured over 10 seeds of each: 1.0 s and 0.6 s at most.
    for (peers, seeds, limit) in [(16, 5, Duration::from_secs(3)), (64, 2, Duration::from_secs(5))] {
        for seed in 1..=seeds {
            let (after, _) = check(Name::Partition, peers, seed);
            assert!(after <= limit, "{peers} peers, seed {seed}: {after:?}");
        }
    }
}
