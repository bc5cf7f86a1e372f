//! Which source the tree is improved for. One tree serves all sources, and what is a detour for one is a short cut for
//! another: if it followed each of them in turn, it would never have a shape. So all peers count distances from one
//! source, the root, which from the broadcasts alone they all choose alike: the first that they hear of; the one that
//! sends most, if there is one; of two overlays that become one, the smaller.
//!
//! Nothing depends on it but the shape of the tree. While others send and the root has nothing to say, it sends a
//! beacon from time to time; if none comes, another source takes its place.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::gossip::io::LinkId;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::{MessageId, Source};
use crate::wire::peer::Payload;

/// How long a root may be silent while others send. A guess: some of the longest pauses between two beacons.
const HOLDS: Duration = Duration::from_mins(1);
/// By how many broadcasts a source must be ahead of all others together to become the root. A guess: chance alone
/// doesn't bring this about where only three send in turn.
const MAJORITY: u32 = 16;

/// How a broadcast arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub id: MessageId,
    /// Over which link; absent for this node's own.
    pub link: Option<LinkId>,
    /// Over how many links in all.
    pub hops: u16,
}

/// A node's opinion of who the root is.
#[derive(Debug)]
pub struct Root {
    own: Source,
    /// The root's newest broadcast, and when it was last heard of.
    chosen: Option<(Arrival, Instant)>,
    /// The source that has sent most of late, and by how much it leads (Boyer and Moore's majority vote, 1981).
    leader: Option<Source>,
    lead: u32,
    beacon: Backoff,
    /// When this node last sent something of its own.
    spoke: Instant,
    beacon_at: Option<Instant>,
    /// Beacons that this node has sent since it became the root.
    beacons: u32,
}

impl Root {
    /// A node that has heard nothing yet. `beacon`: the pause between two beacons.
    pub fn new(own: Source, beacon: Backoff) -> Self {
        let (chosen, leader, lead) = (None, None, 0);
        Self { own, chosen, leader, lead, beacon, spoke: Instant::START, beacon_at: None, beacons: 0 }
    }

    /// Whether nothing has been heard yet.
    pub fn is_unknown(&self) -> bool {
        self.chosen.is_none()
    }

    /// Whether it is this one.
    pub fn is(&self, source: Source) -> bool {
        self.chosen.is_some_and(|(newest, _)| newest.id.source == source)
    }

    /// How its newest broadcast arrival.
    pub fn newest(&self) -> Option<Arrival> {
        self.chosen.map(|(newest, _)| newest)
    }

    /// A source has sent something. With a beacon it says that it takes itself for the root.
    pub fn heard(&mut self, arrival: Arrival, payload: &Payload, now: Instant, rng: &mut Rng) {
        let (source, beacon) = (arrival.id.source, matches!(payload, Payload::Beacon));
        if !beacon {
            self.count(source);
        }
        match self.chosen.filter(|(newest, _)| newest.id.source == source) {
            Some((newest, _)) => self.chosen = Some((if arrival.id > newest.id { arrival } else { newest }, now)),
            None if self.gives_way_to(source, beacon, now) => self.chosen = Some((arrival, now)),
            None => {}
        }
        if source == self.own {
            (self.spoke, self.beacon_at) = (now, None);
        } else if !matches!(payload, Payload::Record(_)) {
            // Where only records go over the tree, it needs no better shape.
            self.plan_beacon(now, rng);
        }
    }

    /// Whether another source takes its place.
    fn gives_way_to(&self, source: Source, beacon: bool, now: Instant) -> bool {
        self.chosen.is_none_or(|(newest, heard)| {
            (beacon && source < newest.id.source) || now - heard > HOLDS || self.is_ahead(source)
        })
    }

    /// When [`Root::beacon_due`] has an answer.
    pub fn next_wake(&self) -> Option<Instant> {
        self.beacon_at
    }

    /// Whether this node, as the root, is to send a beacon now.
    pub fn beacon_due(&mut self, now: Instant) -> bool {
        let due = self.beacon_at.take_if(|at| *at <= now).is_some() && self.is(self.own);
        self.beacons = self.beacons.saturating_add(u32::from(due));
        due
    }

    /// Others send: if this node is the root, they must hear from it, too.
    fn plan_beacon(&mut self, now: Instant, rng: &mut Rng) {
        if !self.is(self.own) {
            self.beacons = 0;
        } else if self.beacon_at.is_none() {
            self.beacon_at = Some(now.max(self.spoke + self.beacon.delay(self.beacons, rng)));
        }
    }

    fn is_ahead(&self, source: Source) -> bool {
        self.leader == Some(source) && self.lead >= MAJORITY
    }

    fn count(&mut self, source: Source) {
        if self.leader == Some(source) {
            self.lead = (self.lead + 1).min(MAJORITY);
        } else if self.lead == 0 {
            (self.leader, self.lead) = (Some(source), 1);
        } else {
            self.lead -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PeerId;

    const OWN: Source = Source(3);
    const FIRST: Source = Source(5);
    const OTHER: Source = Source(7);
    const BEACON: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(8) };

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn hear(root: &mut Root, source: Source, beacon: bool, second: u64) {
        let came = Arrival { id: MessageId { source, seq: 1 }, link: None, hops: 0 };
        let payload = if beacon { Payload::Beacon } else { Payload::Suspect(PeerId([0; 32]).into()) };
        root.heard(came, &payload, at(second), &mut Rng::from_seed(1));
    }

    fn rooted() -> Root {
        let mut root = Root::new(OWN, BEACON);
        hear(&mut root, FIRST, false, 0);
        root
    }

    #[test]
    fn the_first_stays_while_others_send_in_turn() {
        let mut root = rooted();
        for round in 0..50 {
            hear(&mut root, Source(100 + round % 3), false, 1);
        }
        assert!(root.is(FIRST));
    }

    #[test]
    fn who_sends_most_takes_over() {
        let mut root = rooted();
        for _ in 0..=MAJORITY {
            hear(&mut root, OTHER, false, 1);
        }
        assert!(root.is(OTHER));
    }

    #[test]
    fn a_silent_one_is_replaced() {
        let mut root = rooted();
        hear(&mut root, OTHER, false, 61);
        assert!(root.is(OTHER));
    }

    #[test]
    fn of_two_that_send_beacons_the_smaller_stays() {
        let mut root = rooted();
        hear(&mut root, OTHER, true, 1);
        assert!(root.is(FIRST));
        hear(&mut root, Source(1), true, 1);
        assert!(root.is(Source(1)));
    }

    #[test]
    fn the_root_sends_beacons_while_others_send_and_only_then() {
        let mut root = Root::new(OWN, BEACON);
        hear(&mut root, OWN, false, 0);
        assert!(root.next_wake().is_none());
        hear(&mut root, OTHER, false, 10);
        assert!(root.beacon_due(at(10)));
        hear(&mut root, OWN, true, 10);
        assert!(!root.beacon_due(at(100)));
    }
}
