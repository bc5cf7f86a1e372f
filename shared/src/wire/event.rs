//! What can happen, and what is told of it: the vocabulary of the event stream. What it adds up to is in
//! [`super::overview`], how it is sent in [`super::stream`].
//!
//! Each event about a file carries what is needed to decide who may see it: its owner, where that is known, and what the
//! catalogue says ([`Event::FileStored`]) also with whom it is shared. Peers and broker don't know the shares: whoever
//! sends the stream to a user who isn't the owner asks the catalogue by the file's id, as for a download; so it also learns
//! that a share has ended, which is no event. All of this stays in the process: who may see an event isn't told with whom
//! else it is shared.
//!
//! Long because what an event tells, its sentence and its topic stand together: one more event is said here once.

mod reading;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{FileId, PeerId, UserId, Version};
use crate::wire::condition::Condition;
use crate::wire::event::reading::{events, unsent};
use crate::wire::lab::{self, LabStep, LabThread, RaceOut};
use crate::wire::queue::ChangeKind;
use crate::words;

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

events! {
    /// A change was acknowledged: its bytes, its metadata and its event are on disk.
    FileStored = "file_stored" {
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
        audience: Audience = unsent,
    },
    /// The broker confirmed the change's event.
    FilePublished = "file_published" {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// Whose file it is, where that is known.
        #[serde(skip)]
        owner: Option<UserId> = unsent,
    },
    /// The bridge handed the change to an entry peer, which accepted it.
    FileForwarded = "file_forwarded" {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// The entry peer.
        entry: SocketAddr,
        /// Whose file it is, where that is known.
        #[serde(skip)]
        owner: Option<UserId> = unsent,
    },
    /// A message that couldn't be understood was set aside.
    DeadLettered = "dead_lettered" {
        /// Its id.
        message_id: String,
        /// Why.
        reason: String,
    },
    /// A peer received a change over a link.
    UpdateReceived = "update_received" {
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
        owner: Option<UserId> = unsent,
    },
    /// A peer's catalogue took over a version of a file.
    UpdateApplied = "update_applied" {
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
        owner: Option<UserId> = unsent,
    },
    /// A peer began to run.
    PeerStarted = "peer_started" {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
        /// How many files it knew from before; deleted ones don't count.
        files: u32,
    },
    /// A peer stopped.
    PeerStopped = "peer_stopped" {
        /// Who.
        peer: PeerId,
        /// With goodbye ([`PeerState::Left`]) or without ([`PeerState::Killed`]).
        state: PeerState,
    },
    /// A stopped peer was forgotten, with all that it had kept. Or one that this server doesn't run: it said that it leaves,
    /// or nobody has heard of it for long.
    PeerForgotten = "peer_forgotten" {
        /// Who.
        peer: PeerId,
    },
    /// A peer that this server doesn't run told all others of itself.
    PeerTold = "peer_told" {
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
    SameIdentity = "same_identity" {
        /// Whose.
        peer: PeerId,
        /// Where one of them is, as the other or a third one sees it.
        addr: SocketAddr,
        /// Whether the other one is this server's, and stays out.
        stands_by: bool,
    },
    /// A peer that stayed out takes part again: the other one of its identity is gone.
    PeerBack = "peer_back" {
        /// Who.
        peer: PeerId,
    },
    /// A peer learned another peer's address from a neighbour.
    PeerLearned = "peer_learned" {
        /// Who learned.
        peer: PeerId,
        /// The address.
        addr: SocketAddr,
    },
    /// Two peers became neighbours, as one of them sees it.
    LinkUp = "link_up" {
        /// Who sees it.
        peer: PeerId,
        /// Its new neighbour.
        neighbour: PeerId,
        /// Where the neighbour listens.
        addr: SocketAddr,
    },
    /// Two peers are no longer neighbours, as one of them sees it.
    LinkDown = "link_down" {
        /// Who sees it.
        peer: PeerId,
        /// Its former neighbour.
        neighbour: PeerId,
        /// Why.
        reason: String,
    },
    /// The broker's state changed.
    Broker = "broker" {
        /// Its state now.
        state: PartState,
    },
    /// The bridge's state changed.
    Bridge = "bridge" {
        /// Its state now.
        state: PartState,
    },
    /// A fault began to last, or what is known of it changed.
    ConditionRaised = "condition_raised" {
        /// Which.
        condition: Condition,
        /// What it is this time, in a sentence for people.
        detail: String,
    },
    /// A fault is over.
    ConditionCleared = "condition_cleared" {
        /// Which.
        condition: Condition,
    },
    /// A thread of the lab did a step.
    Lab = "lab" {
        /// Which run.
        run: String,
        /// The thread.
        thread: LabThread,
        /// What it does.
        #[serde(flatten)]
        step: LabStep = lab::reading::step,
    },
    /// A variant of the lab's race is done.
    LabRace = "lab_race" {
        /// Which run.
        run: String,
        /// What came out.
        result: RaceOut,
    },
    /// A run of the lab is over.
    LabFinished = "lab_finished" {
        /// Which run.
        run: String,
    },
}

/// How peers and files are called in a sentence.
pub struct Names<'a> {
    /// What to call a peer.
    pub peer: &'a dyn Fn(&PeerId) -> String,
    /// What to call a file.
    pub file: &'a dyn Fn(&FileId) -> String,
}

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Event {
    /// What it is about; also the name of its colour on the page.
    pub fn topic(&self) -> &'static str {
        match self {
            Self::FileStored { .. } | Self::FilePublished { .. } | Self::FileForwarded { .. } => "file",
            Self::UpdateReceived { .. } | Self::UpdateApplied { .. } => "gossip",
            Self::PeerStarted { .. }
            | Self::PeerStopped { .. }
            | Self::PeerForgotten { .. }
            | Self::PeerTold { .. }
            | Self::SameIdentity { .. }
            | Self::PeerBack { .. }
            | Self::PeerLearned { .. } => "peer",
            Self::LinkUp { .. } | Self::LinkDown { .. } => "link",
            Self::Broker { .. } | Self::Bridge { .. } | Self::DeadLettered { .. } => "broker",
            Self::ConditionRaised { .. } | Self::ConditionCleared { .. } => "condition",
            Self::Lab { .. } | Self::LabRace { .. } | Self::LabFinished { .. } => "lab",
        }
    }

    /// Returns it as a sentence for people: in the page's log and in `grapevine watch`.
    pub fn sentence(&self, names: &Names<'_>) -> String {
        let (peer_name, file_name) = (names.peer, names.file);
        match self {
            Self::FileStored { file, version, change, size_bytes, audience: _ } => {
                format!("{} {} v{version} ({})", file_name(file), verb(*change), words::bytes(*size_bytes))
            }
            Self::FilePublished { file, version, owner: _ } => {
                format!("broker confirmed {} v{version}", file_name(file))
            }
            Self::FileForwarded { file, version, entry, owner: _ } => {
                format!("bridge handed {} v{version} to {entry}", file_name(file))
            }
            Self::DeadLettered { message_id, reason } => format!("message {message_id} dead-lettered: {reason}"),
            Self::UpdateReceived { peer, from, file, version, hops, fresh, owner: _ } => {
                let (peer, from, file) = (peer_name(peer), peer_name(from), file_name(file));
                let way =
                    hops.map_or_else(|| "catalogue exchange".to_owned(), |hops| words::counted(hops.into(), "hop"));
                let news = if *fresh { "" } else { ", known already" };
                format!("{peer} received {file} v{version} from {from} ({way}{news})")
            }
            Self::UpdateApplied { peer, file, version, files: _, owner: _ } => {
                format!("{} applied {} v{version}", peer_name(peer), file_name(file))
            }
            Self::PeerStarted { peer, addr, files } => {
                format!("peer {} started at {addr} with {}", peer_name(peer), words::counted((*files).into(), "file"))
            }
            Self::PeerStopped { peer, state: PeerState::Left } => format!("peer {} left", peer_name(peer)),
            Self::PeerStopped { peer, state: _ } => format!("peer {} was killed", peer_name(peer)),
            Self::PeerForgotten { peer } => format!("peer {} was forgotten", peer_name(peer)),
            Self::PeerTold { peer, addr, files, neighbours: _ } => {
                format!("peer {} at {addr} has {}", peer_name(peer), words::counted((*files).into(), "file"))
            }
            Self::SameIdentity { peer, addr, stands_by } => {
                let out = if *stands_by { "; this one stands by" } else { "" };
                format!("a second peer {} at {addr}{out}", peer_name(peer))
            }
            Self::PeerBack { peer } => format!("peer {} takes part again", peer_name(peer)),
            Self::PeerLearned { peer, addr } => format!("{} learned of {addr}", peer_name(peer)),
            Self::LinkUp { peer, neighbour, addr: _ } => {
                format!("{} linked with {}", peer_name(peer), peer_name(neighbour))
            }
            Self::LinkDown { peer, neighbour, reason } => {
                format!("{} lost its link with {}: {reason}", peer_name(peer), peer_name(neighbour))
            }
            Self::Broker { state } => format!("the broker is {state}"),
            Self::Bridge { state } => format!("the bridge is {state}"),
            Self::ConditionRaised { condition, detail } => format!("{condition}: {detail}"),
            Self::ConditionCleared { condition } => format!("no more {condition}"),
            Self::Lab { thread, step, run: _ } => format!("lab: {thread} {step}"),
            Self::LabRace { result, run: _ } => {
                format!("lab: race with {}: {} of {} additions lost", result.method, result.lost, result.expected)
            }
            Self::LabFinished { run: _ } => "lab: the run is over".to_owned(),
        }
    }
}

fn verb(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Uploaded => "uploaded as",
        ChangeKind::Updated => "replaced by",
        ChangeKind::Shared => "shared at",
        ChangeKind::Deleted => "deleted at",
    }
}

impl fmt::Display for Event {
    /// As a sentence with ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence(&Names { peer: &PeerId::short, file: &FileId::to_string }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_update_reads_as_a_sentence() {
        let names = Names { peer: &|peer| format!(":900{}", peer.0[0]), file: &|_| "song.ogg".to_owned() };
        let (peer, from) = (PeerId([2; 32]), PeerId([1; 32]));
        let (file, version) = ("f".parse().unwrap(), Version(3));
        let event = Event::UpdateReceived { peer, from, file, version, hops: Some(1), fresh: false, owner: None };
        assert_eq!(event.sentence(&names), ":9002 received song.ogg v3 from :9001 (1 hop, known already)");
        assert!(event.to_string().contains("received f v3 from 0101"), "{event}");
    }
}
