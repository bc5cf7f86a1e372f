//! Files of which local peers know a later version than the catalogue has: an older copy of the catalogue is in use, or
//! somebody else published under their ids. What the API serves then isn't what the peers were told of.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use rusqlite::Connection;
use shared::ids::{FileId, Version};
use shared::wire::condition::Condition;
use shared::wire::file_view::FileView;

use crate::store::error::StoreError;
use crate::store::{Keeper, Store, metadata};

/// How many files are named.
const NAMED: usize = 3;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    /// The last entry of the stream when it was looked.
    looked_at: u64,
    files: BTreeMap<FileId, Ahead>,
}

/// How far peers are ahead with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    here: Version,
    there: Version,
}

impl Store {
    /// Looks at the files that something has happened to since it looked last.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn look_for_overtaken(&self) -> Result<(), StoreError> {
        let Some((looked_at, known)) = self.keeper.known_to_peers() else { return Ok(()) };
        let files = self.db().read(move |connection| ahead(connection, known)).await?;
        self.keeper.note_overtaken(Overtaken { looked_at, files });
        Ok(())
    }
}

impl Keeper {
    /// Which version local peers know of each file that may have changed, and as of which entry; nothing where nothing has
    /// happened.
    fn known_to_peers(&self) -> Option<(u64, Vec<(FileId, Version)>)> {
        let overtaken = self.overtaken.lock().unwrap_or_else(PoisonError::into_inner);
        self.hub.read(|overview| {
            if overview.seq == overtaken.looked_at {
                return None;
            }
            let files = overview.files.iter();
            // What a peer starts with comes without an entry of its own: the last one is looked at twice.
            let files = files
                .filter(|(file, view)| view.touched_seq >= overtaken.looked_at || overtaken.files.contains_key(*file));
            Some((overview.seq, files.filter_map(|(file, view)| Some((file.clone(), latest_held(view)?))).collect()))
        })
    }

    fn note_overtaken(&self, found: Overtaken) {
        let detail = found.explain();
        *self.overtaken.lock().unwrap_or_else(PoisonError::into_inner) = found;
        match detail {
            Some(detail) => self.hub.raise(Condition::CatalogueBehind, detail),
            None => self.hub.clear(Condition::CatalogueBehind),
        }
    }
}

impl Overtaken {
    /// What is wrong, in a sentence for people; nothing where nothing is.
    fn explain(&self) -> Option<String> {
        let named = self.files.iter().take(NAMED);
        let named: Vec<String> =
            named.map(|(file, Ahead { here, there })| format!("{file} (v{here} here, v{there} there)")).collect();
        let more = if self.files.len() > NAMED { ", ..." } else { "" };
        (!named.is_empty()).then(|| {
            format!(
                "peers know later versions of {} files than the catalogue has: {}{more}. An older copy of the catalogue is in \
                 use, or somebody else has published them. Put the newer grapevine.db back (without the \
                 -wal beside this one), or change the files again: \
                 the next version that is made of one (PUT, DELETE) goes past the peers'",
                self.files.len(),
                named.join(", ")
            )
        })
    }
}

fn latest_held(view: &FileView) -> Option<Version> {
    view.holders.values().map(|holding| holding.version).max()
}

/// Those of `known` that the catalogue has, too, in an earlier version. Of a file that is deleted here no version can be made
/// any more.
fn ahead(connection: &Connection, known: Vec<(FileId, Version)>) -> Result<BTreeMap<FileId, Ahead>, StoreError> {
    let mut files = BTreeMap::new();
    for (file, there) in known {
        if let Some(here) = metadata::latest_version(connection, &file)?.filter(|here| *here < there) {
            files.insert(file, Ahead { here, there });
        }
    }
    Ok(files)
}
