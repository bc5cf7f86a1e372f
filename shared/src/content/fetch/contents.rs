//! The contents that are wanted: which are begun when, and how each stands.

use std::collections::BTreeSet;

use crate::content::fetch::Fetcher;
use crate::content::fetch::transfer::{Phase, Transfer};
use crate::content::io::{Failure, Output, State};
use crate::content::manifest::Manifest;
use crate::ids::{ContentHash, ManifestHash};
use crate::wire::content::Run;

/// Contents that are fetched at a time; others wait. A guess: small ones fill the windows, and no list grows long.
const MAX_ACTIVE: usize = 64;
/// Of so many that begin, one is the one that has waited longest; the others are the smallest. A guess.
const OLDEST_OF: u64 = 8;

/// Contents that haven't begun.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By the bytes that are missing.
    by_rest: BTreeSet<(u64, ManifestHash)>,
    /// By when they came.
    by_age: BTreeSet<(u64, ManifestHash)>,
    came: u64,
    begun: u64,
}

/// The place of one that waits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ticket {
    rest_bytes: u64,
    number: u64,
}

impl Waiting {
    fn add(&mut self, name: ManifestHash, rest_bytes: u64) -> Ticket {
        self.came += 1;
        self.by_rest.insert((rest_bytes, name));
        self.by_age.insert((self.came, name));
        Ticket { rest_bytes, number: self.came }
    }

    fn remove(&mut self, name: ManifestHash, ticket: Ticket) {
        self.by_rest.remove(&(ticket.rest_bytes, name));
        self.by_age.remove(&(ticket.number, name));
    }

    /// The next one to begin.
    fn next(&self) -> Option<ManifestHash> {
        let first = if self.begun % OLDEST_OF == OLDEST_OF - 1 { self.by_age.first() } else { self.by_rest.first() };
        first.map(|(_, name)| *name)
    }

    /// The smallest one.
    fn smallest(&self) -> Option<ManifestHash> {
        self.by_rest.first().map(|(_, name)| *name)
    }
}

impl Fetcher {
    /// A content is wanted.
    pub(super) fn want(&mut self, manifest: ManifestHash, content: ContentHash, size_bytes: u64) {
        if self.transfers.contains_key(&manifest) {
            return;
        }
        let ticket = self.waiting.add(manifest, size_bytes);
        self.transfers.insert(manifest, Transfer::new(content, size_bytes, ticket, self.now));
        self.admit();
    }

    /// A content isn't wanted any more.
    pub(super) fn forget(&mut self, manifest: ManifestHash) {
        self.stop(manifest);
        if let Some(transfer) = self.transfers.remove(&manifest) {
            self.waiting.remove(manifest, transfer.ticket);
            self.active.remove(&manifest);
            let told = transfer.holdings.into_keys().map(|source| Output::NoInterest { source, manifest });
            self.outputs.extend(told);
        }
        self.admit();
        self.fill_all();
    }

    /// So many bytes may be written.
    pub(super) fn room(&mut self, bytes: u64) {
        self.room_bytes = bytes;
        while self.active_bytes() > self.room_bytes {
            let active = self.active.iter().filter_map(|name| Some((self.transfers.get(name)?.rest_bytes, *name)));
            let Some((_, largest)) = active.max() else { break };
            self.pause(largest);
        }
        self.admit();
    }

    /// The driver has told which chunks are here already.
    pub(super) fn present(&mut self, name: ManifestHash, runs: &[Run]) {
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        match transfer.phase {
            Phase::Looking | Phase::Chunks => transfer.phase = Phase::Chunks,
            // It is asked again when it matters.
            Phase::Waiting | Phase::Root | Phase::Pages | Phase::Checking => return,
        }
        for run in runs {
            transfer.keep(*run, self.now);
        }
        self.is_complete(name);
        self.fill_all();
    }

    /// If all chunks of a content are here, it is checked.
    pub(super) fn is_complete(&mut self, name: ManifestHash) {
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        if transfer.phase == Phase::Chunks && transfer.missing() == 0 {
            (transfer.phase, transfer.seek) = (Phase::Checking, None);
            self.outputs.push_back(Output::Check { manifest: name });
            self.tell(name, State::Checking);
        }
    }

    /// The driver has checked it.
    pub(super) fn checked(&mut self, name: ManifestHash, is_right: bool) {
        if self.transfers.get(&name).is_some_and(|transfer| transfer.phase == Phase::Checking) {
            self.tell(name, if is_right { State::Done } else { State::Failed(Failure::WrongSum) });
            self.forget(name);
        }
    }

    /// A content can't be had.
    pub(super) fn fail(&mut self, name: ManifestHash, why: Failure) {
        self.tell(name, State::Failed(why));
        self.forget(name);
    }

    /// Says how a content stands, if that is news.
    pub(super) fn tell(&mut self, manifest: ManifestHash, state: State) {
        if let Some(transfer) = self.transfers.get_mut(&manifest).filter(|transfer| transfer.state != state) {
            transfer.state = state.clone();
            self.outputs.push_back(Output::State { manifest, state });
        }
    }

    /// The manifest of a content is complete: the driver looks what is here.
    pub(super) fn look(&mut self, name: ManifestHash) {
        if let Some(transfer) = self.transfers.get_mut(&name) {
            (transfer.phase, transfer.seek) = (Phase::Looking, None);
            transfer.limit();
            self.outputs.push_back(Output::Look { manifest: name });
        }
    }

    /// The bytes that are missing of all that has begun.
    fn active_bytes(&self) -> u64 {
        let rest = self.active.iter().filter_map(|name| self.transfers.get(name)).map(|transfer| transfer.rest_bytes);
        rest.fold(0, u64::saturating_add)
    }

    /// Begins with contents that wait, as long as there is room for them.
    fn admit(&mut self) {
        while self.active.len() < MAX_ACTIVE {
            let free = self.room_bytes.saturating_sub(self.active_bytes());
            let fits = |name: &ManifestHash| self.transfers.get(name).is_some_and(|one| one.rest_bytes <= free);
            let next = self.waiting.next().filter(fits).or_else(|| self.waiting.smallest().filter(fits));
            let Some(name) = next else {
                if let Some(name) = self.waiting.smallest() {
                    self.tell(name, State::NoRoom);
                }
                return;
            };
            self.begin(name);
        }
    }

    fn begin(&mut self, name: ManifestHash) {
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        self.waiting.remove(name, transfer.ticket);
        self.waiting.begun += 1;
        self.active.insert(name);
        (transfer.began_at, transfer.asked_bytes) = (self.asked_bytes, 0);
        if transfer.manifest.is_none() {
            transfer.manifest = Manifest::of_one_chunk(name, transfer.content, transfer.size_bytes);
        }
        let is_known = transfer.manifest.as_ref().map(Manifest::is_whole);
        transfer.phase = if is_known.is_none() { Phase::Root } else { Phase::Pages };
        for (source, somebody) in &self.sources {
            if !transfer.holdings.contains_key(source) {
                transfer.interested(*source, somebody.peer, self.now);
                self.outputs.push_back(Output::Interest { source: *source, manifest: name });
            }
        }
        self.tell(name, State::Fetching);
        if is_known == Some(true) {
            self.look(name);
        }
        self.fill_all();
    }

    /// A content that has begun waits again.
    fn pause(&mut self, name: ManifestHash) {
        self.stop(name);
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        (transfer.phase, transfer.seek) = (Phase::Waiting, None);
        transfer.ticket = self.waiting.add(name, transfer.rest_bytes);
        self.active.remove(&name);
        self.tell(name, State::NoRoom);
    }
}
