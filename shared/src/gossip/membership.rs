//! `HyParView` (Leitão, Pereira, Rodrigues, DSN 2007): who is in the active view, how others are found, and who makes room.
//!
//! Departing from the paper: a newcomer is also told some neighbours of its contact, which it asks when its walks have
//! found too few (in small overlays they end where they began); a reply to a shuffle goes back the way the shuffle came
//! instead of over a link of its own; and those that were lost are looked up from time to time, so that partitions heal.
//! A neighbour's purpose has no high priority: who has lost all joins anew. Active views have slack, so that a newcomer pushes
//! hardly anybody out; where its walk ends it is dialled, and may have no room by then.
//!
//! The passive view is the [`address_book`]; the active view are those of [`super::links`] that are neighbours, and who is
//! taken into it, or dropped from it, is decided in [`active_view`].

use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::census::Census;
use crate::gossip::config::{Shuffle, Views};
use crate::gossip::deadlines::Deadline;
use crate::gossip::io::{LinkId, NodeEvent};
use crate::gossip::links::{Link, Role};
use crate::gossip::membership::active_view::Overlay;
use crate::gossip::membership::contacts::{Contacts, Ended};
use crate::gossip::membership::walks::{Walks, Way};
use crate::gossip::originals::Originals;
use crate::gossip::reason::Reason;
use crate::gossip::runtime::Runtime;
use crate::gossip::tree::Tree;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{PeerMessage, Purpose};

pub mod active_view;
pub mod address_book;
pub mod contacts;
pub mod names;
pub mod walks;

/// How long a node may be without a neighbour before it says so. A guess: joins take a second, restarts a few.
const ALONE_AFTER: Duration = Duration::from_secs(10);

/// A node's place in the overlay.
#[derive(Debug)]
pub struct Membership {
    config: Views,
    /// Whom it knows, and whom it dials.
    pub contacts: Contacts,
    walks: Walks,
    /// Since when there has been no neighbour.
    alone_since: Option<Instant>,
}

impl Membership {
    /// A node that knows nobody yet.
    pub fn new(config: Views, rt: &mut Runtime) -> Self {
        let contacts = Contacts::new(config.clone(), rt);
        let pause = config.shuffle.every.delay(0, &mut rt.rng);
        rt.deadlines.set(Deadline::Shuffle, rt.now + pause);
        rt.deadlines.set(Deadline::Alone, rt.now + ALONE_AFTER);
        Self { config, contacts, walks: Walks::default(), alone_since: Some(rt.now) }
    }

    // --- the active view ------------------------------------------------------------------------------------------

    /// A peer is a neighbour from now on.
    pub fn linked(&mut self, link: LinkId, rt: &mut Runtime) {
        let Some((role, dialled)) = rt.links.get(link).map(|link| (link.role, link.dialled_addr())) else { return };
        let Role::Neighbour { peer, addr } = role else { return };
        self.alone_since = None;
        rt.deadlines.stop(Deadline::Alone);
        self.contacts.linked(addr, dialled, rt);
        rt.event(NodeEvent::NeighbourUp { peer, addr });
    }

    /// A link with a peer or a stranger is closed.
    pub fn closed(&mut self, link: &Link, reason: Reason, ended: Ended, rt: &mut Runtime) {
        let announced = link.role.peer().map(|(_, addr)| addr);
        let dialled = link.dialled_addr().filter(|dialled| Some(*dialled) != announced);
        if link.dialled.is_some() && !matches!(link.role, Role::Neighbour { .. }) {
            self.contacts.not_taken(dialled.or(announced), &reason, rt);
        }
        for addr in [announced, dialled].into_iter().flatten().chain(link.aliases.iter().copied()) {
            self.contacts.unlinked(addr, ended, rt);
        }
        if let Role::Neighbour { peer, addr } = link.role {
            rt.event(NodeEvent::NeighbourDown { peer, addr, reason });
            self.unlinked(rt);
        }
    }

    /// A neighbour is gone: another is sought at once, and views are exchanged sooner.
    fn unlinked(&mut self, rt: &mut Runtime) {
        if rt.links.active() == 0 {
            self.alone_since = Some(rt.now);
            rt.deadlines.set(Deadline::Alone, rt.now + ALONE_AFTER);
        }
        self.contacts.seek_anew(rt);
        self.walks.hasten();
    }

    /// Nobody is reached for long: people may have to help.
    pub fn tell_that_i_am_alone(&self, rt: &mut Runtime) {
        let Some(since) = self.alone_since.filter(|_| !rt.leaving) else { return };
        rt.deadlines.set(Deadline::Alone, rt.now + ALONE_AFTER);
        if !self.contacts.is_empty() {
            rt.event(NodeEvent::Alone { time: rt.now - since });
        }
    }

    // --- newcomers (section 4.2) ----------------------------------------------------------------------------------

    /// Whether somebody is taken into the active view that dialled with a purpose.
    pub fn takes(&self, purpose: Purpose, peer: PeerId, census: &Census, rt: &Runtime) -> bool {
        active_view::takes(purpose, rt.links.active(), &self.config, || match census.is_on() {
            false => Overlay::Unknown,
            true if census.overlay_of(rt.me.peer).contains(&peer) => Overlay::Mine,
            true => Overlay::Another,
        })
    }

    /// Which neighbour goes for a newcomer with a purpose, if there are too many.
    pub fn whom_to_drop(&self, newcomer: (LinkId, Purpose), tree: &Tree, rt: &mut Runtime) -> Option<LinkId> {
        active_view::whom_to_drop(newcomer, &rt.links, &self.config, |link| tree.uses(link), &mut rt.rng)
    }

    /// Others that a new neighbour could turn to.
    pub fn others_for_neighbour(&self, rt: &mut Runtime) -> Vec<SocketAddr> {
        let Shuffle { active, passive, .. } = self.config.shuffle;
        let mut others: Vec<SocketAddr> = rt.links.neighbours().map(|neighbour| neighbour.addr).collect();
        others.extend(self.contacts.book().sample(passive, &mut rt.rng));
        rt.rng.sample(others, active + passive)
    }

    /// Others that somebody could turn to with whom a link ends.
    pub fn others_for_stranger(&self, rt: &mut Runtime) -> Vec<SocketAddr> {
        if rt.leaving { Vec::new() } else { self.contacts.book().sample(self.config.shuffle.passive, &mut rt.rng) }
    }

    /// Sends a newcomer's address on walks.
    pub fn announce_newcomer(&self, newcomer: LinkId, addr: SocketAddr, rt: &mut Runtime) {
        let others = rt.links.neighbours_but(newcomer);
        rt.send(others, PeerMessage::ForwardJoin { addr, ttl: self.config.join_walk });
    }

    /// A newcomer's walk has come here: it goes on, or this node dials the newcomer.
    pub fn forward_join(
        &mut self,
        from: LinkId,
        (addr, ttl): (SocketAddr, u8),
        originals: &Originals,
        rt: &mut Runtime,
    ) {
        let mine = addr == rt.me.listen || rt.links.neighbours().any(|neighbour| neighbour.addr == addr);
        let next = rt.rng.pick(rt.links.neighbours_but(from)).filter(|_| ttl > 0);
        // Some of those that are dialled are full: as many again may be on the way.
        let room = self.contacts.under_way(rt) < 2 * self.config.active_max;
        if ttl == self.config.passive_walk {
            self.contacts.learn(vec![addr], originals, rt);
        }
        if let Some(next) = next {
            let ttl = ttl.min(self.config.join_walk) - 1;
            rt.send(vec![next], PeerMessage::ForwardJoin { addr, ttl });
        } else if !mine {
            self.contacts.learn(vec![addr], originals, rt);
            if room && self.contacts.book().is_idle(&addr) {
                self.contacts.dial(addr, Purpose::Neighbour, originals, rt);
            }
        }
    }

    // --- shuffles (section 4.4) -----------------------------------------------------------------------------------

    /// Begins an exchange of passive views with whoever its walk ends at.
    pub fn shuffle(&mut self, rt: &mut Runtime) {
        let Shuffle { walk: ttl, active, passive, every, soon } = self.config.shuffle;
        let pause = every.delay(self.walks.doublings(soon), &mut rt.rng);
        rt.deadlines.set(Deadline::Shuffle, rt.now + pause);
        let neighbours: Vec<LinkId> = rt.links.neighbours().map(|neighbour| neighbour.link).collect();
        let Some(next) = rt.rng.pick(neighbours) else { return };
        let walk = self.walks.begin(&mut rt.rng);
        let neighbours = rt.links.neighbours().map(|neighbour| neighbour.addr).collect();
        let mut addrs = rt.rng.sample(neighbours, active);
        addrs.extend(self.contacts.book().sample(passive, &mut rt.rng));
        addrs.push(rt.me.listen);
        rt.send(vec![next], PeerMessage::Shuffle { walk, ttl, addrs });
    }

    /// A shuffle's walk has come here: it goes on, or is answered.
    pub fn shuffled(
        &mut self,
        from: LinkId,
        (walk, ttl): (u64, u8),
        addrs: Vec<SocketAddr>,
        originals: &Originals,
        rt: &mut Runtime,
    ) {
        let ttl = ttl.min(self.config.shuffle.walk);
        let next = rt.rng.pick(rt.links.neighbours_but(from)).filter(|_| ttl > 1);
        if let Some(next) = next {
            self.walks.remember(walk, Way::To(from));
            return rt.send(vec![next], PeerMessage::Shuffle { walk, ttl: ttl - 1, addrs });
        }
        let mut reply = self.contacts.book().sample(addrs.len().saturating_sub(1), &mut rt.rng);
        reply.push(rt.me.listen);
        rt.send(vec![from], PeerMessage::ShuffleReply { walk, addrs: reply });
        self.contacts.learn(addrs, originals, rt);
    }

    /// An answer to a shuffle has come here, on its way back.
    pub fn shuffle_replied(&mut self, walk: u64, addrs: Vec<SocketAddr>, originals: &Originals, rt: &mut Runtime) {
        match self.walks.back(walk) {
            Some(Way::To(back)) => rt.send(vec![back], PeerMessage::ShuffleReply { walk, addrs }),
            Some(Way::Here) => self.contacts.learn(addrs, originals, rt),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::gossip::io::Output;

    fn addr(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    fn originals() -> Originals {
        Originals::new(Views::default().redial_lost)
    }

    /// A node that knows these addresses.
    fn membership(hosts: &[u8], rt: &mut Runtime) -> Membership {
        let mut membership = Membership::new(Views::default(), rt);
        membership.contacts.learn(hosts.iter().copied().map(addr).collect(), &originals(), rt);
        rt.outputs();
        membership
    }

    fn dialled(rt: &mut Runtime) -> Vec<SocketAddr> {
        let dial = |output| match output {
            Output::Dial { addr } => Some(addr),
            _ => None,
        };
        rt.outputs().into_iter().filter_map(dial).collect()
    }

    #[test]
    fn a_newcomers_walk_goes_on_and_ends_with_a_dial() {
        let mut rt = Runtime::with_neighbours(2);
        let mut membership = membership(&[], &mut rt);
        membership.forward_join(LinkId(1), (addr(50), 4), &originals(), &mut rt);
        assert_eq!(rt.sent(), [(LinkId(2), PeerMessage::ForwardJoin { addr: addr(50), ttl: 3 })]);
        membership.forward_join(LinkId(1), (addr(50), 0), &originals(), &mut rt);
        assert_eq!(dialled(&mut rt), [addr(50)]);
        membership.forward_join(LinkId(1), (addr(2), 0), &originals(), &mut rt);
        assert_eq!(dialled(&mut rt), [], "it is a neighbour");
    }

    #[test]
    fn a_shuffle_is_answered_where_its_walk_ends_and_the_answer_goes_back() {
        let mut rt = Runtime::with_neighbours(2);
        let mut membership = membership(&[60], &mut rt);
        membership.shuffled(LinkId(1), (7, 3), vec![addr(70)], &originals(), &mut rt);
        assert!(matches!(rt.sent().as_slice(), [(LinkId(2), PeerMessage::Shuffle { walk: 7, ttl: 2, .. })]));
        assert!(!membership.contacts.book().knows(&addr(70)), "it only passed");
        membership.shuffle_replied(7, vec![addr(80)], &originals(), &mut rt);
        assert!(matches!(rt.sent().as_slice(), [(LinkId(1), PeerMessage::ShuffleReply { walk: 7, .. })]));
        membership.shuffled(LinkId(1), (8, 1), vec![addr(70)], &originals(), &mut rt);
        let reply = PeerMessage::ShuffleReply { walk: 8, addrs: vec![rt.me.listen] };
        assert_eq!(rt.sent(), [(LinkId(1), reply)]);
        assert!(membership.contacts.book().knows(&addr(70)));
    }

    #[test]
    fn a_shuffle_of_this_node_tells_of_it_and_brings_others() {
        let mut rt = Runtime::with_neighbours(1);
        let mut membership = membership(&[60], &mut rt);
        membership.shuffle(&mut rt);
        let sent = rt.sent();
        let [(LinkId(1), PeerMessage::Shuffle { walk, addrs, .. })] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(*addrs, [addr(1), addr(60), rt.me.listen]);
        membership.shuffle_replied(*walk, vec![addr(70)], &originals(), &mut rt);
        assert!(membership.contacts.book().knows(&addr(70)));
    }

    #[test]
    fn who_has_no_neighbour_for_long_says_so_if_it_knows_anybody() {
        let mut rt = Runtime::with_neighbours(0);
        for (hosts, told) in [(&[60][..], true), (&[], false)] {
            let membership = membership(hosts, &mut rt);
            rt.pass(ALONE_AFTER);
            assert!(rt.deadlines.is_due(Deadline::Alone, rt.now));
            membership.tell_that_i_am_alone(&mut rt);
            let event = Output::Event(NodeEvent::Alone { time: ALONE_AFTER });
            assert_eq!(rt.outputs().contains(&event), told);
        }
    }

    #[test]
    fn the_address_of_a_lost_neighbour_is_kept_and_another_is_sought_at_once() {
        let mut rt = Runtime::with_neighbours(1);
        let mut membership = membership(&[], &mut rt);
        membership.linked(LinkId(1), &mut rt);
        let link = rt.links.close(LinkId(1)).unwrap();
        rt.pass(Duration::from_secs(1));
        membership.closed(&link, Reason::Silent, Ended::Broken, &mut rt);
        assert!(membership.contacts.book().is_idle(&addr(1)));
        assert!(rt.deadlines.is_due(Deadline::Seek, rt.now));
        membership.closed(&link, Reason::Leaving, Ended::Left, &mut rt);
        assert!(!membership.contacts.book().knows(&addr(1)));
    }
}
