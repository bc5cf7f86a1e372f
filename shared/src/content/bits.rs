//! A set of chunks, by their numbers: a bit for each.

use crate::wire::content::Run;

/// Bits of a word.
const WORD: u32 = u64::BITS;

/// A set of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    /// All numbers below `end`.
    pub fn below(end: u32) -> Self {
        let mut all = Self::default();
        all.insert_run(Run { first: 0, count: end });
        all
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether this one is among them.
    pub fn contains(&self, number: u32) -> bool {
        self.word(number / WORD) & bit(number) != 0
    }

    /// The bits of 64 numbers, from 64 times `place` on.
    pub fn word(&self, place: u32) -> u64 {
        self.words.get(index(place)).copied().unwrap_or(0)
    }

    /// Adds one. Returns whether it is new.
    pub fn insert(&mut self, number: u32) -> bool {
        let place = index(number / WORD);
        if place >= self.words.len() {
            self.words.resize(place + 1, 0);
        }
        let Some(word) = self.words.get_mut(place).filter(|word| **word & bit(number) == 0) else { return false };
        *word |= bit(number);
        self.count += 1;
        true
    }

    /// Takes one out. Returns whether it was there.
    pub fn remove(&mut self, number: u32) -> bool {
        let word = self.words.get_mut(index(number / WORD)).filter(|word| **word & bit(number) != 0);
        let Some(word) = word else { return false };
        *word &= !bit(number);
        self.count -= 1;
        true
    }

    /// Adds all of a run. Returns how many are new.
    pub fn insert_run(&mut self, run: Run) -> u32 {
        let before = self.count;
        let words = index(run.end().div_ceil(WORD));
        if run.count > 0 && words > self.words.len() {
            self.words.resize(words, 0);
        }
        for (place, mask) in words_of(run) {
            if let Some(word) = self.words.get_mut(index(place)) {
                self.count += (mask & !*word).count_ones();
                *word |= mask;
            }
        }
        self.count - before
    }

    /// Takes out all from `end` on.
    pub fn truncate(&mut self, end: u32) {
        self.words.truncate(index(end.div_ceil(WORD)));
        if let Some(last) = self.words.get_mut(index(end / WORD)) {
            *last &= bit(end) - 1;
        }
        self.count = self.words.iter().map(|word| word.count_ones()).sum();
    }

    /// What is in it, as runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        let words = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = next(words, from, |place| self.word(place))?;
            let end = next(words, first, |place| !self.word(place)).unwrap_or(words * WORD);
            from = end;
            Some(Run { first, count: end - first })
        })
    }
}

/// A run as words: the place of each, and its bits.
pub fn words_of(run: Run) -> impl Iterator<Item = (u32, u64)> {
    let (first, end) = (run.first, run.end());
    (first / WORD..end.div_ceil(WORD)).map(move |place| {
        let from = u64::MAX << first.saturating_sub(place * WORD).min(WORD - 1);
        let until = u64::MAX >> (place * WORD + WORD).saturating_sub(end).min(WORD - 1);
        (place, from & until)
    })
}

/// The first number from `start` on whose bit is set, then from 0 on; of `words` words that a function tells.
pub fn next_around(words: u32, start: u32, word: impl Fn(u32) -> u64) -> Option<u32> {
    next(words, start, &word).or_else(|| next(words.min(start.div_ceil(WORD)), 0, &word))
}

fn next(words: u32, start: u32, word: impl Fn(u32) -> u64) -> Option<u32> {
    let first = start / WORD;
    (first..words).find_map(|place| {
        let from = if place == first { u64::MAX << (start % WORD) } else { u64::MAX };
        let bits = word(place) & from;
        (bits != 0).then(|| place * WORD + bits.trailing_zeros())
    })
}

fn bit(number: u32) -> u64 {
    1 << (number % WORD)
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in vec((any::<bool>(), 0_u32..300), 0..200), end in 0_u32..300) {
            let (mut bits, mut set) = (Bits::default(), BTreeSet::new());
            for (adds, number) in steps {
                if adds {
                    prop_assert_eq!(bits.insert(number), set.insert(number));
                } else {
                    prop_assert_eq!(bits.remove(number), set.remove(&number));
                }
            }
            bits.truncate(end);
            set.retain(|number| *number < end);
            prop_assert_eq!(usize::try_from(bits.count()).unwrap(), set.len());
            prop_assert!((0..400).all(|number| bits.contains(number) == set.contains(&number)));
            let listed: Vec<u32> = bits.runs().flat_map(|run| run.first..run.end()).collect();
            prop_assert!(listed.iter().eq(set.iter()));
            let mut again = Bits::default();
            prop_assert_eq!(bits.runs().map(|run| again.insert_run(run)).sum::<u32>(), bits.count());
        }

        #[test]
        fn a_run_is_added_as_its_numbers_are(runs in vec((0_u32..300, 0_u32..200), 0..9)) {
            let (mut at_once, mut one_by_one) = (Bits::default(), Bits::default());
            for (first, count) in runs {
                let new = (first..first + count).filter(|number| one_by_one.insert(*number)).count();
                prop_assert_eq!(usize::try_from(at_once.insert_run(Run { first, count })).unwrap(), new);
                prop_assert_eq!(at_once.count(), one_by_one.count());
                prop_assert!((0..600).all(|number| at_once.contains(number) == one_by_one.contains(number)));
            }
        }

        #[test]
        fn the_next_one_is_the_next_of_the_ring(set in btree_set(0_u32..256, 0..20), start in 0_u32..256) {
            let mut bits = Bits::default();
            for number in &set {
                bits.insert(*number);
            }
            let expected = set.range(start..).next().or_else(|| set.first()).copied();
            prop_assert_eq!(next_around(4, start, |place| bits.word(place)), expected);
        }
    }

    #[test]
    fn all_below_an_end_are_one_run() {
        assert_eq!(Bits::below(130).runs().collect::<Vec<_>>(), [Run { first: 0, count: 130 }]);
        assert_eq!(Bits::below(0).runs().next(), None);
    }
}
