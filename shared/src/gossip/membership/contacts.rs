//! Whom a node knows, whom it dials to find neighbours (`HyParView`, section 4.3), and whom it looks up so that partitions
//! heal.

use std::net::SocketAddr;

use crate::gossip::census::Census;
use crate::gossip::config::{Pause, Views};
use crate::gossip::deadlines::Deadline;
use crate::gossip::io::{HostName, LinkId, NodeEvent, Output};
use crate::gossip::links::Role;
use crate::gossip::membership::address_book::{AddressBook, Standing};
use crate::gossip::membership::names::Names;
use crate::gossip::originals::Originals;
use crate::gossip::reason::Reason;
use crate::gossip::runtime::Runtime;
use crate::time::Instant;
use crate::wire::peer::Purpose;

/// Addresses of one peer that are remembered while it is linked. A guess: two networks of both families, and some.
const MAX_ALIASES: usize = 8;

/// Whom a node knows, and how it finds neighbours among them.
#[derive(Debug)]
pub struct Contacts {
    config: Views,
    book: AddressBook,
    names: Names,
    /// Attempts to find a neighbour that failed since the last that succeeded.
    failed: u32,
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// One side had no room, or has another link with the other.
    Peacefully,
    /// The other side is gone, or misbehaved.
    Broken,
    /// The other side leaves for good.
    Left,
}

impl Contacts {
    /// Nobody yet.
    pub fn new(config: Views, rt: &mut Runtime) -> Self {
        let (now, Pause { shortest, longest }) = (rt.now, config.probe_every);
        rt.deadlines.set(Deadline::Seek, now);
        rt.deadlines.set(Deadline::Probe, now + rt.rng.duration(shortest, longest));
        let book = AddressBook::new(rt.me.listen, config.clone());
        Self { config, book, names: Names::default(), failed: 0 }
    }

    /// The addresses that this node knows.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.book.is_empty() && self.names.is_empty()
    }

    // --- addresses ------------------------------------------------------------------------------------------------

    /// Takes addresses into the passive view; those of originals are none of peers.
    pub fn learn(&mut self, addrs: Vec<SocketAddr>, originals: &Originals, rt: &mut Runtime) {
        for addr in addrs {
            if !originals.knows(&addr) && self.book.learn(addr, rt.now, &mut rt.rng) {
                rt.event(NodeEvent::Learned { addr });
                if rt.links.active() < self.config.active {
                    self.seek_soon(rt);
                }
            }
        }
    }

    /// What was known before a restart is worth a try, no more: it's no news to anybody.
    pub fn recall(&mut self, addrs: &[SocketAddr], rt: &mut Runtime) {
        for addr in addrs {
            self.book.learn(*addr, rt.now, &mut rt.rng);
        }
        rt.deadlines.set(Deadline::Seek, rt.now);
    }

    /// A person named an address.
    pub fn named(&mut self, addr: SocketAddr, rt: &mut Runtime) {
        self.pin(addr, rt);
        rt.deadlines.set(Deadline::Seek, rt.now);
    }

    /// A person named an address at which there is a link already.
    pub fn pin(&mut self, addr: SocketAddr, rt: &mut Runtime) {
        self.book.name(addr, rt.now, &mut rt.rng);
    }

    /// A person named a host, under whose name others may be found each time.
    pub fn host_named(&mut self, name: HostName, rt: &mut Runtime) {
        self.names.add(name);
        rt.deadlines.set(Deadline::Seek, rt.now);
    }

    /// No peer is at an address. Returns whether a person named it.
    pub fn forget(&mut self, addr: &SocketAddr) -> bool {
        self.book.forget(addr)
    }

    /// An address is this node's own.
    pub fn is_own(&mut self, addr: SocketAddr) {
        self.book.is_own(addr);
    }

    /// Somebody tells of a peer at an address, which is looked up unless that is under way.
    pub fn look_up(&mut self, addr: SocketAddr, originals: &Originals, rt: &mut Runtime) {
        self.book.learn(addr, rt.now, &mut rt.rng);
        if self.book.is_idle(&addr) {
            self.dial(addr, Purpose::Probe, originals, rt);
        }
    }

    // --- seeking neighbours (section 4.3) -------------------------------------------------------------------------

    /// Dials until enough neighbours are there or on the way.
    pub fn seek(&mut self, originals: &Originals, rt: &mut Runtime) {
        let now = rt.now;
        // Alone, it joins anew, through one contact at a time; else it asks several.
        let (purpose, wanted) =
            if rt.links.active() == 0 { (Purpose::Join, 1) } else { (Purpose::Neighbour, self.config.active) };
        let mut under_way = self.under_way(rt);
        while under_way < wanted && !rt.leaving {
            if let Some(addr) = self.book.pick(Standing::Passive, now, &mut rt.rng) {
                self.dial(addr, purpose, originals, rt);
            } else if let Some(name) = self.names.pick(now, |addr| self.is_talked_to(addr, originals)) {
                self.dial_name(name, purpose, rt);
            } else if let Some(addr) = self.book.pick(Standing::Reserve, now, &mut rt.rng) {
                self.dial(addr, purpose, originals, rt);
            } else {
                break;
            }
            under_way += 1;
        }
        let due =
            [Standing::Passive, Standing::Reserve].into_iter().filter_map(|standing| self.book.next_due(standing));
        let due = due.chain(self.names.next_due(|addr| self.is_talked_to(addr, originals)));
        let pause = self.config.seek.delay(self.failed, &mut rt.rng);
        let again_at = match due.min() {
            Some(due) if rt.links.active() < self.config.active => due.max(now + pause),
            _ => now + self.config.seek.longest,
        };
        rt.deadlines.set(Deadline::Seek, again_at);
    }

    /// Neighbours that are there, and those that may soon be.
    pub fn under_way(&self, rt: &Runtime) -> usize {
        rt.links.active() + self.sought_now(rt)
    }

    /// How many are dialled, or have been and have still to answer, to become neighbours.
    fn sought_now(&self, rt: &Runtime) -> usize {
        let asked = rt.links.iter().filter(|(_, link)| matches!(link.role, Role::Stranger | Role::Asked { .. }));
        let awaited = asked.filter(|(_, link)| link.purpose().is_some_and(|purpose| purpose != Purpose::Probe)).count();
        awaited.max(self.book.seeking()) + self.names.seeking()
    }

    fn seek_soon(&self, rt: &mut Runtime) {
        let pause = self.config.seek.delay(self.failed, &mut rt.rng);
        rt.deadlines.hasten(Deadline::Seek, rt.now + pause);
    }

    /// An original named peers to a node that may have no other way to find any.
    pub fn seek_alone(&self, rt: &mut Runtime) {
        if rt.links.active() == 0 {
            let pause = self.config.redial.delay(0, &mut rt.rng);
            rt.deadlines.hasten(Deadline::Seek, rt.now + pause);
        }
    }

    /// A neighbour is gone: another is sought at once.
    pub fn seek_anew(&mut self, rt: &mut Runtime) {
        self.failed = 0;
        rt.deadlines.set(Deadline::Seek, rt.now);
    }

    /// An attempt to find a neighbour failed.
    pub fn seek_later(&mut self, rt: &mut Runtime) {
        self.failed = self.failed.saturating_add(1);
        let pause = self.config.seek.delay(self.failed, &mut rt.rng) / 4;
        rt.deadlines.set(Deadline::Seek, rt.now + pause);
    }

    /// An attempt to find a neighbour led to an original.
    pub fn found_an_original(&mut self, rt: &mut Runtime) {
        self.failed = self.failed.saturating_add(1);
        rt.deadlines.set(Deadline::Seek, rt.now);
    }

    /// This node joined through a contact at that time, which started walks: they find better neighbours than the contact's
    /// own, even if the contact has needed its room for the next one since.
    pub fn await_walks(&self, joined: Instant, rt: &mut Runtime) {
        rt.deadlines.set(Deadline::Seek, rt.now.max(joined + self.config.join_patience));
    }

    // --- dials ----------------------------------------------------------------------------------------------------

    /// Dials an address; where an original is, that is its own affair.
    pub fn dial(&mut self, addr: SocketAddr, purpose: Purpose, originals: &Originals, rt: &mut Runtime) {
        if originals.knows(&addr) {
            return;
        }
        self.book.dialling(addr, purpose);
        rt.push(Output::Dial { addr });
    }

    fn dial_name(&mut self, name: HostName, purpose: Purpose, rt: &mut Runtime) {
        self.names.dialling(&name, purpose, rt.now, (self.config.redial_name, &mut rt.rng));
        rt.push(Output::DialName { name });
    }

    /// What an address was dialled for.
    pub fn purpose(&self, addr: &SocketAddr) -> Purpose {
        self.book.purpose(addr).unwrap_or(Purpose::Neighbour)
    }

    /// Nobody answers at an address.
    pub fn dial_failed(&mut self, addr: SocketAddr, rt: &mut Runtime) {
        let probe = self.book.purpose(&addr) == Some(Purpose::Probe);
        self.book.lost(addr, rt.now, &mut rt.rng);
        self.hasten_probe(rt);
        if !probe {
            // The next one may be better: nothing was taken from anybody.
            rt.deadlines.set(Deadline::Seek, rt.now);
        }
    }

    /// A name led to an address that answers. Returns whether the link is to be used, like any other with a dialled address:
    /// not where there is one already.
    pub fn name_reached(&mut self, name: &HostName, addr: SocketAddr, originals: &Originals, rt: &mut Runtime) -> bool {
        let purpose = self.names.reached(name, addr).unwrap_or(Purpose::Neighbour);
        let is_wanted = !self.is_talked_to(&addr, originals) && self.book.is_dialable(&addr);
        if is_wanted {
            self.book.learn(addr, rt.now, &mut rt.rng);
            self.book.dialling(addr, purpose);
        }
        is_wanted
    }

    /// A name led to nobody.
    pub fn name_failed(&mut self, name: &HostName, reason: String, rt: &mut Runtime) {
        rt.event(NodeEvent::Unreached { place: name.0.to_string(), reason, is_named: true });
        self.names.failed(name);
        self.seek_soon(rt);
    }

    /// Whether there is a link with an address, or will be.
    fn is_talked_to(&self, addr: &SocketAddr, originals: &Originals) -> bool {
        self.book.is_in_use(addr) || originals.knows(addr)
    }

    /// A dial led to nobody who takes this node in. That somebody has no room, or another link, is nothing to tell of.
    pub fn not_taken(&self, addr: Option<SocketAddr>, reason: &Reason, rt: &mut Runtime) {
        let Some(addr) = addr.filter(|_| !reason.is_no_fault() && !rt.leaving) else { return };
        let name = self.names.that_led_to(&addr);
        let is_named = name.is_some() || self.book.is_named(&addr);
        if !is_named && rt.links.active() > 0 {
            return;
        }
        let place = name.map_or_else(|| addr.to_string(), |name| format!("{} ({addr})", name.0));
        rt.event(NodeEvent::Unreached { place, reason: reason.to_string(), is_named });
    }

    // --- links ----------------------------------------------------------------------------------------------------

    /// Who listens at an address is a neighbour from now on. `dialled`: the address at which it was reached.
    pub fn linked(&mut self, addr: SocketAddr, dialled: Option<SocketAddr>, rt: &mut Runtime) {
        if let Some(alias) = dialled.filter(|dialled| *dialled != addr && !self.book.is_named(dialled)) {
            self.book.forget(&alias);
        }
        if self.book.learn(addr, rt.now, &mut rt.rng) {
            rt.event(NodeEvent::Learned { addr });
        }
        self.book.linked(addr, rt.now);
        self.names.settled(addr);
        self.names.settled(dialled.unwrap_or(addr));
        self.failed = 0;
    }

    /// The peer of a link was met at other addresses, too: they needn't be dialled while the link is open.
    pub fn is_also_at(&mut self, link: LinkId, addrs: [Option<SocketAddr>; 2], rt: &mut Runtime) {
        let Some(link) = rt.links.get_mut(link) else { return };
        let announced = link.role.peer().map(|(_, addr)| addr);
        for addr in addrs.into_iter().flatten() {
            if !self.book.is_dialable(&addr) {
                continue;
            }
            let is_known = [announced, link.dialled_addr()].contains(&Some(addr)) || link.aliases.contains(&addr);
            if !is_known && link.aliases.len() >= MAX_ALIASES {
                continue;
            }
            if !is_known {
                link.aliases.push(addr);
            }
            self.book.linked(addr, rt.now);
        }
    }

    /// The link with who was at an address has ended.
    pub fn unlinked(&mut self, addr: SocketAddr, ended: Ended, rt: &mut Runtime) {
        match ended {
            Ended::Peacefully => self.book.released(addr, rt.now, &mut rt.rng),
            Ended::Broken => self.book.lost(addr, rt.now, &mut rt.rng),
            Ended::Left => self.book.left(addr, rt.now, &mut rt.rng),
        }
    }

    // --- partitions -----------------------------------------------------------------------------------------------

    /// Looks up somebody beyond the passive view, or else of it.
    pub fn probe(&mut self, census: &Census, originals: &Originals, rt: &mut Runtime) {
        let (now, pause) = (rt.now, self.book.probe_pause(rt.now));
        rt.deadlines.set(Deadline::Probe, now + rt.rng.duration(pause / 2, pause));
        if rt.leaving {
            return;
        }
        if rt.links.active() == 0 {
            // Alone: somebody must be back some time.
            let idle = self.sought_now(rt) == 0;
            if let Some(addr) = self.anybody(census, rt).filter(|_| idle) {
                self.dial(addr, Purpose::Join, originals, rt);
            }
            return;
        }
        if let Some(addr) = self.book.pick(Standing::Reserve, now, &mut rt.rng) {
            self.dial(addr, Purpose::Probe, originals, rt);
        } else if let Some(name) = self.names.pick(now, |addr| self.is_talked_to(addr, originals)) {
            self.dial_name(name, Purpose::Probe, rt);
        } else if let Some(addr) = self.book.pick(Standing::Passive, now, &mut rt.rng) {
            self.dial(addr, Purpose::Probe, originals, rt);
        }
    }

    /// Somebody who may be back, or who told of itself once.
    fn anybody(&mut self, census: &Census, rt: &mut Runtime) -> Option<SocketAddr> {
        let beyond = self.book.pick_reserve(&mut rt.rng);
        if beyond.is_some() && rt.rng.chance(1, 2) {
            return beyond;
        }
        let records = census.records().iter().map(|known| &known.record);
        let counted = records.filter(|record| !record.left).map(|record| record.addr);
        let counted = rt.rng.pick(counted.collect::<Vec<_>>());
        if let Some(addr) = counted {
            self.book.learn(addr, rt.now, &mut rt.rng);
        }
        counted.filter(|addr| self.book.is_idle(addr)).or(beyond)
    }

    /// Somebody was lost: soon it's time to look whether it's back.
    pub fn hasten_probe(&self, rt: &mut Runtime) {
        let pause = self.book.probe_pause(rt.now);
        let pause = rt.rng.duration(pause / 2, pause);
        rt.deadlines.hasten(Deadline::Probe, rt.now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    fn originals() -> Originals {
        Originals::new(Views::default().redial_lost)
    }

    fn contacts(hosts: &[u8], rt: &mut Runtime) -> Contacts {
        let mut contacts = Contacts::new(Views::default(), rt);
        contacts.recall(&hosts.iter().copied().map(addr).collect::<Vec<_>>(), rt);
        contacts
    }

    fn dials(rt: &mut Runtime) -> usize {
        rt.outputs().iter().filter(|output| matches!(output, Output::Dial { .. } | Output::DialName { .. })).count()
    }

    #[test]
    fn who_is_alone_joins_through_one_and_others_ask_as_many_as_they_lack() {
        let mut rt = Runtime::with_neighbours(0);
        let mut alone = contacts(&[50, 51, 52], &mut rt);
        alone.seek(&originals(), &mut rt);
        assert_eq!(dials(&mut rt), 1);
        alone.seek(&originals(), &mut rt);
        assert_eq!(dials(&mut rt), 0, "one is under way");

        let mut rt = Runtime::with_neighbours(3);
        let mut some = contacts(&[50, 51, 52], &mut rt);
        some.seek(&originals(), &mut rt);
        assert_eq!(dials(&mut rt), Views::default().active - 3);
    }

    #[test]
    fn the_next_one_is_tried_when_a_dial_fails_and_not_when_a_look_up_does() {
        let mut rt = Runtime::with_neighbours(0);
        let mut contacts = contacts(&[50, 51], &mut rt);
        contacts.seek(&originals(), &mut rt);
        let Some(Output::Dial { addr }) = rt.poll_output() else { panic!("nobody is dialled") };
        contacts.dial_failed(addr, &mut rt);
        assert!(rt.deadlines.is_due(Deadline::Seek, rt.now));
        contacts.seek(&originals(), &mut rt);
        assert_eq!(dials(&mut rt), 1);
        contacts.look_up(self::addr(60), &originals(), &mut rt);
        contacts.dial_failed(self::addr(60), &mut rt);
        assert!(!rt.deadlines.is_due(Deadline::Seek, rt.now));
    }

    #[test]
    fn a_name_that_leads_to_a_neighbour_is_not_used_again() {
        let mut rt = Runtime::with_neighbours(1);
        let mut contacts = contacts(&[], &mut rt);
        contacts.linked(addr(1), None, &mut rt);
        let name = HostName("seed:1".into());
        contacts.host_named(name.clone(), &mut rt);
        contacts.seek(&originals(), &mut rt);
        assert!(rt.outputs().contains(&Output::DialName { name: name.clone() }));
        assert!(!contacts.name_reached(&name, addr(1), &originals(), &mut rt));
        assert!(contacts.name_reached(&name, addr(2), &originals(), &mut rt));
        assert_eq!(contacts.purpose(&addr(2)), Purpose::Neighbour);
    }

    #[test]
    fn an_originals_address_is_none_of_peers() {
        let mut rt = Runtime::with_neighbours(0);
        let (mut contacts, mut originals) = (contacts(&[], &mut rt), originals());
        originals.learn(addr(50), false, rt.now);
        contacts.learn(vec![addr(50), addr(51)], &originals, &mut rt);
        assert!(!contacts.book().knows(&addr(50)) && contacts.book().knows(&addr(51)));
    }

    #[test]
    fn other_addresses_of_a_neighbour_are_in_use_as_far_as_they_are_remembered() {
        let mut rt = Runtime::with_neighbours(1);
        let mut contacts = contacts(&[], &mut rt);
        for host in 0..100 {
            contacts.is_also_at(LinkId(1), [Some(addr(100 + host)), None], &mut rt);
        }
        assert_eq!(rt.links.get(LinkId(1)).unwrap().aliases.len(), MAX_ALIASES);
        assert!(contacts.book().is_in_use(&addr(101)) && !contacts.book().knows(&addr(199)));
    }
}
