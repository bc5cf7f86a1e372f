//! What comes of what was asked for.

use crate::content::fetch::Fetcher;
use crate::content::fetch::asking::{Asked, Request};
use crate::content::fetch::source::Rest;
use crate::content::fetch::transfer::Phase;
use crate::content::io::{Failure, Fault, RequestId, SourceId};
use crate::content::manifest::Manifest;
use crate::ids::ManifestHash;
use crate::wire::content::{Refusal, Run};
use crate::wire::manifest::ManifestError;

impl Fetcher {
    /// A root came.
    pub(super) fn root(&mut self, source: SourceId, request: RequestId, bytes: &[u8]) {
        let Some(name) = self.manifest_of(source, request, |asked| matches!(asked, Asked::Root)) else { return };
        self.end(request);
        match Manifest::open(name, bytes) {
            Ok(manifest) => self.opened(name, manifest),
            Err(ManifestError::WrongName(_)) => return self.leave(source, Fault::Lied),
            Err(error) => return self.fail(name, Failure::BadManifest(error)),
        }
        self.fill_all();
    }

    fn opened(&mut self, name: ManifestHash, manifest: Manifest) {
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        if (manifest.content(), manifest.size_bytes()) != (transfer.content, transfer.size_bytes) {
            return self.fail(name, Failure::OtherContent);
        }
        let is_whole = manifest.is_whole();
        transfer.manifest = Some(manifest);
        transfer.phase = Phase::Pages;
        transfer.limit();
        if is_whole {
            self.look(name);
        }
    }

    /// A page came.
    pub(super) fn page(&mut self, source: SourceId, request: RequestId, number: u32, bytes: &[u8]) {
        let is_asked = |asked: &Asked| matches!(asked, Asked::Pages(pages) if pages.contains(&number));
        let Some(name) = self.manifest_of(source, request, is_asked) else { return };
        let Some(manifest) = self.transfers.get_mut(&name).and_then(|transfer| transfer.manifest.as_mut()) else {
            return;
        };
        match manifest.take_page(number, bytes) {
            Ok(()) => {}
            Err(ManifestError::WrongName(_)) => return self.leave(source, Fault::Lied),
            Err(error) => return self.fail(name, Failure::BadManifest(error)),
        }
        let is_whole = manifest.is_whole();
        if let Some(Request { asked: Asked::Pages(pages), .. }) = self.requests.get_mut(&request) {
            pages.remove(&number);
            if pages.is_empty() {
                self.end(request);
            }
        }
        if is_whole {
            self.look(name);
        }
        self.fill_all();
    }

    /// Bytes of chunks came.
    pub(super) fn bytes(&mut self, source: SourceId, request: RequestId, count: u32) {
        let asked = self.requests.get_mut(&request).filter(|request| request.source == source);
        let Some(Request { asked: Asked::Chunks { left_bytes, .. }, .. }) = asked else { return };
        let count = count.min(u32::try_from(*left_bytes).unwrap_or(u32::MAX));
        *left_bytes -= u64::from(count);
        let is_new_pace = self.sources.get_mut(&source).is_some_and(|source| source.brought(count, self.now));
        if is_new_pace {
            self.judge(source);
        }
        self.fill(source);
    }

    /// A chunk came.
    pub(super) fn chunk(&mut self, source: SourceId, request: RequestId, chunk: u32, is_right: bool) {
        let is_asked = |asked: &Asked| asked.chunks().any(|asked| asked == chunk);
        let Some(name) = self.manifest_of(source, request, is_asked) else { return };
        if !is_right {
            return self.leave(source, Fault::Lied);
        }
        let is_twice = self.transfers.get(&name).is_some_and(|transfer| transfer.twice.contains(chunk));
        self.came(request, chunk);
        if is_twice {
            self.not_twice(name, chunk);
        }
        if let Some(transfer) = self.transfers.get_mut(&name) {
            transfer.keep(Run { first: chunk, count: 1 }, self.now);
        }
        self.is_complete(name);
        self.fill(source);
    }

    /// A chunk of a request has come.
    fn came(&mut self, name: RequestId, chunk: u32) {
        let Some(request) = self.requests.get_mut(&name) else { return };
        let Asked::Chunks { first, left, .. } = &mut request.asked else { return };
        *left &= !(1_u64.checked_shl(chunk - *first).unwrap_or(0));
        let is_over = *left == 0;
        if let Some(transfer) = self.transfers.get_mut(&request.manifest) {
            transfer.answered(chunk);
        }
        if is_over {
            self.end(name);
        }
    }

    /// A chunk that came was asked of somebody else, too: it needn't come from there.
    fn not_twice(&mut self, manifest: ManifestHash, chunk: u32) {
        let other = self
            .requests
            .iter()
            .find(|(_, request)| request.manifest == manifest && request.asked.chunks().any(|asked| asked == chunk));
        let Some((name, count)) = other.map(|(name, request)| (*name, request.asked.chunks().count())) else { return };
        if count == 1 {
            self.cancel(name);
        } else {
            self.came(name, chunk);
        }
    }

    /// A request isn't answered, or not to its end.
    pub(super) fn refused(&mut self, source: SourceId, name: RequestId, why: Refusal) {
        let Some(request) = self.requests.get(&name).filter(|request| request.source == source) else { return };
        let manifest = request.manifest;
        let chunks: Vec<u32> = request.asked.chunks().collect();
        self.end(name);
        let Some(somebody) = self.sources.get_mut(&source) else { return };
        somebody.spoke(self.now);
        match why {
            Refusal::Busy => {
                somebody.rest(Rest::Busy, self.now, &mut self.rng);
            }
            Refusal::Lacks | Refusal::Damaged | Refusal::NotAllowed | Refusal::Other(_) => {
                if let Some(transfer) = self.transfers.get_mut(&manifest) {
                    transfer.lacks(source, &chunks);
                }
            }
        }
        self.fill_all();
    }

    /// Of which content a source was asked what it answers. What comes of a request that is over is nothing to it; what
    /// was never asked for is a reason to leave.
    fn manifest_of(
        &mut self,
        source: SourceId,
        name: RequestId,
        is_asked: impl Fn(&Asked) -> bool,
    ) -> Option<ManifestHash> {
        let request = self.requests.get(&name)?;
        if request.source != source || !is_asked(&request.asked) {
            self.leave(source, Fault::Unasked);
            return None;
        }
        let manifest = request.manifest;
        self.sources.get_mut(&source)?.spoke(self.now);
        Some(manifest)
    }
}
