//! One peer's protocol state: `handle(now, input)`, `poll_output()` until it is empty, sleep until `next_wake()`.
//!
//! Long because all that a node is, and which part of it takes which input, stands on one page.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::book::Book;
use crate::gossip::catalogue::Catalogue;
use crate::gossip::census::Census;
use crate::gossip::config::Config;
use crate::gossip::io::{Input, LinkId, NodeEvent, Output, Ticket};
use crate::gossip::links::{Admission, Links, Role};
use crate::gossip::names::Names;
use crate::gossip::originals::Originals;
use crate::gossip::pulse::{LocalHealth, PUNCTUAL};
use crate::gossip::recent::Pushed;
use crate::gossip::reconcile::Fetch;
use crate::gossip::tree::Tree;
use crate::gossip::whereabouts;
use crate::ids::PeerId;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::Source;
use crate::wire::peer::PeerMessage;

mod catching_up;
mod greeting;
mod heartbeat;
mod news;
mod originals;
mod outgoing;
mod records;
mod twins;
mod views;

/// Bits of a source's number: what is 8 bytes on the wire.
const SOURCE_BITS: u32 = 56;
/// Outputs that the messages that came at once may bring before the rest of them is refused: twice what the largest
/// graft is answered with.
const MAX_OUTPUTS: usize = 16_384;

/// How long a node may be without a neighbour before it says so. A guess: joins take a second, restarts a few.
const ALONE_AFTER: Duration = Duration::from_secs(10);

/// Who a node is and what it starts with.
#[derive(Debug)]
pub struct Identity {
    /// Its id.
    pub peer: PeerId,
    /// Where it listens, as others shall dial it. With an unspecified IP address: where they see it.
    pub listen: SocketAddr,
    /// Whether its driver's [`Input::Stored`] means that a change survives a crash.
    pub durable: bool,
    /// Wall time at [`Instant::START`], in milliseconds since 1970.
    pub began_ms: u64,
    /// Its software's version.
    pub version: String,
}

/// One peer.
#[derive(Debug)]
pub struct Node {
    me: Identity,
    config: Config,
    rng: Rng,
    source: Source,
    catalogue: Catalogue,
    /// [`Catalogue::files`], kept up with each change.
    files: u32,
    book: Book,
    names: Names,
    originals: Originals,
    links: Links,
    tree: Tree,
    census: Census,
    fetch: Fetch,
    health: LocalHealth,
    outputs: VecDeque<Output>,
    leaving: bool,
    /// The last ticket given out.
    issued: Ticket,
    /// The last ticket that is on disk.
    stored: Ticket,
    /// Submitted changes whose acceptance waits for the disk.
    unanswered: BTreeMap<(Ticket, LinkId), Vec<u64>>,
    applied: u64,
    /// [`Node::applied`] in the last record.
    told_applied: Option<u64>,
    /// When this node wants to be woken.
    planned: Instant,
    check_at: Instant,
    seek_at: Instant,
    /// Attempts to find a neighbour that failed since the last that succeeded.
    sought: u32,
    probe_at: Instant,
    shuffle_at: Instant,
    shuffles: u32,
    /// Walks of shuffles that passed here, and whence they came; `None`: from here.
    walks: VecDeque<(u64, Option<LinkId>)>,
    /// Since when it has had no neighbour, and when that is told.
    alone: Option<(Instant, Instant)>,
    /// Where others see this node, if it listens everywhere.
    seen_at: BTreeSet<SocketAddr>,
    /// Links that were closed because of what the other side did.
    offences: u64,
    /// Lines that weren't understood.
    not_understood: u64,
}

impl Node {
    /// A node that starts `now` with what it kept, and knows nobody yet.
    pub fn new(me: Identity, config: Config, catalogue: Catalogue, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed);
        let source = Source(rng.below(1 << SOURCE_BITS));
        let views = &config.views;
        Self {
            source,
            book: Book::new(me.listen, views.clone()),
            names: Names::default(),
            originals: Originals::default(),
            links: Links::default(),
            tree: Tree::new(source, config.broadcast.clone()),
            census: Census::new(config.census.clone()),
            fetch: Fetch::default(),
            health: LocalHealth::default(),
            outputs: VecDeque::new(),
            leaving: false,
            issued: Ticket::default(),
            stored: Ticket::default(),
            unanswered: BTreeMap::new(),
            applied: 0,
            told_applied: None,
            planned: now,
            check_at: now + config.liveness.busy_ping,
            seek_at: now,
            sought: 0,
            probe_at: now + rng.duration(views.probe_every.shortest, views.probe_every.longest),
            shuffle_at: now + views.shuffle.every.delay(0, &mut rng),
            shuffles: 0,
            walks: VecDeque::new(),
            alone: Some((now, now + ALONE_AFTER)),
            seen_at: BTreeSet::new(),
            offences: 0,
            not_understood: 0,
            files: catalogue.files(),
            me,
            config,
            rng,
            catalogue,
        }
    }

    /// Takes one thing that happened. The outputs must be drained before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.outputs.is_empty(), "a driver drains the outputs after each input");
        self.note_lateness(now);
        match input {
            Input::Wake => {}
            Input::LinkUp { link, remote, dialled } => self.link_up(now, link, remote, dialled),
            Input::DialFailed { addr, reason } => self.dial_failed(now, addr, &reason),
            Input::NameReached { name, link, addr } => self.name_reached(now, &name, link, addr),
            Input::NameFailed { name, reason } => self.name_failed(now, &name, reason),
            Input::OriginalUp { link, remote } => self.original_up(now, link, remote),
            Input::Brought { remote, lines } => self.brought(now, remote, lines),
            Input::TurnedAway { remote, reason } => self.misbehaved(remote, &reason),
            Input::LinkDown { link, reason } => self.drop_link(now, link, &reason, Ended::Broken),
            Input::Unreadable { link, reason } => self.unreadable(now, link, &reason),
            Input::Messages { link, messages } => {
                for message in messages {
                    self.heard(now, link, message);
                }
            }
            Input::Lines { link, lines } => self.lines(now, link, lines),
            Input::Recall { addrs } => self.recall(now, &addrs),
            Input::Contact { addr } => self.named(now, addr),
            Input::Name { name } => self.host_named(now, name),
            Input::Publish { update } => {
                self.publish(now, &update);
            }
            Input::Stored { ticket } => self.on_disk(ticket),
            Input::Congested { link } => self.congested(link),
            Input::Drained { link } => self.drained(now, link),
            Input::Leave => self.leave(now),
        }
        self.tick(now);
        self.say_what_the_tree_says(now);
        self.planned = self.earliest();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Wake`] if nothing else happens.
    pub fn next_wake(&self) -> Instant {
        self.planned
    }

    /// What this node knows of every file.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What this node knows of every peer.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// The active view.
    pub fn neighbours(&self) -> impl Iterator<Item = PeerId> {
        self.links.neighbours().map(|neighbour| neighbour.peer)
    }

    /// The links on which it pushes news.
    pub fn eager(&self) -> impl Iterator<Item = LinkId> {
        self.tree.eager()
    }

    /// The addresses that this node knows.
    pub fn known(&self) -> impl Iterator<Item = SocketAddr> {
        self.book.addrs()
    }

    /// How many links were closed because of what the other side did.
    pub fn offences(&self) -> u64 {
        self.offences
    }

    // --- time -------------------------------------------------------------------------------------------------

    /// Only this node knows how late it is; nobody else pays for it.
    fn note_lateness(&mut self, now: Instant) {
        let late = now - self.planned;
        if late > PUNCTUAL {
            self.health.woken(self.planned, now);
            self.links.forgive(late);
        }
    }

    fn earliest(&self) -> Instant {
        let mut earliest = self.check_at.min(self.shuffle_at);
        if !self.leaving {
            earliest = earliest.min(self.seek_at).min(self.probe_at);
            earliest = self.alone.map_or(earliest, |(_, told_at)| earliest.min(told_at));
            earliest = self.originals.next_wake().map_or(earliest, |at| earliest.min(at));
        }
        [self.record_due(), self.tree.next_wake()].into_iter().flatten().fold(earliest, Instant::min)
    }

    fn tick(&mut self, now: Instant) {
        if now >= self.check_at {
            self.check_links(now);
            // Somebody who was given up just now may have been the partner: then another is, and has a deadline.
            if now >= self.check_at {
                self.check_links(now);
            }
        }
        if now >= self.seek_at {
            self.seek(now);
        }
        if now >= self.probe_at {
            self.probe(now);
        }
        if now >= self.shuffle_at {
            self.shuffle(now);
        }
        self.tell_that_i_am_alone(now);
        self.tell_of_myself(now);
        self.tend_originals(now);
        self.tree.tick(now, self.health.slowness(now), &mut self.rng);
    }

    // --- links ------------------------------------------------------------------------------------------------

    /// A link is gone.
    fn drop_link(&mut self, now: Instant, id: LinkId, reason: &str, ended: Ended) {
        let Some(link) = self.links.close(id) else { return };
        self.unanswered.retain(|(_, asker), _| *asker != id);
        if let Role::Expected { .. } | Role::Original { .. } = link.role {
            return self.original_gone(now, id, link.role);
        }
        let announced = link.role.peer().map(|(_, addr)| addr);
        let dialled = link.dialled_addr().filter(|dialled| Some(*dialled) != announced);
        if link.dialled.is_some() && !matches!(link.role, Role::Neighbour { .. }) {
            self.not_taken(dialled.or(announced), reason);
        }
        for addr in [announced, dialled].into_iter().flatten().chain(link.aliases) {
            match ended {
                Ended::Peacefully => self.book.released(addr, now, &mut self.rng),
                Ended::Broken => self.book.lost(addr, now, &mut self.rng),
                Ended::Left => self.book.left(addr, now, &mut self.rng),
            }
        }
        if let Role::Neighbour { peer, addr } = link.role {
            self.event(NodeEvent::NeighbourDown { peer, addr, reason: reason.to_owned() });
            self.neighbour_down(now, id);
        } else if link.dialled.is_some() {
            self.seek_later(now);
        }
        if ended == Ended::Broken {
            self.hasten_probe(now);
        }
    }

    fn neighbour_down(&mut self, now: Instant, id: LinkId) {
        if self.links.active() == 0 {
            self.alone = Some((now, now + ALONE_AFTER));
        }
        self.census.neighbours_changed(now, &mut self.rng);
        self.sought = 0;
        (self.seek_at, self.check_at) = (now, now);
        self.shuffles = self.shuffles.min(1);
        for mended in self.tree.unlinked(id, now) {
            self.compare_with(now, mended);
        }
        let fetched = self.fetch.gone(id);
        self.after_fetch(now, fetched);
    }

    // --- messages ---------------------------------------------------------------------------------------------

    fn heard(&mut self, now: Instant, id: LinkId, message: PeerMessage) {
        match self.links.heard(id, now, &self.config.limits) {
            Admission::Closed => {}
            Admission::TooMany => self.refuse(now, id, "too many messages"),
            Admission::Admitted if self.outputs.len() + self.tree.unsaid() > MAX_OUTPUTS => {
                self.refuse(now, id, "too much asked at once");
            }
            Admission::Admitted => self.message(now, id, message),
        }
    }

    fn message(&mut self, now: Instant, id: LinkId, mut message: PeerMessage) {
        let Some((role, remote)) = self.links.get(id).map(|link| (link.role, link.remote)) else { return };
        message.relocate(|addr| whereabouts::meant(addr, remote));
        match (role, message) {
            (Role::Expected { .. }, _) => self.close(now, id, "not an original"),
            // A driver tells the two ways of speaking apart.
            (Role::Original { .. }, _) => {}
            (_, PeerMessage::Goodbye { reason, leaving, others }) => {
                self.told_goodbye(now, id, &reason, leaving, others);
            }
            (Role::Stranger, PeerMessage::Hello(hello)) => self.greeted(now, id, &hello),
            (Role::Stranger, _) => self.refuse(now, id, "a message before hello"),
            (_, PeerMessage::Hello(_)) => self.refuse(now, id, "a second hello"),
            (_, PeerMessage::Unknown { .. }) => {}
            (Role::Asked { peer, addr }, PeerMessage::Welcome { others }) => self.welcomed(now, id, peer, addr, others),
            (_, PeerMessage::Ping { nonce, catalogue, partner }) => self.ping(now, id, nonce, catalogue, partner),
            (_, PeerMessage::Pong { nonce, catalogue, partner }) => self.pong(now, id, nonce, catalogue, partner),
            (_, PeerMessage::Submit { request, update }) => self.submitted(now, id, request, &update),
            (_, PeerMessage::Reconcile(set, claims)) => self.claimed(now, id, set, &claims),
            (_, PeerMessage::Want(set, wanted)) => self.wanted(now, id, set, &wanted),
            (Role::Neighbour { peer, .. }, message) => self.neighbourly(now, id, peer, message),
            // What was on its way when a link ended or was refused.
            (Role::Asked { .. }, _) => {}
            (Role::Client, message) if message.is_answer() => {}
            (Role::Client, _) => self.refuse(now, id, "a client that speaks as a neighbour"),
        }
    }

    fn neighbourly(&mut self, now: Instant, id: LinkId, peer: PeerId, message: PeerMessage) {
        match message {
            PeerMessage::Broadcast { id: name, hops, payload } => {
                self.broadcast(now, (id, peer), name, Pushed { hops, payload });
            }
            PeerMessage::Have(announced) => self.tree.announced(id, &announced, now, &mut self.rng),
            PeerMessage::Graft(wanted) => {
                if !self.tree.grafted(id, &wanted, now) {
                    self.compare_with(now, id);
                }
            }
            PeerMessage::Prune => self.tree.pruned(id, now),
            PeerMessage::ForwardJoin { addr, ttl } => self.forward_join(now, id, addr, ttl),
            PeerMessage::Shuffle { walk, ttl, addrs } => self.shuffled(now, id, walk, ttl, addrs),
            PeerMessage::ShuffleReply { walk, addrs } => self.shuffle_replied(now, walk, addrs),
            PeerMessage::State { entries, rest } => self.state(now, id, peer, &entries, rest),
            PeerMessage::Records { entries, rest } => self.records(now, id, &entries, rest),
            // A second welcome comes with a link that both sides dialled; the others were dealt with or are a client's.
            PeerMessage::Welcome { .. }
            | PeerMessage::Hello(_)
            | PeerMessage::Goodbye { .. }
            | PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Reconcile(..)
            | PeerMessage::Want(..)
            | PeerMessage::Submit { .. }
            | PeerMessage::Accepted { .. }
            | PeerMessage::Refused { .. }
            | PeerMessage::Deferred { .. }
            | PeerMessage::Unknown { .. } => {}
        }
    }
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// One side had no room, or has another link with the other.
    Peacefully,
    /// The other side is gone, or misbehaved.
    Broken,
    /// The other side leaves for good.
    Left,
}
