//! What peers (and the bridge) say to each other on a gossip link. How it is said in bytes is in [`super::frame`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{FileId, PeerId};
use crate::wire::update::FileUpdate;

/// The protocol's major version: peers of different majors refuse each other.
pub const MAJOR: u16 = 1;
/// The protocol's minor version: a newer minor only adds kinds of messages, which older peers ignore.
pub const MINOR: u16 = 0;

/// The most addresses in one [`PeerMessage::Peers`].
pub const MAX_PEERS_PER_MESSAGE: usize = 256;
/// The most updates in one [`PeerMessage::State`]: with names at their longest this stays below a frame's limit.
pub const MAX_UPDATES_PER_STATE: usize = 256;
/// The longest reason in a [`PeerMessage::Goodbye`] or [`PeerMessage::Refused`], in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// The first message on a link, from both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAJOR`] of the sender.
    pub major: u16,
    /// [`MINOR`] of the sender.
    pub minor: u16,
    /// The overlay it belongs to; others are refused.
    pub cluster: String,
    /// Who it is.
    pub peer: PeerId,
    /// Where it can be dialled; absent for a client (the bridge), which never becomes a neighbour.
    pub listen: Option<SocketAddr>,
    /// How many neighbours it has, so that a full peer can make room for one that has none.
    pub neighbours: u32,
    /// Whether what it accepts is on disk before it says so.
    pub durable: bool,
}

/// One message on a gossip link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Who I am.
    Hello(Hello),
    /// Addresses of peers that I know. Those the receiver didn't know are passed on.
    Peers(Vec<SocketAddr>),
    /// Tell me your catalogue, beginning behind `after`.
    Pull {
        /// The last file that was received so far; absent at the beginning.
        after: Option<FileId>,
    },
    /// A page of the catalogue, in the order of file ids.
    State {
        /// At most [`MAX_UPDATES_PER_STATE`] files.
        updates: Vec<FileUpdate>,
        /// Whether there are files behind the last of these.
        more: bool,
    },
    /// A change, passed on by everybody who hears of it for the first time.
    Update {
        /// The change.
        update: FileUpdate,
        /// Over how many links it has come before this one.
        hops: u16,
    },
    /// A client hands over a change.
    Submit {
        /// The client's number for it, which comes back in the answer.
        request: u64,
        /// The change.
        update: FileUpdate,
    },
    /// The submitted change is accepted, and on disk if the peer said that it is durable.
    Accepted {
        /// The client's number.
        request: u64,
    },
    /// The submitted change can never be accepted.
    Refused {
        /// The client's number.
        request: u64,
        /// Why, at most [`MAX_REASON_BYTES`].
        reason: String,
    },
    /// Are you there?
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// Yes.
    Pong {
        /// From the question.
        nonce: u64,
    },
    /// I close this link, and why.
    Goodbye {
        /// For the log, at most [`MAX_REASON_BYTES`].
        reason: String,
        /// Whether the sender leaves the overlay for good (and needs not be dialled again).
        leaving: bool,
    },
}
