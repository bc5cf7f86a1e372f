//! What is asked of a source, and what isn't any more.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::content::fetch::Fetcher;
use crate::content::fetch::choice::{Step, View};
use crate::content::fetch::transfer::{Phase, Transfer};
use crate::content::io::{Output, RequestId, SourceId};
use crate::ids::ManifestHash;
use crate::time::Instant;
use crate::wire::content::Run;

/// Each content gets at least this part of what is asked for; where there are many, half of what would be its share.
const LEAST_SHARE: u64 = 16;
/// What a content is owed before its turn comes: a request.
const OWED_BYTES: u64 = 512 << 10;
/// A request of the last part is made a second time after so long. A guess.
const LAST_CHANCE: Duration = Duration::from_millis(500);
/// Where a source could be asked for more, and isn't, that is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is asked of somebody.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) source: SourceId,
    pub(super) manifest: ManifestHash,
    pub(super) at: Instant,
    pub(super) asked: Asked,
}

/// What that is.
#[derive(Debug)]
pub(super) enum Asked {
    /// The root of a manifest.
    Root,
    /// The pages that haven't come.
    Pages(BTreeSet<u32>),
    /// Chunks.
    Chunks {
        /// The number of the first.
        first: u32,
        /// Which haven't come, by their place in the run.
        left: u64,
        /// The bytes that haven't.
        left_bytes: u64,
    },
}

impl Asked {
    /// The chunks that haven't come.
    pub(super) fn chunks(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, left) = match self {
            Self::Root | Self::Pages(_) => (0, 0),
            Self::Chunks { first, left, .. } => (*first, *left),
        };
        (0..u64::BITS).filter(move |place| left & (1 << place) != 0).map(move |place| first + place)
    }
}

impl Fetcher {
    /// Asks all sources for as much as they may be asked for.
    pub(super) fn fill_all(&mut self) {
        for source in self.sources.keys().copied().collect::<Vec<_>>() {
            self.fill(source);
        }
    }

    /// Asks a source for as much as it may be asked for.
    pub(super) fn fill(&mut self, source: SourceId) {
        while let Some((name, step)) = self.next_step(source) {
            self.ask(source, name, step);
        }
    }

    /// What is to be asked of a source next.
    fn next_step(&mut self, source: SourceId) -> Option<(ManifestHash, Step)> {
        let in_order = self.in_order(source);
        if in_order.is_empty() {
            return None;
        }
        let (sources, now) = (&self.sources, self.now);
        let asked = sources.get(&source)?;
        let view = View { me: self.me, now, rate: &|source| sources.get(&source).map_or(0, |one| one.pace.rate()) };
        let mut is_stalled = false;
        for name in &in_order {
            let Some(transfer) = self.transfers.get_mut(name) else { continue };
            let room = asked.room_bytes(transfer.is_swarm(now), now);
            let step = if room > 0 { transfer.step(source, room, &view) } else { None };
            if let Some(step) = step {
                return Some((*name, step));
            }
            is_stalled |= room > 0 && transfer.waits_for_others(source, now);
        }
        if !is_stalled {
            return None;
        }
        let again = in_order.iter().find_map(|name| Some((*name, Step::Chunks(self.last_chance(source, *name)?))));
        if again.is_none() {
            self.look_at.get_or_insert(now + LOOK_AGAIN);
        }
        again
    }

    /// The contents that a source may be asked for, the first first: those that have got less than their share, by how much;
    /// then those of which the least is missing.
    fn in_order(&self, source: SourceId) -> Vec<ManifestHash> {
        let active = self.active.iter().filter_map(|name| Some((name, self.transfers.get(name)?)));
        let asked = active.filter(|(_, transfer)| transfer.holdings.contains_key(&source));
        let mut all: Vec<_> = asked.map(|(name, transfer)| (self.place(transfer), *name)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, name)| name).collect()
    }

    fn place(&self, transfer: &Transfer) -> (Reverse<u64>, u64) {
        let parts = LEAST_SHARE.max(2 * u64::try_from(self.active.len()).unwrap_or(u64::MAX));
        let share = (self.asked_bytes - transfer.began_at) / parts;
        let owed = share.saturating_sub(transfer.asked_bytes);
        (Reverse(if owed < OWED_BYTES { 0 } else { owed }), transfer.rest_bytes)
    }

    /// A chunk of the last ones that is asked of somebody else, and is long in coming.
    fn last_chance(&self, source: SourceId, name: ManifestHash) -> Option<Run> {
        let transfer = self.transfers.get(&name)?;
        if transfer.phase != Phase::Chunks || !transfer.is_last() {
            return None;
        }
        let late = self.requests.values().filter(|request| {
            request.manifest == name && request.source != source && self.now - request.at >= LAST_CHANCE
        });
        let is_free = |chunk: &u32| transfer.has(source, *chunk) && !transfer.twice.contains(*chunk);
        late.flat_map(|request| request.asked.chunks()).find(is_free).map(|first| Run { first, count: 1 })
    }

    fn ask(&mut self, source: SourceId, manifest: ManifestHash, step: Step) {
        let Some(transfer) = self.transfers.get_mut(&manifest) else { return };
        let Some(somebody) = self.sources.get_mut(&source) else { return };
        self.last_request = self.last_request.wrapping_add(1);
        let request = RequestId(self.last_request);
        let (asked, bytes, output) = match step {
            Step::Root => (Asked::Root, 0, Output::AskRoot { source, request, manifest }),
            Step::Pages(pages) => {
                let asked = Asked::Pages((pages.first..pages.end()).collect());
                (asked, 0, Output::AskPages { source, request, manifest, pages })
            }
            Step::Chunks(chunks) => {
                transfer.ask(source, chunks, self.now);
                let left_bytes = (chunks.first..chunks.end()).map(|chunk| transfer.len_bytes(chunk)).sum();
                let left = u64::MAX >> (u64::BITS - chunks.count.clamp(1, u64::BITS));
                let asked = Asked::Chunks { first: chunks.first, left, left_bytes };
                (asked, left_bytes, Output::AskChunks { source, request, manifest, chunks })
            }
        };
        transfer.open += 1;
        transfer.asked_bytes += bytes;
        self.asked_bytes += bytes;
        somebody.asked(request, bytes, self.now);
        self.requests.insert(request, Request { source, manifest, at: self.now, asked });
        self.outputs.push_back(output);
    }

    /// Nothing is asked of a content any more.
    pub(super) fn stop(&mut self, manifest: ManifestHash) {
        let open = self.requests.iter().filter(|(_, request)| request.manifest == manifest);
        for name in open.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.cancel(name);
        }
    }

    /// A request is of no use any more.
    pub(super) fn cancel(&mut self, request: RequestId) {
        if let Some(source) = self.end(request) {
            self.outputs.push_back(Output::Cancel { source, request });
        }
    }

    /// A request is over; what hasn't come of it may be asked of others. Returns whose it was.
    pub(super) fn end(&mut self, name: RequestId) -> Option<SourceId> {
        let Request { source, manifest, asked, .. } = self.requests.remove(&name)?;
        if let Some(transfer) = self.transfers.get_mut(&manifest) {
            transfer.open -= 1;
            asked.chunks().for_each(|chunk| transfer.release(chunk));
        }
        let left_bytes = match asked {
            Asked::Root | Asked::Pages(_) => 0,
            Asked::Chunks { left_bytes, .. } => left_bytes,
        };
        if let Some(source) = self.sources.get_mut(&source) {
            source.is_over(name, left_bytes, self.now);
        }
        Some(source)
    }
}
