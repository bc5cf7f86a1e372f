//! One peer's protocol state: `handle(now, input)`, then `poll_output()` until it is empty, then sleep until
//! `next_wake()`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::gossip::catalogue::Catalogue;
use crate::gossip::config::Config;
use crate::gossip::io::{Input, LinkId, NodeEvent, Output, Ticket};
use crate::gossip::links::{Link, Links, Role};
use crate::gossip::membership::Membership;
use crate::ids::{FileId, PeerId};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::peer::{Hello, MAJOR, MAX_REASON_BYTES, MAX_UPDATES_PER_STATE, MINOR, PeerMessage};
use crate::wire::update::FileUpdate;

mod greeting;

/// Who a node is and what it starts with.
#[derive(Debug)]
pub struct Identity {
    /// Its id.
    pub peer: PeerId,
    /// Where it listens, as others shall dial it.
    pub listen: SocketAddr,
    /// Whether its driver's [`Input::Stored`] means that a change survives a crash.
    pub durable: bool,
}

/// One peer.
#[derive(Debug)]
pub struct Node {
    me: Identity,
    config: Config,
    rng: Rng,
    catalogue: Catalogue,
    membership: Membership,
    links: Links,
    outputs: VecDeque<Output>,
    leaving: bool,
    /// The last ticket given out.
    issued: Ticket,
    /// The last ticket that is on disk.
    stored: Ticket,
    /// Submitted changes whose acceptance waits for the disk.
    unanswered: BTreeMap<(Ticket, LinkId), Vec<u64>>,
    heartbeat_at: Instant,
    dial_at: Instant,
    mix_at: Instant,
}

impl Node {
    /// A node that starts `now` with what it kept, and knows nobody yet.
    pub fn new(me: Identity, config: Config, catalogue: Catalogue, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mix_at = now + rng.duration(config.mix_every / 2, config.mix_every);
        Self {
            membership: Membership::new(me.listen, config.known_max, config.redial),
            heartbeat_at: now + config.ping_after,
            dial_at: now,
            mix_at,
            me,
            config,
            rng,
            catalogue,
            links: Links::default(),
            outputs: VecDeque::new(),
            leaving: false,
            issued: Ticket::default(),
            stored: Ticket::default(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Takes one thing that happened. The outputs must be drained before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.outputs.is_empty(), "a driver drains the outputs after each input");
        match input {
            Input::Wake => {}
            Input::LinkUp { link, remote, dialled } => self.link_up(now, link, remote, dialled),
            Input::DialFailed { addr } => {
                self.membership.unlinked(addr, now, &mut self.rng);
                self.dial_at = now;
            }
            Input::LinkDown { link, reason } => self.drop_link(now, link, &reason),
            Input::Message { link, message } => {
                if self.links.heard(link, now) {
                    self.message(now, link, message);
                }
            }
            Input::Contact { addr } => {
                self.membership.learn(addr, now, &mut self.rng);
                self.dial_at = now;
            }
            Input::Publish { update } => {
                self.apply(update, None);
            }
            Input::Stored { ticket } => self.on_disk(ticket),
            Input::Leave => self.leave(now),
        }
        self.tick(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Wake`] if nothing else happens.
    pub fn next_wake(&self) -> Instant {
        self.heartbeat_at.min(self.dial_at).min(self.mix_at)
    }

    /// What this node knows of every file.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The neighbours.
    pub fn neighbours(&self) -> impl Iterator<Item = PeerId> {
        self.links.iter().filter_map(|(_, link)| match link.role {
            Role::Neighbour { peer, .. } => Some(peer),
            Role::Stranger | Role::Client => None,
        })
    }

    /// The addresses that this node knows.
    pub fn known(&self) -> impl Iterator<Item = SocketAddr> {
        self.membership.addrs()
    }

    // --- time -------------------------------------------------------------------------------------------------

    fn tick(&mut self, now: Instant) {
        if now >= self.heartbeat_at {
            self.links.forgive(now - self.heartbeat_at);
            self.heartbeat_at = now + self.config.ping_after;
            self.check_links(now);
        }
        if now >= self.mix_at {
            self.mix_at = now + self.rng.duration(self.config.mix_every / 2, self.config.mix_every);
            self.dial_one(now);
        }
        if now >= self.dial_at {
            self.dial(now);
        }
    }

    /// Pings the silent, closes the dead and those that don't introduce themselves.
    fn check_links(&mut self, now: Instant) {
        let (mut silent, mut dead) = (Vec::new(), Vec::new());
        for (id, link) in self.links.iter() {
            let silence = now - link.heard;
            if link.role == Role::Stranger && now - link.opened >= self.config.hello_limit {
                dead.push((id, "no hello"));
            } else if silence >= self.config.silence_limit {
                dead.push((id, "silent"));
            } else if silence >= self.config.ping_after && link.role != Role::Stranger {
                silent.push(id);
            }
        }
        self.send(silent, PeerMessage::Ping { nonce: now.as_micros() });
        for (id, reason) in dead {
            self.goodbye(now, id, reason);
        }
    }

    /// Dials until enough neighbours are there or on the way.
    fn dial(&mut self, now: Instant) {
        let wanted = self.config.neighbours_wanted;
        while self.links.neighbours().len() + self.membership.dialling() < wanted && self.dial_one(now) {}
        // Only a change of the links or of the book can make another dial useful earlier than this.
        let enough = self.links.neighbours().len() >= wanted;
        let next = self.membership.next_due().filter(|_| !enough && !self.leaving);
        self.dial_at = next.map_or(self.mix_at, |due| due.max(now + self.config.redial.first / 2));
    }

    fn dial_one(&mut self, now: Instant) -> bool {
        if self.leaving || self.links.count() >= self.config.links_max {
            return false;
        }
        let picked = self.membership.pick(now, &mut self.rng);
        if let Some(addr) = picked {
            self.outputs.push_back(Output::Dial { addr });
        }
        picked.is_some()
    }

    // --- links ------------------------------------------------------------------------------------------------

    fn link_up(&mut self, now: Instant, id: LinkId, remote: SocketAddr, dialled: Option<SocketAddr>) {
        self.links.open(id, remote, dialled, now);
        if self.leaving {
            return self.goodbye(now, id, "leaving");
        }
        if self.links.count() > self.config.links_max {
            return self.goodbye(now, id, "too many links");
        }
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: self.config.cluster.clone(),
            peer: self.me.peer,
            listen: Some(self.me.listen),
            neighbours: u32::try_from(self.links.neighbours().len()).unwrap_or(u32::MAX),
            durable: self.me.durable,
        };
        self.send(vec![id], PeerMessage::Hello(hello));
    }

    /// Closes a link after saying why.
    fn goodbye(&mut self, now: Instant, id: LinkId, reason: &str) {
        let mut text = reason.to_owned();
        text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
        self.send(vec![id], PeerMessage::Goodbye { reason: text, leaving: self.leaving });
        self.outputs.push_back(Output::Close { link: id });
        self.drop_link(now, id, reason);
    }

    /// The same, because of what the other side did.
    fn refuse(&mut self, now: Instant, id: LinkId, reason: &str) {
        if let Some(remote) = self.links.get(id).map(|link| link.remote) {
            self.event(NodeEvent::Misbehaved { remote, reason: reason.to_owned() });
        }
        self.goodbye(now, id, reason);
    }

    /// A link is gone.
    fn drop_link(&mut self, now: Instant, id: LinkId, reason: &str) {
        let Some(link) = self.links.close(id) else { return };
        self.unanswered.retain(|(_, asker), _| *asker != id);
        self.released(now, &link);
        if let Role::Neighbour { peer, .. } = link.role {
            self.event(NodeEvent::NeighbourDown { peer, reason: reason.to_owned() });
        }
    }

    /// The address behind a link that is gone may be dialled again, after a while.
    fn released(&mut self, now: Instant, link: &Link) {
        let announced = if let Role::Neighbour { addr, .. } = link.role { Some(addr) } else { None };
        for addr in [announced, link.dialled.filter(|dialled| Some(*dialled) != announced)].into_iter().flatten() {
            self.membership.unlinked(addr, now, &mut self.rng);
        }
        self.dial_at = now;
    }

    fn leave(&mut self, now: Instant) {
        self.leaving = true;
        let all: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        for id in all {
            self.goodbye(now, id, "leaving");
        }
    }

    // --- messages ---------------------------------------------------------------------------------------------

    fn message(&mut self, now: Instant, id: LinkId, message: PeerMessage) {
        let Some(role) = self.links.get(id).map(|link| link.role) else { return };
        match (role, message) {
            (_, PeerMessage::Goodbye { reason, leaving }) => self.told_goodbye(now, id, &reason, leaving),
            (Role::Stranger, PeerMessage::Hello(hello)) => self.greeted(now, id, &hello),
            (Role::Stranger, _) => self.refuse(now, id, "a message before hello"),
            (_, PeerMessage::Hello(_)) => self.refuse(now, id, "a second hello"),
            (_, PeerMessage::Ping { nonce }) => self.send(vec![id], PeerMessage::Pong { nonce }),
            (_, PeerMessage::Submit { request, update }) => self.submitted(id, request, update),
            (_, PeerMessage::Pull { after }) => self.pulled(id, after.as_ref()),
            (Role::Neighbour { .. }, PeerMessage::Peers(addrs)) => self.learned(now, id, &addrs),
            (Role::Neighbour { peer, .. }, PeerMessage::State { updates, more }) => {
                self.told_state(id, peer, updates, more);
            }
            (Role::Neighbour { peer, .. }, PeerMessage::Update { update, hops }) => {
                self.received(id, peer, update, Some(hops.saturating_add(1)));
            }
            (Role::Client, PeerMessage::Peers(_) | PeerMessage::State { .. } | PeerMessage::Update { .. }) => {
                self.refuse(now, id, "a client that speaks as a neighbour");
            }
            (_, PeerMessage::Pong { .. } | PeerMessage::Accepted { .. } | PeerMessage::Refused { .. }) => {}
        }
    }

    fn told_goodbye(&mut self, now: Instant, id: LinkId, reason: &str, leaving: bool) {
        let role = self.links.get(id).map(|link| link.role);
        self.outputs.push_back(Output::Close { link: id });
        self.drop_link(now, id, reason);
        if let (Some(Role::Neighbour { addr, .. }), true) = (role, leaving) {
            self.membership.forget(&addr);
        }
    }

    /// Takes addresses into the book and passes the news among them on.
    fn learned(&mut self, now: Instant, from: LinkId, addrs: &[SocketAddr]) {
        let mut news = Vec::new();
        for addr in addrs {
            if self.membership.learn(*addr, now, &mut self.rng) {
                news.push(*addr);
                self.event(NodeEvent::Learned { addr: *addr });
            }
        }
        if !news.is_empty() {
            self.dial_at = now;
            let others = self.neighbours_but(from);
            self.send(others, PeerMessage::Peers(news));
        }
    }

    fn pulled(&mut self, id: LinkId, after: Option<&FileId>) {
        let (updates, more) = self.catalogue.page(after, MAX_UPDATES_PER_STATE);
        self.send(vec![id], PeerMessage::State { updates, more });
    }

    fn told_state(&mut self, id: LinkId, peer: PeerId, updates: Vec<FileUpdate>, more: bool) {
        let last = updates.last().map(|update| update.file.clone());
        for update in updates {
            self.received(id, peer, update, None);
        }
        if more && last.is_some() {
            self.send(vec![id], PeerMessage::Pull { after: last });
        }
    }

    fn submitted(&mut self, id: LinkId, request: u64, update: FileUpdate) {
        self.apply(update, None);
        if self.stored >= self.issued {
            self.send(vec![id], PeerMessage::Accepted { request });
        } else {
            self.unanswered.entry((self.issued, id)).or_default().push(request);
        }
    }

    fn on_disk(&mut self, ticket: Ticket) {
        self.stored = self.stored.max(ticket);
        while let Some(first) = self.unanswered.first_entry().filter(|first| first.key().0 <= ticket) {
            let ((_, link), requests) = first.remove_entry();
            for request in requests {
                self.send(vec![link], PeerMessage::Accepted { request });
            }
        }
    }

    // --- changes ----------------------------------------------------------------------------------------------

    fn received(&mut self, link: LinkId, from: PeerId, update: FileUpdate, hops: Option<u16>) {
        let (file, version) = (update.file.clone(), update.version);
        // A page of the catalogue is mostly what is known already: only its news is worth telling.
        let news = self.catalogue.get(&file).is_none_or(|known| update.rank() > known.rank());
        if news || hops.is_some() {
            self.event(NodeEvent::Received { from, file, version, hops, fresh: news });
        }
        self.apply(update, Some((link, hops.unwrap_or(0))));
    }

    /// Merges a change; if it is news, keeps it and passes it on to all neighbours but the one it came from.
    fn apply(&mut self, update: FileUpdate, came: Option<(LinkId, u16)>) {
        if !self.catalogue.merge(update.clone()) {
            return;
        }
        self.event(NodeEvent::Applied { file: update.file.clone(), version: update.version });
        self.issued = Ticket(self.issued.0 + 1);
        let others = match came {
            Some((link, _)) => self.neighbours_but(link),
            None => self.links.neighbours().collect(),
        };
        let hops = came.map_or(0, |(_, hops)| hops);
        self.send(others, PeerMessage::Update { update: update.clone(), hops });
        self.outputs.push_back(Output::Store { ticket: self.issued, update });
    }

    fn neighbours_but(&self, link: LinkId) -> Vec<LinkId> {
        self.links.neighbours().filter(|other| *other != link).collect()
    }

    fn send(&mut self, to: Vec<LinkId>, message: PeerMessage) {
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    fn event(&mut self, event: NodeEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}
