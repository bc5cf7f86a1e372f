//! What can happen, and what is told of it: the vocabulary of the event stream. What it adds up to is in
//! [`super::overview`], how it is sent in [`super::stream`].
//!
//! Each event about a file carries what is needed to decide who may see it: its owner, where that is known, and what the
//! catalogue says ([`Event::FileStored`]) also with whom it is shared. Peers and broker don't know the shares: whoever
//! sends the stream to a user who isn't the owner asks the catalogue by the file's id, as for a download; so it also learns
//! that a share has ended, which is no event. All of this stays in the process: who may see an event isn't told with whom
//! else it is shared.

mod reading;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{FileId, PeerId, UserId, Version};
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
    /// It runs, but stays out of the overlay: another peer has the same identity.
    StandsBy,
    /// It isn't run by this server; one of this server's peers is linked with it.
    Remote,
    /// It isn't run by this server, and linked with none of its peers: known by what it told, which may be over.
    Unknown,
}

impl PeerState {
    /// Whether this server runs the peer, or has run it.
    pub fn is_ours(self) -> bool {
        match self {
            Self::Up | Self::StandsBy | Self::Left | Self::Killed => true,
            Self::Remote | Self::Unknown => false,
        }
    }

    /// Whether this server runs the peer now, in the overlay or not.
    pub fn runs(self) -> bool {
        match self {
            Self::Up | Self::StandsBy => true,
            Self::Left | Self::Killed | Self::Remote | Self::Unknown => false,
        }
    }
}

/// Who may see what is told of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// Its owner.
    pub owner: Option<UserId>,
    /// With whom it is shared.
    pub shared_with: Vec<UserId>,
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
        /// Who may see it; of a file that is deleted, who might.
        #[serde(skip)]
        audience: Audience,
    },
    /// The broker confirmed the change's event.
    FilePublished {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// Whose file it is, where that is known.
        #[serde(skip)]
        owner: Option<UserId>,
    },
    /// The bridge handed the change to an entry peer, which accepted it.
    FileForwarded {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// The entry peer.
        entry: SocketAddr,
        /// Whose file it is, where that is known.
        #[serde(skip)]
        owner: Option<UserId>,
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
        /// Whose file it is, where that is known.
        #[serde(skip)]
        owner: Option<UserId>,
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
        /// Whose file it is, where that is known.
        #[serde(skip)]
        owner: Option<UserId>,
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
    /// A stopped peer was forgotten, with all that it had kept. Or one that this server doesn't run: it said that it leaves,
    /// or nobody has heard of it for long.
    PeerForgotten {
        /// Who.
        peer: PeerId,
    },
    /// A peer that this server doesn't run told all others of itself.
    PeerTold {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
        /// How many files it knows; deleted ones don't count.
        files: u32,
        /// Those of its neighbours of whom anything is known.
        neighbours: BTreeSet<PeerId>,
    },
    /// Two peers have one identity: a data directory was copied. The younger of them stays out.
    SameIdentity {
        /// Whose.
        peer: PeerId,
        /// Where one of them is, as the other or a third one sees it.
        addr: SocketAddr,
        /// Whether the other one is this server's, and stays out.
        stands_by: bool,
    },
    /// A peer that stayed out takes part again: the other one of its identity is gone.
    PeerBack {
        /// Who.
        peer: PeerId,
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
            Self::FileStored { file, version, change, size_bytes, audience: _ } => {
                write!(f, "{} {file} v{version}, {size_bytes} bytes", change.routing_key())
            }
            Self::FilePublished { file, version, owner: _ } => write!(f, "the broker confirmed {file} v{version}"),
            Self::FileForwarded { file, version, entry, owner: _ } => {
                write!(f, "the bridge forwarded {file} v{version} to {entry}")
            }
            Self::DeadLettered { message_id, reason } => write!(f, "message {message_id} set aside: {reason}"),
            Self::UpdateReceived { peer, from, file, version, hops, fresh, owner: _ } => {
                let news = if *fresh { "" } else { ", known already" };
                let way = hops.map_or_else(|| "catalogue".to_owned(), |hops| format!("hop {hops}"));
                write!(f, "{} received {file} v{version} from {} ({way}{news})", peer.short(), from.short())
            }
            Self::UpdateApplied { peer, file, version, files: _, owner: _ } => {
                write!(f, "{} applied {file} v{version}", peer.short())
            }
            Self::PeerStarted { peer, addr, files } => {
                write!(f, "peer {} started at {addr} with {files} files", peer.short())
            }
            Self::PeerStopped { peer, state: PeerState::Left } => write!(f, "peer {} left", peer.short()),
            Self::PeerStopped { peer, state: _ } => write!(f, "peer {} was killed", peer.short()),
            Self::PeerForgotten { peer } => write!(f, "peer {} was forgotten", peer.short()),
            Self::PeerTold { peer, addr, files, neighbours } => {
                write!(f, "peer {} at {addr} has {files} files and {} neighbours", peer.short(), neighbours.len())
            }
            Self::SameIdentity { peer, addr, stands_by } => {
                let who_stays_out = if *stands_by { "; the one here stays out" } else { "" };
                write!(f, "two peers have the identity {}, one at {addr}{who_stays_out}", peer.short())
            }
            Self::PeerBack { peer } => write!(f, "peer {} takes part again", peer.short()),
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
