//! A set of entries of which the larger replaces the smaller, with sums over its ranges for reconciliation.
//!
//! Entries lie in the order of a hash of their names, so that ranges are prefixes of hexadecimal digits and all about
//! equally full. The sums of the upper levels are kept up to date with each merge; reading one is O(1), and one of the
//! deepest O([`ENTRIES_PER_RANGE`]).
//!
//! Why not the `negentropy` crate: its storage is sealed before a session and built anew for the next, O(n) for each
//! link, while this set changes all the time and is reconciled with several neighbours at once.

use std::sync::Arc;

use crate::wire::peer::{Fingerprint, Key, Prefix};

/// Ranges that a range is divided into: one hexadecimal digit more.
const FANOUT: u64 = 16;
/// Bits of a digit.
const DIGIT_BITS: u32 = 4;
/// Entries that the deepest ranges hold on average before they are divided. Listing 32 costs a kilobyte; dividing costs
/// a round trip and 16 sums.
const ENTRIES_PER_RANGE: u64 = 32;
/// The greatest depth: its 16^5 ranges serve 33 million entries.
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
    key: Key,
    hash: u64,
    entry: T,
}

/// The set.
#[derive(Debug, Clone)]
pub struct Ledger<T> {
    /// The deepest ranges, all of them, each in the order of keys. An array of short ones is reached with fewer cache
    /// misses than the nodes of a tree, and that is most of what a merge costs.
    ranges: Vec<Vec<Slot<T>>>,
    /// How many digits name one of them.
    depth: u32,
    /// The sums of the ranges above, of depth 1, 2, ...
    levels: Vec<Vec<Fingerprint>>,
    total: Fingerprint,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { ranges: vec![Vec::new()], depth: 0, levels: Vec::new(), total: Fingerprint::default() }
    }
}

impl<T: PartialEq> PartialEq for Ledger<T> {
    fn eq(&self, other: &Self) -> bool {
        let [ours, theirs] = [self, other].map(|ledger| ledger.ranges.iter().flatten().map(|slot| &slot.entry));
        self.total == other.total && ours.eq(theirs)
    }
}

impl<T: Eq> Eq for Ledger<T> {}

impl<T: Entry> Ledger<T> {
    /// Takes `entry` in if it is new or replaces the one in its place. Returns whether it did.
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
        let slot = Slot { key, hash, entry };
        let Some(range) = self.ranges.get_mut(place(key, self.depth)) else { return };
        let former = match range.binary_search_by_key(&key, |slot| slot.key) {
            Ok(found) => range.get_mut(found).map(|known| std::mem::replace(known, slot).hash),
            Err(here) => {
                range.insert(here, slot);
                None
            }
        };
        self.change_sums(key, |sum| {
            if let Some(former) = former {
                sum.remove(former);
            }
            sum.add(hash);
        });
        self.divide();
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let range = self.ranges.get_mut(place(key, self.depth))?;
        let found = range.binary_search_by_key(&key, |slot| slot.key).ok()?;
        let slot = range.remove(found);
        self.change_sums(key, |sum| sum.remove(slot.hash));
        Some(slot.entry)
    }

    /// One entry.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.slot(key).map(|slot| &slot.entry)
    }

    /// One entry's hash.
    pub fn hash_of(&self, key: Key) -> Option<u64> {
        self.slot(key).map(|slot| slot.hash)
    }

    /// Everything, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.ranges.iter().flatten().map(|slot| &slot.entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.total.count).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total.count == 0
    }

    /// All of it in short.
    pub fn total(&self) -> Fingerprint {
        self.total
    }

    /// A range in short; `None` where it is deeper than the ranges here, and so small enough to be listed.
    pub fn short(&self, range: Prefix) -> Option<Fingerprint> {
        let Some(level) = usize::from(range.depth).checked_sub(1) else { return Some(self.total) };
        let digits = usize::try_from(range.digits).ok()?;
        if u32::from(range.depth) == self.depth {
            return self.ranges.get(digits).map(|slots| sum_of(slots));
        }
        self.levels.get(level)?.get(digits).copied()
    }

    /// The entries of a range from a key on, each with its key and hash.
    pub fn range(&self, range: Prefix, from: Key) -> impl Iterator<Item = (Key, u64, &T)> {
        let (first, last) = range.bounds().unwrap_or((Key(u128::MAX), Key(0)));
        let first = first.max(from);
        let ranges = self.ranges.get(place(first, self.depth)..=place(last, self.depth)).unwrap_or_default();
        let slots =
            ranges.iter().flat_map(move |slots| slots.iter().skip(slots.partition_point(|slot| slot.key < first)));
        slots.take_while(move |slot| slot.key <= last).map(|slot| (slot.key, slot.hash, &slot.entry))
    }

    fn slot(&self, key: Key) -> Option<&Slot<T>> {
        let range = self.ranges.get(place(key, self.depth))?;
        range.get(range.binary_search_by_key(&key, |slot| slot.key).ok()?)
    }

    fn change_sums(&mut self, key: Key, change: impl Fn(&mut Fingerprint)) {
        change(&mut self.total);
        for (depth, level) in (1..).zip(&mut self.levels) {
            if let Some(sum) = level.get_mut(place(key, depth)) {
                change(sum);
            }
        }
    }

    /// Divides the ranges once they are too full.
    fn divide(&mut self) {
        let ranges = FANOUT.saturating_pow(self.depth);
        if self.depth >= MAX_DEPTH || u64::from(self.total.count) <= ENTRIES_PER_RANGE * ranges {
            return;
        }
        if self.depth > 0 {
            self.levels.push(self.ranges.iter().map(|slots| sum_of(slots)).collect());
        }
        self.depth += 1;
        let depth = self.depth;
        let mut slots = std::mem::take(&mut self.ranges).into_iter().flatten().peekable();
        let children = 0..usize::try_from(ranges * FANOUT).unwrap_or(0);
        let child = |number| std::iter::from_fn(|| slots.next_if(|slot| place(slot.key, depth) == number)).collect();
        self.ranges = children.map(child).collect();
    }
}

fn sum_of<T>(slots: &[Slot<T>]) -> Fingerprint {
    let mut sum = Fingerprint::default();
    for slot in slots {
        sum.add(slot.hash);
    }
    sum
}

/// Which range of a depth a key is in.
fn place(key: Key, depth: u32) -> usize {
    usize::try_from(key.0.checked_shr(u128::BITS - DIGIT_BITS * depth).unwrap_or(0)).unwrap_or(usize::MAX)
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
