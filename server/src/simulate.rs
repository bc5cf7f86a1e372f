//! `grapevine simulate`: a whole overlay in virtual time, in the terminal. The same code as the peers', the same seed
//! the same run.

use std::io::{self, Write};

use shared::sim::check::Violation;
use shared::sim::outcome::{self, Outcome};
use shared::sim::report::Report;
use shared::sim::scenario::Name;

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What happens.
    pub scenario: Name,
    /// How many peers there are.
    pub peers: usize,
    /// What all chance follows from.
    pub seed: u64,
    /// How many runs, each with the next seed.
    pub runs: u64,
    /// One JSON object a run instead of text.
    pub json: bool,
}

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A promise was broken.
    #[error("{violation}; replay with: grapevine simulate --scenario {scenario} --peers {peers} --seed {seed}")]
    Broken {
        /// Which.
        violation: Violation,
        /// In which scenario.
        scenario: Name,
        /// With how many peers.
        peers: usize,
        /// With which seed.
        seed: u64,
    },
    /// The report can't be printed.
    #[error("can't print the report")]
    Print(#[from] io::Error),
    /// The report can't be written as JSON.
    #[error("can't write the report as JSON")]
    Json(#[from] serde_json::Error),
}

/// Runs what is ordered, and prints what it was like.
///
/// # Errors
/// When a promise is broken, or nothing can be printed.
pub fn run(order: Order, out: &mut impl Write) -> Result<(), SimulateError> {
    for seed in order.seed..order.seed.saturating_add(order.runs) {
        let Order { scenario, peers, .. } = order;
        let outcome = outcome::simulate(scenario, peers, seed).map_err(|violation| SimulateError::Broken {
            violation,
            scenario,
            peers,
            seed,
        })?;
        if order.json {
            serde_json::to_writer(&mut *out, &outcome)?;
            writeln!(out)?;
        } else {
            print(&outcome, out)?;
        }
    }
    Ok(())
}

fn print(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let Outcome { scenario, seed, converged_ms, report, digest } = outcome;
    let last = report.last_delivery_ms;
    writeln!(out, "{scenario}, seed {seed}: {} peers at the end, {} updates", report.peers, report.updates)?;
    writeln!(out, "  delivered            {:.4} % ({} of {} lost)", delivered(report), report.lost, report.expected)?;
    writeln!(
        out,
        "  last delivery        p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms, mean {:.0} ms",
        last.p50, last.p99, last.max, last.mean
    )?;
    writeln!(out, "  last delivery hop    {:.1} (LDH; at most {})", report.ldh, report.ldh_max)?;
    writeln!(out, "  redundancy           {:.3} (RMR)", report.rmr)?;
    writeln!(
        out,
        "  a delivery costs     {:.0} bytes, {:.2} control messages",
        report.bytes_per_delivery, report.control_per_delivery
    )?;
    if report.heal_ms > 0.0 || report.first_after_fault < 1.0 {
        writeln!(
            out,
            "  after the fault      {:.2} % had the first update within 1 s",
            report.first_after_fault * 100.0
        )?;
        writeln!(out, "  time to heal         {:.0} ms", report.heal_ms)?;
    }
    writeln!(out, "  all agreed           {converged_ms} ms after the last fault")?;
    writeln!(out, "  sent                 {}", sent(report))?;
    writeln!(out, "  trace digest         {digest}")
}

fn delivered(report: &Report) -> f64 {
    100.0 - report.lost_share() * 100.0
}

fn sent(report: &Report) -> String {
    let mut kinds: Vec<(&str, u64)> = report.sent.iter().map(|(kind, sent)| (*kind, sent.frames)).collect();
    kinds.sort_by_key(|(_, frames)| std::cmp::Reverse(*frames));
    kinds.iter().map(|(kind, frames)| format!("{frames} {kind}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_prints_one_json_object_with_the_figures_of_the_papers() {
        let order = Order { scenario: Name::OneSender, peers: 16, seed: 1, runs: 2, json: true };
        let mut out = Vec::new();
        run(order, &mut out).unwrap();
        let runs: Vec<serde_json::Value> =
            serde_json::Deserializer::from_slice(&out).into_iter().map(Result::unwrap).collect();
        assert_eq!(runs.len(), 2);
        let first = &runs[0];
        assert_eq!(first["lost"], 0);
        assert!(first["rmr"].is_number() && first["ldh"].as_f64().unwrap() >= 1.0);
        for key in ["mean", "p50", "p99", "max"] {
            assert!(first["last_delivery_ms"][key].as_f64().unwrap() > 0.0);
        }
        assert_ne!(first["digest"], runs[1]["digest"]);
    }
}
