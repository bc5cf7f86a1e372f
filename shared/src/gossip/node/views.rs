//! `HyParView` (Leitão, Pereira, Rodrigues, DSN 2007): who is in the active view, and how others are found.
//!
//! Departing from the paper: a newcomer is also told some neighbours of its contact, which it asks when its walks have
//! found too few (in small overlays they end where they began); a reply to a shuffle goes back the way the shuffle came
//! instead of over a link of its own; and those that were lost are looked up from time to time, so that partitions heal.

use std::net::SocketAddr;

use crate::gossip::book::Standing;
use crate::gossip::config::Shuffle;
use crate::gossip::io::{HostName, LinkId, NodeEvent, Output};
use crate::gossip::links::Role;
use crate::gossip::node::Node;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{PeerMessage, Wish};

/// Walks whose way back is remembered. A guess: a second's worth under heavy churn.
const MAX_WALKS: usize = 64;

impl Node {
    /// Takes addresses into the passive view.
    pub(super) fn learn(&mut self, now: Instant, addrs: Vec<SocketAddr>) {
        for addr in addrs {
            if !self.originals.knows(&addr) && self.book.learn(addr, now, &mut self.rng) {
                self.event(NodeEvent::Learned { addr });
                if self.links.active() < self.config.views.active {
                    self.seek_at = self.seek_at.min(now + self.config.views.seek.delay(self.sought, &mut self.rng));
                }
            }
        }
    }

    /// What was known before a restart is worth a try, no more: it's no news to anybody.
    pub(super) fn recall(&mut self, now: Instant, addrs: &[SocketAddr]) {
        for addr in addrs {
            self.book.learn(*addr, now, &mut self.rng);
        }
        self.seek_at = now;
    }

    /// A person named an address.
    pub(super) fn named(&mut self, now: Instant, addr: SocketAddr) {
        if self.originals.knows(&addr) {
            self.originals.learn(addr, true, now);
            return;
        }
        self.book.name(addr, now, &mut self.rng);
        self.seek_at = now;
    }

    /// A person named a host, under whose name others may be found each time.
    pub(super) fn host_named(&mut self, now: Instant, name: HostName) {
        self.names.add(name);
        self.seek_at = now;
    }

    /// Dials until enough neighbours are there or on the way (section 4.3).
    pub(super) fn seek(&mut self, now: Instant) {
        let views = self.config.views.clone();
        let alone = self.links.active() == 0;
        // Alone, it joins anew, through one contact at a time; else it asks several.
        let (wish, wanted) = if alone { (Wish::Join, 1) } else { (Wish::Neighbour, views.active) };
        let mut under_way = self.under_way();
        while under_way < wanted && !self.leaving {
            if let Some(addr) = self.book.pick(Standing::Passive, now, &mut self.rng) {
                self.dial(addr, wish);
            } else if let Some(name) = self.names.pick(now, |addr| self.is_talked_to(addr)) {
                self.dial_name(now, name, wish);
            } else if let Some(addr) = self.book.pick(Standing::Beyond, now, &mut self.rng) {
                self.dial(addr, wish);
            } else {
                break;
            }
            under_way += 1;
        }
        let due = [Standing::Passive, Standing::Beyond].into_iter().filter_map(|standing| self.book.next_due(standing));
        let due = due.chain(self.names.next_due(|addr| self.is_talked_to(addr)));
        let pause = views.seek.delay(self.sought, &mut self.rng);
        self.seek_at = match due.min() {
            Some(due) if self.links.active() < views.active => due.max(now + pause),
            _ => now + views.seek.longest,
        };
    }

    /// Neighbours that are there, and those that may soon be.
    fn under_way(&self) -> usize {
        self.links.active() + self.sought_now()
    }

    /// How many are dialled, or have been and have still to answer, to become neighbours.
    fn sought_now(&self) -> usize {
        self.awaited().max(self.book.seeking()) + self.names.seeking()
    }

    /// How many that were dialled to become neighbours have still to answer.
    fn awaited(&self) -> usize {
        let asked = self.links.iter().filter(|(_, link)| matches!(link.role, Role::Stranger | Role::Asked { .. }));
        asked.filter(|(_, link)| link.wish().is_some_and(|wish| wish != Wish::Probe)).count()
    }

    /// An attempt to find a neighbour failed.
    pub(super) fn seek_later(&mut self, now: Instant) {
        self.sought = self.sought.saturating_add(1);
        self.seek_at = now + self.config.views.seek.delay(self.sought, &mut self.rng) / 4;
    }

    pub(super) fn dial_failed(&mut self, now: Instant, addr: SocketAddr, reason: &str) {
        self.not_taken(Some(addr), reason);
        if self.originals.is_dialling(&addr) {
            return self.originals.lost(addr, None, now, self.config.views.redial_lost, &mut self.rng);
        }
        let probe = self.book.wish(&addr) == Some(Wish::Probe);
        self.book.lost(addr, now, &mut self.rng);
        self.hasten_probe(now);
        if !probe {
            // The next one may be better: nothing was taken from anybody.
            self.seek_at = now;
        }
    }

    // --- names ------------------------------------------------------------------------------------------------

    fn dial_name(&mut self, now: Instant, name: HostName, wish: Wish) {
        self.names.dialling(&name, wish, now, (self.config.views.redial_name, &mut self.rng));
        self.outputs.push_back(Output::DialName { name });
    }

    /// Where a name leads to is dialled like any other address, unless it is in use already.
    pub(super) fn name_reached(&mut self, now: Instant, name: &HostName, link: LinkId, addr: SocketAddr) {
        let wish = self.names.reached(name, addr).unwrap_or(Wish::Neighbour);
        if self.is_talked_to(&addr) || !self.book.is_dialable(&addr) {
            self.outputs.push_back(Output::Close { link });
            return;
        }
        self.book.learn(addr, now, &mut self.rng);
        self.book.dialling(addr, wish);
        self.link_up(now, link, addr, Some(addr));
    }

    pub(super) fn name_failed(&mut self, now: Instant, name: &HostName, reason: String) {
        self.event(NodeEvent::Unreached { place: name.0.to_string(), reason });
        self.names.failed(name);
        self.seek_at = self.seek_at.min(now + self.config.views.seek.delay(self.sought, &mut self.rng));
    }

    /// Whether there is a link with an address, or will be.
    fn is_talked_to(&self, addr: &SocketAddr) -> bool {
        self.book.is_in_use(addr) || self.originals.knows(addr)
    }

    // --- newcomers (section 4.2) --------------------------------------------------------------------------------

    pub(super) fn announce_newcomer(&mut self, now: Instant, newcomer: LinkId, addr: SocketAddr) {
        let others = self.neighbours_but(newcomer);
        self.send(now, others, PeerMessage::ForwardJoin { addr, ttl: self.config.views.join_walk });
    }

    pub(super) fn forward_join(&mut self, now: Instant, from: LinkId, addr: SocketAddr, ttl: u8) {
        let views = &self.config.views;
        let mine = addr == self.me.listen || self.links.neighbours().any(|neighbour| neighbour.addr == addr);
        let next = self.rng.pick(self.neighbours_but(from)).filter(|_| ttl > 0);
        // Some of those that are dialled are full: as many again may be on the way.
        let room = self.under_way() < 2 * views.active_max;
        if ttl == views.passive_walk {
            self.learn(now, vec![addr]);
        }
        if let Some(next) = next {
            self.send(
                now,
                vec![next],
                PeerMessage::ForwardJoin { addr, ttl: ttl.min(self.config.views.join_walk) - 1 },
            );
        } else if !mine {
            self.learn(now, vec![addr]);
            if room && self.book.is_idle(&addr) {
                self.dial(addr, Wish::Neighbour);
            }
        }
    }

    // --- shuffles (section 4.4) ---------------------------------------------------------------------------------

    pub(super) fn shuffle(&mut self, now: Instant) {
        let Shuffle { walk: ttl, active, passive, every, soon } = self.config.views.shuffle;
        let doublings = if self.shuffles < soon { self.shuffles } else { u32::MAX };
        self.shuffle_at = now + every.delay(doublings, &mut self.rng);
        let neighbours: Vec<LinkId> = self.links.neighbours().map(|neighbour| neighbour.link).collect();
        let Some(next) = self.rng.pick(neighbours) else { return };
        self.shuffles = self.shuffles.saturating_add(1);
        let walk = self.rng.below(1 << 32);
        let neighbours = self.links.neighbours().map(|neighbour| neighbour.addr).collect();
        let mut addrs = self.rng.sample(neighbours, active);
        addrs.extend(self.book.sample(passive, &mut self.rng));
        addrs.push(self.me.listen);
        self.remember_walk(walk, None);
        self.send(now, vec![next], PeerMessage::Shuffle { walk, ttl, addrs });
    }

    pub(super) fn shuffled(&mut self, now: Instant, from: LinkId, walk: u64, ttl: u8, addrs: Vec<SocketAddr>) {
        let ttl = ttl.min(self.config.views.shuffle.walk);
        let next = self.rng.pick(self.neighbours_but(from)).filter(|_| ttl > 1);
        if let Some(next) = next {
            self.remember_walk(walk, Some(from));
            return self.send(now, vec![next], PeerMessage::Shuffle { walk, ttl: ttl - 1, addrs });
        }
        let mut reply = self.book.sample(addrs.len().saturating_sub(1), &mut self.rng);
        reply.push(self.me.listen);
        self.send(now, vec![from], PeerMessage::ShuffleReply { walk, addrs: reply });
        self.learn(now, addrs);
    }

    pub(super) fn shuffle_replied(&mut self, now: Instant, walk: u64, addrs: Vec<SocketAddr>) {
        let Some(place) = self.walks.iter().position(|(known, _)| *known == walk) else { return };
        match self.walks.remove(place) {
            Some((_, Some(back))) => self.send(now, vec![back], PeerMessage::ShuffleReply { walk, addrs }),
            _ => self.learn(now, addrs),
        }
    }

    fn remember_walk(&mut self, walk: u64, from: Option<LinkId>) {
        if self.walks.len() >= MAX_WALKS {
            self.walks.pop_front();
        }
        self.walks.push_back((walk, from));
    }

    // --- partitions ---------------------------------------------------------------------------------------------

    /// Looks up somebody beyond the passive view, or else of it.
    pub(super) fn probe(&mut self, now: Instant) {
        let pause = self.book.probe_pause(now);
        self.probe_at = now + self.rng.duration(pause / 2, pause);
        if self.leaving {
            return;
        }
        if self.links.active() == 0 {
            // Alone: somebody must be back some time.
            let idle = self.sought_now() == 0;
            if let Some(addr) = self.anybody(now).filter(|_| idle) {
                self.dial(addr, Wish::Join);
            }
            return;
        }
        if let Some(addr) = self.book.pick(Standing::Beyond, now, &mut self.rng) {
            self.dial(addr, Wish::Probe);
        } else if let Some(name) = self.names.pick(now, |addr| self.is_talked_to(addr)) {
            self.dial_name(now, name, Wish::Probe);
        } else if let Some(addr) = self.book.pick(Standing::Passive, now, &mut self.rng) {
            self.dial(addr, Wish::Probe);
        }
    }

    /// Somebody who may be back, or who told of itself once.
    fn anybody(&mut self, now: Instant) -> Option<SocketAddr> {
        let beyond = self.book.pick_beyond(&mut self.rng);
        if beyond.is_some() && self.rng.chance(1, 2) {
            return beyond;
        }
        let records = self.census.records().iter().map(|known| &known.record);
        let counted = records.filter(|record| !record.left).map(|record| record.addr);
        let counted = self.rng.pick(counted.collect::<Vec<_>>());
        if let Some(addr) = counted {
            self.book.learn(addr, now, &mut self.rng);
        }
        counted.filter(|addr| self.book.is_idle(addr)).or(beyond)
    }

    /// Somebody was lost: soon it's time to look whether it's back.
    pub(super) fn hasten_probe(&mut self, now: Instant) {
        let pause = self.book.probe_pause(now);
        self.probe_at = self.probe_at.min(now + self.rng.duration(pause / 2, pause));
    }

    /// Whether a peer can be reached over neighbours, as far as is known here.
    pub(super) fn is_of_my_overlay(&self, peer: PeerId) -> bool {
        self.census.overlay_of(self.me.peer).contains(&peer)
    }

    pub(super) fn neighbours_but(&self, link: LinkId) -> Vec<LinkId> {
        self.links.neighbours().map(|neighbour| neighbour.link).filter(|id| *id != link).collect()
    }
}
