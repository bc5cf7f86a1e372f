//! Getting to know the other end of a link, and parting from it: who is it, what does it want, is there room, and is
//! there a better link with it?

use std::net::SocketAddr;

use crate::gossip::config::Shuffle;
use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::links::{Dialled, Link, Role};
use crate::gossip::node::{ALONE_AFTER, Ended, Node};
use crate::gossip::whereabouts::meant;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{DURABLE, Feature, Hello, MAJOR, MAX_REASON_BYTES, MINOR, PeerMessage, Presence, Wish};

/// Reasons for which a link ends although nothing is wrong.
const FULL: &str = "full";
const ANOTHER_LINK: &str = "another link is in use";
/// Addresses of one peer that are remembered while it is linked. A guess: two networks of both families, and some.
const MAX_ALIASES: usize = 8;
/// Addresses under which others see this node that are told of. The same guess.
const MAX_SEEN_AT: usize = 8;

impl Node {
    pub(super) fn link_up(&mut self, now: Instant, id: LinkId, remote: SocketAddr, dialled: Option<SocketAddr>) {
        if let Some(addr) = dialled.filter(|addr| self.originals.is_dialling(addr)) {
            return self.expect_original(now, id, addr);
        }
        let dialled = dialled.map(|addr| Dialled { addr, wish: self.book.wish(&addr).unwrap_or(Wish::Neighbour) });
        let crowded = self.is_crowded(remote);
        self.links.open(id, remote, dialled, now, &self.config.limits);
        self.check_at = self.check_at.min(now + self.config.liveness.hello);
        if self.leaving {
            return self.goodbye(now, id, "leaving", Ended::Left);
        }
        if crowded && dialled.is_none() {
            return self.refuse(now, id, "too many links");
        }
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: self.config.cluster.to_string(),
            peer: self.me.peer,
            listen: Some(self.me.listen),
            wish: dialled.map_or(Wish::Answer, |dialled| dialled.wish),
            presence: Some(Presence { life: self.life(), sees: dialled.map_or(remote, |dialled| dialled.addr) }),
            features: self.features(),
        };
        self.send(now, vec![id], PeerMessage::Hello(hello));
    }

    /// What it offers to everybody.
    fn features(&self) -> Vec<Feature> {
        let durable = Feature { name: DURABLE.to_owned(), version: 1 };
        if self.me.durable { vec![durable] } else { Vec::new() }
    }

    /// Whether there are as many links as may be.
    pub(super) fn is_crowded(&self, remote: SocketAddr) -> bool {
        let limits = &self.config.limits;
        self.links.count() >= limits.links
            || !remote.ip().is_loopback() && self.links.with_ip(remote) >= limits.links_per_ip
    }

    pub(super) fn greeted(&mut self, now: Instant, id: LinkId, hello: &Hello) {
        if hello.major != MAJOR {
            return self.refuse(now, id, &format!("protocol version {}; this peer speaks {MAJOR}", hello.major));
        }
        if hello.cluster != self.config.cluster.as_str() {
            let reason = format!("cluster {:?}; this peer is in {:?}", hello.cluster, self.config.cluster.as_str());
            return self.refuse(now, id, &reason);
        }
        let Some((remote, dialled)) = self.links.get(id).map(|link| (link.remote, link.dialled)) else { return };
        let life = hello.presence.map(|presence| presence.life);
        let Some(listen) = hello.listen else { return self.links.identify(id, Role::Client) };
        let addr = meant(listen, remote);
        if hello.peer == self.me.peer {
            return self.met_myself(now, id, life, addr);
        }
        self.introduced(id, hello.presence);
        if self.originals.forget(&addr) {
            self.book.name(addr, now, &mut self.rng);
        }
        if let Some(at) = self.twin_of(now, hello.peer, life, addr) {
            let reason = format!("a peer of the same id is linked already, from {at}");
            return self.goodbye_with(now, id, &reason, Ended::Peacefully, vec![at]);
        }
        if !self.is_best_link(now, id, hello.peer, addr) {
            return;
        }
        match (dialled, hello.wish) {
            (Some(_), Wish::Answer) => self.links.identify(id, Role::Asked { peer: hello.peer, addr }),
            (None, Wish::Join | Wish::Neighbour | Wish::Probe) => self.asked(now, id, hello.peer, addr, hello.wish),
            _ => self.refuse(now, id, "a wish that doesn't fit who dialled"),
        }
    }

    /// Notes what a hello says of whoever says it, and of this node.
    fn introduced(&mut self, id: LinkId, presence: Option<Presence>) {
        let (Some(Presence { life, sees }), Some(link)) = (presence, self.links.get_mut(id)) else { return };
        (link.life, link.sees) = (Some(life), Some(sees));
        let addr = SocketAddr::new(sees.ip(), self.me.listen.port());
        let is_news = self.me.listen.ip().is_unspecified() && !sees.ip().is_loopback();
        if is_news && self.seen_at.len() < MAX_SEEN_AT && self.seen_at.insert(addr) {
            self.event(NodeEvent::SeenAt { addr });
        }
    }

    /// Where this node listens, for somebody at `remote`; `None` where it isn't known.
    pub(super) fn own_addr_for(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let listen = self.me.listen;
        if !listen.ip().is_unspecified() {
            return Some(listen);
        }
        if remote.ip().is_loopback() {
            return Some(SocketAddr::new(remote.ip(), listen.port()));
        }
        self.seen_at.iter().find(|addr| addr.is_ipv4() == remote.is_ipv4()).copied()
    }

    /// Of two links with the same peer one must go. If one side dialled both under different addresses, the former one is
    /// as good; if under the same, it is dead and only this side doesn't know it yet; else both sides keep the one that was
    /// dialled by the smaller id.
    fn is_best_link(&mut self, now: Instant, id: LinkId, peer: PeerId, addr: SocketAddr) -> bool {
        let Some(rival) = self.links.with(peer) else { return true };
        let dialled = |link| self.links.get(link).is_some_and(|link| link.dialled.is_some());
        let (old, new) = (dialled(rival), dialled(id));
        let keep_new = if old == new { !self.are_ways_to_one(rival, id) } else { new == (self.me.peer < peer) };
        if keep_new {
            self.goodbye(now, rival, ANOTHER_LINK, Ended::Peacefully);
        } else {
            let dialled = self.links.get(id).and_then(Link::dialled_addr);
            self.goodbye(now, id, ANOTHER_LINK, Ended::Peacefully);
            self.is_also_at(now, rival, [Some(addr), dialled]);
        }
        keep_new
    }

    /// Whether one side has dialled the other, in one life of it, under two addresses.
    fn are_ways_to_one(&self, rival: LinkId, id: LinkId) -> bool {
        let (Some(one), Some(other)) = (self.links.get(rival), self.links.get(id)) else { return false };
        let is_one_life = one.life.is_some() && one.life == other.life;
        is_one_life && one.target().is_some() && other.target().is_some() && one.target() != other.target()
    }

    /// Its peer was met at other addresses, too: they needn't be dialled while the link is open.
    fn is_also_at(&mut self, now: Instant, id: LinkId, addrs: [Option<SocketAddr>; 2]) {
        for addr in addrs.into_iter().flatten().filter(|addr| self.book.is_dialable(addr)).collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(id) else { return };
            let announced = link.role.peer().map(|(_, addr)| addr);
            let dialled = link.dialled_addr();
            let is_known = [announced, dialled].contains(&Some(addr)) || link.aliases.contains(&addr);
            if !is_known && link.aliases.len() >= MAX_ALIASES {
                continue;
            }
            if !is_known {
                link.aliases.push(addr);
            }
            self.book.linked(addr, now);
        }
    }

    /// A peer wants this node as a neighbour.
    fn asked(&mut self, now: Instant, id: LinkId, peer: PeerId, addr: SocketAddr, wish: Wish) {
        let room = self.links.active() < self.config.views.active_max;
        let taken = match wish {
            Wish::Join => true,
            // Without a census nobody knows.
            Wish::Probe if !self.census.is_on() => room,
            Wish::Probe => self.links.active() < self.config.views.active || !self.is_of_my_overlay(peer),
            Wish::Neighbour | Wish::Answer | Wish::Submit => room,
        };
        if !taken {
            self.links.identify(id, Role::Asked { peer, addr });
            self.learn(now, vec![addr]);
            return self.goodbye(now, id, FULL, Ended::Peacefully);
        }
        let mut others: Vec<SocketAddr> = self.links.neighbours().map(|neighbour| neighbour.addr).collect();
        let Shuffle { active, passive, .. } = self.config.views.shuffle;
        others.extend(self.book.sample(passive, &mut self.rng));
        let others = self.rng.sample(others, active + passive);
        self.send(now, vec![id], PeerMessage::Welcome { others });
        self.neighbour_up(now, id, peer, addr);
        self.make_room(now, id, wish);
        if wish == Wish::Join {
            self.announce_newcomer(now, id, addr);
        }
    }

    pub(super) fn welcomed(
        &mut self,
        now: Instant,
        id: LinkId,
        peer: PeerId,
        addr: SocketAddr,
        others: Vec<SocketAddr>,
    ) {
        let wish = self.links.get(id).and_then(Link::wish);
        self.neighbour_up(now, id, peer, addr);
        self.make_room(now, id, wish.unwrap_or(Wish::Neighbour));
        self.learn(now, others);
        if wish == Some(Wish::Join) {
            // The walks that this join starts find better neighbours than the contact's own.
            self.seek_at = now + self.config.views.join_patience;
        }
    }

    fn neighbour_up(&mut self, now: Instant, id: LinkId, peer: PeerId, addr: SocketAddr) {
        self.links.identify(id, Role::Neighbour { peer, addr });
        let dialled = self.links.get(id).and_then(Link::dialled_addr);
        if let Some(alias) = dialled.filter(|dialled| *dialled != addr && !self.book.is_named(dialled)) {
            self.book.forget(&alias);
        }
        self.alone = None;
        if self.book.learn(addr, now, &mut self.rng) {
            self.event(NodeEvent::Learned { addr });
        }
        self.book.linked(addr, now);
        self.names.settled(addr);
        self.names.settled(dialled.unwrap_or(addr));
        self.event(NodeEvent::NeighbourUp { peer, addr });
        self.tree.linked(id);
        self.census.neighbours_changed(now, &mut self.rng);
        self.sought = 0;
        // Its round trip is measured at once: deadlines follow it.
        if let Some(link) = self.links.get_mut(id) {
            link.pulse.doubt(now);
        }
        self.check_at = now;
        if dialled.is_some() {
            self.compare_with(now, id);
            self.compare_records_with(now, id);
        }
    }

    /// Somebody goes if there are too many: one on whose link nothing is pushed, if there is one (departing from
    /// `HyParView`, section 4.2, which chooses by chance alone), so that the tree stays whole.
    ///
    /// For who joins, the youngest goes: its own walks are under way by then, and those of all who follow begin at
    /// neighbours that have been here for long. Where many join through one peer, its neighbours would else be the last
    /// who did, their walks would end among themselves, and the overlay would be as long as it is large. What was but a
    /// probe isn't worth a link of the tree.
    fn make_room(&mut self, now: Instant, newcomer: LinkId, wish: Wish) {
        while self.links.active() > self.config.views.active_max {
            let others = self.neighbours_but(newcomer);
            let lazy: Vec<LinkId> = others.iter().copied().filter(|id| !self.tree.uses(*id)).collect();
            let gone = match wish {
                Wish::Probe if lazy.is_empty() => Some(newcomer),
                Wish::Join => self.youngest(if lazy.is_empty() { others } else { lazy }),
                Wish::Probe | Wish::Neighbour | Wish::Answer | Wish::Submit => {
                    self.rng.pick(if lazy.is_empty() { others } else { lazy })
                }
            };
            let Some(gone) = gone else { return };
            self.goodbye(now, gone, "making room", Ended::Peacefully);
        }
    }

    fn youngest(&self, links: Vec<LinkId>) -> Option<LinkId> {
        links.into_iter().max_by_key(|id| self.links.get(*id).map(|link| link.opened))
    }

    pub(super) fn dial(&mut self, addr: SocketAddr, wish: Wish) {
        if self.originals.knows(&addr) {
            return;
        }
        self.book.dialling(addr, wish);
        self.outputs.push_back(Output::Dial { addr });
    }

    pub(super) fn told_goodbye(
        &mut self,
        now: Instant,
        id: LinkId,
        reason: &str,
        leaving: bool,
        others: Vec<SocketAddr>,
    ) {
        let joined = self.links.get(id).filter(|link| link.wish() == Some(Wish::Join));
        let joined = joined.filter(|link| matches!(link.role, Role::Neighbour { .. })).map(|link| link.opened);
        self.outputs.push_back(Output::Close { link: id });
        self.drop_link(now, id, reason, if leaving { Ended::Left } else { Ended::Peacefully });
        self.learn(now, others);
        if let Some(joined) = joined {
            // A contact that needed its room for the next one has sent the walks even so.
            self.seek_at = now.max(joined + self.config.views.join_patience);
        }
    }

    // --- parting ----------------------------------------------------------------------------------------------

    pub(super) fn leave(&mut self, now: Instant) {
        self.leaving = true;
        self.tell_that_i_leave(now);
        self.say_what_the_tree_says(now);
        let all: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        for id in all {
            self.goodbye(now, id, "leaving", Ended::Left);
        }
    }

    /// Closes a link after saying why.
    pub(super) fn goodbye(&mut self, now: Instant, id: LinkId, reason: &str, ended: Ended) {
        let others =
            if self.leaving { Vec::new() } else { self.book.sample(self.config.views.shuffle.passive, &mut self.rng) };
        self.goodbye_with(now, id, reason, ended, others);
    }

    fn goodbye_with(&mut self, now: Instant, id: LinkId, reason: &str, ended: Ended, others: Vec<SocketAddr>) {
        if let Some(Role::Expected { .. } | Role::Original { .. }) = self.links.get(id).map(|link| link.role) {
            return self.close(now, id, reason);
        }
        let mut text = reason.to_owned();
        text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
        self.send(now, vec![id], PeerMessage::Goodbye { reason: text, leaving: self.leaving, others });
        self.outputs.push_back(Output::Close { link: id });
        self.drop_link(now, id, reason, ended);
    }

    /// Closes a link on which no goodbye would be understood.
    pub(super) fn close(&mut self, now: Instant, id: LinkId, reason: &str) {
        self.outputs.push_back(Output::Close { link: id });
        self.drop_link(now, id, reason, Ended::Broken);
    }

    /// The same, because of what the other side did.
    pub(super) fn refuse(&mut self, now: Instant, id: LinkId, reason: &str) {
        self.misbehaved_on(id, reason);
        self.goodbye_with(now, id, reason, Ended::Broken, Vec::new());
    }

    /// A dial led to nobody who takes this node in. That somebody has no room, or another link, is nothing to tell of.
    pub(super) fn not_taken(&mut self, addr: Option<SocketAddr>, reason: &str) {
        let Some(addr) = addr.filter(|_| ![FULL, ANOTHER_LINK].contains(&reason) && !self.leaving) else { return };
        let name = self.names.that_led_to(&addr);
        if name.is_none() && !self.book.is_named(&addr) && self.links.active() > 0 {
            return;
        }
        let place = name.map_or_else(|| addr.to_string(), |name| format!("{} ({addr})", name.0));
        self.event(NodeEvent::Unreached { place, reason: reason.to_owned() });
    }

    /// Nobody is reached for long: people may have to help.
    pub(super) fn tell_that_i_am_alone(&mut self, now: Instant) {
        let Some((since, told_at)) = self.alone.filter(|_| !self.leaving) else { return };
        if now < told_at {
            return;
        }
        self.alone = Some((since, now + ALONE_AFTER));
        if !self.book.is_empty() || !self.names.is_empty() {
            self.event(NodeEvent::Alone { time: now - since });
        }
    }

    /// The same where the driver has closed it already.
    pub(super) fn unreadable(&mut self, now: Instant, id: LinkId, reason: &str) {
        self.misbehaved_on(id, reason);
        self.drop_link(now, id, reason, Ended::Broken);
    }

    fn misbehaved_on(&mut self, id: LinkId, reason: &str) {
        if let Some(remote) = self.links.get(id).map(|link| link.remote) {
            self.misbehaved(remote, reason);
        }
    }

    pub(super) fn misbehaved(&mut self, remote: SocketAddr, reason: &str) {
        self.offences += 1;
        self.event(NodeEvent::Misbehaved { remote, reason: reason.to_owned(), offences: self.offences });
    }
}
