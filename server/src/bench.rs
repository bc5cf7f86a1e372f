//! `grapevine bench gossip`: what the overlay does on real TCP, one process a node, beside a bare tree of TCP
//! connections on the same machine in the same run. Compare the ratios: times alone say more about the machine.

use std::io::{self, Write};

use serde::Serialize;

use crate::bench::cluster::Cluster;
use crate::bench::report::Figures;
use crate::cli::bench::{BenchGossip, Phase, System};

mod arrivals;
mod baseline_tree;
pub mod busy;
pub mod child;
mod cluster;
mod control;
mod file_names;
pub mod flow;
pub mod kill;
pub mod latency;
mod limits;
mod overlay;
mod phases;
mod procfs;
pub mod rejoin;
pub mod report;
pub mod split;
pub mod stop;
mod times;
pub mod versions;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A process, a socket or a file can't be used.
    #[error("a process, socket or file can't be used")]
    Io(#[from] io::Error),
    /// The processes don't understand each other.
    #[error("the processes don't understand each other")]
    Json(#[from] serde_json::Error),
    /// A peer can't be started.
    #[error("a peer can't be started")]
    Peer(#[from] crate::peer::PeerError),
    /// A child process ended.
    #[error("the process of node {0} ended")]
    Ended(usize),
    /// A child process doesn't answer.
    #[error("the process of node {0} doesn't answer")]
    Silent(usize),
    /// A child process couldn't do what it was told.
    #[error("the process of node {node} failed: {reason}")]
    Failed {
        /// Its first node.
        node: usize,
        /// Why.
        reason: String,
    },
    /// A number is wrong.
    #[error("there is no node {0}")]
    NoSuchNode(usize),
    /// The network can't be cut in two, or mustn't be.
    #[error("the network can't be split: {0}")]
    Uncut(String),
    /// Somebody found no neighbour.
    #[error("not every node found a neighbour")]
    NeverJoined,
}

/// Both systems' figures, as `--json` prints them.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Nodes.
    pub nodes: usize,
    /// Processes.
    pub procs: usize,
    /// Bytes of an update.
    pub payload: usize,
    /// The bare tree, if a phase that it has was asked for.
    pub baseline: Option<Figures>,
    /// Ours.
    pub grapevine: Figures,
    /// Ours by the baseline's.
    pub ratio: Ratio,
}

/// Ours by the baseline's, where that was measured.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Ratio {
    /// Of the median time to the last delivery, one sender: small is good.
    pub last_delivery_p50: Option<f64>,
    /// Of the updates a second in a burst: large is good.
    pub saturation: Option<f64>,
    /// Of the CPU time of a delivery in a burst: small is good.
    pub cpu_per_delivery: Option<f64>,
}

impl Ratio {
    fn of(ours: &Figures, baseline: &Figures) -> Self {
        let alone = ours.one_sender.as_ref().zip(baseline.one_sender.as_ref());
        let burst = ours.burst.as_ref().zip(baseline.burst.as_ref());
        Self {
            last_delivery_p50: alone.map(|(ours, baseline)| ours.last_delivery_ms.p50 / baseline.last_delivery_ms.p50),
            saturation: burst.map(|(ours, baseline)| ours.updates_per_second / baseline.updates_per_second),
            cpu_per_delivery: burst.map(|(ours, baseline)| ours.cost.cpu_us / baseline.cost.cpu_us),
        }
    }

    fn line(&self) -> String {
        let [last, saturation, cpu] = [self.last_delivery_p50, self.saturation, self.cpu_per_delivery]
            .map(|ratio| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
        format!(
            "ratio           last delivery p50 {last}, updates/s in a burst {saturation}, CPU per delivery in a burst {cpu}"
        )
    }
}

/// Measures ours, and the baseline where a phase has one, and prints line by line, or one JSON object.
///
/// # Errors
/// When something can't be measured.
pub async fn run(order: &BenchGossip, out: &mut impl Write) -> Result<(), BenchError> {
    if order.phases.contains(&Phase::Split) {
        split::check()?;
    }
    let mut lines = |line: String| {
        if order.json { Ok(()) } else { writeln!(out, "{line}").and_then(|()| out.flush()) }
    };
    let (nodes, procs, payload) = (order.nodes, order.processes(), order.payload);
    lines(format!("{nodes} nodes in {procs} processes, updates of {payload} bytes"))?;
    lines(phases::load())?;
    let baseline = if order.phases.iter().any(|phase| phase.has_baseline()) {
        lines("--- baseline: a bare TCP tree of fan-out 4, no protocol ---".to_owned())?;
        Some(measure(System::Tree, order, &mut lines).await?)
    } else {
        None
    };
    lines("--- grapevine ---".to_owned())?;
    let grapevine = measure(System::Grapevine, order, &mut lines).await?;
    lines(phases::load())?;
    let ratio = baseline.as_ref().map(|baseline| Ratio::of(&grapevine, baseline)).unwrap_or_default();
    if baseline.is_some() {
        lines(ratio.line())?;
    }
    if order.json {
        let comparison = Comparison { nodes, procs, payload, baseline, grapevine, ratio };
        writeln!(out, "{}", serde_json::to_string(&comparison)?)?;
    }
    Ok(())
}

/// Prints a line. When it can't, nobody wants to know the rest.
type Say<'a> = dyn FnMut(String) -> io::Result<()> + 'a;

async fn measure(system: System, order: &BenchGossip, say: &mut Say<'_>) -> Result<Figures, BenchError> {
    let mut cluster = Cluster::start(system, order, phases::updates(order)).await?;
    phases::run(&mut cluster, system, say).await
}
