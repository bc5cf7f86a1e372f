//! `grapevine bench gossip`: what the overlay does on real TCP, one process a node, beside a bare tree of TCP
//! connections on the same machine in the same run. Compare the ratios: times alone say more about the machine.

use std::io::{self, Write};

use serde::Serialize;

use crate::bench::family::Family;
use crate::bench::report::Figures;
use crate::cli::System;

pub mod child;
mod family;
mod kernel;
mod marks;
mod overlay;
mod phases;
pub mod report;
mod tree;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Overlay {
    /// How many nodes there are.
    pub nodes: usize,
    /// In how many processes.
    pub procs: usize,
    /// Bytes of an update.
    pub payload: usize,
    /// Updates that go alone.
    pub rounds: usize,
    /// Updates in a burst.
    pub burst: usize,
    /// What all chance follows from.
    pub seed: u64,
}

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
    /// The bare tree.
    pub floor: Figures,
    /// Ours.
    pub grapevine: Figures,
    /// Ours by the floor's.
    pub ratio: Ratio,
}

/// Ours by the floor's.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratio {
    /// Of the median time to the last delivery, one sender: small is good.
    pub last_delivery_p50: f64,
    /// Of the updates a second in a burst: large is good.
    pub saturation: f64,
    /// Of the CPU time of a delivery in a burst: small is good.
    pub cpu_per_delivery: f64,
}

/// Measures both, and prints line by line, or one JSON object.
///
/// # Errors
/// When something can't be measured.
pub async fn run(order: Overlay, json: bool, out: &mut impl Write) -> Result<(), BenchError> {
    let mut lines = |line: String| {
        if !json {
            // A closed terminal is no reason not to finish.
            drop(writeln!(out, "{line}").and_then(|()| out.flush()));
        }
    };
    lines(format!("{} nodes in {} processes, updates of {} bytes", order.nodes, order.procs, order.payload));
    lines(phases::load());
    lines("--- floor: a bare TCP tree of fan-out 4, no protocol ---".to_owned());
    let floor = measure(System::Tree, order, &mut lines).await?;
    lines("--- grapevine ---".to_owned());
    let grapevine = measure(System::Grapevine, order, &mut lines).await?;
    lines(phases::load());
    let ratio = Ratio {
        last_delivery_p50: grapevine.one_sender.last_delivery_ms.p50 / floor.one_sender.last_delivery_ms.p50,
        saturation: grapevine.burst.updates_per_second / floor.burst.updates_per_second,
        cpu_per_delivery: grapevine.burst.cost.cpu_us / floor.burst.cost.cpu_us,
    };
    lines(format!(
        "ratio           last delivery p50 {:.2}, updates/s in a burst {:.2}, CPU per delivery in a burst {:.2}",
        ratio.last_delivery_p50, ratio.saturation, ratio.cpu_per_delivery
    ));
    let Overlay { nodes, procs, payload, .. } = order;
    if json {
        serde_json::to_writer(&mut *out, &Comparison { nodes, procs, payload, floor, grapevine, ratio })?;
        writeln!(out)?;
    }
    Ok(())
}

async fn measure(system: System, order: Overlay, say: &mut dyn FnMut(String)) -> Result<Figures, BenchError> {
    let updates = phases::updates(order);
    let mut family = Family::start(system, order, updates).await?;
    phases::run(&mut family, system, say).await
}
