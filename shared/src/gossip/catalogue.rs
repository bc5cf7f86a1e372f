//! Which file is at which version. Merging is commutative, associative and idempotent, so that the outcome doesn't
//! depend on the order or repetition of messages.

use std::sync::Arc;

use crate::gossip::ledger::{Entry, Ledger, key_of};
use crate::ids::FileId;
use crate::wire::peer::Key;
use crate::wire::update::FileUpdate;

/// The latest known version of every file, tombstones included. Of two versions the one with the larger
/// [`FileUpdate::rank`] stays.
pub type Catalogue = Ledger<Arc<FileUpdate>>;

/// What the fields of most changes take together.
const USUAL_BYTES: usize = 256;

impl Entry for FileUpdate {
    fn key(&self) -> Key {
        key_of(self.file.as_str().as_bytes())
    }

    /// Over all that [`FileUpdate::rank`] compares.
    fn hash(&self) -> u64 {
        // Gathered first: hashing one piece is much quicker than feeding many.
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        for number in [self.version.0, self.stamp.0, self.size_bytes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(u8::from(self.deleted));
        bytes.extend_from_slice(&self.origin.0);
        let owner = self.owner.as_ref().map(|owner| owner.as_str().as_bytes()).unwrap_or_default();
        let content = self.content.as_ref().map(|content| content.0.as_slice()).unwrap_or_default();
        for field in [self.file.as_str().as_bytes(), self.name.as_bytes(), owner, content] {
            bytes.extend_from_slice(&u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        blake3::hash(&bytes).as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    fn replaces(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }
}

impl Ledger<Arc<FileUpdate>> {
    /// What is known of `file`.
    pub fn of_file(&self, file: &FileId) -> Option<&Arc<FileUpdate>> {
        self.get(key_of(file.as_str().as_bytes()))
    }

    /// How many files there are, which deleted ones no longer are. O(n).
    pub fn files(&self) -> u32 {
        let there = self.iter().filter(|update| !update.deleted);
        u32::try_from(there.count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::ids::{ContentHash, PeerId, Version};
    use crate::stamp::Stamp;

    /// Few files, versions, stamps and origins, so that ties of every kind happen.
    fn update() -> impl Strategy<Value = Arc<FileUpdate>> {
        let key = (0..3_u8, 1..4_u64, 0..3_u64, 0..3_u8);
        (key, any::<bool>(), proptest::option::of(0..3_u8)).prop_map(
            |((file, version, stamp, origin), deleted, content)| {
                let file = format!("f{file}").parse().unwrap();
                let bare = FileUpdate::injected(file, Version(version), Stamp(stamp), PeerId([origin; 32]));
                Arc::new(FileUpdate { deleted, content: content.map(|byte| ContentHash([byte; 32])), ..bare })
            },
        )
    }

    fn updates() -> impl Strategy<Value = Vec<Arc<FileUpdate>>> {
        proptest::collection::vec(update(), 0..12)
    }

    fn merged(parts: &[&[Arc<FileUpdate>]]) -> Catalogue {
        parts.iter().copied().flatten().cloned().collect()
    }

    #[test]
    fn a_deleted_file_counts_no_more() {
        let of = |version, deleted| {
            let file = "f".parse().unwrap();
            let bare = FileUpdate::injected(file, Version(version), Stamp(version), PeerId([1; 32]));
            Arc::new(FileUpdate { deleted, ..bare })
        };
        let mut catalogue = Catalogue::default();
        catalogue.merge(of(1, false));
        assert_eq!(catalogue.files(), 1);
        catalogue.merge(of(2, true));
        assert_eq!((catalogue.files(), catalogue.iter().count()), (0, 1), "its tombstone stays");
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
                let before = catalogue.of_file(&update.file).cloned();
                catalogue.merge(update.clone());
                let after = catalogue.of_file(&update.file).unwrap();
                prop_assert!(before.is_none_or(|before| before.rank() <= after.rank()));
            }
        }
    }
}
