//! What a peer's driver does: it feeds the fetcher, and does what that wants done, after a look whether it may.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::content::bits::Bits;
use shared::content::io::{Input, Output, RequestId, SourceId};
use shared::ids::{ChunkHash, ManifestHash};
use shared::wire::content::{ContentMessage, HAVE_EVERY_MS, MAX_OPEN_BYTES, Run};
use shared::wire::manifest::MAX_CHUNK_BYTES;

use super::{Arrival, Event, Net};

impl Net {
    pub(super) fn arrive(&mut self, number: usize, source: SourceId, arrival: &Arrival) {
        let Arrival { request, manifest, chunk, is_right } = *arrival;
        let len = self.contents[&manifest].chunks[chunk as usize].len_bytes;
        let node = &mut self.nodes[number];
        if !node.links.contains_key(&source) || !node.open.contains_key(&request) {
            return;
        }
        node.got += u64::from(len);
        self.feed(number, Input::Bytes { source, request, count: len });
        // It may be cancelled since it is slow, say.
        let Some((_, _, left)) = self.nodes[number].open.get_mut(&request) else { return };
        left.remove(&chunk);
        if left.is_empty() {
            self.nodes[number].open.remove(&request);
        }
        if is_right {
            self.keep(number, manifest, Run { first: chunk, count: 1 });
        }
        self.feed(number, Input::Chunk { source, request, chunk, is_right });
    }

    pub(super) fn keep(&mut self, number: usize, manifest: ManifestHash, run: Run) {
        let node = &mut self.nodes[number];
        node.holds.entry(manifest).or_default().insert_run(run);
        let mut to_tell = Vec::new();
        for (source, link) in &mut node.links {
            if link.told.contains_key(&manifest) && !link.is_to_tell {
                link.is_to_tell = true;
                to_tell.push(*source);
            }
        }
        for source in to_tell {
            let at = self.now + Duration::from_millis(HAVE_EVERY_MS);
            self.plan(at, Event::Tell { node: number, source });
        }
    }

    pub(super) fn feed(&mut self, number: usize, input: Input) {
        if self.nodes[number].is_gone {
            return;
        }
        let now = self.now;
        self.nodes[number].fetcher.handle(now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| self.nodes[number].fetcher.poll_output()).collect();
        for output in outputs {
            self.carry_out(number, output);
        }
        if let Some(answer) = self.answers.pop_front() {
            return self.feed(number, answer);
        }
        if let Some(at) = self.nodes[number].fetcher.next_wake() {
            assert!(at > now, "it runs in circles");
            self.plan(at, Event::Wake(number));
        }
    }

    pub(super) fn carry_out(&mut self, number: usize, output: Output) {
        match output {
            Output::Interest { source, manifest } => self.say(number, source, &ContentMessage::Interest { manifest }),
            Output::NoInterest { source, manifest } => {
                self.say(number, source, &ContentMessage::NoInterest { manifest });
            }
            Output::AskRoot { source, request, manifest } => {
                self.say(number, source, &ContentMessage::AskRoot { request: request.0, manifest });
            }
            Output::AskPages { source, request, manifest, pages } => {
                self.say(number, source, &ContentMessage::AskPages { request: request.0, manifest, pages });
            }
            Output::AskChunks { source, request, manifest, chunks } => {
                self.check_ask(number, source, request, manifest, chunks);
                self.say(number, source, &ContentMessage::AskChunks { request: request.0, manifest, chunks });
            }
            Output::Cancel { source, request } => {
                self.nodes[number].open.remove(&request);
                self.say(number, source, &ContentMessage::Cancel { request: request.0 });
            }
            Output::Leave { source, peer, fault } => {
                let node = &mut self.nodes[number];
                node.left.push((peer, fault));
                node.open.retain(|_, (asked, _, _)| *asked != source);
                self.close(number, source);
            }
            Output::Look { manifest } => self.look(number, manifest),
            Output::Check { manifest } => {
                let holds = &self.nodes[number].holds.get(&manifest).map_or(0, Bits::count);
                assert_eq!(*holds, self.contents[&manifest].count(), "checked before all of it is here");
                self.answers.push_back(Input::Checked { manifest, is_right: true });
            }
            Output::Seek { .. } => {
                self.nodes[number].seeks += 1;
                let others: Vec<_> = (0..self.nodes.len()).filter(|other| !self.is_connected(number, *other)).collect();
                if let Some(other) = self.rng.pick(others)
                    && self.finds
                {
                    self.plan(self.now + self.latency * 4, Event::Connect(number, other));
                }
            }
            Output::State { manifest, state } => {
                self.nodes[number].states.insert(manifest, (state, self.now));
            }
            Output::Slow { .. } => {}
        }
    }

    /// The chunks that other contents have brought already.
    pub(super) fn look(&mut self, number: usize, manifest: ManifestHash) {
        let node = &self.nodes[number];
        let known = |(name, bits): (&ManifestHash, &Bits)| {
            let chunks = &self.contents[name].chunks;
            let held: Vec<_> = bits.runs().flat_map(|run| run.first..run.end()).collect();
            held.into_iter().map(|chunk| chunks[chunk as usize].hash).collect::<Vec<_>>()
        };
        let known: BTreeSet<ChunkHash> = node.holds.iter().flat_map(known).collect();
        let mut here = Bits::default();
        for (chunk, says) in (0..).zip(&self.contents[&manifest].chunks) {
            if known.contains(&says.hash) {
                here.insert(chunk);
            }
        }
        let runs: Vec<_> = here.runs().collect();
        for run in &runs {
            self.keep(number, manifest, *run);
        }
        self.nodes[number].holds.entry(manifest).or_default();
        self.answers.push_back(Input::Present { manifest, runs });
    }

    /// What may be asked of whom.
    pub(super) fn check_ask(
        &mut self,
        number: usize,
        source: SourceId,
        request: RequestId,
        manifest: ManifestHash,
        run: Run,
    ) {
        let (node, content) = (&mut self.nodes[number], &self.contents[&manifest]);
        let link = &node.links[&source];
        assert!(link.heard.contains_key(&manifest), "asked of somebody who said nothing");
        let heard = &link.heard[&manifest];
        let missing = content.count() - node.holds.get(&manifest).map_or(0, Bits::count);
        let is_last = missing <= (content.count() / 100).max(1);
        for chunk in run.first..run.end() {
            assert!(heard.contains(chunk), "asked of somebody who said that it hasn't got it");
            assert!(!node.holds.get(&manifest).is_some_and(|holds| holds.contains(chunk)), "asked for what is here");
            let owners =
                node.open.values().filter(|(_, name, left)| *name == manifest && left.contains(&chunk)).count();
            assert!(
                owners == 0 || (owners == 1 && is_last),
                "chunk {chunk} of {} asked of {}",
                content.count(),
                owners + 1
            );
        }
        let others = node.open.values().filter(|(asked, _, _)| *asked == source);
        let len = |name: &ManifestHash, chunk: u32| u64::from(self.contents[name].manifest.len_bytes(chunk));
        let open: u64 = others.flat_map(|(_, name, left)| left.iter().map(|chunk| len(name, *chunk))).sum();
        assert!(open <= MAX_OPEN_BYTES, "{open} bytes are open");
        let asked: u64 = (run.first..run.end()).map(|chunk| len(&manifest, chunk)).sum();
        assert!(open + asked <= MAX_OPEN_BYTES + u64::from(MAX_CHUNK_BYTES));
        node.open.insert(request, (source, manifest, (run.first..run.end()).collect()));
    }
}
