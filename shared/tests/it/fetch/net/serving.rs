//! What a peer does for others: it answers, sends, and tells what it has. Well or badly.

use std::time::Duration;

use shared::content::bits::Bits;
use shared::content::io::{RequestId, SourceId};
use shared::ids::ManifestHash;
use shared::wire::content::{Blob, ContentMessage, Held, MAX_RUNS, Refusal, Run};

use super::{Arrival, Event, Net, Vice};

impl Net {
    pub(super) fn answer_root(&mut self, node: usize, source: SourceId, request: u32, manifest: ManifestHash) {
        let has = self.nodes[node].holds.contains_key(&manifest);
        let bytes = Blob(self.contents[&manifest].root.clone());
        let refused = ContentMessage::Refused { request, why: Refusal::Lacks };
        self.say(node, source, &if has { ContentMessage::Root { request, bytes } } else { refused });
    }

    pub(super) fn answer_chunks(
        &mut self,
        node: usize,
        source: SourceId,
        request: RequestId,
        manifest: ManifestHash,
        run: Run,
    ) {
        let why = match self.nodes[node].vice {
            Vice::Full { until } if until > self.now => Some(Refusal::Busy),
            _ => {
                let holds = self.nodes[node].holds.get(&manifest);
                let has = holds.is_some_and(|holds| (run.first..run.end()).all(|chunk| holds.contains(chunk)));
                (!has).then_some(Refusal::Lacks)
            }
        };
        if let Some(why) = why {
            return self.say(node, source, &ContentMessage::Refused { request: request.0, why });
        }
        let queue = &mut self.nodes[node].links.get_mut(&source).unwrap().queue;
        queue.extend((run.first..run.end()).map(|chunk| (request, manifest, chunk)));
        let at = self.nodes[node].sends_until;
        self.plan(at, Event::Send(node));
    }

    /// Sends the next chunk: those who ask take turns.
    pub(super) fn send(&mut self, number: usize) {
        let (now, silent) = (self.now, self.is_silent(number));
        let node = &mut self.nodes[number];
        if node.sends_until > now || silent {
            return;
        }
        let waiting: Vec<_> = node.links.iter().filter(|(_, link)| !link.queue.is_empty()).map(|(id, _)| *id).collect();
        if waiting.is_empty() {
            return;
        }
        node.turn += 1;
        let link = node.links.get_mut(&waiting[node.turn % waiting.len()]).unwrap();
        let (request, manifest, chunk) = link.queue.pop_front().unwrap();
        let (other, there) = (link.other, link.there);
        let len = u64::from(self.contents[&manifest].chunks[chunk as usize].len_bytes);
        node.sent += len;
        node.sends_until = now + Duration::from_micros(len * 1_000_000 / node.up);
        let is_right = match node.vice {
            Vice::Lies { one_of } => self.rng.below(one_of) > 0,
            _ => true,
        };
        let (free, at) = (node.sends_until, node.sends_until + self.latency);
        self.plan(
            at,
            Event::Arrives { node: other, source: there, arrival: Arrival { request, manifest, chunk, is_right } },
        );
        self.plan(free, Event::Send(number));
    }

    pub(super) fn tell_first(&mut self, node: usize, source: SourceId, manifest: ManifestHash) {
        if !self.nodes[node].holds.contains_key(&manifest) {
            let held = Held::Runs(Vec::new());
            return self.say(node, source, &ContentMessage::Have { manifest, held });
        }
        self.tell(node, source);
    }

    /// Says what is new since the last time.
    pub(super) fn tell(&mut self, number: usize, source: SourceId) {
        let Some(link) = self.nodes[number].links.get_mut(&source) else { return };
        link.is_to_tell = false;
        let mut said = Vec::new();
        let names: Vec<_> = link.told.keys().copied().collect();
        for manifest in names {
            let Some(holds) = self.nodes[number].holds.get(&manifest) else { continue };
            let link = &self.nodes[number].links[&source];
            let told = &link.told[&manifest];
            if holds.count() == self.contents[&manifest].count() {
                if link.told[&manifest].count() < holds.count() || told.count() == 0 {
                    said.push((manifest, Held::All, holds.clone()));
                }
                continue;
            }
            let mut news = Bits::default();
            for chunk in holds.runs().flat_map(|run| run.first..run.end()).filter(|chunk| !told.contains(*chunk)) {
                news.insert(chunk);
            }
            let runs: Vec<_> = news.runs().collect();
            for runs in runs.chunks(MAX_RUNS) {
                said.push((manifest, Held::Runs(runs.to_vec()), holds.clone()));
            }
        }
        for (manifest, held, holds) in said {
            self.say(number, source, &ContentMessage::Have { manifest, held });
            self.nodes[number].links.get_mut(&source).unwrap().told.insert(manifest, holds);
        }
    }
}
