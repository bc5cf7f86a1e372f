//! Walks of shuffles: those that this node begins, and the way back of those that passed here.

use std::collections::VecDeque;

use crate::gossip::io::LinkId;
use crate::rng::Rng;

/// Walks whose way back is remembered. A guess: a second's worth under heavy churn.
const MAX_WALKS: usize = 64;

/// The walks of one node.
#[derive(Debug, Default)]
pub struct Walks {
    /// How many this node has begun since its neighbours changed.
    begun: u32,
    passed: VecDeque<(u64, Way)>,
}

/// The way back of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It began here.
    Here,
    /// It came over this link.
    To(LinkId),
}

impl Walks {
    /// How often the pause before the next one has doubled, where so many come `soon`.
    pub fn doublings(&self, soon: u32) -> u32 {
        if self.begun < soon { self.begun } else { u32::MAX }
    }

    /// A neighbour is gone: the next ones come soon again.
    pub fn hasten(&mut self) {
        self.begun = self.begun.min(1);
    }

    /// One begins here. Returns its name.
    pub fn begin(&mut self, rng: &mut Rng) -> u64 {
        self.begun = self.begun.saturating_add(1);
        let walk = rng.below(1 << 32);
        self.remember(walk, Way::Here);
        walk
    }

    /// One passed here; the oldest is forgotten where there are as many as there may be.
    pub fn remember(&mut self, walk: u64, way: Way) {
        if self.passed.len() >= MAX_WALKS {
            self.passed.pop_front();
        }
        self.passed.push_back((walk, way));
    }

    /// The answer to one passes here, which it does once. Returns the way back, if it is remembered.
    pub fn back(&mut self, walk: u64) -> Option<Way> {
        let place = self.passed.iter().position(|(known, _)| *known == walk)?;
        self.passed.remove(place).map(|(_, way)| way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_back_once_the_way_that_its_walk_came() {
        let mut walks = Walks::default();
        let own = walks.begin(&mut Rng::from_seed(1));
        walks.remember(own + 1, Way::To(LinkId(7)));
        assert_eq!(walks.back(own + 1), Some(Way::To(LinkId(7))));
        assert_eq!(walks.back(own + 1), None);
        assert_eq!(walks.back(own), Some(Way::Here));
    }

    #[test]
    fn bounded_memory_the_oldest_walk_is_forgotten() {
        let mut walks = Walks::default();
        for walk in 0..100 {
            walks.remember(walk, Way::To(LinkId(walk)));
        }
        assert_eq!(walks.back(100 - 65), None);
        assert_eq!(walks.back(100 - 64), Some(Way::To(LinkId(36))));
    }

    #[test]
    fn shuffles_come_soon_until_there_were_enough_and_after_a_loss() {
        let (mut walks, mut rng) = (Walks::default(), Rng::from_seed(1));
        let mut doublings = Vec::new();
        for _ in 0..4 {
            doublings.push(walks.doublings(3));
            walks.begin(&mut rng);
        }
        assert_eq!(doublings, [0, 1, 2, u32::MAX]);
        walks.hasten();
        assert_eq!(walks.doublings(3), 1);
    }
}
