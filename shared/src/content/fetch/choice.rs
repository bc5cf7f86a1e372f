//! What is to be asked of a source next, of one content.
//!
//! Who relays is asked for all that it has and that is missing here. Who had everything from the start is spared while
//! others relay: it is asked for what nobody relays yet, first of all for this peer's own share ([`super::homes`]), so that
//! others ask for theirs meanwhile; for what others do relay only if that takes too long.

use std::time::Duration;

use crate::content::fetch::transfer::{Holding, Phase, Transfer};
use crate::content::io::SourceId;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::content::{MAX_ASKED_PAGES, Run};

/// The most bytes of one request, one chunk aside. Half the smallest window, so that two are under way.
const RUN_BYTES: u64 = 512 << 10;
/// The most chunks of one request.
const RUN_CHUNKS: u32 = u64::BITS;
/// Up to this size nobody is spared: it is the round trips that take long. A guess.
const SMALL_BYTES: u64 = 1 << 20;
/// So long those who relay may need for what is missing, before whoever has all of it is asked for what they have. A guess.
const RELAYED_SOON: Duration = Duration::from_secs(1);
/// Nothing has been asked for so long, as others were to relay it: they aren't waited for any longer. A guess.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is to be asked of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The root.
    Root,
    /// Pages.
    Pages(Run),
    /// Chunks.
    Chunks(Run),
}

/// Who asks, when, and how fast sources are.
pub(super) struct View<'a> {
    /// This peer.
    pub(super) me: PeerId,
    /// The time.
    pub(super) now: Instant,
    /// The bytes a second of a source; 0 while they aren't known.
    pub(super) rate: &'a dyn Fn(SourceId) -> u64,
}

impl Transfer {
    /// Whether others fetch it, too, and relay it.
    pub(super) fn is_swarm(&self, now: Instant) -> bool {
        self.size_bytes > SMALL_BYTES && self.holdings.values().any(|holding| self.counts_on(holding, now))
    }

    /// What is to be asked of a source next, of at most so many bytes, one chunk aside.
    pub(super) fn step(&mut self, source: SourceId, room_bytes: u64, view: &View<'_>) -> Option<Step> {
        let holding = self.holdings.get(&source)?;
        match self.phase {
            Phase::Waiting | Phase::Looking | Phase::Checking => None,
            Phase::Root | Phase::Pages => {
                if self.open == 0 && holding.has_manifest() {
                    self.manifest_step()
                } else {
                    None
                }
            }
            Phase::Chunks => {
                let start = self.start(source, view)?;
                Some(Step::Chunks(self.run(source, start, room_bytes.min(RUN_BYTES))?))
            }
        }
    }

    fn manifest_step(&self) -> Option<Step> {
        let Some(manifest) = &self.manifest else { return Some(Step::Root) };
        let first = manifest.missing_page(0)?;
        let is_missing = |number: &u32| manifest.missing_page(*number) == Some(*number);
        let end = (first..manifest.pages()).take_while(is_missing).last()? + 1;
        Some(Step::Pages(Run { first, count: (end - first).min(MAX_ASKED_PAGES) }))
    }

    /// The first chunk to ask a source for.
    fn start(&mut self, source: SourceId, view: &View<'_>) -> Option<u32> {
        let is_spared = self.is_swarm(view.now) && self.holdings.get(&source).is_some_and(|holding| !holding.relays);
        if is_spared {
            self.impatient |= self.asked.count() == 0 && view.now - self.moved >= PATIENCE;
            self.update_homes(view);
        }
        let holding = self.holdings.get(&source).filter(|holding| !holding.is_dry)?;
        let open = |place| holding.has.word(place) & !self.have.word(place) & !self.asked.word(place);
        if !is_spared {
            let first = self.next(holding.cursor, open);
            if let Some(holding) = self.holdings.get_mut(&source) {
                holding.is_dry = first.is_none();
            }
            return first;
        }
        let rare = |place| open(place) & !self.relayed.word(place);
        let at_home = || self.next(holding.cursor, |place| rare(place) & self.homes.mine().word(place));
        let relayed = || self.next(holding.cursor, |place| open(place) & self.relayed.word(place));
        let all = || self.next(holding.cursor, open);
        let first = at_home().or_else(|| self.homes.to_help(rare));
        let first = if self.is_hurried(view) { first.or_else(relayed) } else { first };
        if self.impatient { first.or_else(all) } else { first }
    }

    /// Whether a source that could be asked for more, and isn't, is to be looked at again: it is spared, or others are slow
    /// with the last chunks.
    pub(super) fn waits_for_others(&self, source: SourceId, now: Instant) -> bool {
        let relays = self.holdings.get(&source).is_none_or(|holding| holding.relays);
        let is_waiting = (self.open > 0 && self.is_last()) || (!relays && self.is_swarm(now));
        self.phase == Phase::Chunks && is_waiting
    }

    /// As many chunks from there on as may be asked for at once.
    fn run(&self, source: SourceId, first: u32, room_bytes: u64) -> Option<Run> {
        let holding = self.holdings.get(&source)?;
        let mut bytes = 0;
        let fits = |chunk: &u32| {
            bytes += self.len_bytes(*chunk);
            let is_open = holding.has.contains(*chunk) && !self.have.contains(*chunk) && !self.asked.contains(*chunk);
            let is_like_first = self.relayed.contains(*chunk) == self.relayed.contains(first)
                && self.homes.mine().contains(*chunk) == self.homes.mine().contains(first);
            *chunk == first || (is_open && is_like_first && bytes <= room_bytes)
        };
        let count = (first..self.chunks().min(first + RUN_CHUNKS)).take_while(fits).count();
        Some(Run { first, count: u32::try_from(count).ok().filter(|count| *count > 0)? })
    }

    fn update_homes(&mut self, view: &View<'_>) {
        let counted_on = |holding: &&Holding| !holding.is_whole && self.counts_on(holding, view.now);
        let others = self.holdings.values().filter(counted_on).map(|holding| holding.peer).collect();
        let chunks = self.chunks();
        self.homes.update(view.me, others, chunks);
    }

    /// Whether who has all is asked for what others relay: they take too long.
    fn is_hurried(&self, view: &View<'_>) -> bool {
        if self.impatient {
            return true;
        }
        let best = self.holdings.keys().map(|source| (view.rate)(*source)).max().unwrap_or(0);
        // Who wasn't asked yet counts as who is the fastest.
        let rate = |source: SourceId| match (view.rate)(source) {
            0 => best,
            rate => rate,
        };
        let relays = self.holdings.iter().filter(|(_, holding)| self.counts_on(holding, view.now));
        let rates: u64 = relays.map(|(source, _)| rate(*source)).fold(0, u64::saturating_add);
        let soon = u64::try_from(RELAYED_SOON.as_micros()).unwrap_or(u64::MAX);
        best > 0 && self.rest_bytes.saturating_mul(1_000_000) / rates.max(1) > soon
    }
}
