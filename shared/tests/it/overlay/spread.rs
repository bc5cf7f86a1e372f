//! How an update spreads when all is well.

use shared::sim::report::Report;
use shared::sim::scenario::Name;

use super::check;

/// What an update may cost with 1,000 peers, the mean over [`SEEDS`].
struct Bounds {
    /// Relative message redundancy.
    rmr: f64,
    /// Last delivery hop.
    ldh: f64,
    /// Milliseconds until the last delivery.
    last_ms: f64,
}

const SEEDS: [u64; 3] = [1, 2, 3];
/// Measured over 5 seeds: 0.000 to 0.002, 6.2 to 7.2, 182 to 240.
const ONE_SENDER: Bounds = Bounds { rmr: 0.02, ldh: 9.0, last_ms: 250.0 };
/// Measured over 5 seeds: 0.001 to 0.005, 10.0 to 13.1, 253 to 372; their means 0.003, 11.8, 326.
const RANDOM_SENDERS: Bounds = Bounds { rmr: 0.10, ldh: 12.0, last_ms: 350.0 };

fn check_spread(name: Name, bounds: &Bounds) {
    let reports = SEEDS.map(|seed| check(name, 1000, seed).1);
    let mean = |figure: fn(&Report) -> f64| reports.iter().map(figure).sum::<f64>() / 3.0;
    let (rmr, ldh, last_ms) = (mean(|run| run.rmr), mean(|run| run.ldh), mean(|run| run.last_delivery_ms.mean));
    assert!(rmr <= bounds.rmr, "a redundancy of {rmr:.3}");
    assert!(ldh <= bounds.ldh, "{ldh:.1} hops");
    assert!(last_ms <= bounds.last_ms, "{last_ms:.0} ms");
}

#[test]
fn overlay_one_sender_reaches_1000_peers_in_few_hops_and_hardly_anybody_twice() {
    check_spread(Name::OneSender, &ONE_SENDER);
}

#[test]
fn overlay_a_thousand_senders_reach_1000_peers_over_one_tree() {
    check_spread(Name::RandomSenders, &RANDOM_SENDERS);
}
