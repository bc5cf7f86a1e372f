//! What the server pushes to the page and to `grapevine watch`: one [`Overview`], then numbered [`Entry`]s, and an
//! overview again for a reader that was too slow. Server and page fold entries into the overview with the same
//! function, so both show the same.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{FileId, PeerId, Version};
use crate::wire::overview::Overview;
use crate::wire::queue::ChangeKind;
use crate::wire::rest::RaceOut;

/// The format's version; a page of another version reloads itself.
pub const VERSION: u32 = 1;

/// One WebSocket message from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamFrame {
    /// The state of everything. Sent first, and again to a reader that was too slow.
    Snapshot {
        /// [`VERSION`].
        format: u32,
        /// How many entries the reader missed; 0 in the first frame.
        missed: u64,
        /// The state after the entry number `overview.seq`.
        overview: Box<Overview>,
    },
    /// What has happened since, without gaps.
    Batch {
        /// Consecutive entries.
        entries: Vec<Entry>,
    },
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
    },
    /// A peer began to run.
    PeerStarted {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
        /// How many files it knew from before.
        files: u32,
    },
    /// A peer stopped.
    PeerStopped {
        /// Who.
        peer: PeerId,
        /// With goodbye ([`PeerState::Left`]) or without ([`PeerState::Killed`]).
        state: PeerState,
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
