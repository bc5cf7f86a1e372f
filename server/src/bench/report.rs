//! The figures of a run. What a phase found is in the phase's file.

use serde::Serialize;

use crate::bench::busy::Busy;
use crate::bench::flow::{Flow, Idle};
use crate::bench::kill::Kill;
use crate::bench::rejoin::Rejoin;
use crate::bench::split::Split;
use crate::bench::stop::Stop;
use crate::bench::versions::Versions;

/// One system's figures; those of phases that weren't asked for are absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Until everybody had a neighbour.
    pub joined_ms: f64,
    /// KiB that only one process has, for each of its nodes, at the start.
    pub private_kib: u64,
    /// Nobody publishes.
    pub idle: Option<Idle>,
    /// The first node publishes now and then.
    pub one_sender: Option<Flow>,
    /// Each update is another node's.
    pub random_senders: Option<Flow>,
    /// A thousand a second.
    pub paced: Option<Flow>,
    /// As fast as the publisher can.
    pub burst: Option<Flow>,
    /// At most some that haven't reached everybody.
    pub window: Option<Flow>,
    /// The same after these streams.
    pub private_kib_after: Option<u64>,
    /// One is stopped for a while.
    pub stop: Option<Stop>,
    /// Many die.
    pub kill: Option<Kill>,
    /// Two halves lose each other.
    pub split: Option<Split>,
    /// One joins that knows nothing.
    pub newcomer: Option<Rejoin>,
    /// One joins that lacks one file.
    pub difference: Option<Rejoin>,
    /// Many versions of few files.
    pub versions: Option<Versions>,
    /// All cores are busy.
    pub busy: Option<Busy>,
    /// All deliveries that never came.
    pub lost: usize,
}
