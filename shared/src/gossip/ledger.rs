//! A set of entries of which the larger replaces the smaller, with sums over its ranges for reconciliation.
//!
//! Entries lie in the order of a hash of their names, so that ranges are prefixes of hexadecimal digits and all about
//! equally full. The sums of the upper levels are kept up to date with each merge; reading one is O(1).
//!
//! Why not the `negentropy` crate: its storage is sealed before a session and built anew for the next, O(n) for each
//! link, while this set changes all the time and is reconciled with several neighbours at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::sync::Arc;

use crate::wire::peer::{Fingerprint, Key, Prefix};

/// Ranges that a range is divided into: one hexadecimal digit more.
const FANOUT: u64 = 16;
/// Bits of a digit.
const DIGIT_BITS: u32 = 4;
/// Entries that the deepest ranges hold on average before they are divided. Listing 32 costs a kilobyte; dividing costs
/// a round trip and 16 sums.
const ENTRIES_PER_RANGE: u64 = 32;
/// The deepest level with sums: its 16^5 serve 33 million entries.
const MAX_DEPTH: u32 = 5;

/// What a [`Ledger`] holds.
pub trait Entry: Clone + PartialEq {
    /// Where it lies: a hash of its name, the same on every peer.
    fn key(&self) -> Key;
    /// A hash of all of it, the same on every peer.
    fn hash(&self) -> u64;
    /// Whether it replaces `other`, of the same key. A total order: of two that differ, one replaces the other.
    fn replaces(&self, other: &Self) -> bool;
}

impl<T: Entry> Entry for Arc<T> {
    fn key(&self) -> Key {
        T::key(self)
    }

    fn hash(&self) -> u64 {
        T::hash(self)
    }

    fn replaces(&self, other: &Self) -> bool {
        T::replaces(self, other)
    }
}

/// The key of a name.
pub fn key_of(name: &[u8]) -> Key {
    let hash = blake3::hash(name);
    hash.as_bytes().first_chunk().map_or(Key(0), |bytes| Key(u128::from_be_bytes(*bytes)))
}

/// The range of everything.
pub const EVERYTHING: Prefix = Prefix { depth: 0, digits: 0 };

impl Prefix {
    /// The first and the last key in it; `None` if there can be no such range.
    fn bounds(self) -> Option<(Key, Key)> {
        let bits = DIGIT_BITS * u32::from(self.depth);
        if bits > u64::BITS || self.digits.checked_shr(bits).unwrap_or(0) != 0 {
            return None;
        }
        let free = u128::BITS - bits;
        let first = u128::from(self.digits).checked_shl(free).unwrap_or(0);
        Some((Key(first), Key(first | u128::MAX.checked_shr(bits).unwrap_or(0))))
    }

    /// The 16 ranges that it consists of; none at the greatest depth.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let divisible = DIGIT_BITS * u32::from(self.depth) < u64::BITS;
        let children = if divisible { 0..FANOUT } else { 0..0 };
        children.map(move |digit| Self { depth: self.depth + 1, digits: (self.digits << DIGIT_BITS) | digit })
    }
}

impl Fingerprint {
    fn add(&mut self, hash: u64) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    fn remove(&mut self, hash: u64) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }
}

#[derive(Debug, Clone)]
struct Slot<T> {
    entry: T,
    hash: u64,
}

/// The set.
#[derive(Debug, Clone)]
pub struct Ledger<T> {
    entries: BTreeMap<Key, Slot<T>>,
    total: Fingerprint,
    /// The sums of depth 1, 2, ...
    levels: Vec<Vec<Fingerprint>>,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), total: Fingerprint::default(), levels: Vec::new() }
    }
}

impl<T: PartialEq> PartialEq for Ledger<T> {
    fn eq(&self, other: &Self) -> bool {
        self.total == other.total
            && self.entries.values().map(|slot| &slot.entry).eq(other.entries.values().map(|slot| &slot.entry))
    }
}

impl<T: Eq> Eq for Ledger<T> {}

impl<T: Entry> Ledger<T> {
    /// Takes `entry` in if it is new or replaces the one in its place. Says whether it did.
    pub fn merge(&mut self, entry: T) -> bool {
        let key = entry.key();
        if self.get(key).is_some_and(|known| !entry.replaces(known)) {
            return false;
        }
        self.put(key, entry);
        true
    }

    /// Puts `entry` at its key, whatever is there.
    pub fn put(&mut self, key: Key, entry: T) {
        let hash = entry.hash();
        match self.entries.entry(key) {
            Place::Vacant(place) => {
                place.insert(Slot { entry, hash });
                self.change_sums(key, |sum| sum.add(hash));
                self.divide();
            }
            Place::Occupied(mut place) => {
                let old = place.insert(Slot { entry, hash }).hash;
                self.change_sums(key, |sum| {
                    sum.remove(old);
                    sum.add(hash);
                });
            }
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.entries.remove(&key)?;
        self.change_sums(key, |sum| sum.remove(slot.hash));
        Some(slot.entry)
    }

    /// One entry.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(&key).map(|slot| &slot.entry)
    }

    /// One entry's hash.
    pub fn hash_of(&self, key: Key) -> Option<u64> {
        self.entries.get(&key).map(|slot| slot.hash)
    }

    /// Everything, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|slot| &slot.entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of it in short.
    pub fn total(&self) -> Fingerprint {
        self.total
    }

    /// A range in short; `None` where it is deeper than the sums, and so small enough to be listed.
    pub fn short(&self, range: Prefix) -> Option<Fingerprint> {
        let Some(level) = usize::from(range.depth).checked_sub(1) else { return Some(self.total) };
        self.levels.get(level)?.get(usize::try_from(range.digits).ok()?).copied()
    }

    /// The entries of a range from a key on, each with its key and hash.
    pub fn range(&self, range: Prefix, from: Key) -> impl Iterator<Item = (Key, u64, &T)> {
        let (first, last) = range.bounds().unwrap_or((Key(u128::MAX), Key(0)));
        let first = first.max(from);
        let slots = (first <= last).then(|| self.entries.range(first..=last));
        slots.into_iter().flatten().map(|(key, slot)| (*key, slot.hash, &slot.entry))
    }

    fn change_sums(&mut self, key: Key, change: impl Fn(&mut Fingerprint)) {
        change(&mut self.total);
        for (depth, level) in (1..).zip(&mut self.levels) {
            if let Some(sum) = level.get_mut(place(key, depth)) {
                change(sum);
            }
        }
    }

    /// Adds a level of sums once the ranges of the last are too full.
    fn divide(&mut self) {
        let depth = u32::try_from(self.levels.len()).unwrap_or(u32::MAX);
        let ranges = FANOUT.saturating_pow(depth);
        if depth >= MAX_DEPTH || u64::from(self.total.count) <= ENTRIES_PER_RANGE * ranges {
            return;
        }
        let mut level = vec![Fingerprint::default(); usize::try_from(ranges * FANOUT).unwrap_or(0)];
        for (key, slot) in &self.entries {
            if let Some(sum) = level.get_mut(place(*key, depth + 1)) {
                sum.add(slot.hash);
            }
        }
        self.levels.push(level);
    }
}

/// Which range of a level a key is in.
fn place(key: Key, depth: u32) -> usize {
    usize::try_from(key.0 >> (u128::BITS - DIGIT_BITS * depth)).unwrap_or(usize::MAX)
}

impl<T: Entry> FromIterator<T> for Ledger<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut ledger = Self::default();
        for entry in entries {
            ledger.merge(entry);
        }
        ledger
    }
}
