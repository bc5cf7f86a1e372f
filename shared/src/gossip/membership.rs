//! The addresses that a node knows, and when it may dial them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::backoff::Backoff;
use crate::rng::Rng;
use crate::time::Instant;

/// A bounded book of addresses.
#[derive(Debug)]
pub struct Membership {
    known: BTreeMap<SocketAddr, Contact>,
    /// Addresses that turned out to be this node's own.
    own: BTreeSet<SocketAddr>,
    limit: usize,
    redial: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    Idle { failures: u32, not_before: Instant },
    Dialling { failures: u32 },
    Linked,
}

impl Membership {
    /// Knows nobody but the node's own address.
    pub fn new(own: SocketAddr, limit: usize, redial: Backoff) -> Self {
        Self { known: BTreeMap::new(), own: [own].into(), limit, redial }
    }

    /// Takes an address into the book. Says whether it is news. When the book is full, one that has failed to answer
    /// gives way; when there is none, the new one isn't taken.
    pub fn learn(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) -> bool {
        if self.own.contains(&addr) || self.known.contains_key(&addr) || addr.port() == 0 || addr.ip().is_unspecified()
        {
            return false;
        }
        if self.known.len() >= self.limit && !self.evict(rng) {
            return false;
        }
        self.known.insert(addr, Contact::Idle { failures: 0, not_before: now });
        true
    }

    /// Forgets an address: its peer left for good, or announces another one.
    pub fn forget(&mut self, addr: &SocketAddr) {
        self.known.remove(addr);
    }

    /// Learns that an address is this node's own.
    pub fn is_own(&mut self, addr: SocketAddr) {
        self.known.remove(&addr);
        // Bounded by what was in the book: only dialled addresses come here.
        if self.own.len() < self.limit {
            self.own.insert(addr);
        }
    }

    /// The address is in use: not to be dialled.
    pub fn linked(&mut self, addr: SocketAddr) {
        if let Some(contact) = self.known.get_mut(&addr) {
            *contact = Contact::Linked;
        }
    }

    /// A dial failed, or a link ended: the address may be dialled again after a while.
    pub fn unlinked(&mut self, addr: SocketAddr, now: Instant, rng: &mut Rng) {
        if let Some(contact) = self.known.get_mut(&addr) {
            let failures = match contact {
                Contact::Dialling { failures } | Contact::Idle { failures, .. } => failures.saturating_add(1),
                Contact::Linked => 0,
            };
            let not_before = now + self.redial.delay(failures, rng);
            *contact = Contact::Idle { failures, not_before };
        }
    }

    /// One address that may be dialled now, each as likely as the others; it counts as being dialled from here on.
    pub fn pick(&mut self, now: Instant, rng: &mut Rng) -> Option<SocketAddr> {
        let due: Vec<SocketAddr> = self.idle().filter(|(_, at)| *at <= now).map(|(addr, _)| addr).collect();
        let addr = rng.pick(due)?;
        if let Some(contact) = self.known.get_mut(&addr) {
            let failures = if let Contact::Idle { failures, .. } = *contact { failures } else { 0 };
            *contact = Contact::Dialling { failures };
        }
        Some(addr)
    }

    /// How many addresses are being dialled.
    pub fn dialling(&self) -> usize {
        self.known.values().filter(|contact| matches!(contact, Contact::Dialling { .. })).count()
    }

    /// When the next address may be dialled.
    pub fn next_due(&self) -> Option<Instant> {
        self.idle().map(|(_, at)| at).min()
    }

    /// At most `limit` of the known addresses, by chance.
    pub fn sample(&self, limit: usize, rng: &mut Rng) -> Vec<SocketAddr> {
        let mut addrs: Vec<SocketAddr> = self.known.keys().copied().collect();
        while addrs.len() > limit {
            let place = rng.pick(0..addrs.len()).unwrap_or(0);
            addrs.swap_remove(place);
        }
        addrs
    }

    /// The known addresses.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.known.keys().copied()
    }

    fn idle(&self) -> impl Iterator<Item = (SocketAddr, Instant)> {
        self.known.iter().filter_map(|(addr, contact)| match contact {
            Contact::Idle { not_before, .. } => Some((*addr, *not_before)),
            Contact::Dialling { .. } | Contact::Linked => None,
        })
    }

    fn evict(&mut self, rng: &mut Rng) -> bool {
        let failing = self.known.iter().filter(|(_, contact)| matches!(contact, Contact::Idle { failures: 1.., .. }));
        let failing: Vec<SocketAddr> = failing.map(|(addr, _)| *addr).collect();
        rng.pick(failing).is_some_and(|addr| self.known.remove(&addr).is_some())
    }
}
