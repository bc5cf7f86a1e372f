//! What can happen, and what is told of it: the vocabulary of the event stream. What it adds up to is in
//! [`super::overview`], how it is sent in [`super::stream`].

mod reading;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{FileId, PeerId, Version};
use crate::wire::condition::Condition;
use crate::wire::lab::{LabStep, LabThread, RaceOut};
use crate::wire::queue::ChangeKind;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
