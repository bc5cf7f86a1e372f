//! Which file is at which version. Merging is commutative, associative and idempotent, so that the outcome doesn't
//! depend on the order or repetition of messages.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use crate::ids::FileId;
use crate::wire::update::FileUpdate;

/// The latest known version of every file, tombstones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    files: BTreeMap<FileId, FileUpdate>,
}

impl Catalogue {
    /// Takes `update` over if it ranks above what is known of its file ([`FileUpdate::rank`]). Says whether it did.
    pub fn merge(&mut self, update: FileUpdate) -> bool {
        match self.files.entry(update.file.clone()) {
            Entry::Vacant(place) => {
                place.insert(update);
                true
            }
            Entry::Occupied(mut known) => {
                let newer = update.rank() > known.get().rank();
                if newer {
                    known.insert(update);
                }
                newer
            }
        }
    }

    /// What is known of `file`.
    pub fn get(&self, file: &FileId) -> Option<&FileUpdate> {
        self.files.get(file)
    }

    /// Everything, in the order of file ids.
    pub fn iter(&self) -> impl Iterator<Item = &FileUpdate> {
        self.files.values()
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// At most `limit` files behind `after`, in the order of file ids, and whether there are more.
    pub fn page(&self, after: Option<&FileId>, limit: usize) -> (Vec<FileUpdate>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.files.range((from, Bound::Unbounded)).map(|(_, update)| update);
        let page = rest.by_ref().take(limit).cloned().collect();
        (page, rest.next().is_some())
    }
}

impl FromIterator<FileUpdate> for Catalogue {
    fn from_iter<I: IntoIterator<Item = FileUpdate>>(updates: I) -> Self {
        let mut catalogue = Self::default();
        for update in updates {
            catalogue.merge(update);
        }
        catalogue
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::ids::{ContentHash, PeerId, Version};
    use crate::stamp::Stamp;

    /// Few files, versions, stamps and origins, so that ties of every kind happen.
    fn update() -> impl Strategy<Value = FileUpdate> {
        let key = (0..3_u8, 1..4_u64, 0..3_u64, 0..3_u8);
        (key, any::<bool>(), proptest::option::of(0..3_u8)).prop_map(
            |((file, version, stamp, origin), deleted, content)| {
                let file = format!("f{file}").parse().unwrap();
                let bare = FileUpdate::injected(file, Version(version), Stamp(stamp), PeerId([origin; 32]));
                FileUpdate { deleted, content: content.map(|byte| ContentHash([byte; 32])), ..bare }
            },
        )
    }

    fn updates() -> impl Strategy<Value = Vec<FileUpdate>> {
        proptest::collection::vec(update(), 0..12)
    }

    fn merged(parts: &[&[FileUpdate]]) -> Catalogue {
        parts.iter().copied().flatten().cloned().collect()
    }

    proptest! {
        #[test]
        fn convergence_merging_is_commutative(a in updates(), b in updates()) {
            prop_assert_eq!(merged(&[&a, &b]), merged(&[&b, &a]));
        }

        #[test]
        fn convergence_merging_is_associative(a in updates(), b in updates(), c in updates()) {
            let left: Vec<_> = merged(&[&a, &b]).iter().cloned().collect();
            let right: Vec<_> = merged(&[&b, &c]).iter().cloned().collect();
            prop_assert_eq!(merged(&[&left, &c]), merged(&[&a, &right]));
        }

        #[test]
        fn convergence_merging_is_idempotent(a in updates()) {
            prop_assert_eq!(merged(&[&a, &a]), merged(&[&a]));
        }

        #[test]
        fn convergence_a_version_never_goes_backwards(all in updates()) {
            let mut catalogue = Catalogue::default();
            for update in all {
                let before = catalogue.get(&update.file).cloned();
                catalogue.merge(update.clone());
                let after = catalogue.get(&update.file).unwrap();
                prop_assert!(before.is_none_or(|before| before.rank() <= after.rank()));
            }
        }

        #[test]
        fn pages_put_together_are_the_catalogue(all in updates(), limit in 1..4_usize) {
            let catalogue: Catalogue = all.into_iter().collect();
            let mut seen = Vec::new();
            loop {
                let (page, more) = catalogue.page(seen.last().map(|update: &FileUpdate| &update.file), limit);
                seen.extend(page);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(seen, catalogue.iter().cloned().collect::<Vec<_>>());
        }
    }
}
