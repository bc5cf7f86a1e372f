//! What is asked of whom next, so that contents get here: a state machine that owns no socket, file, clock or chance.
//!
//! ```text
//!   fetcher                                        source
//!   │ ── Interest {manifest} ────────────────────▶ │   of all contents that it is fetching, to all it is connected with
//!   │ ◀──────────────────── Have {all, or runs} ── │   and again when it has more
//!   │ ── AskRoot, AskPages ──────────────────────▶ │   of one source at a time
//!   │ ◀───────────────────────── Root, Page, … ─── │   each verified by its name. The driver looks what is here already
//!   │ ── AskChunks {run} ────────────────────────▶ │   of all sources at once, each chunk of one of them
//!   │ ◀─────────────────── Chunks {run}, bytes ─── │   each verified; a wrong one: the source is left for good
//! ```
//!
//! - A source is asked for a window ahead (`source`). Of what it has, the content with the least to go is asked for, but
//!   each gets a sixteenth of what is asked for, if it has been waiting for that (`asking`).
//! - Of who has everything, where others fetch the same, a peer asks for its own share first, then for what nobody relays
//!   yet; for what others relay only if they take too long (`choice`, `homes`). Those who relay are asked for all
//!   they have. So a content leaves its origin about once, and streams through those who relay.
//! - Each chunk has one owner. Only the last percent is asked of a second one, if the first takes long.
//! - A source that brings nothing for 2 s is left, and so is, for good, one that lies; one below a quarter of the median pace
//!   (`pace`) rests. What was asked of it is asked of others at once.
//! - Where nobody has what is missing, that is told, and somebody is sought with back-off, without end.
//!
//! A driver feeds a [`Fetcher`] with [`Input`]s, drains its [`Output`]s after each, and wakes it at `next_wake`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::content::fetch::asking::Request;
use crate::content::fetch::contents::Waiting;
use crate::content::fetch::source::Source;
use crate::content::fetch::transfer::Transfer;
use crate::content::io::{Input, Output, RequestId, SourceId};
use crate::content::manifest::Manifest;
use crate::ids::{ManifestHash, PeerId};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::content::Run;

mod answers;
mod asking;
mod choice;
mod contents;
mod homes;
mod pace;
mod source;
mod sources;
mod transfer;

/// Fetches contents.
#[derive(Debug)]
pub struct Fetcher {
    me: PeerId,
    rng: Rng,
    now: Instant,
    sources: BTreeMap<SourceId, Source>,
    transfers: BTreeMap<ManifestHash, Transfer>,
    /// Those of them that have begun.
    active: BTreeSet<ManifestHash>,
    /// The others.
    waiting: Waiting,
    requests: BTreeMap<RequestId, Request>,
    last_request: u32,
    /// Who has sent what isn't right.
    liars: BTreeSet<PeerId>,
    room_bytes: u64,
    /// Bytes that were ever asked for.
    asked_bytes: u64,
    /// When what could be asked for more is looked at again.
    look_at: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Fetcher {
    /// One that wants nothing yet, for this peer.
    pub fn new(me: PeerId, seed: u64, now: Instant) -> Self {
        Self {
            me,
            rng: Rng::from_seed(seed),
            now,
            sources: BTreeMap::new(),
            transfers: BTreeMap::new(),
            active: BTreeSet::new(),
            waiting: Waiting::default(),
            requests: BTreeMap::new(),
            last_request: 0,
            liars: BTreeSet::new(),
            room_bytes: u64::MAX,
            asked_bytes: 0,
            look_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened. All outputs are to be drained before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.outputs.is_empty(), "outputs weren't drained");
        self.now = now.max(self.now);
        match input {
            Input::Wake => {}
            Input::Want { manifest, content, size_bytes } => self.want(manifest, content, size_bytes),
            Input::Forget { manifest } => self.forget(manifest),
            Input::Present { manifest, runs } => self.present(manifest, &runs),
            Input::Checked { manifest, is_right } => self.checked(manifest, is_right),
            Input::Room { bytes } => self.room(bytes),
            Input::SourceUp { source, peer } => self.source_up(source, peer),
            Input::SourceDown { source } => self.drop_source(source),
            Input::Have { source, manifest, held } => self.told(source, manifest, &held),
            Input::Gone { source, manifest } => self.gone(source, manifest),
            Input::Root { source, request, bytes } => self.root(source, request, &bytes),
            Input::Page { source, request, number, bytes } => self.page(source, request, number, &bytes),
            Input::Bytes { source, request, count } => self.bytes(source, request, count),
            Input::Chunk { source, request, chunk, is_right } => self.chunk(source, request, chunk, is_right),
            Input::Refused { source, request, why } => self.refused(source, request, why),
        }
        self.meet_deadlines();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When it is to be woken if nothing happens; `None` if it needs not be.
    pub fn next_wake(&self) -> Option<Instant> {
        let sources = self.sources.values().flat_map(|source| [source.is_silent_at(), source.rests_until(self.now)]);
        let active = self.active.iter().filter_map(|name| self.transfers.get(name));
        let seeks = active.flat_map(|transfer| {
            [transfer.seek.map(|(at, _)| at), transfer.hopes_until().filter(|_| transfer.open == 0)]
        });
        sources.chain(seeks).chain([self.look_at]).flatten().filter(|at| *at > self.now).min()
    }

    /// The manifest of a content that is being fetched, as far as it is known.
    pub fn manifest(&self, name: ManifestHash) -> Option<&Manifest> {
        self.transfers.get(&name)?.manifest.as_ref()
    }

    /// How many bytes of a content that is being fetched aren't here.
    pub fn rest_bytes(&self, name: ManifestHash) -> Option<u64> {
        self.transfers.get(&name).map(|transfer| transfer.rest_bytes)
    }

    /// The chunks of a content that is being fetched which are here, as runs.
    pub fn held(&self, name: ManifestHash) -> impl Iterator<Item = Run> {
        self.transfers.get(&name).into_iter().flat_map(|transfer| transfer.have.runs())
    }
}
