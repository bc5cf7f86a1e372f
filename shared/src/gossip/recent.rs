//! The last broadcasts, to answer grafts with.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Instant;
use crate::wire::peer::{IdRange, MessageId, Payload, Source};

/// Something on its way.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Over how many links it has come.
    pub hops: u16,
    /// What it says.
    pub payload: Payload,
}

/// Broadcasts to answer grafts with.
#[derive(Debug)]
pub struct Recent {
    /// By source, in the order of their numbers; they come nearly in that order.
    kept: BTreeMap<Source, VecDeque<(u64, Pushed)>>,
    /// When they came, in that order.
    order: VecDeque<(MessageId, Instant)>,
    /// How many and how long they are kept at most.
    limits: (usize, Duration),
}

impl Recent {
    /// Nothing yet; how many and how long they are to be kept at most.
    pub fn new(limits: (usize, Duration)) -> Self {
        Self { kept: BTreeMap::new(), order: VecDeque::new(), limits }
    }

    /// Keeps one more; the oldest gives way where there are as many as there may be.
    pub fn keep(&mut self, id: MessageId, pushed: Pushed, now: Instant) {
        while self.order.len() >= self.limits.0 {
            self.forget_oldest();
        }
        let kept = self.kept.entry(id.source).or_default();
        let place = place(kept, id.seq);
        if let Some((_, former)) = kept.get_mut(place).filter(|(seq, _)| *seq == id.seq) {
            *former = pushed;
        } else {
            kept.insert(place, (id.seq, pushed));
            self.order.push_back((id, now));
        }
    }

    /// Forgets those that came too long ago.
    pub fn forget_the_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(_, came)| now - *came > self.limits.1) {
            self.forget_oldest();
        }
        if self.order.is_empty() {
            self.order = VecDeque::new();
        }
    }

    /// Those of a range that are still here.
    pub fn of_range(&self, range: IdRange) -> impl Iterator<Item = (MessageId, &Pushed)> {
        let kept = self.kept.get(&range.source).filter(|_| range.first <= range.last);
        let from_first = kept.into_iter().flat_map(move |kept| kept.range(place(kept, range.first)..));
        let wanted = from_first.take_while(move |(seq, _)| *seq <= range.last);
        wanted.map(move |(seq, pushed)| (MessageId { source: range.source, seq: *seq }, pushed))
    }

    fn forget_oldest(&mut self) {
        let Some((id, _)) = self.order.pop_front() else { return };
        let Some(kept) = self.kept.get_mut(&id.source) else { return };
        kept.remove(place(kept, id.seq));
        if kept.is_empty() {
            self.kept.remove(&id.source);
        }
    }
}

/// Where a number is, or belongs: mostly at one of the ends.
fn place(kept: &VecDeque<(u64, Pushed)>, seq: u64) -> usize {
    match (kept.front(), kept.back()) {
        (Some((first, _)), _) if *first >= seq => 0,
        (_, Some((last, _))) if *last >= seq => kept.partition_point(|(other, _)| *other < seq),
        _ => kept.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn kept(recent: &Recent) -> Vec<(u64, u64)> {
        let everything =
            (0..3).flat_map(|source| recent.of_range(IdRange { source: Source(source), first: 0, last: u64::MAX }));
        everything.map(|(id, _)| (id.source.0, id.seq)).collect()
    }

    proptest! {
        #[test]
        fn bounded_memory_the_last_ones_are_kept_whatever_their_order(
            ids in proptest::collection::vec((0..3_u64, 1..20_u64, 0..4_u64), 0..60),
            limit in 1..30_usize,
        ) {
            let mut recent = Recent::new((limit, LONG));
            let mut expected: Vec<(u64, u64, Instant)> = Vec::new();
            let mut now = Instant::START;
            for (source, seq, pause) in ids {
                now = now + Duration::from_secs(pause);
                recent.forget_the_old(now);
                expected.retain(|(_, _, came)| now - *came <= LONG);
                let id = MessageId { source: Source(source), seq };
                recent.keep(id, Pushed { hops: 0, payload: Payload::Beacon }, now);
                expected.drain(..(expected.len() + 1).saturating_sub(limit));
                if !expected.iter().any(|(a, b, _)| (*a, *b) == (source, seq)) {
                    expected.push((source, seq, now));
                }
            }
            let mut expected: Vec<(u64, u64)> = expected.into_iter().map(|(source, seq, _)| (source, seq)).collect();
            expected.sort_unstable();
            prop_assert_eq!(kept(&recent), expected);
        }
    }
}
