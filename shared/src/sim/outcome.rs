//! What the run of a named scenario came to: the same for `grapevine simulate`, the browser's `simulate` and the tests.

use std::time::Duration;

use serde::Serialize;

use crate::sim::check::Violation;
use crate::sim::report::Report;
use crate::sim::scenario::{Name, Scenario};
use crate::sim::world::World;

/// How long, in virtual time after the last fault, all must agree. The longest pause between two looks at somebody
/// beyond the active view is 2 minutes.
const CONVERGE_LIMIT: Duration = Duration::from_mins(5);

/// A run's outcome, as `grapevine simulate --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// What happened.
    pub scenario: String,
    /// What all chance followed from.
    pub seed: u64,
    /// After the last fault until all who can reach each other knew the same, in milliseconds of virtual time.
    pub converged_ms: u64,
    /// What it was like.
    #[serde(flatten)]
    pub report: Report,
    /// A hash of everything that arrived anywhere, and when.
    pub digest: String,
}

/// Runs a named scenario with so many peers.
///
/// # Errors
/// The first promise that was broken.
pub fn simulate(scenario: Name, peers: usize, seed: u64) -> Result<Outcome, Violation> {
    let mut world = World::new(Scenario::named(scenario, peers, seed));
    let converged = world.run(CONVERGE_LIMIT)?;
    Ok(Outcome {
        scenario: scenario.to_string(),
        seed,
        converged_ms: u64::try_from(converged.as_millis()).unwrap_or(u64::MAX),
        report: world.report(),
        digest: world.digest(),
    })
}
