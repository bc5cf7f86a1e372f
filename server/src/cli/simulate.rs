//! The flags of `grapevine simulate`.

use clap::{Args, value_parser};
use shared::sim::scenario::Name;

use crate::cli::values::count;

/// `grapevine simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// What happens: one-sender, random-senders, kill-30, kill-50, kill-80, kill-95, partition, churn, loss, or chaos
    /// (a bit of everything, with 2 to 14 peers, whatever --peers says).
    #[arg(long, default_value = "one-sender", value_name = "NAME", env = "GRAPEVINE_SIMULATE_SCENARIO")]
    pub scenario: Name,
    /// How many peers there are.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = count(2..=1_000_000), env = "GRAPEVINE_SIMULATE_PEERS")]
    pub peers: usize,
    /// What all chance follows from: the same seed gives the same run, on every machine.
    #[arg(long, default_value_t = 1, value_name = "S", env = "GRAPEVINE_SIMULATE_SEED")]
    pub seed: u64,
    /// How many runs, each with the next seed.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000), env = "GRAPEVINE_SIMULATE_RUNS")]
    pub runs: u64,
    /// Print each run as one JSON object.
    #[arg(long, env = "GRAPEVINE_SIMULATE_JSON")]
    pub json: bool,
}
