//! The last broadcasts, to answer grafts with.

use std::collections::{BTreeMap, VecDeque};

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
#[derive(Debug, Default)]
pub struct Recent {
    /// By source, in the order of their numbers; they come nearly in that order.
    kept: BTreeMap<Source, VecDeque<(u64, Pushed)>>,
    /// In the order in which they came.
    order: VecDeque<MessageId>,
}

impl Recent {
    /// Keeps one more; the oldest gives way where there are more than `limit`.
    pub fn keep(&mut self, id: MessageId, pushed: Pushed, limit: usize) {
        let kept = self.kept.entry(id.source).or_default();
        let place = place(kept, id.seq);
        if let Some((_, former)) = kept.get_mut(place).filter(|(seq, _)| *seq == id.seq) {
            *former = pushed;
        } else {
            kept.insert(place, (id.seq, pushed));
            self.order.push_back(id);
        }
        while self.order.len() > limit {
            self.forget_oldest();
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
        let Some(id) = self.order.pop_front() else { return };
        let Some(kept) = self.kept.get_mut(&id.source) else { return };
        kept.remove(place(kept, id.seq));
        if kept.is_empty() {
            self.kept.remove(&id.source);
        }
    }
}

/// Where a number is, or belongs.
fn place(kept: &VecDeque<(u64, Pushed)>, seq: u64) -> usize {
    match kept.back() {
        Some((last, _)) if *last >= seq => kept.partition_point(|(other, _)| *other < seq),
        _ => kept.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn bounded_memory_the_last_ones_are_kept_whatever_their_order(
            ids in proptest::collection::vec((0..3_u64, 1..20_u64), 0..60),
            limit in 1..30_usize,
        ) {
            let mut recent = Recent::default();
            let mut expected: Vec<(u64, u64)> = Vec::new();
            for (source, seq) in ids {
                let id = MessageId { source: Source(source), seq };
                recent.keep(id, Pushed { hops: 0, payload: Payload::Beacon }, limit);
                if !expected.contains(&(source, seq)) {
                    expected.push((source, seq));
                }
                if expected.len() > limit {
                    expected.remove(0);
                }
            }
            let everything = (0..3).flat_map(|source| {
                recent.of_range(IdRange { source: Source(source), first: 0, last: u64::MAX })
            });
            let kept: Vec<(u64, u64)> = everything.map(|(id, _)| (id.source.0, id.seq)).collect();
            prop_assert_eq!(kept, BTreeSet::from_iter(expected).into_iter().collect::<Vec<_>>());
        }
    }
}
