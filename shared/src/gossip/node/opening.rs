//! The beginning of a link: what each part has to do with it until its ends are neighbours.

use std::net::SocketAddr;

use crate::gossip::anti_entropy;
use crate::gossip::deadlines::Deadline;
use crate::gossip::handshake::twins::Myself;
use crate::gossip::handshake::{Choice, Guest, Stranger, Turn, best_link, turn, twin_of};
use crate::gossip::io::{HostName, LinkId, NodeEvent, Output};
use crate::gossip::links::{Dialled, Link, Role};
use crate::gossip::liveness;
use crate::gossip::membership::contacts::Ended;
use crate::gossip::node::Node;
use crate::gossip::node::closing::TWIN_GONE_AFTER;
use crate::gossip::reason::Reason;
use crate::ids::PeerId;
use crate::wire::peer::{Hello, PeerMessage, Purpose};

impl Node {
    // --- connections ----------------------------------------------------------------------------------------------

    /// A connection is open; `dialled`: the address that this node dialled.
    pub(super) fn link_up(&mut self, id: LinkId, remote: SocketAddr, dialled: Option<SocketAddr>) {
        if let Some(addr) = dialled.filter(|addr| self.originals.is_dialling(addr)) {
            return self.expect_original(id, addr);
        }
        let dialled = dialled.map(|addr| Dialled { addr, purpose: self.membership.contacts.purpose(&addr) });
        let crowded = self.rt.links.are_too_many(remote);
        self.rt.links.open(id, remote, dialled, self.rt.now);
        self.liveness.opened(&mut self.rt);
        if self.rt.leaving {
            return self.goodbye(id, Reason::Leaving, Ended::Left);
        }
        if crowded && dialled.is_none() {
            return self.refuse(id, Reason::TooManyLinks);
        }
        self.handshake.introduce_myself(id, &mut self.rt);
    }

    /// A connection to where an original may be: an original speaks first.
    fn expect_original(&mut self, id: LinkId, addr: SocketAddr) {
        self.rt.links.open(id, addr, None, self.rt.now);
        self.rt.links.identify(id, Role::Expected { addr });
        self.liveness.opened(&mut self.rt);
        if self.rt.leaving {
            self.close(id, Reason::Leaving);
        }
    }

    /// A connection with an original, or its bridge, that has dialled and speaks lines. Nothing said there is read.
    pub(super) fn original_up(&mut self, id: LinkId, remote: SocketAddr) {
        let crowded = self.rt.links.are_too_many(remote);
        self.rt.links.open(id, remote, None, self.rt.now);
        self.rt.links.identify(id, Role::Original { dialled: None });
        self.liveness.opened_by_original(&mut self.rt);
        if self.rt.leaving {
            self.close(id, Reason::Leaving);
        } else if crowded {
            self.refuse(id, Reason::TooManyLinks);
        }
    }

    /// Nobody answers at an address.
    pub(super) fn dial_failed(&mut self, addr: SocketAddr, reason: String) {
        self.membership.contacts.not_taken(Some(addr), &Reason::Lost(reason), &mut self.rt);
        if self.originals.is_dialling(&addr) {
            return self.originals.lost(addr, None, self.rt.now, &mut self.rt.rng);
        }
        self.membership.contacts.dial_failed(addr, &mut self.rt);
    }

    /// Where a name leads to is dialled like any other address, unless it is in use already.
    pub(super) fn name_reached(&mut self, name: &HostName, link: LinkId, addr: SocketAddr) {
        if self.membership.contacts.name_reached(name, addr, &self.originals, &mut self.rt) {
            self.link_up(link, addr, Some(addr));
        } else {
            self.rt.push(Output::Close { link });
        }
    }

    // --- hello ----------------------------------------------------------------------------------------------------

    /// Somebody says hello.
    pub(super) fn greeted(&mut self, id: LinkId, hello: &Hello) {
        match self.handshake.greeted(id, hello, &mut self.rt) {
            None => {}
            Some(Stranger::Unfit(reason)) => self.refuse(id, reason),
            Some(Stranger::Client) => self.rt.links.identify(id, Role::Client),
            Some(Stranger::Myself { who, addr }) => self.met_myself(id, who, addr),
            Some(Stranger::Peer(guest)) => self.met(id, guest),
        }
    }

    /// Somebody has this node's own id.
    fn met_myself(&mut self, id: LinkId, who: Myself, addr: SocketAddr) {
        let dialled = self.rt.links.get(id).and_then(Link::dialled_addr);
        let addr = dialled.unwrap_or(addr);
        match who {
            Myself::Itself => {
                self.goodbye(id, Reason::Myself, Ended::Peacefully);
                if let Some(dialled) = dialled {
                    self.membership.contacts.is_own(dialled);
                }
            }
            Myself::Older => {
                self.rt.event(NodeEvent::Twin { addr, stays_out: true });
                self.goodbye(id, Reason::IsYounger, Ended::Peacefully);
                self.stay_out(addr);
            }
            Myself::Younger => {
                self.rt.event(NodeEvent::Twin { addr, stays_out: false });
                self.rt.deadlines.set(Deadline::Twin, self.rt.now + TWIN_GONE_AFTER);
                self.goodbye(id, Reason::Younger, Ended::Left);
            }
        }
    }

    /// A peer has said hello.
    fn met(&mut self, id: LinkId, guest: Guest) {
        let Guest { peer, addr, purpose, .. } = guest;
        if self.originals.forget(&addr) {
            self.membership.contacts.pin(addr, &mut self.rt);
        }
        if let Some((rival, at)) = twin_of(guest, self.liveness.longest_silence(), &mut self.rt) {
            liveness::probe(rival, &mut self.rt);
            return self.goodbye_with(id, Reason::Twin(at), Ended::Peacefully, vec![at]);
        }
        if !self.is_best_link(id, peer, addr) {
            return;
        }
        let dialled = self.rt.links.get(id).and_then(|link| link.dialled);
        match turn(dialled, purpose) {
            Turn::Theirs => self.rt.links.identify(id, Role::Asked { peer, addr }),
            Turn::Mine => self.asked(id, peer, addr, purpose),
            Turn::Nobodys => self.refuse(id, Reason::UnexpectedPurpose),
        }
    }

    /// Closes one of two links with the same peer. Returns whether the new one is kept.
    fn is_best_link(&mut self, id: LinkId, peer: PeerId, addr: SocketAddr) -> bool {
        match best_link(id, peer, self.rt.me.peer, &self.rt.links) {
            Choice::Only => true,
            Choice::NewFor(rival) => {
                self.goodbye(rival, Reason::AnotherLink, Ended::Peacefully);
                true
            }
            Choice::Old(rival) => {
                let dialled = self.rt.links.get(id).and_then(Link::dialled_addr);
                self.goodbye(id, Reason::AnotherLink, Ended::Peacefully);
                self.membership.contacts.is_also_at(rival, [Some(addr), dialled], &mut self.rt);
                false
            }
        }
    }

    // --- neighbours -----------------------------------------------------------------------------------------------

    /// A peer wants this node as a neighbour.
    fn asked(&mut self, id: LinkId, peer: PeerId, addr: SocketAddr, purpose: Purpose) {
        if !self.membership.takes(purpose, peer, &self.census, &self.rt) {
            self.rt.links.identify(id, Role::Asked { peer, addr });
            self.membership.contacts.learn(vec![addr], &self.originals, &mut self.rt);
            return self.goodbye(id, Reason::Full, Ended::Peacefully);
        }
        let others = self.membership.others_for_neighbour(&mut self.rt);
        self.rt.send(vec![id], PeerMessage::Welcome { others });
        self.neighbour_up(id, peer, addr);
        self.make_room(id, purpose);
        if purpose == Purpose::Join {
            self.membership.announce_newcomer(id, addr, &mut self.rt);
        }
    }

    /// A peer takes this node as a neighbour.
    pub(super) fn welcomed(&mut self, id: LinkId, (peer, addr): (PeerId, SocketAddr), others: Vec<SocketAddr>) {
        let purpose = self.rt.links.get(id).and_then(Link::purpose);
        self.neighbour_up(id, peer, addr);
        self.make_room(id, purpose.unwrap_or(Purpose::Neighbour));
        self.membership.contacts.learn(others, &self.originals, &mut self.rt);
        if purpose == Some(Purpose::Join) {
            self.membership.contacts.await_walks(self.rt.now, &mut self.rt);
        }
    }

    fn neighbour_up(&mut self, id: LinkId, peer: PeerId, addr: SocketAddr) {
        let rt = &mut self.rt;
        rt.links.identify(id, Role::Neighbour { peer, addr });
        self.membership.linked(id, rt);
        self.tree.linked(id);
        self.census.neighbours_changed(rt.now, &mut rt.rng);
        // Its round trip is measured at once: deadlines follow it.
        liveness::probe(id, rt);
        if rt.links.get(id).is_some_and(|link| link.dialled.is_some()) {
            self.anti_entropy.compare_with(id, self.updates.catalogue(), rt);
            anti_entropy::compare_records_with(id, &self.census, rt);
        }
    }

    fn make_room(&mut self, newcomer: LinkId, purpose: Purpose) {
        while let Some(gone) = self.membership.whom_to_drop((newcomer, purpose), &self.tree, &mut self.rt) {
            self.goodbye(gone, Reason::MakingRoom, Ended::Peacefully);
        }
    }

    /// The other side closes a link.
    pub(super) fn told_goodbye(&mut self, id: LinkId, reason: Reason, leaving: bool, others: Vec<SocketAddr>) {
        let joined = self.rt.links.get(id).filter(|link| link.purpose() == Some(Purpose::Join));
        let joined = joined.filter(|link| matches!(link.role, Role::Neighbour { .. })).map(|link| link.opened);
        self.rt.push(Output::Close { link: id });
        self.drop_link(id, reason, if leaving { Ended::Left } else { Ended::Peacefully });
        self.membership.contacts.learn(others, &self.originals, &mut self.rt);
        if let Some(joined) = joined {
            self.membership.contacts.await_walks(joined, &mut self.rt);
        }
    }
}
