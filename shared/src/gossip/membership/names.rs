//! Hosts' names that a person gave as places to join through. A name is looked up each time it is dialled, by the
//! driver, so that a peer that moves is found again; the addresses behind it are in the [`super::address_book`] like
//! any others.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::backoff::Backoff;
use crate::gossip::io::HostName;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::peer::Purpose;

/// The names that this node was given.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<HostName, Name>,
}

#[derive(Debug, Default)]
struct Name {
    /// What it is being dialled for.
    dialling: Option<Purpose>,
    /// Where it led to the last time.
    addr: Option<SocketAddr>,
    /// Dials since it last led to a neighbour.
    failures: u32,
    not_before: Instant,
}

impl Names {
    /// A person named it.
    pub fn add(&mut self, name: HostName) {
        self.known.entry(name).or_default();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// One that may be dialled now: not one that led to where there is a link already, as `in_use` knows.
    pub fn pick(&self, now: Instant, in_use: impl Fn(&SocketAddr) -> bool) -> Option<HostName> {
        let due = self.idle(in_use).filter(|(_, name)| name.not_before <= now);
        due.min_by_key(|(_, name)| name.failures).map(|(name, _)| name.clone())
    }

    /// When the next one may be dialled.
    pub fn next_due(&self, in_use: impl Fn(&SocketAddr) -> bool) -> Option<Instant> {
        self.idle(in_use).map(|(_, name)| name.not_before).min()
    }

    fn idle(&self, in_use: impl Fn(&SocketAddr) -> bool) -> impl Iterator<Item = (&HostName, &Name)> {
        let idle = move |name: &Name| name.dialling.is_none() && !name.addr.is_some_and(|addr| in_use(&addr));
        self.known.iter().filter(move |(_, name)| idle(name))
    }

    /// It is being dialled; `pause`: how long it isn't again.
    pub fn dialling(&mut self, name: &HostName, purpose: Purpose, now: Instant, (pause, rng): (Backoff, &mut Rng)) {
        if let Some(name) = self.known.get_mut(name) {
            name.dialling = Some(purpose);
            name.not_before = now + pause.delay(name.failures, rng);
            name.failures = name.failures.saturating_add(1);
        }
    }

    /// Nobody was reached under it.
    pub fn failed(&mut self, name: &HostName) {
        if let Some(name) = self.known.get_mut(name) {
            name.dialling = None;
        }
    }

    /// Somebody was reached under it, at an address. Returns what for.
    pub fn reached(&mut self, name: &HostName, addr: SocketAddr) -> Option<Purpose> {
        let name = self.known.get_mut(name)?;
        name.addr = Some(addr);
        name.dialling.take()
    }

    /// The name that led to an address.
    pub fn that_led_to(&self, addr: &SocketAddr) -> Option<&HostName> {
        self.known.iter().find(|(_, name)| name.addr == Some(*addr)).map(|(name, _)| name)
    }

    /// Who is at this address has become a neighbour.
    pub fn settled(&mut self, addr: SocketAddr) {
        for name in self.known.values_mut().filter(|name| name.addr == Some(addr)) {
            name.failures = 0;
        }
    }

    /// How many are being dialled to become neighbours.
    pub fn seeking(&self) -> usize {
        self.known.values().filter(|name| name.dialling.is_some_and(|purpose| purpose != Purpose::Probe)).count()
    }
}
