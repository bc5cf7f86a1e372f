//! The whole vocabulary between a node and its driver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::reason::{Reason, Refusal};
use crate::ids::{FileId, PeerId, UserId, Version};
use crate::wire::census::Record;
use crate::wire::lines::Line;
use crate::wire::peer::PeerMessage;
use crate::wire::update::FileUpdate;

/// Names a link (one connection) for as long as it is open. The driver never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A host's name and a port, as a person wrote them: only the driver knows to whom they lead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(pub Arc<str>);

/// The place of a change in the order in which changes are written, as a log sequence number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JournalSeq(pub u64);

/// Who a node is and what it starts with.
#[derive(Debug)]
pub struct Identity {
    /// Its id.
    pub peer: PeerId,
    /// Where it listens, as others shall dial it. With an unspecified IP address: where they see it.
    pub listen: SocketAddr,
    /// Whether its driver's [`Input::Persisted`] means that a change survives a crash.
    pub durable: bool,
    /// Wall time at [`Instant::START`](crate::time::Instant::START), in milliseconds since 1970.
    pub began_ms: u64,
    /// Its software's version.
    pub version: String,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// Nothing but time has passed: a deadline is due.
    Wake,
    /// A connection is open.
    LinkUp {
        /// Its name.
        link: LinkId,
        /// The other end, as the socket tells it.
        remote: SocketAddr,
        /// The address that was dialled; absent when the other side dialled.
        dialled: Option<SocketAddr>,
    },
    /// An address that was dialled didn't answer.
    DialFailed {
        /// The address.
        addr: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A connection is open with whom a name led to.
    NameReached {
        /// The name.
        name: HostName,
        /// The connection's name.
        link: LinkId,
        /// The address that answered.
        addr: SocketAddr,
    },
    /// A name that was dialled led to nobody.
    NameFailed {
        /// The name.
        name: HostName,
        /// Why.
        reason: String,
    },
    /// Somebody dialled this node and speaks the original's lines. It reads nothing.
    OriginalUp {
        /// The connection's name.
        link: LinkId,
        /// The other end, as the socket tells it.
        remote: SocketAddr,
    },
    /// Lines came on a connection that isn't a link, or not yet: most bring one and are closed.
    Brought {
        /// Where it comes from.
        remote: SocketAddr,
        /// What came at once, in order.
        lines: Vec<Line>,
    },
    /// A connection was closed before it was a link, because of what came.
    TurnedAway {
        /// Where it came from.
        remote: SocketAddr,
        /// What is wrong.
        reason: String,
    },
    /// A connection is closed, by the other side or because it broke.
    LinkDown {
        /// Its name.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// What came on a connection breaks the format, so that no more of it can be read. The driver has closed it.
    Unreadable {
        /// Its name.
        link: LinkId,
        /// What is wrong.
        reason: String,
    },
    /// The other side of a link said something.
    Messages {
        /// The link.
        link: LinkId,
        /// What came at once, in order.
        messages: Vec<PeerMessage>,
    },
    /// The other side of a link said something in JSON lines.
    Lines {
        /// The link.
        link: LinkId,
        /// What came at once, in order.
        lines: Vec<Line>,
    },
    /// Addresses that this node knew before it was stopped.
    Recall {
        /// The addresses.
        addrs: Vec<SocketAddr>,
    },
    /// A person named an address where a peer may be.
    Contact {
        /// The address.
        addr: SocketAddr,
    },
    /// The same of a host's name, under which others may be found each time.
    Name {
        /// The name.
        name: HostName,
    },
    /// A change was made here.
    Publish {
        /// The change.
        update: Arc<FileUpdate>,
    },
    /// Every [`Output::Persist`] up to this sequence number is on disk.
    Persisted {
        /// The sequence number.
        seq: JournalSeq,
    },
    /// The driver's queue for a link is full: it takes nothing but what was queued.
    Congested {
        /// The link.
        link: LinkId,
    },
    /// The queue of a congested link has emptied.
    Drained {
        /// The link.
        link: LinkId,
    },
    /// What a clock on the wall shows now. Told every now and then, for it may be set.
    Clock {
        /// Milliseconds since 1970.
        wall_ms: u64,
    },
    /// Say goodbye to everybody. Nothing is dialled afterwards.
    Leave,
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a connection; answered by [`Input::LinkUp`] or [`Input::DialFailed`].
    Dial {
        /// Where to.
        addr: SocketAddr,
    },
    /// Look up a name and open a connection; answered by [`Input::NameReached`] or [`Input::NameFailed`].
    DialName {
        /// The name.
        name: HostName,
    },
    /// Say the same on each of these links, behind what was said there before.
    Send {
        /// The links.
        to: Vec<LinkId>,
        /// What to say.
        message: PeerMessage,
    },
    /// The same, in JSON lines.
    SendLines {
        /// The links.
        to: Vec<LinkId>,
        /// What to say, in order.
        lines: Vec<Line>,
    },
    /// Close a link once everything said on it is out. The node has forgotten it already.
    Close {
        /// The link.
        link: LinkId,
    },
    /// Keep a change; answered by [`Input::Persisted`] (a later sequence number answers for earlier ones).
    Persist {
        /// Its place in the order.
        seq: JournalSeq,
        /// The change.
        update: Arc<FileUpdate>,
    },
    /// Something that people want to know.
    Event(NodeEvent),
}

/// What people want to know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// A change is stamped further ahead of this node's clock than clocks may differ: one of the two is wrong. The
    /// change is taken. Said once until they agree.
    ClockWrong {
        /// The file.
        file: FileId,
        /// Where the change was made.
        origin: PeerId,
        /// How far ahead it is.
        ahead: Duration,
    },
    /// No change has shown for a while that a clock is wrong.
    ClocksAgree,
    /// A change replaced what was known of its file.
    Applied {
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// Whose file it is, where that is known.
        owner: Option<UserId>,
        /// How many files there are now; deleted ones don't count.
        files: u32,
    },
    /// A change came over a link.
    Received {
        /// From whom.
        from: PeerId,
        /// The file.
        file: FileId,
        /// Its version.
        version: Version,
        /// Whose file it is, where that is known.
        owner: Option<UserId>,
        /// Over how many links it has come; absent when it came by a catalogue exchange.
        hops: Option<u16>,
        /// Whether it was news.
        fresh: bool,
    },
    /// A neighbour told an address that wasn't known.
    Learned {
        /// The address.
        addr: SocketAddr,
    },
    /// A link to a neighbour is in use.
    NeighbourUp {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
    },
    /// A neighbour is gone.
    NeighbourDown {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
        /// Why.
        reason: Reason,
    },
    /// A neighbour doesn't answer; it is asked once more.
    Suspected {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
    },
    /// Nobody was reached where a person said that somebody is, or where anybody was sought by a node that is alone; or
    /// who is there didn't take this node in.
    Unreached {
        /// The address, with the name that led to it; or that name.
        place: String,
        /// Why.
        reason: String,
        /// Whether a person named the place.
        is_named: bool,
    },
    /// This node has had no neighbour for long, although it knows addresses.
    Alone {
        /// For how long.
        time: Duration,
    },
    /// Neighbours see this node, which listens everywhere, at an address.
    SeenAt {
        /// The address, with the port where it listens.
        addr: SocketAddr,
    },
    /// Another peer with this node's own id lives: a data directory was copied.
    Twin {
        /// Where it is.
        addr: SocketAddr,
        /// Whether this is the younger of both, which has left the overlay for that.
        stays_out: bool,
    },
    /// No other peer with this node's own id is heard of any more. If this one had stayed out, it takes part again.
    NoTwin,
    /// A record of another peer is news: that peer wasn't known, or something of it has changed.
    Recorded {
        /// The record.
        record: Arc<Record>,
    },
    /// A peer's record was forgotten: nothing was heard of it for long.
    Unrecorded {
        /// Whose.
        peer: PeerId,
    },
    /// Two peers with one id live elsewhere.
    Twins {
        /// The id.
        peer: PeerId,
        /// Where they are.
        addrs: [SocketAddr; 2],
    },
    /// A line couldn't be understood. Its sender isn't told, and may go on.
    NotUnderstood {
        /// Where it came from.
        remote: SocketAddr,
        /// What is wrong.
        reason: String,
        /// How many weren't since this node started, this one included.
        lines: u64,
    },
    /// A neighbour doesn't keep up: it will get what it misses by reconciliation.
    Slow {
        /// Who.
        peer: PeerId,
    },
    /// It keeps up again, and is about to get what it missed.
    KeepsUp {
        /// Who.
        peer: PeerId,
        /// How many broadcasts it wasn't sent.
        withheld: u64,
    },
    /// A change was not taken.
    Rejected {
        /// The file.
        file: FileId,
        /// Why.
        reason: Refusal,
    },
    /// A link was closed because of what the other side did.
    Misbehaved {
        /// Where it came from.
        remote: SocketAddr,
        /// What it did.
        reason: Reason,
        /// How often anybody did since this node started, this time included.
        offences: u64,
    },
}

impl NodeEvent {
    /// The name under which it is counted: its kind, and for what reason where there are several.
    pub fn name(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::ClockWrong { .. } => ("clock_wrong", None),
            Self::ClocksAgree => ("clocks_agree", None),
            Self::Applied { .. } => ("applied", None),
            Self::Received { fresh: true, .. } => ("received", Some("news")),
            Self::Received { fresh: false, .. } => ("received", Some("known")),
            Self::Learned { .. } => ("learned", None),
            Self::NeighbourUp { .. } => ("neighbour_up", None),
            Self::NeighbourDown { reason, .. } => ("neighbour_down", Some(reason.name())),
            Self::Suspected { .. } => ("suspected", None),
            Self::Unreached { .. } => ("unreached", None),
            Self::Alone { .. } => ("alone", None),
            Self::SeenAt { .. } => ("seen_at", None),
            Self::Twin { .. } => ("twin", None),
            Self::NoTwin => ("no_twin", None),
            Self::Twins { .. } => ("twins", None),
            Self::Recorded { .. } => ("recorded", None),
            Self::Unrecorded { .. } => ("unrecorded", None),
            Self::NotUnderstood { .. } => ("not_understood", None),
            Self::Slow { .. } => ("slow", None),
            Self::KeepsUp { .. } => ("keeps_up", None),
            Self::Rejected { reason, .. } => ("rejected", Some(reason.name())),
            Self::Misbehaved { reason, .. } => ("misbehaved", Some(reason.name())),
        }
    }
}
