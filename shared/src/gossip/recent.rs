//! The last broadcasts, to answer grafts with.

use std::collections::VecDeque;

use crate::gossip::config::Retention;
use crate::gossip::io::LinkId;
use crate::time::Instant;
use crate::wire::broadcast::{IdRange, MessageId};
use crate::wire::peer::Payload;

/// Something on its way.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Over how many links it has come.
    pub hops: u16,
    /// What it says.
    pub payload: Payload,
}

/// How a broadcast came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Over which link; absent for this node's own.
    pub from: Option<LinkId>,
    /// Over how many links in all.
    pub hops: u16,
}

/// Broadcasts to answer grafts with. Most are never asked for: to keep one costs no more than its place in a queue, and
/// to find those that are wanted one pass over it.
#[derive(Debug)]
pub struct Recent {
    /// In the order in which they came.
    kept: VecDeque<Kept>,
    /// How many and how long they are kept at most.
    limits: Retention,
}

#[derive(Debug)]
struct Kept {
    id: MessageId,
    came: Instant,
    /// Over which link; absent for this node's own.
    from: Option<LinkId>,
    pushed: Pushed,
}

impl Recent {
    /// Nothing yet; how many and how long they are to be kept at most.
    pub fn new(limits: Retention) -> Self {
        Self { kept: VecDeque::new(), limits }
    }

    /// Keeps one more; the oldest gives way where there are as many as there may be.
    pub fn keep(&mut self, id: MessageId, from: Option<LinkId>, pushed: Pushed, now: Instant) {
        while self.kept.len() >= self.limits.count {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { id, came: now, from, pushed });
    }

    /// How one came, and over how many links, if it is still here. Looks at all that came later.
    pub fn route_of(&self, id: MessageId) -> Option<Route> {
        let kept = self.kept.iter().rev().find(|kept| kept.id == id)?;
        Some(Route { from: kept.from, hops: kept.pushed.hops })
    }

    /// Forgets those that came too long ago, and gives back the room of a crowd that is over.
    pub fn forget_the_old(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|kept| now - kept.came > self.limits.time) {
            self.kept.pop_front();
        }
        if self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }

    /// Those of some ranges that are still here, each once, in the order in which they came. Of ranges that overlap (nobody's
    /// honest request) one may count for all.
    pub fn of_ranges(&self, ranges: &[IdRange]) -> impl Iterator<Item = (MessageId, &Pushed)> {
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| (range.source, range.first));
        let is_wanted = move |id: MessageId| {
            let behind = ranges.partition_point(|range| (range.source, range.first) <= (id.source, id.seq));
            let range = behind.checked_sub(1).and_then(|place| ranges.get(place));
            range.is_some_and(|range| range.source == id.source && id.seq <= range.last)
        };
        self.kept.iter().filter(move |kept| is_wanted(kept.id)).map(|kept| (kept.id, &kept.pushed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::wire::broadcast::Source;

    const LONG: Duration = Duration::from_secs(10);

    fn kept(recent: &Recent) -> Vec<(u64, u64)> {
        let everything = [2, 0, 1].map(|source| IdRange { source: Source(source), first: 0, last: u64::MAX });
        recent.of_ranges(&everything).map(|(id, _)| (id.source.0, id.seq)).collect()
    }

    proptest! {
        #[test]
        fn bounded_memory_the_last_ones_are_kept_whatever_their_order(
            ids in proptest::collection::vec((0..3_u64, 1..20_u64, 0..4_u64), 0..60),
            limit in 1..30_usize,
            (first, length) in (1..20_u64, 0..20_u64),
        ) {
            let mut recent = Recent::new(Retention { count: limit, time: LONG });
            let mut expected: Vec<(u64, u64, Instant)> = Vec::new();
            let mut now = Instant::START;
            for (source, seq, pause) in ids {
                now = now + Duration::from_secs(pause);
                recent.forget_the_old(now);
                expected.retain(|(_, _, came)| now - *came <= LONG);
                let id = MessageId { source: Source(source), seq };
                recent.keep(id, Some(LinkId(seq)), Pushed { hops: 7, payload: Payload::Beacon }, now);
                expected.push((source, seq, now));
                expected.drain(..expected.len().saturating_sub(limit));
            }
            let mut expected: Vec<(u64, u64)> = expected.into_iter().map(|(source, seq, _)| (source, seq)).collect();
            prop_assert_eq!(kept(&recent), expected.clone());
            for (source, seq) in (0..3).flat_map(|source| (1..20).map(move |seq| (source, seq))) {
                let way = expected.contains(&(source, seq)).then_some(Route { from: Some(LinkId(seq)), hops: 7 });
                prop_assert_eq!(recent.route_of(MessageId { source: Source(source), seq }), way);
            }

            let last = first + length;
            let few = [IdRange { source: Source(2), first: 4, last: 4 }, IdRange { source: Source(1), first, last }];
            let found: Vec<_> = recent.of_ranges(&few).map(|(id, _)| (id.source.0, id.seq)).collect();
            expected.retain(|(source, seq)| (*source, *seq) == (2, 4) || *source == 1 && (first..=last).contains(seq));
            prop_assert_eq!(found, expected);
        }
    }
}
