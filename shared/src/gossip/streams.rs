//! Which broadcasts have come: for each source the number up to which all are here, and what came beyond. Duplicates
//! are known for good, and gaps are seen at once, in memory of the number of sources.

use std::collections::BTreeMap;

use crate::time::Instant;
use crate::wire::broadcast::{IdRange, MessageId, Source};

/// Of a source that is first heard of by an announcement, so many of the last broadcasts are missed; its past before
/// them, and before the first broadcast that came, is left to the reconciliation. A guess: what a link holds in flight.
const MISSED_PAST: u64 = 64;
/// Where there is no room for another source, one of so many is forgotten.
const FORGOTTEN_AT_ONCE: usize = 4;

/// All sources.
#[derive(Debug)]
pub struct Streams {
    known: BTreeMap<Source, Stream>,
    sources_max: usize,
    gaps_max: usize,
}

/// One source. There are as many of them as peers: each is to be small.
#[derive(Debug)]
struct Stream {
    /// All up to this have come.
    all_to: u64,
    /// What came beyond, if something did.
    ahead: Option<Box<Runs>>,
    heard: Instant,
}

/// First and last of each run of numbers.
type Runs = BTreeMap<u64, u64>;

impl Streams {
    /// Knows no source.
    pub fn new(sources_max: usize, gaps_max: usize) -> Self {
        Self { known: BTreeMap::new(), sources_max, gaps_max }
    }

    /// A broadcast has come. Returns whether for the first time.
    pub fn note(&mut self, id: MessageId, now: Instant) -> bool {
        if !self.known.contains_key(&id.source) {
            self.make_room();
            self.known.insert(id.source, Stream { all_to: id.seq.saturating_sub(1), ahead: None, heard: now });
        }
        let Some(stream) = self.known.get_mut(&id.source) else { return false };
        let fresh = stream.take(id.seq, self.gaps_max);
        if fresh {
            stream.heard = now;
        }
        fresh
    }

    /// What is missing up to the end of `range` isn't asked for any more: it is left to the reconciliation.
    pub fn give_up(&mut self, range: IdRange) {
        if let Some(stream) = self.known.get_mut(&range.source) {
            stream.all_to = stream.all_to.max(range.last);
            stream.join_first();
        }
    }

    /// The parts of `range` that haven't come.
    pub fn missing(&self, range: IdRange) -> Vec<IdRange> {
        let IdRange { source, first, last } = range;
        let Some(stream) = self.known.get(&source) else {
            let first = if last <= MISSED_PAST { first } else { first.max(last - MISSED_PAST + 1) };
            return if first <= last { vec![IdRange { source, first, last }] } else { Vec::new() };
        };
        let mut missing = Vec::new();
        let Some(behind) = stream.all_to.checked_add(1) else { return missing };
        let mut next = first.max(behind);
        for (from, to) in stream.ahead.iter().flat_map(|ahead| ahead.range(..=last)) {
            if *to < next {
                continue;
            }
            if *from > next {
                missing.push(IdRange { source, first: next, last: from - 1 });
            }
            let Some(behind) = to.checked_add(1) else { return missing };
            next = behind;
        }
        if next <= last {
            missing.push(IdRange { source, first: next, last });
        }
        missing
    }

    /// How many of a range haven't come.
    pub fn count_missing(&self, range: IdRange) -> u64 {
        self.missing(range)
            .iter()
            .map(|range| (range.last - range.first).saturating_add(1))
            .fold(0, u64::saturating_add)
    }

    /// How many of a range have come, or were given up.
    pub fn received(&self, range: IdRange) -> u64 {
        let IdRange { source, first, last } = range;
        let Some(stream) = self.known.get(&source) else { return 0 };
        let count =
            |from: u64, to: u64| to.min(last).checked_sub(from.max(first)).map_or(0, |more| more.saturating_add(1));
        let beyond: u64 =
            stream.ahead.iter().flat_map(|ahead| ahead.range(..=last)).map(|(from, to)| count(*from, *to)).sum();
        count(first, stream.all_to).saturating_add(beyond)
    }

    /// Extends a range at whose end nothing has come yet to all that will follow.
    pub fn open(&self, range: &mut IdRange) {
        let newest = self.known.get(&range.source).map_or(0, Stream::newest);
        if newest < range.last {
            range.last = u64::MAX;
        }
    }

    /// What is missing before a broadcast that has come.
    pub fn gap_before(&self, id: MessageId) -> Option<IdRange> {
        let stream = self.known.get(&id.source)?;
        let first = stream.all_to.checked_add(1)?;
        let range = IdRange { source: id.source, first, last: id.seq.checked_sub(1)? };
        (range.first <= range.last).then_some(range)
    }

    /// Where there are as many as there may be, those that have been silent the longest give way: some at once, so that
    /// looking for them costs each made-up source little.
    fn make_room(&mut self) {
        if self.known.len() < self.sources_max {
            return;
        }
        let mut by_age: Vec<_> = self.known.iter().map(|(source, stream)| (stream.heard, *source)).collect();
        by_age.sort_unstable();
        for (_, source) in by_age.iter().take((self.sources_max / FORGOTTEN_AT_ONCE).max(1)) {
            self.known.remove(source);
        }
    }
}

impl Stream {
    fn newest(&self) -> u64 {
        self.ahead.as_ref().and_then(|ahead| ahead.values().next_back().copied()).unwrap_or(self.all_to)
    }

    fn take(&mut self, seq: u64, gaps_max: usize) -> bool {
        if seq <= self.all_to {
            return false;
        }
        if seq == self.all_to + 1 {
            self.all_to = seq;
        } else if !self.take_ahead(seq, gaps_max) {
            return false;
        }
        self.join_first();
        true
    }

    fn take_ahead(&mut self, seq: u64, gaps_max: usize) -> bool {
        let ahead = self.ahead.get_or_insert_default();
        let before = ahead.range(..=seq).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= seq) {
            return false;
        }
        let first = before.filter(|(_, last)| last + 1 == seq).map_or(seq, |(first, _)| first);
        let last = seq.checked_add(1).and_then(|after| ahead.remove(&after)).unwrap_or(seq);
        ahead.insert(first, last);
        if ahead.len() > gaps_max {
            // The oldest gap is left to the reconciliation.
            self.all_to = ahead.first_key_value().map_or(self.all_to, |(first, _)| first - 1);
        }
        true
    }

    /// Joins what has come ahead with the rest where no gap is left between them.
    fn join_first(&mut self) {
        let Some(ahead) = &mut self.ahead else { return };
        while let Some(run) = ahead.first_entry().filter(|run| *run.key() <= self.all_to.saturating_add(1)) {
            self.all_to = self.all_to.max(run.remove());
        }
        if ahead.is_empty() {
            self.ahead = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    const SOURCE: Source = Source(1);

    proptest! {
        #[test]
        fn convergence_whatever_the_order_each_broadcast_is_new_once(seqs in proptest::collection::vec(1..60_u64, 1..200)) {
            let mut streams = Streams::new(8, 64);
            let mut seen = BTreeSet::from([1]);
            streams.note(MessageId { source: SOURCE, seq: 1 }, Instant::START);
            for seq in seqs {
                let fresh = streams.note(MessageId { source: SOURCE, seq }, Instant::START);
                prop_assert_eq!(fresh, seen.insert(seq));
                let missing: Vec<u64> = streams.missing(IdRange { source: SOURCE, first: 1, last: 64 })
                    .into_iter().flat_map(|range| range.first..=range.last).collect();
                let expected: Vec<u64> = (1..=64).filter(|seq| !seen.contains(seq)).collect();
                prop_assert_eq!(missing, expected);
                let few = IdRange { source: SOURCE, first: 20, last: 40 };
                let received = u64::try_from(seen.range(20..=40).count()).unwrap();
                prop_assert_eq!((streams.received(few), streams.count_missing(few)), (received, 21 - received));
                let mut open = few;
                streams.open(&mut open);
                prop_assert_eq!(open.last, if seen.range(40..).next().is_some() { 40 } else { u64::MAX });
            }
        }

        #[test]
        fn bounded_memory_no_order_makes_more_runs_than_allowed(seqs in proptest::collection::vec(1..u64::MAX, 1..200)) {
            let mut streams = Streams::new(8, 16);
            for seq in seqs {
                streams.note(MessageId { source: SOURCE, seq }, Instant::START);
                prop_assert_eq!(streams.known[&SOURCE].ahead.as_ref().is_none_or(|ahead| ahead.len() <= 16), true);
            }
        }
    }

    #[test]
    fn what_is_given_up_is_missing_no_more() {
        let mut streams = Streams::new(8, 64);
        for seq in [1, 4, 5, 9] {
            streams.note(MessageId { source: SOURCE, seq }, Instant::START);
        }
        let everything = IdRange { source: SOURCE, first: 1, last: 9 };
        assert_eq!(streams.missing(everything).len(), 2);
        streams.give_up(IdRange { last: 3, ..everything });
        assert_eq!(streams.missing(everything), [IdRange { first: 6, last: 8, ..everything }]);
        streams.give_up(everything);
        assert_eq!(streams.missing(everything), []);
    }

    #[test]
    fn bounded_memory_the_source_that_was_silent_longest_gives_way() {
        let mut streams = Streams::new(4, 16);
        for number in 0..100 {
            let id = MessageId { source: Source(number), seq: 1 };
            assert!(streams.note(id, Instant::from_micros(number)));
        }
        assert_eq!(streams.known.keys().map(|source| source.0).collect::<Vec<_>>(), [96, 97, 98, 99]);
    }

    #[test]
    fn bounded_memory_a_quarter_of_the_sources_gives_way_at_once() {
        let mut streams = Streams::new(16, 16);
        for number in 0..17 {
            streams.note(MessageId { source: Source(number), seq: 1 }, Instant::from_micros(number));
        }
        assert_eq!(streams.known.keys().map(|source| source.0).collect::<Vec<_>>(), (4..17).collect::<Vec<_>>());
    }
}
