//! The fetching of one content: what is here, what is asked of whom, and who has what. What is to be asked of a source next
//! is in [`super::choice`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::content::bits::{Bits, next_around, words_of};
use crate::content::fetch::contents::Ticket;
use crate::content::fetch::homes::Homes;
use crate::content::io::{SourceId, State};
use crate::content::manifest::Manifest;
use crate::ids::{ContentHash, PeerId};
use crate::time::Instant;
use crate::wire::content::{Held, Run};
use crate::wire::manifest::MAX_CHUNKS;

/// Who relays, and hasn't got anything new for so long, isn't counted on.
const RELAYS_FOR: Duration = Duration::from_secs(2);
/// Somebody who has just begun to fetch is counted on until so many chunks have come here.
const TRIAL_CHUNKS: u32 = 16;
/// The last hundredth of a content's chunks may be asked for twice. From the requirement.
const LAST_PART: u32 = 100;
/// The shortest chunk that is cut: before the manifest is known, no more chunks are believed in.
const SHORTEST_CHUNK_BYTES: u64 = 16 << 10;

/// A content that is wanted.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The hash of its bytes.
    pub(super) content: ContentHash,
    /// Its size.
    pub(super) size_bytes: u64,
    /// How far it is.
    pub(super) phase: Phase,
    /// What was last told of it.
    pub(super) state: State,
    /// Its manifest, or as much as is known.
    pub(super) manifest: Option<Manifest>,
    /// The chunks that are here.
    pub(super) have: Bits,
    /// Those that are asked of somebody, and those that are asked of two.
    pub(super) asked: Bits,
    pub(super) twice: Bits,
    /// The bytes that aren't here.
    pub(super) rest_bytes: u64,
    /// Open requests.
    pub(super) open: u32,
    /// Who was asked what it has, and what it said.
    pub(super) holdings: BTreeMap<SourceId, Holding>,
    /// What those have who relay.
    pub(super) relayed: Bits,
    pub(super) homes: Homes,
    /// When something was last asked for or came.
    pub(super) moved: Instant,
    /// Nobody is waited for who relays, until one of them has something new.
    pub(super) impatient: bool,
    /// When somebody is sought, after how many times.
    pub(super) seek: Option<(Instant, u32)>,
    /// Whether anybody said that it has given it up.
    pub(super) is_given_up: bool,
    /// What was asked for in all when this began, and of this since.
    pub(super) began_at: u64,
    pub(super) asked_bytes: u64,
    /// Its place among those that wait.
    pub(super) ticket: Ticket,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for others, or for room.
    Waiting,
    /// The root of its manifest is to be asked for.
    Root,
    /// So are pages.
    Pages,
    /// The driver looks what is here.
    Looking,
    /// Chunks are to be asked for.
    Chunks,
    /// The driver checks the whole.
    Checking,
}

/// What a source has of a content.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each tells something else of a source")]
pub(super) struct Holding {
    pub(super) peer: PeerId,
    pub(super) has: Bits,
    /// It has all of it.
    pub(super) is_whole: bool,
    /// It had a part of it when it first told: it fetches it, too.
    pub(super) relays: bool,
    /// It said that it doesn't have the manifest.
    pub(super) lacks_manifest: bool,
    /// When it was asked, while it hasn't answered.
    pub(super) since: Option<Instant>,
    /// When it last got something that is missing here, or was first heard of.
    grown: Instant,
    /// Whether it ever did.
    has_grown: bool,
    /// How many chunks were here then.
    chunks_then: u32,
    /// It is asked for all that it has, or that is here.
    pub(super) is_dry: bool,
    /// Where the last run that it was asked for ends.
    pub(super) cursor: u32,
}

impl Transfer {
    /// One that waits.
    pub(super) fn new(content: ContentHash, size_bytes: u64, ticket: Ticket, now: Instant) -> Self {
        Self {
            content,
            size_bytes,
            phase: Phase::Waiting,
            state: State::Waiting,
            manifest: None,
            have: Bits::default(),
            asked: Bits::default(),
            twice: Bits::default(),
            rest_bytes: size_bytes,
            open: 0,
            holdings: BTreeMap::new(),
            relayed: Bits::default(),
            homes: Homes::default(),
            moved: now,
            impatient: false,
            seek: None,
            is_given_up: false,
            began_at: 0,
            asked_bytes: 0,
            ticket,
        }
    }

    /// How many chunks it has, as far as that is known.
    pub(super) fn chunks(&self) -> u32 {
        self.manifest.as_ref().map_or(0, Manifest::chunks)
    }

    /// How many chunks aren't here.
    pub(super) fn missing(&self) -> u32 {
        self.chunks() - self.have.count()
    }

    /// A source was asked what it has.
    pub(super) fn interested(&mut self, source: SourceId, peer: PeerId, now: Instant) {
        let holding = Holding {
            peer,
            has: Bits::default(),
            is_whole: false,
            relays: false,
            lacks_manifest: false,
            since: Some(now),
            grown: now,
            has_grown: false,
            chunks_then: self.have.count(),
            is_dry: false,
            cursor: 0,
        };
        self.holdings.insert(source, holding);
    }

    /// A source said what it has. Where nobody asked it, that is ignored.
    pub(super) fn told(&mut self, source: SourceId, held: &Held, now: Instant) {
        let end = self.end();
        let Some(holding) = self.holdings.get_mut(&source) else { return };
        self.is_given_up = false;
        if holding.since.take().is_some() {
            (holding.grown, holding.chunks_then) = (now, self.have.count());
        }
        (holding.lacks_manifest, holding.is_dry) = (false, false);
        let runs = match held {
            Held::All => {
                holding.is_whole = true;
                vec![Run { first: 0, count: end }]
            }
            Held::Runs(runs) => {
                holding.relays |= !holding.is_whole;
                runs.iter().map(|run| Run { count: run.end().min(end).saturating_sub(run.first), ..*run }).collect()
            }
        };
        for run in runs {
            let is_new = |(place, bits)| bits & !self.have.word(place) & !holding.has.word(place) != 0;
            let is_news = words_of(run).any(is_new);
            if is_news && holding.relays {
                (holding.grown, holding.has_grown) = (now, true);
                self.impatient = false;
            }
            holding.has.insert_run(run);
            if holding.relays {
                self.relayed.insert_run(run);
            }
        }
    }

    /// The manifest is complete: what is told of chunks behind its end is forgotten.
    pub(super) fn limit(&mut self) {
        let end = self.chunks();
        for holding in self.holdings.values_mut() {
            if holding.is_whole {
                holding.has = Bits::below(end);
            }
            holding.has.truncate(end);
        }
        self.relayed.truncate(end);
    }

    /// A source has nothing any more.
    pub(super) fn lost(&mut self, source: SourceId) {
        if self.holdings.remove(&source).is_some_and(|holding| holding.relays) {
            self.relayed = Bits::default();
            for holding in self.holdings.values().filter(|holding| holding.relays) {
                holding.has.runs().for_each(|run| {
                    self.relayed.insert_run(run);
                });
            }
        }
    }

    /// A source doesn't have these chunks, although it said so; or the manifest, if it wasn't asked for chunks.
    pub(super) fn lacks(&mut self, source: SourceId, chunks: &[u32]) {
        let Some(holding) = self.holdings.get_mut(&source) else { return };
        holding.lacks_manifest |= chunks.is_empty();
        holding.is_whole &= chunks.is_empty();
        for chunk in chunks {
            holding.has.remove(*chunk);
        }
    }

    /// Chunks are here.
    pub(super) fn keep(&mut self, run: Run, now: Instant) {
        self.moved = now;
        for chunk in run.first..run.end().min(self.chunks()) {
            if self.have.insert(chunk) {
                self.rest_bytes = self.rest_bytes.saturating_sub(self.len_bytes(chunk));
            }
        }
    }

    /// Chunks are asked of a source, those that are asked of somebody already for a second time.
    pub(super) fn ask(&mut self, source: SourceId, run: Run, now: Instant) {
        self.moved = now;
        for chunk in run.first..run.end() {
            if !self.asked.insert(chunk) {
                self.twice.insert(chunk);
            }
        }
        if let Some(holding) = self.holdings.get_mut(&source) {
            holding.cursor = run.end();
        }
    }

    /// A chunk isn't asked of somebody any more, since it has come.
    pub(super) fn answered(&mut self, chunk: u32) {
        if !self.twice.remove(chunk) {
            self.asked.remove(chunk);
        }
    }

    /// The same, and it hasn't come: whoever has it may be asked for it.
    pub(super) fn release(&mut self, chunk: u32) {
        self.answered(chunk);
        for holding in self.holdings.values_mut() {
            holding.is_dry = false;
        }
    }

    /// Whether so little is missing that it may be asked for twice.
    pub(super) fn is_last(&self) -> bool {
        self.missing() <= (self.chunks() / LAST_PART).max(1)
    }

    /// The length of a chunk.
    pub(super) fn len_bytes(&self, chunk: u32) -> u64 {
        self.manifest.as_ref().map_or(0, |manifest| manifest.len_bytes(chunk)).into()
    }

    /// Whether a source has this chunk.
    pub(super) fn has(&self, source: SourceId, chunk: u32) -> bool {
        self.holdings.get(&source).is_some_and(|holding| holding.has.contains(chunk))
    }

    /// Whether a source has something of what is to be asked for.
    pub(super) fn is_fed_by(&self, source: SourceId) -> bool {
        let Some(holding) = self.holdings.get(&source) else { return false };
        match self.phase {
            Phase::Root | Phase::Pages => holding.has_manifest(),
            Phase::Chunks => self.next(0, |place| holding.has.word(place) & !self.have.word(place)).is_some(),
            Phase::Waiting | Phase::Looking | Phase::Checking => false,
        }
    }

    /// Until when somebody may have something soon: it hasn't answered yet, or relays what is missing here.
    pub(super) fn hopes_until(&self) -> Option<Instant> {
        let hopeful = self.holdings.values().filter(|holding| holding.since.is_some() || holding.relays);
        hopeful.map(|holding| holding.since.unwrap_or(holding.grown) + RELAYS_FOR).max()
    }

    /// Whether somebody who relays is counted on: it gets what is missing here, or has only begun.
    pub(super) fn counts_on(&self, holding: &Holding, now: Instant) -> bool {
        let is_tried = self.have.count().saturating_sub(holding.chunks_then) > TRIAL_CHUNKS;
        holding.relays && holding.grown + RELAYS_FOR > now && (holding.has_grown || !is_tried)
    }

    /// The first chunk from `start` on, then from 0 on, whose bit is set in the words that a function tells.
    pub(super) fn next(&self, start: u32, word: impl Fn(u32) -> u64) -> Option<u32> {
        next_around(self.chunks().div_ceil(u64::BITS), start, word)
    }

    /// Behind which number there is no chunk, as far as that is known.
    fn end(&self) -> u32 {
        let guess = || u32::try_from(self.size_bytes / SHORTEST_CHUNK_BYTES + 1).unwrap_or(u32::MAX).min(MAX_CHUNKS);
        if self.manifest.is_some() { self.chunks() } else { guess() }
    }
}

impl Holding {
    /// Whether it can be asked for the manifest.
    pub(super) fn has_manifest(&self) -> bool {
        !self.lacks_manifest && (self.is_whole || self.has.count() > 0)
    }
}
