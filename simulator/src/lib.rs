//! The simulator as a module of its own for browsers: the page fetches it when it is first asked for.
//! `await grapevine.simulate("churn", 32, 1)` in the page's console is the run of
//! `grapevine simulate --scenario churn --peers 32 --seed 1 --json`.

use std::str::FromStr;

use shared::sim::check::Violation;
use shared::sim::outcome;
use shared::sim::scenario::{Name, UnknownScenario};
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// The most peers that are simulated here, as natively.
const MAX_PEERS: usize = 1_000_000;

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
enum SimulateError {
    /// There is no such scenario.
    #[error(transparent)]
    Scenario(#[from] UnknownScenario),
    /// So many peers can't be simulated.
    #[error("{0} peers; it must be a whole number from 2 to {MAX_PEERS}")]
    Peers(f64),
    /// The seed isn't one.
    #[error("{0} as the seed; it must be a whole number that isn't negative")]
    Seed(f64),
    /// A promise was broken.
    #[error(transparent)]
    Broken(#[from] Violation),
    /// The outcome can't be written as JSON.
    #[error("can't write the outcome as JSON")]
    Json(#[from] serde_json::Error),
}

/// Runs a scenario in virtual time, and gives its outcome as a JSON object. Who calls stands still meanwhile.
///
/// # Errors
/// When it isn't told what to simulate, or a promise is broken.
#[wasm_bindgen]
pub fn simulate(scenario: &str, peers: f64, seed: f64) -> Result<String, JsError> {
    console_error_panic_hook::set_once();
    Ok(run(scenario, peers, seed)?)
}

fn run(scenario: &str, peers: f64, seed: f64) -> Result<String, SimulateError> {
    let count = whole(peers).filter(|count| (2..=MAX_PEERS).contains(count)).ok_or(SimulateError::Peers(peers))?;
    let seed = whole(seed).ok_or(SimulateError::Seed(seed))?;
    Ok(serde_json::to_string(&outcome::simulate(scenario.parse::<Name>()?, count, seed)?)?)
}

/// JavaScript has one kind of numbers. Written down, a whole one has neither point nor exponent here.
fn whole<T: FromStr>(number: f64) -> Option<T> {
    number.to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cant_be_simulated_is_said() {
        let refused = |scenario, peers, seed| run(scenario, peers, seed).unwrap_err().to_string();
        assert!(refused("chrun", 4.0, 1.0).contains("no such scenario"));
        for peers in [0.0, 1.0, 2.5, -2.0, 1e9, f64::NAN, f64::INFINITY] {
            assert!(refused("churn", peers, 1.0).contains("peers"), "{peers}");
        }
        for seed in [-1.0, 0.5, 1e20, f64::NAN] {
            assert!(refused("churn", 4.0, seed).contains("seed"), "{seed}");
        }
    }

    #[test]
    fn an_outcome_is_one_json_object_with_its_digest() {
        let outcome: serde_json::Value = serde_json::from_str(&run("one-sender", 4.0, 7.0).unwrap()).unwrap();
        assert_eq!((&outcome["seed"], &outcome["lost"]), (&7.into(), &0.into()));
        assert_eq!(outcome["digest"].as_str().unwrap().len(), 64);
    }
}
