//! What peers (and the bridge) say to each other on a gossip link. How it is said in bytes is in [`super::frame`].

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;
use crate::wire::broadcast::{Announced, IdRange, MessageId, Source};
use crate::wire::census::Record;
use crate::wire::update::FileUpdate;

/// The protocol's major version: peers of different majors refuse each other.
pub const MAJOR: u16 = 2;
/// The protocol's minor version: a newer minor only adds kinds of messages, which older peers ignore, and of broadcasts,
/// which they pass on.
pub const MINOR: u16 = 2;
/// The feature of a peer that has on disk what it accepts before it says so.
pub const DURABLE: &str = "durable";
/// The most features in one [`Hello`]. A guess.
pub const MAX_FEATURES: usize = 16;
/// The longest name of a feature, in bytes. A guess.
pub const MAX_FEATURE_BYTES: usize = 32;
/// The most addresses in one message: what a shuffle carries.
pub const MAX_ADDRS: usize = 16;
/// The most ranges of ids in one [`PeerMessage::IHave`] or [`PeerMessage::Graft`]. A guess: 64 sources at work at once.
pub const MAX_RANGES: usize = 64;
/// The most claims in one [`PeerMessage::Reconcile`].
pub const MAX_CLAIMS: usize = 256;
/// The most wishes in one [`PeerMessage::Request`]: as many as a peer has under way. Each is answered with a page.
pub const MAX_WANTED: usize = 4;
/// The most keys in one claim or request. The deepest ranges hold about 32; this is what a skewed one may hold.
pub const MAX_KEYS: usize = 1024;
/// The most entries in one [`PeerMessage::State`] or [`PeerMessage::Records`]: with names at their longest a frame is
/// below its limit.
pub const MAX_ENTRIES: usize = 256;
/// The longest payload of a broadcast, in bytes. A guess: three times what a change takes at most. Of what isn't known so
/// much is kept for each of the last broadcasts.
pub const MAX_PAYLOAD_BYTES: usize = 4096;
/// The longest reason in a [`PeerMessage::Goodbye`], [`PeerMessage::Refused`] or [`PeerMessage::Deferred`], in bytes.
pub const MAX_REASON_BYTES: usize = 256;
/// The most active neighbours in a [`Record`]. Twice the largest active view that makes sense.
pub const MAX_RECORD_NEIGHBOURS: usize = 32;

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
    /// What the side that dialled wants; the other side's says [`Purpose::Answer`].
    pub purpose: Purpose,
    /// More of a peer; absent for a client.
    pub presence: Option<Presence>,
    /// What it offers beyond what every peer of its major version does; at most [`MAX_FEATURES`]. Who doesn't know one
    /// ignores it, and works on without.
    pub features: Vec<Feature>,
}

impl Hello {
    /// Checks that both sides can speak at all: the same major version, the same overlay.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, cluster: &str) -> Result<(), Mismatch> {
        if self.major != MAJOR {
            return Err(Mismatch::Major(self.major));
        }
        if self.cluster == cluster { Ok(()) } else { Err(Mismatch::Cluster(self.cluster.clone())) }
    }

    /// The version in which a feature is offered, if it is.
    pub fn offers(&self, name: &str) -> Option<u16> {
        self.features.iter().find(|feature| feature.name == name).map(|feature| feature.version)
    }
}

/// Why the two sides of a link have nothing to say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The other side speaks this major version.
    Major(u16),
    /// The other side belongs to this overlay.
    Cluster(String),
}

/// Something that a side of a link offers and another may lack. What both offer may be used between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Its name, such as [`DURABLE`]; at most [`MAX_FEATURE_BYTES`].
    pub name: String,
    /// The newest version of it that is offered, from 1; who offers one offers those before it, too.
    pub version: u16,
}

/// More of who says hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its present life: two at once under one id are two peers.
    pub life: Incarnation,
    /// Where it sees the receiver: the address that it dialled, or that the connection comes from.
    pub sees: SocketAddr,
}

/// One life of a peer, from start to stop; the one that began earlier is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation {
    /// When it began, in milliseconds since 1970 by its own clock.
    pub started: u64,
    /// The source of its broadcasts.
    pub source: Source,
}

/// What a link was dialled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Nothing: this side was dialled.
    Answer,
    /// To hand over changes.
    Submit,
    /// To become part of the overlay: accepted always, and spread by forward-joins (`HyParView`, section 4.2).
    Join,
    /// To be neighbours if there is room.
    Neighbour,
    /// To see whether the two overlays of both sides are one; if not, to be neighbours.
    Probe,
}

/// What is broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A change of a file.
    Update(Arc<FileUpdate>),
    /// What a peer tells of itself.
    Record(Arc<Record>),
    /// A peer is silent on a link of the sender; whoever has another link with it looks at once. Boxed, since many
    /// payloads are kept and hardly any is this.
    Suspect(Box<PeerId>),
    /// Nothing: the source from which the tree's distances are counted shows how far it is.
    Beacon,
    /// Something that only a newer minor of the protocol knows: it is passed on for those who do.
    Unknown(Arc<Unknown>),
}

/// A payload as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The kind byte of the frame.
    pub kind: u8,
    /// What it says; at most [`MAX_PAYLOAD_BYTES`].
    pub body: Box<[u8]>,
}

/// Where an entry lies in a reconciled set: the first 16 bytes of its name's BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub u128);

/// What is reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Set {
    /// The files.
    Catalogue,
    /// The peers.
    Census,
}

/// The keys that begin with the same `depth` hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// How many digits.
    pub depth: u8,
    /// Those digits, right-aligned.
    pub digits: u64,
}

/// A set in short: how many entries, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many.
    pub count: u32,
    /// Sum of the entries' hashes, modulo 2^64.
    pub sum: u64,
}

/// What one side says of a range of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// This is what I have there, in short.
    Fingerprint(Prefix, Fingerprint),
    /// These are all that I have there: (key, hash) of each.
    ItemSet(Prefix, Vec<(Key, u64)>),
    /// You lack these, or have them otherwise: I have them.
    Missing(Vec<(Key, u64)>),
}

/// Entries that one side lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Everything in a range, from a key on.
    Range(Prefix, Key),
    /// These.
    Keys(Vec<Key>),
}

/// What a peer tells a neighbour of its partner: the neighbour with which it watches one another when nothing happens.
/// In the order in which it wants them as its own partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Partner {
    /// It's you.
    You,
    /// It's somebody else, who has another one.
    #[default]
    Open,
    /// It's somebody else, whose partner the sender is.
    Another,
}

/// One message on a gossip link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Who I am.
    Hello(Hello),
    /// You are my neighbour from now on; said by the side that was dialled.
    Welcome {
        /// Others that the receiver could turn to.
        others: Vec<SocketAddr>,
    },
    /// I close this link.
    Goodbye {
        /// Why, for the log; at most [`MAX_REASON_BYTES`].
        reason: String,
        /// Whether the sender leaves the overlay for good (and needs not be dialled again).
        leaving: bool,
        /// Others that the receiver could turn to.
        others: Vec<SocketAddr>,
    },
    /// A newcomer is looking for neighbours (`HyParView`, section 4.2).
    ForwardJoin {
        /// Where it listens.
        addr: SocketAddr,
        /// How many more links this goes.
        ttl: u8,
    },
    /// An exchange of passive views with whoever the walk ends at (`HyParView`, section 4.4).
    Shuffle {
        /// Names the walk, for the way back.
        walk: u64,
        /// How many more links this goes.
        ttl: u8,
        /// Peers that the sender knows.
        addrs: Vec<SocketAddr>,
    },
    /// The other half of the exchange; goes back the way that the walk came.
    ShuffleReply {
        /// The walk.
        walk: u64,
        /// Peers that its last peer knows.
        addrs: Vec<SocketAddr>,
    },
    /// Are you there, and do you know the same?
    Ping {
        /// Comes back in the answer.
        nonce: u32,
        /// The sender's catalogue in short.
        catalogue: Fingerprint,
        /// Whether the receiver is the sender's partner.
        partner: Partner,
    },
    /// Yes, and this is what I know.
    Pong {
        /// From the question.
        nonce: u32,
        /// The sender's catalogue in short.
        catalogue: Fingerprint,
        /// Whether the receiver is the sender's partner.
        partner: Partner,
    },
    /// News, pushed along the tree (Plumtree's GOSSIP).
    Broadcast {
        /// Its name.
        id: MessageId,
        /// Over how many links it has come before this one.
        hops: u16,
        /// What it says.
        payload: Payload,
    },
    /// I have these, should you miss them (Plumtree's IHAVE).
    IHave(Vec<Announced>),
    /// Push to me from now on, beginning with these (Plumtree's GRAFT).
    Graft(Vec<IdRange>),
    /// Don't push to me any more; announce (Plumtree's PRUNE).
    Prune,
    /// What I have in some ranges of a set.
    Reconcile(Set, Vec<Claim>),
    /// Send me these.
    Request(Set, Vec<Wanted>),
    /// Files, as wanted.
    State {
        /// The files.
        entries: Vec<Arc<FileUpdate>>,
        /// What is left of the wanted range, from which key on.
        rest: Option<(Prefix, Key)>,
    },
    /// Peers, as wanted.
    Records {
        /// The peers.
        entries: Vec<Arc<Record>>,
        /// What is left of the wanted range, from which key on.
        rest: Option<(Prefix, Key)>,
    },
    /// A client hands over a change.
    Submit {
        /// The client's number for it, which comes back in the answer.
        request: u64,
        /// The change.
        update: Arc<FileUpdate>,
    },
    /// The submitted change is accepted, and on disk if the peer offers [`DURABLE`].
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
    /// The submitted change can't be accepted now; another peer may take it, or this one later.
    Deferred {
        /// The client's number.
        request: u64,
        /// Why, at most [`MAX_REASON_BYTES`].
        reason: String,
    },
    /// Something that only a newer minor of the protocol knows, and no broadcast. It is counted like any other message, and
    /// ignored.
    Unknown {
        /// The kind byte.
        kind: u8,
    },
}

impl PeerMessage {
    /// Whether it answers a [`PeerMessage::Submit`].
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Accepted { .. } | Self::Refused { .. } | Self::Deferred { .. })
    }
}
