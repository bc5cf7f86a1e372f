//! The simulated network: how long packets take, and which arrive.

use std::time::Duration;

use crate::gossip::io::LinkId;
use crate::rng::Rng;
use crate::sim::host::Life;
use crate::time::Instant;

/// What a network does to packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The shortest and the longest time that packets take; each link has its own in between.
    pub latency: (Duration, Duration),
    /// What may be added to it, packet by packet.
    pub jitter: Duration,
    /// Messages of 1,000 that never arrive. (TCP would send them again: this is harsher.)
    pub lost: u64,
    /// Messages of 1,000 that arrive twice.
    pub duplicated: u64,
    /// Messages of 1,000 that take ten times as long, so that later ones overtake them.
    pub delayed: u64,
    /// What a link carries, in bytes a second; 0: no limit.
    pub bandwidth: u64,
}

impl Network {
    /// 10 to 50 ms, and nothing goes wrong.
    pub fn good() -> Self {
        let ms = Duration::from_millis;
        Self { latency: (ms(10), ms(50)), jitter: ms(1), lost: 0, duplicated: 0, delayed: 0, bandwidth: 0 }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    /// Who is at its ends.
    pub ends: [Life; 2],
    /// Which ends have not closed it.
    pub open: [bool; 2],
    latency: Duration,
    /// When the first thing said (the hello) arrives at each end: nothing overtakes it.
    first_at: [Option<Instant>; 2],
    /// When the last thing said so far arrives at each end: the end of the connection doesn't overtake it.
    last_at: [Instant; 2],
    /// When each direction has carried all that it was given.
    free_at: [Instant; 2],
}

impl Wire {
    /// A connection that opens now.
    pub fn new(ends: [Life; 2], network: &Network, rng: &mut Rng, now: Instant) -> Self {
        let latency = rng.duration(network.latency.0, network.latency.1);
        Self { ends, open: [true; 2], latency, first_at: [None; 2], last_at: [now; 2], free_at: [now; 2] }
    }

    /// The number of the end that isn't `life`'s.
    pub fn peer_end(&self, life: Life) -> Option<usize> {
        self.ends.iter().position(|end| *end != life)
    }

    /// When a message of `bytes` arrives at an end; not at all, or twice. `ordered`: nothing overtakes it, and it
    /// overtakes nothing, nor is it repeated, since that would be an offence and not what a network does.
    pub fn arrivals(
        &mut self,
        to: usize,
        (bytes, ordered): (usize, bool),
        network: &Network,
        rng: &mut Rng,
        now: Instant,
    ) -> Vec<Instant> {
        if rng.chance(network.lost, 1000) {
            return Vec::new();
        }
        let copies = if !ordered && rng.chance(network.duplicated, 1000) { 2 } else { 1 };
        let reorders = network.delayed > 0;
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let (Some(first_at), Some(last_at), Some(free_at)) =
                (self.first_at.get_mut(to), self.last_at.get_mut(to), self.free_at.get_mut(to))
            else {
                return Vec::new();
            };
            let carried = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000);
            let carried = carried.checked_div(network.bandwidth).unwrap_or(0);
            *free_at = (*free_at).max(now) + Duration::from_micros(carried);
            let mut latency = self.latency + rng.duration(Duration::ZERO, network.jitter);
            if rng.chance(network.delayed, 1000) {
                latency *= 10;
            }
            let earliest = if ordered || !reorders { *last_at } else { first_at.unwrap_or(*last_at) };
            let at = (*free_at + latency).max(earliest);
            first_at.get_or_insert(at);
            *last_at = at.max(*last_at);
            arrivals.push(at);
        }
        arrivals
    }

    /// When the end of the connection is noticed at an end.
    pub fn end_arrives(&self, to: usize, now: Instant) -> Instant {
        self.last_at.get(to).map_or(now, |last_at| (*last_at).max(now + self.latency))
    }
}

/// All connections. They are numbered from 1 on, and no number is used twice.
#[derive(Debug, Default)]
pub struct Wires(Vec<Option<Wire>>);

impl Wires {
    /// One more.
    pub fn open(&mut self, wire: Wire) -> LinkId {
        self.0.push(Some(wire));
        LinkId(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }

    /// One that is open.
    pub fn get(&self, link: LinkId) -> Option<&Wire> {
        self.0.get(place(link)?)?.as_ref()
    }

    /// The same, to be used.
    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Wire> {
        self.0.get_mut(place(link)?)?.as_mut()
    }

    /// Neither end uses it any more.
    pub fn close(&mut self, link: LinkId) {
        if let Some(wire) = place(link).and_then(|place| self.0.get_mut(place)) {
            *wire = None;
        }
    }
}

fn place(link: LinkId) -> Option<usize> {
    usize::try_from(link.0.checked_sub(1)?).ok()
}
