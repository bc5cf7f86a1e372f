//! Who may have something: sources come and go, rest, are left, and are missed.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::content::fetch::Fetcher;
use crate::content::fetch::source::{Rest, Source};
use crate::content::fetch::transfer::Phase;
use crate::content::io::{Fault, Lack, Output, SourceId, State};
use crate::ids::{ManifestHash, PeerId};
use crate::wire::content::Held;

/// A source below this part of the median pace is slow. From the requirement.
const SLOW_PART: u64 = 4;
/// Liars that are remembered. Who may make up any number of ids is no better remembered; a guess: 2 MiB.
const MAX_LIARS: usize = 1 << 15;
/// Somebody who has what nobody has is sought again.
const SEEK: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };

impl Fetcher {
    /// A connection is open.
    pub(super) fn source_up(&mut self, source: SourceId, peer: PeerId) {
        if self.liars.contains(&peer) {
            self.outputs.push_back(Output::Leave { source, peer, fault: Fault::Lied });
            return;
        }
        self.sources.insert(source, Source::new(peer, self.now));
        for name in &self.active {
            if let Some(transfer) = self.transfers.get_mut(name) {
                transfer.interested(source, peer, self.now);
                self.outputs.push_back(Output::Interest { source, manifest: *name });
            }
        }
    }

    /// A source says what it has.
    pub(super) fn told(&mut self, source: SourceId, manifest: ManifestHash, held: &Held) {
        if let Some(transfer) = self.transfers.get_mut(&manifest) {
            transfer.told(source, held, self.now);
        }
        self.fill(source);
    }

    /// A source has given a content up.
    pub(super) fn gone(&mut self, source: SourceId, manifest: ManifestHash) {
        let open = self.requests.iter().filter(|(_, asked)| asked.source == source && asked.manifest == manifest);
        for name in open.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.end(name);
        }
        if let Some(transfer) = self.transfers.get_mut(&manifest) {
            transfer.lost(source);
            transfer.is_given_up = true;
        }
        self.fill_all();
    }

    /// A connection is closed.
    pub(super) fn drop_source(&mut self, source: SourceId) {
        let Some(somebody) = self.sources.remove(&source) else { return };
        for request in somebody.open {
            self.end(request);
        }
        for transfer in self.transfers.values_mut() {
            transfer.lost(source);
        }
        self.fill_all();
    }

    /// A source isn't good enough.
    pub(super) fn leave(&mut self, source: SourceId, fault: Fault) {
        let Some(peer) = self.sources.get(&source).map(|source| source.peer) else { return };
        if fault == Fault::Lied && self.liars.len() < MAX_LIARS {
            self.liars.insert(peer);
        }
        self.outputs.push_back(Output::Leave { source, peer, fault });
        self.drop_source(source);
        // Another connection with who lied is no better.
        let others = self.sources.iter().filter(|(_, other)| fault == Fault::Lied && other.peer == peer);
        if let Some(other) = others.map(|(other, _)| *other).next() {
            self.leave(other, fault);
        }
    }

    /// The pace of a source is known anew: it rests if that is far below the others', and these have what it was asked for.
    pub(super) fn judge(&mut self, source: SourceId) {
        let mut paces: Vec<u64> = self.sources.values().filter_map(|source| source.pace.sure()).collect();
        paces.sort_unstable();
        let Some(median) = paces.get(paces.len() / 2) else { return };
        let Some(somebody) = self.sources.get(&source) else { return };
        if somebody.pace.sure().is_none_or(|pace| pace >= median / SLOW_PART) || !self.is_replaceable(source) {
            return;
        }
        for request in somebody.open.clone() {
            self.cancel(request);
        }
        if let Some(somebody) = self.sources.get_mut(&source) {
            let time = somebody.rest(Rest::Slow, self.now, &mut self.rng);
            self.outputs.push_back(Output::Slow { source, time });
        }
        self.fill_all();
    }

    /// Whether others have all that was asked of a source.
    fn is_replaceable(&self, source: SourceId) -> bool {
        let ready = |other: &SourceId| {
            let somebody = self.sources.get(other);
            *other != source && somebody.is_some_and(|somebody| somebody.rests_until(self.now).is_none())
        };
        let open = self.sources.get(&source).into_iter().flat_map(|source| &source.open);
        open.filter_map(|name| self.requests.get(name)).all(|request| {
            let Some(transfer) = self.transfers.get(&request.manifest) else { return true };
            let others = || transfer.holdings.keys().filter(|other| ready(other));
            request.asked.chunks().all(|chunk| others().any(|other| transfer.has(*other, chunk)))
        })
    }

    /// Whatever is due by now.
    pub(super) fn meet_deadlines(&mut self) {
        let now = self.now;
        let silent = |source: &Source| source.is_silent_at().is_some_and(|at| at <= now);
        while let Some(source) = self.sources.iter().find(|(_, source)| silent(source)).map(|(source, _)| *source) {
            self.leave(source, Fault::Silent);
        }
        let mut is_to_look = self.look_at.take_if(|at| *at <= now).is_some();
        for source in self.sources.values_mut() {
            is_to_look |= source.wake_rested(now);
        }
        if is_to_look {
            self.fill_all();
        }
        for name in self.active.iter().copied().collect::<Vec<_>>() {
            self.look_for_sources(name);
        }
    }

    /// Tells whether a content has a source, and has one sought if it hasn't.
    fn look_for_sources(&mut self, name: ManifestHash) {
        let Some(transfer) = self.transfers.get(&name) else { return };
        match transfer.phase {
            Phase::Root | Phase::Pages | Phase::Chunks => {}
            Phase::Waiting | Phase::Looking | Phase::Checking => return,
        }
        if transfer.open > 0 {
            return self.found(name);
        }
        let feeding: Vec<_> = transfer.holdings.keys().copied().filter(|source| transfer.is_fed_by(*source)).collect();
        if !feeding.is_empty() {
            self.wake_slow(&feeding);
            return self.found(name);
        }
        if transfer.hopes_until().is_none_or(|until| until <= self.now) {
            self.seek(name);
        }
    }

    fn found(&mut self, name: ManifestHash) {
        if let Some(transfer) = self.transfers.get_mut(&name) {
            transfer.seek = None;
            self.tell(name, State::Fetching);
        }
    }

    /// If all of these rest as they are slow, they are asked all the same: better than nobody.
    fn wake_slow(&mut self, feeding: &[SourceId]) {
        let is_slow = |id: &SourceId| self.sources.get(id).is_some_and(|source| source.rests_as_slow(self.now));
        if !feeding.iter().all(is_slow) {
            return;
        }
        for id in feeding {
            if let Some(source) = self.sources.get_mut(id) {
                source.wake();
            }
            self.fill(*id);
        }
    }

    fn seek(&mut self, name: ManifestHash) {
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        let lack = match (transfer.is_given_up, transfer.holdings.is_empty()) {
            (true, _) => Lack::GivenUp,
            (false, true) => Lack::Nobody,
            (false, false) => Lack::Incomplete,
        };
        let (at, times) = transfer.seek.unwrap_or((self.now, 0));
        if at <= self.now {
            transfer.seek = Some((self.now + SEEK.delay(times, &mut self.rng), times + 1));
            self.outputs.push_back(Output::Seek { manifest: name });
        }
        self.tell(name, State::NoSource(lack));
    }
}
