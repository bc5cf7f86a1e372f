//! The same seed gives the same run: twice here, and on every target. The digest is a hash of everything that arrived
//! anywhere, and when.

use std::time::Duration;

use shared::sim::outcome::simulate;
use shared::sim::scenario::{Name, Scenario};
use shared::sim::world::World;

/// The digest of `simulate(Name::Churn, 32, 1)` on every target: the browser's test of the simulator reads the same file.
///
/// To be renewed with each change of the protocol, of its numbers or of the simulator: run `cargo test -p shared replay`
/// and then what it prints. A change that was meant to leave the behaviour alone, and doesn't leave this alone, is wrong.
const CHURN_32_SEED_1: &str = include_str!("snapshots/churn-32-seed-1.digest");

fn digest(scenario: Scenario) -> String {
    let mut world = World::new(scenario);
    world.run(Duration::from_mins(5)).unwrap();
    world.digest()
}

#[test]
fn replay_the_same_seed_gives_the_same_run() {
    let churn = |seed| digest(Scenario::named(Name::Churn, 16, seed));
    assert_eq!(churn(7), churn(7));
    assert_ne!(churn(7), churn(8));
    let chaos = |seed| digest(Scenario::chaos(seed));
    assert_eq!(chaos(7), chaos(7));
}

#[test]
fn replay_todays_run_is_yesterdays() {
    let today = simulate(Name::Churn, 32, 1).unwrap().digest;
    assert!(
        today == CHURN_32_SEED_1.trim_end(),
        "the run has changed. If the protocol was changed on purpose:\n\
         echo {today} >shared/tests/it/snapshots/churn-32-seed-1.digest"
    );
}

#[test]
fn replay_a_run_that_is_watched_is_the_same_run() {
    let scenario = || Scenario::named(Name::Churn, 16, 7);
    let mut watched = World::new(scenario()).with_story(0..16);
    watched.run(Duration::from_mins(5)).unwrap();
    assert_eq!(watched.digest(), digest(scenario()));
    assert!(!watched.take_story().is_empty());
}
