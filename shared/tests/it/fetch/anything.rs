//! Any inputs in any order, as a driver that is mistaken or sources that say what they like may bring them: the fetcher
//! doesn't panic, what it wants done stays bounded, and it doesn't run in circles.

use std::time::Duration;

use shared::content::fetch::Fetcher;
use shared::content::io::{Input, Output, RequestId, SourceId};
use shared::ids::{ContentHash, ManifestHash, PeerId};
use shared::rng::Rng;
use shared::time::Instant;
use shared::wire::content::{Held, Refusal, Run};
use shared::wire::manifest::MAX_CHUNKS;

use super::check;
use super::content::Content;

/// Outputs that follow from one input: all windows filled, of as many requests as may be open.
const MAX_OUTPUTS: usize = 20_000;

struct Script {
    rng: Rng,
    fetcher: Fetcher,
    now: Instant,
    contents: Vec<Content>,
    sources: u64,
    /// What was asked of whom.
    asked: Vec<(SourceId, RequestId, ManifestHash, Run)>,
}

impl Script {
    fn number(&mut self, below: u64) -> u32 {
        u32::try_from(self.rng.below(below)).unwrap()
    }

    fn run(&mut self) -> Run {
        let bound = [3, 100, 4000, u64::from(MAX_CHUNKS)][self.number(4) as usize];
        Run { first: self.number(bound), count: 1 + self.number(bound) }
    }

    fn name(&mut self) -> ManifestHash {
        let number = self.number(5) as usize;
        self.contents.get(number).map_or(ManifestHash([9; 32]), |content| content.name)
    }

    fn source(&mut self) -> SourceId {
        SourceId(self.rng.below(self.sources + 1))
    }

    /// Somebody who answers, most often who was asked.
    fn answer(&mut self) -> (SourceId, RequestId, ManifestHash, Run) {
        let any = (self.source(), RequestId(self.number(50)), self.name(), self.run());
        let number = self.rng.below(self.asked.len() as u64 + 2);
        self.asked.get(usize::try_from(number).unwrap()).copied().unwrap_or(any)
    }

    fn input(&mut self) -> Input {
        let (source, manifest) = (self.source(), self.name());
        let (asked_of, request, asked, run) = self.answer();
        let content = self.contents.iter().find(|content| content.name == asked);
        let (root, pages) =
            content.map_or((vec![1, 1], Vec::new()), |content| (content.root.clone(), content.pages.clone()));
        match self.rng.below(18) {
            0 | 1 => {
                self.sources += 1;
                Input::SourceUp {
                    source: SourceId(self.sources),
                    peer: PeerId([u8::try_from(self.sources % 7).unwrap(); 32]),
                }
            }
            2 => Input::SourceDown { source },
            3 | 4 => {
                let known = self.contents.iter().find(|content| content.name == manifest);
                let (content, size_bytes) = known.map_or((ContentHash([1; 32]), 77), |one| (one.hash, one.size_bytes));
                Input::Want { manifest, content, size_bytes }
            }
            5 if self.rng.chance(1, 5) => Input::Forget { manifest },
            6 => Input::Present { manifest, runs: vec![self.run(); self.number(2) as usize] },
            7 => Input::Checked { manifest, is_right: self.rng.chance(1, 2) },
            8 if self.rng.chance(1, 5) => {
                Input::Room { bytes: [u64::MAX, 10 << 20, 1 << 20, 0][self.number(4) as usize] }
            }
            9 => Input::Have { source, manifest, held: Held::All },
            10 => Input::Have { source, manifest, held: Held::Runs(vec![self.run(); self.number(3) as usize]) },
            11 => Input::Gone { source, manifest },
            12 => Input::Root { source: asked_of, request, bytes: root },
            13 => {
                let bytes = pages.get(run.first as usize).cloned().unwrap_or_default();
                Input::Page { source: asked_of, request, number: run.first, bytes }
            }
            14 => Input::Bytes { source: asked_of, request, count: self.number(1 << 22) },
            15 => {
                let chunk = run.first + self.number(u64::from(run.count));
                Input::Chunk { source: asked_of, request, chunk, is_right: !self.rng.chance(1, 20) }
            }
            16 => Input::Refused {
                source: asked_of,
                request,
                why: Refusal::from(u8::try_from(self.rng.below(6)).unwrap()),
            },
            _ => Input::Wake,
        }
    }

    fn feed(&mut self, input: Input) {
        self.fetcher.handle(self.now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| self.fetcher.poll_output()).collect();
        assert!(outputs.len() <= MAX_OUTPUTS, "{} outputs", outputs.len());
        for output in outputs {
            let none = Run { first: 0, count: 1 };
            match output {
                Output::AskRoot { source, request, manifest } => self.asked.push((source, request, manifest, none)),
                Output::AskPages { source, request, manifest, pages } => {
                    self.asked.push((source, request, manifest, pages));
                }
                Output::AskChunks { source, request, manifest, chunks } => {
                    assert!(chunks.count > 0);
                    self.asked.push((source, request, manifest, chunks));
                }
                Output::Cancel { request, .. } => self.asked.retain(|(_, asked, ..)| *asked != request),
                Output::Interest { .. }
                | Output::NoInterest { .. }
                | Output::Leave { .. }
                | Output::Look { .. }
                | Output::Check { .. }
                | Output::Seek { .. }
                | Output::State { .. }
                | Output::Slow { .. } => {}
            }
        }
        let wake = self.fetcher.next_wake();
        assert!(wake.is_none_or(|at| at > self.now), "it runs in circles");
    }
}

fn anything(seed: u64) {
    let fetcher = Fetcher::new(PeerId([0xee; 32]), seed, Instant::START);
    let contents = [1, 40, 200, 2500].map(|count| Content::random(u64::from(count), count)).into();
    let (rng, now, asked) = (Rng::from_seed(seed), Instant::START, Vec::new());
    let mut script = Script { rng, fetcher, now, contents, sources: 0, asked };
    for _ in 0..400 {
        let input = script.input();
        script.feed(input);
        let longest = 1 << script.rng.below(24);
        let time = script.rng.below(longest);
        script.now = script.now + Duration::from_micros(time);
    }
    for _ in 0..100 {
        let Some(at) = script.fetcher.next_wake() else { return };
        script.now = at;
        script.feed(Input::Wake);
    }
}

#[test]
fn fetch_survives_anything_in_any_order() {
    check("anything_in_any_order", anything);
}
