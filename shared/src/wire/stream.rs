//! What the server pushes to the page and to `grapevine watch`: one [`Overview`], then numbered [`Entry`]s, and an
//! overview again for a reader that was too slow. Server and page fold entries into the overview with the same
//! function, so both show the same.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{FileId, PeerId, Version};
use crate::wire::condition::Condition;
use crate::wire::overview::Overview;
use crate::wire::queue::ChangeKind;
use crate::wire::rest::RaceOut;

/// The format's version; a page of another version reloads itself.
pub const VERSION: u32 = 2;
/// How often the server says that it is there. A guess: people wait for a sign of life about that long.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a reader counts the server as gone: two heartbeats late, and a third due.
pub const SILENCE: Duration = Duration::from_secs(6);

/// One WebSocket message from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamFrame {
    /// The state of everything. Sent first, and again to a reader that was too slow.
    Snapshot {
        /// [`VERSION`].
        format: u32,
        /// How many entries the reader missed because it was too slow; 0 in the first frame.
        missed: u64,
        /// The state after the entry number `overview.seq`.
        overview: Box<Overview>,
    },
    /// What has happened since, without gaps.
    Batch {
        /// Consecutive entries.
        entries: Vec<Entry>,
    },
    /// The server is there: every [`HEARTBEAT`], and at once when what it says has changed.
    Heartbeat {
        /// Now, in milliseconds since 1970 by the server's clock.
        at_ms: u64,
        /// The number of the last entry that was sent.
        seq: u64,
        /// What lies in the outbox; absent as long as nobody has counted.
        outbox: Option<OutboxView>,
    },
}

/// What lies in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxView {
    /// Events that the broker, or what is behind it, hasn't taken yet.
    pub waiting: u64,
    /// Events that were set aside here.
    pub set_aside: u64,
}

/// One thing that happened, with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// One more than the entry before it.
    pub seq: u64,
    /// When, in milliseconds since 1970 by the server's clock.
    pub at_ms: u64,
    /// What.
    pub event: Event,
}

/// Whether a peer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// It runs.
    Up,
    /// It said goodbye.
    Left,
    /// It was stopped without goodbye.
    Killed,
    /// It isn't run by this server; it is known as somebody's neighbour.
    Remote,
}

/// Whether a part of the server works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PartState {
    /// It works.
    Up,
    /// It is getting ready.
    Starting,
    /// It doesn't work; it tries again by itself.
    Down {
        /// Why.
        reason: String,
    },
}

/// A thread of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "role", content = "number", rename_all = "snake_case")]
pub enum LabThread {
    /// Makes packets while it holds a permit.
    Producer(u32),
    /// Takes packets and writes the shared log under the lock.
    Consumer(u32),
}

/// What a thread of the lab does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A change was acknowledged: its bytes, its metadata and its event are on disk.
    FileStored {
        /// The file.
        file: FileId,
        /// Its version after the change.
        version: Version,
        /// What happened to it.
        change: ChangeKind,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// The broker confirmed the change's event.
    FilePublished {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
    },
    /// The bridge handed the change to an entry peer, which accepted it.
    FileForwarded {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// The entry peer.
        entry: SocketAddr,
    },
    /// A message that couldn't be understood was set aside.
    DeadLettered {
        /// Its id.
        message_id: String,
        /// Why.
        reason: String,
    },
    /// A peer received a change over a link.
    UpdateReceived {
        /// Who received it.
        peer: PeerId,
        /// From which neighbour.
        from: PeerId,
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// Over how many links it has come, this one included; absent when it came by a catalogue exchange.
        hops: Option<u16>,
        /// Whether it was news.
        fresh: bool,
    },
    /// A peer's catalogue took over a version of a file.
    UpdateApplied {
        /// Whose catalogue.
        peer: PeerId,
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// How many files it knows now; deleted ones don't count.
        files: u32,
    },
    /// A peer began to run.
    PeerStarted {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
        /// How many files it knew from before; deleted ones don't count.
        files: u32,
    },
    /// A peer stopped.
    PeerStopped {
        /// Who.
        peer: PeerId,
        /// With goodbye ([`PeerState::Left`]) or without ([`PeerState::Killed`]).
        state: PeerState,
    },
    /// A stopped peer was forgotten, with all that it had kept.
    PeerForgotten {
        /// Who.
        peer: PeerId,
    },
    /// Two peers have one identity: a data directory was copied. The younger of them stays out.
    SameIdentity {
        /// Whose.
        peer: PeerId,
        /// Where one of them is, as the other or a third one sees it.
        addr: SocketAddr,
    },
    /// A peer learned another peer's address from a neighbour.
    PeerLearned {
        /// Who learned.
        peer: PeerId,
        /// The address.
        addr: SocketAddr,
    },
    /// Two peers became neighbours, as one of them sees it.
    LinkUp {
        /// Who sees it.
        peer: PeerId,
        /// Its new neighbour.
        neighbour: PeerId,
        /// Where the neighbour listens.
        addr: SocketAddr,
    },
    /// Two peers are no longer neighbours, as one of them sees it.
    LinkDown {
        /// Who sees it.
        peer: PeerId,
        /// Its former neighbour.
        neighbour: PeerId,
        /// Why.
        reason: String,
    },
    /// The broker's state changed.
    Broker {
        /// Its state now.
        state: PartState,
    },
    /// The bridge's state changed.
    Bridge {
        /// Its state now.
        state: PartState,
    },
    /// A fault began to last, or what is known of it changed.
    ConditionRaised {
        /// Which.
        condition: Condition,
        /// What it is this time, in a sentence for people.
        detail: String,
    },
    /// A fault is over.
    ConditionCleared {
        /// Which.
        condition: Condition,
    },
    /// A thread of the lab did a step.
    Lab {
        /// Which run.
        run: String,
        /// The thread.
        thread: LabThread,
        /// What it does.
        #[serde(flatten)]
        step: LabStep,
    },
    /// A variant of the lab's race is done.
    LabRace {
        /// Which run.
        run: String,
        /// What came out.
        result: RaceOut,
    },
    /// A run of the lab is over.
    LabFinished {
        /// Which run.
        run: String,
    },
}

impl fmt::Display for Event {
    /// One line for people: the terminal and the page's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileStored { file, version, change, size_bytes } => {
                write!(f, "{} {file} v{version}, {size_bytes} bytes", change.routing_key())
            }
            Self::FilePublished { file, version } => write!(f, "the broker confirmed {file} v{version}"),
            Self::FileForwarded { file, version, entry } => {
                write!(f, "the bridge forwarded {file} v{version} to {entry}")
            }
            Self::DeadLettered { message_id, reason } => write!(f, "message {message_id} set aside: {reason}"),
            Self::UpdateReceived { peer, from, file, version, hops, fresh } => {
                let news = if *fresh { "" } else { ", known already" };
                let way = hops.map_or_else(|| "catalogue".to_owned(), |hops| format!("hop {hops}"));
                write!(f, "{} received {file} v{version} from {} ({way}{news})", peer.short(), from.short())
            }
            Self::UpdateApplied { peer, file, version, files: _ } => {
                write!(f, "{} applied {file} v{version}", peer.short())
            }
            Self::PeerStarted { peer, addr, files } => {
                write!(f, "peer {} started at {addr} with {files} files", peer.short())
            }
            Self::PeerStopped { peer, state: PeerState::Left } => write!(f, "peer {} left", peer.short()),
            Self::PeerStopped { peer, state: _ } => write!(f, "peer {} was killed", peer.short()),
            Self::PeerForgotten { peer } => write!(f, "peer {} was forgotten", peer.short()),
            Self::SameIdentity { peer, addr } => {
                write!(f, "two peers have the identity {}, one at {addr}", peer.short())
            }
            Self::PeerLearned { peer, addr } => write!(f, "{} learned peer {addr}", peer.short()),
            Self::LinkUp { peer, neighbour, addr } => {
                write!(f, "{} is linked with {} at {addr}", peer.short(), neighbour.short())
            }
            Self::LinkDown { peer, neighbour, reason } => {
                write!(f, "{} lost {}: {reason}", peer.short(), neighbour.short())
            }
            Self::Broker { state } => write!(f, "the broker is {state}"),
            Self::Bridge { state } => write!(f, "the bridge is {state}"),
            Self::ConditionRaised { condition, detail } => write!(f, "{condition}: {detail}"),
            Self::ConditionCleared { condition } => write!(f, "no more {condition}"),
            Self::Lab { thread, step, .. } => write!(f, "lab: {thread} {step}"),
            Self::LabRace { result, .. } => {
                write!(f, "lab: {} lost {} of {} additions", result.method, result.lost, result.expected)
            }
            Self::LabFinished { run } => write!(f, "lab: run {run} is over"),
        }
    }
}

impl fmt::Display for PartState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Starting => f.write_str("starting"),
            Self::Down { reason } => write!(f, "down: {reason}"),
        }
    }
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
