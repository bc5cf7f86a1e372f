//! The addresses that a node knows: `HyParView`'s passive view, and beyond it those that were lost, for the healing of
//! partitions (which the paper leaves open).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::config::{Pause, Views};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::peer::Purpose;

/// A bounded book of addresses.
#[derive(Debug)]
pub struct AddressBook {
    known: BTreeMap<SocketAddr, Contact>,
    /// Addresses that turned out to be this node's own.
    own: BTreeSet<SocketAddr>,
    views: Views,
    /// When somebody was last lost.
    last_loss: Option<Instant>,
    counts: Counts,
}

/// How many of the known are of a kind: a newcomer asks that for each address that it hears of.
#[derive(Debug, Default)]
struct Counts {
    passive: usize,
    reserve: usize,
    /// Being dialled to become neighbours.
    seeking: usize,
}

#[derive(Debug, Clone, Copy)]
struct Contact {
    usage: Usage,
    /// Nothing speaks against its being alive: it is in the passive view.
    in_passive_view: bool,
    /// A person named it: it is never forgotten.
    named: bool,
    failures: u32,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    Idle,
    Dialling(Purpose),
    Linked,
}

/// Which of the known addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The passive view.
    Passive,
    /// Those that didn't answer the last time or fell silent, and those that had to give way in the passive view: what
    /// is left when nearly everybody dies.
    Reserve,
}

impl AddressBook {
    /// Knows nobody but the node's own address.
    pub fn new(own: SocketAddr, views: Views) -> Self {
        Self { known: BTreeMap::new(), own: [own].into(), views, last_loss: None, counts: Counts::default() }
    }

    /// Takes an address into the passive view, where somebody else gives way if it is full. Returns whether it is news.
    pub fn learn(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) -> bool {
        if !self.is_dialable(&addr) {
            return false;
        }
        if self.knows(&addr) {
            // Somebody has seen it since it was lost here, or is wrong: it will be dialled when it's due.
            self.change(&addr, |contact| contact.in_passive_view = true);
            return false;
        }
        self.make_room(Standing::Passive, self.views.passive, rng);
        let contact = Contact { usage: Usage::Idle, in_passive_view: true, named: false, failures: 0, not_before: now };
        self.put(addr, contact);
        true
    }

    /// Whether somebody else may be at an address.
    pub fn is_dialable(&self, addr: &SocketAddr) -> bool {
        let nowhere = addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast();
        !nowhere && !self.own.contains(addr)
    }

    /// Whether an address is in the book.
    pub fn knows(&self, addr: &SocketAddr) -> bool {
        self.known.contains_key(addr)
    }

    /// Whether a person named an address.
    pub fn is_named(&self, addr: &SocketAddr) -> bool {
        self.known.get(addr).is_some_and(|contact| contact.named)
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether an address is being dialled or linked.
    pub fn is_in_use(&self, addr: &SocketAddr) -> bool {
        self.known.get(addr).is_some_and(|contact| contact.usage != Usage::Idle)
    }

    /// A person named an address.
    pub fn name(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) {
        self.learn(addr, now, rng);
        self.change(&addr, |contact| contact.named = true);
    }

    /// Its peer left for good, and needs not be dialled again; or so somebody says who gave this address as its own.
    /// One that a person named is kept, as one that was lost.
    pub fn left(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) {
        if self.known.get(&addr).is_some_and(|contact| contact.named) {
            return self.lost(addr, now, rng);
        }
        self.forget(&addr);
    }

    /// Forgets an address: its peer left for good, announces another one, or is of another kind. Returns whether a
    /// person named it.
    pub fn forget(&mut self, addr: &SocketAddr) -> bool {
        self.take(addr).is_some_and(|contact| contact.named)
    }

    /// Learns that an address is this node's own.
    pub fn is_own(&mut self, addr: SocketAddr) {
        self.take(&addr);
        // Bounded by what was in the book: only dialled addresses come here.
        if self.own.len() < self.views.reserve {
            self.own.insert(addr);
        }
    }

    /// The address is in use: not to be dialled.
    pub fn linked(&mut self, addr: SocketAddr, now: Instant) {
        if !self.is_dialable(&addr) {
            return;
        }
        let named = self.take(&addr).is_some_and(|former| former.named);
        self.put(addr, Contact { usage: Usage::Linked, in_passive_view: true, named, failures: 0, not_before: now });
    }

    /// The address is being dialled.
    pub fn dialling(&mut self, addr: SocketAddr, purpose: Purpose) {
        self.change(&addr, |contact| contact.usage = Usage::Dialling(purpose));
    }

    /// Whether the address is known and nobody talks to it.
    pub fn is_idle(&self, addr: &SocketAddr) -> bool {
        self.known.get(addr).is_some_and(|contact| contact.usage == Usage::Idle)
    }

    /// What the address is being dialled for.
    pub fn purpose(&self, addr: &SocketAddr) -> Option<Purpose> {
        match self.known.get(addr)?.usage {
            Usage::Dialling(purpose) => Some(purpose),
            Usage::Idle | Usage::Linked => None,
        }
    }

    /// How many addresses are being dialled to become neighbours.
    pub fn seeking(&self) -> usize {
        self.counts.seeking
    }

    /// A link ended in peace, or somebody had no room: the address stays in the passive view.
    pub fn released(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) {
        self.ended(addr, now, true, rng);
    }

    /// A dial failed, or a link broke.
    pub fn lost(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) {
        if self.known.get(&addr).is_some_and(|contact| contact.in_passive_view) {
            self.last_loss = Some(now);
        }
        self.ended(addr, now, false, rng);
    }

    fn ended(&mut self, addr: SocketAddr, now: Instant, in_passive_view: bool, rng: &mut Rng) {
        let Some(contact) = self.take(&addr) else { return };
        let (standing, limit) = if in_passive_view {
            (Standing::Passive, self.views.passive)
        } else {
            (Standing::Reserve, self.views.reserve)
        };
        self.make_room(standing, limit, rng);
        let pause = if in_passive_view { self.views.redial } else { self.views.redial_lost };
        let delay = pause.delay(contact.failures, rng);
        let failures = contact.failures.saturating_add(1);
        self.put(addr, Contact { usage: Usage::Idle, in_passive_view, failures, not_before: now + delay, ..contact });
    }

    /// One address that may be dialled now, each as likely as the others.
    pub fn pick(&self, standing: Standing, now: Instant, rng: &mut Rng) -> Option<SocketAddr> {
        let due: Vec<SocketAddr> =
            self.idle(standing).filter(|(_, contact)| contact.not_before <= now).map(|(addr, _)| addr).collect();
        rng.pick(due)
    }

    /// When the next address may be dialled.
    pub fn next_due(&self, standing: Standing) -> Option<Instant> {
        self.idle(standing).map(|(_, contact)| contact.not_before).min()
    }

    /// One of those beyond the passive view, whether its time has come or not.
    pub fn pick_reserve(&self, rng: &mut Rng) -> Option<SocketAddr> {
        rng.pick(self.idle(Standing::Reserve).map(|(addr, _)| addr).collect::<Vec<_>>())
    }

    /// How long to wait between two looks at somebody beyond the active view.
    pub fn probe_pause(&self, now: Instant) -> Duration {
        let Pause { shortest, longest } = self.views.probe_every;
        self.last_loss.map_or(longest, |at| ((now - at) / 32).clamp(shortest, longest))
    }

    /// At most `limit` of the passive view, by chance.
    pub fn sample(&self, limit: usize, rng: &mut Rng) -> Vec<SocketAddr> {
        rng.sample(self.idle(Standing::Passive).map(|(addr, _)| addr).collect(), limit)
    }

    /// The passive view.
    pub fn passive_view(&self) -> impl Iterator<Item = SocketAddr> {
        self.idle(Standing::Passive).map(|(addr, _)| addr)
    }

    /// How many are in the passive view.
    pub fn passive(&self) -> usize {
        self.counts.passive
    }

    /// All known addresses, neighbours included.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.known.keys().copied()
    }

    fn idle(&self, standing: Standing) -> impl Iterator<Item = (SocketAddr, &Contact)> {
        let in_passive_view = standing == Standing::Passive;
        let idle = move |(_, contact): &(&SocketAddr, &Contact)| {
            contact.usage == Usage::Idle && contact.in_passive_view == in_passive_view
        };
        self.known.iter().filter(idle).map(|(addr, contact)| (*addr, contact))
    }

    fn put(&mut self, addr: SocketAddr, contact: Contact) {
        if let Some(count) = self.counts.of(contact) {
            *count += 1;
        }
        self.known.insert(addr, contact);
    }

    fn take(&mut self, addr: &SocketAddr) -> Option<Contact> {
        let contact = self.known.remove(addr)?;
        if let Some(count) = self.counts.of(contact) {
            *count -= 1;
        }
        Some(contact)
    }

    fn change(&mut self, addr: &SocketAddr, change: impl FnOnce(&mut Contact)) {
        let Some(contact) = self.known.get_mut(addr) else { return };
        if let Some(count) = self.counts.of(*contact) {
            *count -= 1;
        }
        change(contact);
        if let Some(count) = self.counts.of(*contact) {
            *count += 1;
        }
    }

    /// Somebody gives way where there are as many as there may be: in the passive view by chance, to those beyond it;
    /// and there the one that failed most often, for good.
    fn make_room(&mut self, standing: Standing, limit: usize, rng: &mut Rng) {
        match standing {
            Standing::Passive if self.counts.passive >= limit => {
                self.make_room(Standing::Reserve, self.views.reserve, rng);
                let place = rng.pick(0..self.counts.passive).unwrap_or(0);
                let gone = self.idle(standing).nth(place).map(|(addr, _)| addr);
                if let Some(addr) = gone {
                    self.change(&addr, |contact| contact.in_passive_view = false);
                }
            }
            Standing::Reserve if self.counts.reserve >= limit => {
                let unnamed = self.idle(standing).filter(|(_, contact)| !contact.named);
                let gone = unnamed.max_by_key(|(_, contact)| contact.failures).map(|(addr, _)| addr);
                if let Some(addr) = gone {
                    self.take(&addr);
                }
            }
            Standing::Passive | Standing::Reserve => {}
        }
    }
}

impl Counts {
    /// The count that a contact belongs to, if any.
    fn of(&mut self, contact: Contact) -> Option<&mut usize> {
        match (contact.usage, contact.in_passive_view) {
            (Usage::Idle, true) => Some(&mut self.passive),
            (Usage::Idle, false) => Some(&mut self.reserve),
            (Usage::Dialling(Purpose::Join | Purpose::Neighbour), _) => Some(&mut self.seeking),
            (Usage::Dialling(Purpose::Answer | Purpose::Submit | Purpose::Probe) | Usage::Linked, _) => None,
        }
    }
}
