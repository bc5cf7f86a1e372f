//! The concurrency lab: what it shall run, what its threads do, and what came out.

/// How the page reads them.
pub(super) mod reading;

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the concurrency lab shall run. Absent numbers are the original's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabConfig {
    /// Producer threads, 1 to 8.
    pub producers: u32,
    /// Consumer threads, 1 to 8.
    pub consumers: u32,
    /// Packets of each producer, 1 to 100.
    pub packets: u32,
    /// How many producers may be active at once, 1 to 8.
    pub permits: u32,
    /// How many packets the queue holds, 1 to 100.
    pub queue_capacity: u32,
    /// The longest time that one packet takes to make or to handle, in milliseconds, 0 to 1,000.
    pub work_ms: u32,
    /// Threads of the race, 1 to 8.
    pub race_threads: u32,
    /// How long each variant of the race runs, in milliseconds, 1 to 2,000.
    pub race_ms: u32,
    /// What the chance in `work_ms` follows from: the same number, the same times. Without it, a random one; the run
    /// tells it.
    pub seed: Option<u32>,
}

impl LabConfig {
    /// How many threads of one kind, or permits, there may be.
    pub const THREADS: RangeInclusive<u32> = 1..=8;
    /// How many packets a producer makes, or the queue holds.
    pub const PACKETS: RangeInclusive<u32> = 1..=100;
    /// How long a packet may take, in milliseconds.
    pub const WORK_MS: RangeInclusive<u32> = 0..=1_000;
    /// How long a variant of the race may run, in milliseconds.
    pub const RACE_MS: RangeInclusive<u32> = 1..=2_000;
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            producers: 3,
            consumers: 2,
            packets: 5,
            permits: 2,
            queue_capacity: 4,
            work_ms: 200,
            race_threads: 4,
            race_ms: 250,
            seed: None,
        }
    }
}

/// How far a run of the lab is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabState {
    /// Its threads are at work.
    Running,
    /// It is over.
    Finished,
}

/// One variant of the race: many threads add one to the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RaceOut {
    /// How the threads add: `load+store`, `mutex`, `fetch_add` or `channel`.
    pub method: String,
    /// Threads that added.
    pub threads: u32,
    /// How often they added.
    pub expected: u64,
    /// The number at the end.
    pub actual: u64,
    /// Additions that others overwrote: `expected - actual`.
    pub lost: u64,
    /// How long it ran, in microseconds.
    pub elapsed_us: u64,
    /// Additions a second that counted: `actual` by that time. All variants run equally long.
    pub per_second: u64,
}

/// Answer of `POST /lab/runs` and `GET /lab/runs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabRunOut {
    /// The run's id.
    pub id: String,
    /// How far it is.
    pub state: LabState,
    /// What it runs.
    pub config: LabConfig,
    /// What the threads said, in the order in which they said it.
    pub log: Vec<String>,
    /// The shared log that the consumers wrote under the lock.
    pub shared_log: Vec<String>,
    /// The most producers that held a permit at once.
    pub max_active_producers: u32,
    /// The variants of the race that are done.
    pub race: Vec<RaceOut>,
}

/// A thread of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "role", content = "number", rename_all = "snake_case")]
pub enum LabThread {
    /// Makes packets while it holds a permit.
    Producer(u32),
    /// Takes packets and writes the shared log under the lock.
    Consumer(u32),
}

/// What a thread of the lab does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum LabStep {
    /// A producer asks for one of the permits.
    WaitsForPermit,
    /// A producer has a permit and makes a packet.
    Works,
    /// A producer has made a packet.
    Generated {
        /// The packet's number.
        packet: u32,
    },
    /// A producer has put its packet into the queue (it may have waited for room).
    Queued {
        /// How many packets are in the queue now.
        depth: u32,
    },
    /// A producer gave its permit back.
    ReleasedPermit,
    /// A consumer waits for a packet.
    WaitsForPacket,
    /// A consumer took a packet from the queue.
    Took {
        /// How many packets are in the queue now.
        depth: u32,
    },
    /// A consumer waits for the lock of the shared log.
    WaitsForLock,
    /// A consumer wrote a line into the shared log and gave the lock back.
    Logged {
        /// The line.
        entry: String,
    },
    /// The thread is done.
    Finished,
}

impl fmt::Display for LabThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Producer(number) => write!(f, "[Producer {number}]"),
            Self::Consumer(number) => write!(f, "[Consumer {number}]"),
        }
    }
}

impl fmt::Display for LabStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitsForPermit => f.write_str("waits for a permit"),
            Self::Works => f.write_str("has a permit and works"),
            Self::Generated { packet } => write!(f, "generated data packet {packet}"),
            Self::Queued { depth } => write!(f, "queued its packet; {depth} in the queue"),
            Self::ReleasedPermit => f.write_str("gave its permit back"),
            Self::WaitsForPacket => f.write_str("waits for a packet"),
            Self::Took { depth } => write!(f, "took a packet; {depth} in the queue"),
            Self::WaitsForLock => f.write_str("waits for the lock"),
            Self::Logged { entry } => write!(f, "logged message → {entry}"),
            Self::Finished => f.write_str("is done"),
        }
    }
}
