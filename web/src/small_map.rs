//! A map for few entries, in the order of their keys: a sorted list. The standard one brings more than a kilobyte of code
//! to the page for each pair of types, compressed.

/// The entries, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallMap<K, V>(Vec<(K, V)>);

impl<K: Ord, V> SmallMap<K, V> {
    /// Returns an empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let index = self.find(key).ok()?;
        self.0.get(index).map(|(_, value)| value)
    }

    /// Whether there is a value of `key`.
    pub fn has(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Puts `value` in the place of the one that `key` had.
    pub fn put(&mut self, key: K, value: V) {
        drop(self.take(&key));
        let (Ok(index) | Err(index)) = self.find(&key);
        self.0.insert(index, (key, value));
    }

    /// Removes and returns the value of `key`.
    pub fn take(&mut self, key: &K) -> Option<V> {
        let index = self.find(key).ok()?;
        Some(self.0.remove(index).1)
    }

    /// Returns the entries.
    pub fn entries(&self) -> &[(K, V)] {
        &self.0
    }

    /// Returns the values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }
}

impl<K: Ord, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_in_the_order_of_their_keys_each_once() {
        let mut map = SmallMap::new();
        for (key, value) in [(3, 'a'), (1, 'b'), (2, 'c'), (3, 'd')] {
            map.put(key, value);
        }
        assert_eq!(map.entries(), [(1, 'b'), (2, 'c'), (3, 'd')]);
        assert_eq!((map.take(&2), map.take(&2), map.get(&3), map.has(&2)), (Some('c'), None, Some(&'d'), false));
    }
}
