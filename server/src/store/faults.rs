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

/// The contents that can't be served.
#[derive(Debug)]
pub struct Faults {
    hub: Hub,
    /// A lock is enough: it is held to look up, to add or to remove.
    known: Mutex<BTreeMap<ContentHash, Fault>>,
}

impl Faults {
    /// None yet.
    pub fn new(hub: Hub) -> Self {
        Self { hub, known: Mutex::default() }
    }

    /// What is known to be wrong with a content.
    pub fn of(&self, content: ContentHash) -> Option<Fault> {
        self.lock().get(&content).copied()
    }

    /// Something is wrong with these contents.
    pub fn found(&self, faults: &[(ContentHash, Fault)]) {
        let mut known = self.lock();
        let new: Vec<_> = faults.iter().filter(|(content, _)| !known.contains_key(content)).copied().collect();
        if new.is_empty() {
            return;
        }
        for (content, fault) in new.iter().take(LOGGED) {
            error!(%content, "a content can't be served: {fault}");
        }
        if let Some(more) = new.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            error!("{more} more contents can't be served");
        }
        let room = REMEMBERED.saturating_sub(known.len());
        known.extend(new.into_iter().take(room));
        self.tell(&known);
    }

    /// Nothing is wrong with it any more: it came again, or nobody wants it.
    pub fn gone(&self, content: ContentHash) {
        let mut known = self.lock();
        if known.remove(&content).is_some() {
            info!(%content, "a content that was missing or damaged is so no more");
            self.tell(&known);
        }
    }

    fn tell(&self, known: &BTreeMap<ContentHash, Fault>) {
        let Some((content, fault)) = known.first_key_value() else { return self.hub.clear(Condition::BadContents) };
        let (count, more) = (known.len(), if known.len() == REMEMBERED { " or more" } else { "" });
        let detail = format!(
            "{count}{more} contents of files are missing or damaged, {content} among them: {fault}; uploading the same \
             bytes mends one, `grapevine fsck` lists all"
        );
        self.hub.raise(Condition::BadContents, detail);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Fault>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
