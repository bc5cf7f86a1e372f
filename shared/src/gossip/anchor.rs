//! Which source the tree is improved for. One tree serves all sources, and what is a detour for one is a short cut for
//! another: if it followed each of them in turn, it would never have a shape. So all peers count distances from one
//! source, the anchor, which from the broadcasts alone they all choose alike: the first that they hear of; the one that
//! sends most, if there is one; of two overlays that become one, the smaller.
//!
//! Nothing depends on it but the shape of the tree. While others send and the anchor has nothing to say, it sends a
//! beacon from time to time; if none comes, another source takes its place.

use std::time::Duration;

use crate::time::Instant;
use crate::wire::peer::Source;

/// How long an anchor may be silent while others send. A guess: some of the longest pauses between two beacons.
const HOLDS: Duration = Duration::from_mins(1);
/// By how many broadcasts a source must be ahead of all others together to become the anchor. A guess: chance alone
/// doesn't bring this about where only three send in turn.
const MAJORITY: u32 = 16;

/// A node's opinion of who the anchor is.
#[derive(Debug, Default)]
pub struct Anchor {
    chosen: Option<(Source, Instant)>,
    /// The source that has sent most of late, and by how much it leads (Boyer and Moore's majority vote, 1981).
    leader: Option<Source>,
    lead: u32,
}

impl Anchor {
    /// Whether nothing has been heard yet.
    pub fn is_unknown(&self) -> bool {
        self.chosen.is_none()
    }

    /// Whether it is this one.
    pub fn is(&self, source: Source) -> bool {
        self.chosen.is_some_and(|(chosen, _)| chosen == source)
    }

    /// A source has sent something. `beacon`: it takes itself for the anchor.
    pub fn heard(&mut self, source: Source, beacon: bool, now: Instant) {
        if !beacon {
            self.count(source);
        }
        let takes_over = self.chosen.is_none_or(|(chosen, heard)| {
            source == chosen || (beacon && source < chosen) || now - heard > HOLDS || self.is_ahead(source)
        });
        if takes_over {
            self.chosen = Some((source, now));
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

    const FIRST: Source = Source(5);
    const OTHER: Source = Source(7);

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn anchored() -> Anchor {
        let mut anchor = Anchor::default();
        anchor.heard(FIRST, false, at(0));
        anchor
    }

    #[test]
    fn the_first_stays_while_others_send_in_turn() {
        let mut anchor = anchored();
        for round in 0..50 {
            anchor.heard(Source(100 + round % 3), false, at(1));
        }
        assert!(anchor.is(FIRST));
    }

    #[test]
    fn who_sends_most_takes_over() {
        let mut anchor = anchored();
        for _ in 0..=MAJORITY {
            anchor.heard(OTHER, false, at(1));
        }
        assert!(anchor.is(OTHER));
    }

    #[test]
    fn a_silent_one_is_replaced() {
        let mut anchor = anchored();
        anchor.heard(OTHER, false, at(61));
        assert!(anchor.is(OTHER));
    }

    #[test]
    fn of_two_that_send_beacons_the_smaller_stays() {
        let mut anchor = anchored();
        anchor.heard(OTHER, true, at(1));
        assert!(anchor.is(FIRST));
        anchor.heard(Source(1), true, at(1));
        assert!(anchor.is(Source(1)));
    }
}
