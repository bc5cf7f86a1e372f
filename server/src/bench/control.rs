//! What the parent and its processes say to each other: one JSON object a line.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::bench::file_names::Files;

/// What the bench tells a process to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The node connects to another.
    Join { node: usize, contact: Option<SocketAddr> },
    /// How do the nodes fare?
    Status,
    /// A node publishes.
    Publish(Publication),
    /// When did the nodes get these?
    Times { first: usize, count: usize },
    /// How many files do the nodes know in an older version, after so many [`Files::Untimed`]?
    Behind { updates: usize },
    /// What was written?
    Traffic,
}

/// Updates that a node publishes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Publication {
    /// Which peer.
    pub(super) node: usize,
    /// The number of the first update.
    pub(super) first: usize,
    /// How many, and how fast.
    pub(super) stream: Stream,
    /// Who must have them before the window opens.
    pub(super) alive: Vec<usize>,
}

/// Updates, one after the other.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Stream {
    /// How many.
    pub(super) count: usize,
    /// How far apart, in microseconds.
    pub(super) gap_us: u64,
    /// How many may not be everywhere yet; 0: any number.
    pub(super) window: u64,
    /// Which files.
    pub(super) files: Files,
}

/// What a process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Where the nodes listen, in order.
    Listening(Vec<SocketAddr>),
    Joined,
    Status(Status),
    /// So many were published.
    Published(usize),
    Times(Vec<Vec<u64>>),
    Behind(usize),
    Traffic(Written),
    Failed(String),
}

/// How nodes fare.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Status {
    /// Neighbours of the node that has the fewest.
    pub(super) neighbours: usize,
    /// What came of files that others knew from the start, at the node that got the fewest.
    pub(super) files: usize,
    /// When the last of these came, in nanoseconds.
    pub(super) files_at_ns: u64,
    /// How often a neighbour was suspected.
    pub(super) suspected: u64,
    /// When that was, the last time, in nanoseconds.
    pub(super) suspected_at_ns: u64,
    /// How many neighbours were lost, by reason.
    pub(super) lost: BTreeMap<String, u64>,
}

/// What was written to sockets.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Written {
    /// Calls that wrote to a link.
    pub(super) writes: u64,
    /// Bytes written.
    pub(super) bytes: u64,
    /// Messages that weren't updates.
    pub(super) control: u64,
}

impl Stream {
    /// `count` updates, `per_second` of them in a second.
    pub(super) fn paced(count: usize, per_second: usize) -> Self {
        let gap_us = 1_000_000 / u64::try_from(per_second.max(1)).unwrap_or(u64::MAX);
        Self { count, gap_us, window: 0, files: Files::Own }
    }

    /// As fast as possible, with at most `window` (if not 0) not everywhere yet.
    pub(super) fn quick(count: usize, window: usize) -> Self {
        Self { count, gap_us: 0, window: u64::try_from(window).unwrap_or(u64::MAX), files: Files::Own }
    }

    /// Of these files.
    pub(super) fn of(self, files: Files) -> Self {
        Self { files, ..self }
    }
}

impl Status {
    /// Nobody's.
    pub(super) fn none() -> Self {
        let (neighbours, files) = (usize::MAX, usize::MAX);
        Self { neighbours, files, files_at_ns: 0, suspected: 0, suspected_at_ns: 0, lost: BTreeMap::new() }
    }

    /// Of these nodes and others.
    pub(super) fn and(mut self, other: Self) -> Self {
        for (reason, count) in other.lost {
            *self.lost.entry(reason).or_default() += count;
        }
        Self {
            neighbours: self.neighbours.min(other.neighbours),
            files: self.files.min(other.files),
            files_at_ns: self.files_at_ns.max(other.files_at_ns),
            suspected: self.suspected + other.suspected,
            suspected_at_ns: self.suspected_at_ns.max(other.suspected_at_ns),
            lost: self.lost,
        }
    }
}
