//! `grapevine simulate`: a whole overlay in virtual time, in the terminal. The same code as the peers', the same seed
//! the same run.

use std::io::{self, Write};

use shared::sim::check::Violation;
use shared::sim::outcome::{self, Outcome};
use shared::sim::report::Report;
use shared::sim::scenario::Name;

/// What the figures of the reports are called by those who measure such overlays.
const LEGEND: &str = "\
RMR, relative message redundancy: copies of an update that a delivery took beyond the one that it needs; 0 is the least.
LDH, last delivery hop: over how many links an update came to the last peer that it reached by broadcast.
Both as in: Leitão, Pereira, Rodrigues, Epidemic Broadcast Trees, SRDS 2007.";

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
            writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
        } else {
            print(&outcome, out)?;
        }
    }
    if !order.json {
        writeln!(out, "\n{LEGEND}")?;
    }
    Ok(())
}

fn print(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let Outcome { scenario, seed, converged_ms, report, digest } = outcome;
    let last = report.last_delivery_ms;
    writeln!(out, "{scenario}, seed {seed}: {} peers at the end, {} updates", report.peers, report.updates)?;
    writeln!(out, "  {}", verdict(report))?;
    let delivered = report.expected.saturating_sub(report.lost);
    writeln!(out, "  delivered            {delivered} of {} that could be", report.expected)?;
    if report.unreachable > 0 {
        writeln!(
            out,
            "  out of reach         {}: nobody who lived and could be reached had the update",
            report.unreachable
        )?;
    }
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

/// One sentence that is true for this run.
fn verdict(report: &Report) -> String {
    match (report.updates, report.lost) {
        (0, _) => "nothing was published".to_owned(),
        (1, 0) => "the update reached all who lived and could be reached".to_owned(),
        (updates, 0) => format!("all {updates} updates reached all who lived and could be reached"),
        (updates, lost) => {
            format!("of {updates} updates, {lost} deliveries never came to who lived and could be reached")
        }
    }
}

fn sent(report: &Report) -> String {
    let mut kinds: Vec<(&str, u64)> = report.sent.iter().map(|(kind, sent)| (*kind, sent.frames)).collect();
    kinds.sort_by_key(|(_, frames)| std::cmp::Reverse(*frames));
    kinds.iter().map(|(kind, frames)| format!("{frames} {kind}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(scenario: Name, peers: usize, seed: u64) -> (Outcome, String) {
        let mut out = Vec::new();
        run(Order { scenario, peers, seed, runs: 1, json: false }, &mut out).unwrap();
        (outcome::simulate(scenario, peers, seed).unwrap(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_run_is_told_with_a_verdict_and_a_legend() {
        let (_, text) = printed(Name::OneSender, 16, 1);
        assert_eq!(text.lines().nth(1).unwrap(), "  all 30 updates reached all who lived and could be reached");
        for name in ["RMR", "LDH"] {
            let told = text.lines().filter(|line| line.starts_with(&format!("{name}, ")));
            assert_eq!(told.count(), 1, "{text}");
        }
        assert!(!text.contains("out of reach") && !text.contains("lost"), "{text}");
    }

    #[test]
    fn under_chaos_what_could_reach_nobody_isnt_called_lost_and_no_redundancy_is_negative() {
        let mut out_of_reach = 0;
        for seed in 1..=20 {
            let (outcome, text) = printed(Name::Chaos, 8, seed);
            let Report { lost, rmr, unreachable, updates, .. } = outcome.report;
            assert!(lost == 0 && rmr >= 0.0, "{text}");
            let verdict = format!("all {updates} updates reached all who lived and could be reached");
            assert!(updates < 2 || text.contains(&verdict), "{text}");
            assert_eq!(unreachable > 0, text.contains(&format!("out of reach         {unreachable}: ")), "{text}");
            out_of_reach += unreachable;
        }
        assert!(out_of_reach > 0, "none of the seeds shows it");
    }

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
