//! Contents that are known to be missing or damaged: told once, counted, a condition for as long as there are any.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::ids::ContentHash;
use shared::wire::condition::Condition;
use tracing::{error, info};

use crate::contents::fault::Fault;
use crate::hub::Hub;

/// How many are remembered. Beyond, each is found anew when it is asked for.
const REMEMBERED: usize = 10_000;

/// How many of those that are found at once are logged each. A guess: enough to see what they have in common.
const LOGGED: usize = 10;

/// A content that something is wrong with.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub content: ContentHash,
    /// What is wrong with it.
    pub fault: Fault,
    /// Versions of files that have it, for people.
    pub files: String,
}

/// The contents that can't be served.
#[derive(Debug)]
pub struct Faults {
    hub: Hub,
    /// A lock is enough: it is held to look up, to add or to remove, and to look at a file's inode.
    known: Mutex<BTreeMap<ContentHash, Found>>,
}

impl Faults {
    /// None yet.
    pub fn new(hub: Hub) -> Self {
        Self { hub, known: Mutex::default() }
    }

    /// What is known to be wrong with a content.
    pub fn of(&self, content: ContentHash) -> Option<Fault> {
        self.lock().get(&content).map(|found| found.fault)
    }

    /// Something is wrong with these contents, as far as it is `still_so`: who mends one says that it is
    /// [gone](Self::gone) afterwards, so between looking and remembering nothing is missed.
    pub fn found(&self, found: Vec<Found>, still_so: impl Fn(&Found) -> bool) {
        let mut known = self.lock();
        let is_new = |found: &Found| !known.contains_key(&found.content) && still_so(found);
        let new: Vec<_> = found.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        for Found { content, fault, files } in new.iter().take(LOGGED) {
            error!(%content, "the content of {files} can't be served: {fault}");
        }
        if let Some(more) = new.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            error!("{more} more contents can't be served");
        }
        let room = REMEMBERED.saturating_sub(known.len());
        known.extend(new.into_iter().take(room).map(|found| (found.content, found)));
        self.tell(&known);
    }

    /// Nothing is wrong with it any more: it came again, or nobody wants it.
    pub fn gone(&self, content: ContentHash) {
        let mut known = self.lock();
        if let Some(Found { files, .. }) = known.remove(&content) {
            info!(%content, "the content of {files} is missing or damaged no more");
            self.tell(&known);
        }
    }

    fn tell(&self, known: &BTreeMap<ContentHash, Found>) {
        let Some(Found { content, fault, files }) = known.values().next() else {
            return self.hub.clear(Condition::BadContents);
        };
        let (count, more) = (known.len(), if known.len() == REMEMBERED { " or more" } else { "" });
        let detail = format!(
            "{count}{more} contents of files are missing or damaged, {content} of {files} among them: {fault}; uploading \
             the same bytes mends one, `grapevine fsck` lists all"
        );
        self.hub.raise(Condition::BadContents, detail);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Found>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
