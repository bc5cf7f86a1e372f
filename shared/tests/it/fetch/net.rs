//! Peers in virtual time that fetch contents from each other: links with latency, uplinks with a bandwidth that those who
//! ask share, and sources that are bad in one way or another. What is said goes through the real encoder and decoder; the
//! bytes of chunks are only counted. What no fetcher may ever do is looked for at each step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use shared::content::bits::Bits;
use shared::content::fetch::Fetcher;
use shared::content::io::{Fault, Input, RequestId, SourceId, State};
use shared::ids::{ManifestHash, PeerId};
use shared::rng::Rng;
use shared::time::Instant;
use shared::wire::content::frame::{encode, read};
use shared::wire::content::{Blob, ContentMessage, Held};

use super::content::Content;

mod driving;
mod serving;

/// How somebody is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vice {
    /// It isn't.
    None,
    /// Of so many chunks that it sends one is wrong.
    Lies { one_of: u64 },
    /// It says nothing any more from then on, and its connections stay open.
    Silent { from: Instant },
    /// It is gone at that time.
    Vanishes { at: Instant },
    /// Until then it has too much to do.
    Full { until: Instant },
    /// At that time it gives up what it has.
    GivesUp { at: Instant },
}

/// One peer.
pub(super) struct Node {
    pub(super) peer: PeerId,
    fetcher: Fetcher,
    /// What it has, by content.
    pub(super) holds: BTreeMap<ManifestHash, Bits>,
    pub(super) vice: Vice,
    /// Bytes a second that it can send.
    pub(super) up: u64,
    /// Bytes of chunks that it sent.
    pub(super) sent: u64,
    /// Bytes of chunks that came to it.
    pub(super) got: u64,
    sends_until: Instant,
    /// Whose turn it is.
    turn: usize,
    links: BTreeMap<SourceId, Link>,
    /// Whom it left for good.
    pub(super) left: Vec<(PeerId, Fault)>,
    pub(super) states: BTreeMap<ManifestHash, (State, Instant)>,
    pub(super) seeks: u32,
    /// The chunks that are asked of somebody.
    open: BTreeMap<RequestId, (SourceId, ManifestHash, BTreeSet<u32>)>,
    is_gone: bool,
}

/// One end of a connection.
struct Link {
    other: usize,
    there: SourceId,
    /// What the other end wants to hear of, and what it has heard.
    told: BTreeMap<ManifestHash, Bits>,
    is_to_tell: bool,
    /// What the other end has asked for.
    queue: VecDeque<(RequestId, ManifestHash, u32)>,
    /// What this end knows of the other.
    heard: BTreeMap<ManifestHash, Bits>,
}

/// A chunk that comes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    request: RequestId,
    manifest: ManifestHash,
    chunk: u32,
    is_right: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(usize),
    Say { node: usize, source: SourceId, bytes: Vec<u8> },
    Arrives { node: usize, source: SourceId, arrival: Arrival },
    Closed { node: usize, source: SourceId },
    Send(usize),
    Tell { node: usize, source: SourceId },
    Connect(usize, usize),
    Turn(usize),
}

/// All of them.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) contents: BTreeMap<ManifestHash, Content>,
    pub(super) latency: Duration,
    rng: Rng,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    count: u64,
    sources: u64,
    /// What the driver whose turn it is answers at once.
    answers: VecDeque<Input>,
    /// Whether who seeks is connected with somebody it isn't connected with.
    pub(super) finds: bool,
}

impl Net {
    pub(super) fn new(seed: u64, nodes: usize, up: u64, latency: Duration) -> Self {
        let node = |number: usize| {
            let peer = PeerId(*blake3::hash(&(seed + 1000 * number as u64).to_be_bytes()).as_bytes());
            Node {
                peer,
                fetcher: Fetcher::new(peer, seed ^ number as u64, Instant::START),
                holds: BTreeMap::new(),
                vice: Vice::None,
                up,
                sent: 0,
                got: 0,
                sends_until: Instant::START,
                turn: 0,
                links: BTreeMap::new(),
                left: Vec::new(),
                states: BTreeMap::new(),
                seeks: 0,
                open: BTreeMap::new(),
                is_gone: false,
            }
        };
        Self {
            now: Instant::START,
            nodes: (0..nodes).map(node).collect(),
            contents: BTreeMap::new(),
            latency,
            rng: Rng::from_seed(seed),
            events: BinaryHeap::new(),
            count: 0,
            sources: 0,
            answers: VecDeque::new(),
            finds: false,
        }
    }

    // --- what a test does -------------------------------------------------------------------------------------------

    /// A content that is whole at this node.
    pub(super) fn publish(&mut self, node: usize, content: Content) -> ManifestHash {
        let (name, count) = (content.name, content.count());
        self.contents.insert(name, content);
        self.nodes[node].holds.insert(name, Bits::below(count));
        name
    }

    /// A node wants a content.
    pub(super) fn want(&mut self, node: usize, manifest: ManifestHash) {
        let Content { hash: content, size_bytes, .. } = self.contents[&manifest];
        self.feed(node, Input::Want { manifest, content, size_bytes });
    }

    /// A node doesn't any more; it keeps what has come.
    pub(super) fn forget(&mut self, node: usize, manifest: ManifestHash) {
        self.feed(node, Input::Forget { manifest });
    }

    /// So much may be written there.
    pub(super) fn room(&mut self, node: usize, bytes: u64) {
        self.feed(node, Input::Room { bytes });
    }

    /// A connection between two.
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        if self.nodes[a].is_gone || self.nodes[b].is_gone || a == b || self.is_connected(a, b) {
            return;
        }
        self.sources += 2;
        let (here, there) = (SourceId(self.sources), SourceId(self.sources + 1));
        for (node, other, here, there) in [(a, b, here, there), (b, a, there, here)] {
            let link = Link {
                other,
                there,
                told: BTreeMap::new(),
                is_to_tell: false,
                queue: VecDeque::new(),
                heard: BTreeMap::new(),
            };
            self.nodes[node].links.insert(here, link);
        }
        for (node, other, source) in [(a, b, here), (b, a, there)] {
            let peer = self.nodes[other].peer;
            self.feed(node, Input::SourceUp { source, peer });
        }
    }

    pub(super) fn connect_all(&mut self) {
        for a in 0..self.nodes.len() {
            (0..a).for_each(|b| self.connect(a, b));
        }
    }

    fn is_connected(&self, a: usize, b: usize) -> bool {
        self.nodes[a].links.values().any(|link| link.other == b)
    }

    pub(super) fn give_vice(&mut self, node: usize, vice: Vice) {
        self.nodes[node].vice = vice;
        match vice {
            Vice::Vanishes { at } | Vice::GivesUp { at } => self.plan(at, Event::Turn(node)),
            Vice::None | Vice::Lies { .. } | Vice::Silent { .. } | Vice::Full { .. } => {}
        }
    }

    pub(super) fn state(&self, node: usize, manifest: ManifestHash) -> Option<&State> {
        self.nodes[node].states.get(&manifest).map(|(state, _)| state)
    }

    pub(super) fn is_done(&self, node: usize, manifest: ManifestHash) -> bool {
        self.state(node, manifest) == Some(&State::Done)
    }

    /// Lets time pass until that is so. Returns whether it is, within the time.
    pub(super) fn run_until(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !is_so(self) {
            let Some(Reverse((at, _, _))) = self.events.peek() else { return false };
            if *at > end {
                self.now = end;
                return false;
            }
            let Some(Reverse((at, _, event))) = self.events.pop() else { return false };
            self.now = at;
            self.happen(event);
        }
        true
    }

    // --- what happens -----------------------------------------------------------------------------------------------

    fn plan(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at.max(self.now), self.count, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(node) => {
                if self.nodes[node].fetcher.next_wake().is_some_and(|at| at <= self.now) {
                    self.feed(node, Input::Wake);
                }
            }
            Event::Say { node, source, bytes } => self.hear(node, source, &bytes),
            Event::Arrives { node, source, arrival } => self.arrive(node, source, &arrival),
            Event::Closed { node, source } => {
                if self.nodes[node].links.remove(&source).is_some() {
                    self.nodes[node].open.retain(|_, (asked, _, _)| *asked != source);
                    self.feed(node, Input::SourceDown { source });
                }
            }
            Event::Send(node) => self.send(node),
            Event::Tell { node, source } => self.tell(node, source),
            Event::Connect(a, b) => self.connect(a, b),
            Event::Turn(node) => self.turn_bad(node),
        }
    }

    fn turn_bad(&mut self, node: usize) {
        let links: Vec<_> = self.nodes[node].links.keys().copied().collect();
        match self.nodes[node].vice {
            Vice::Vanishes { .. } => {
                self.nodes[node].is_gone = true;
                for source in links {
                    self.close(node, source);
                }
            }
            Vice::GivesUp { .. } => {
                let names: Vec<_> = std::mem::take(&mut self.nodes[node].holds).into_keys().collect();
                self.nodes[node].open.clear();
                for source in links {
                    self.nodes[node].links.get_mut(&source).unwrap().queue.clear();
                    for manifest in &names {
                        self.say(node, source, &ContentMessage::Gone { manifest: *manifest });
                    }
                }
                for manifest in names {
                    self.forget(node, manifest);
                }
            }
            Vice::None | Vice::Lies { .. } | Vice::Silent { .. } | Vice::Full { .. } => {}
        }
    }

    fn close(&mut self, node: usize, source: SourceId) {
        if let Some(link) = self.nodes[node].links.remove(&source) {
            let at = self.now + self.latency;
            self.plan(at, Event::Closed { node: link.other, source: link.there });
        }
    }

    fn is_silent(&self, node: usize) -> bool {
        self.nodes[node].is_gone || matches!(self.nodes[node].vice, Vice::Silent { from } if from <= self.now)
    }

    fn say(&mut self, node: usize, source: SourceId, message: &ContentMessage) {
        if self.is_silent(node) {
            return;
        }
        let Some(link) = self.nodes[node].links.get(&source) else { return };
        let (node, source) = (link.other, link.there);
        let bytes = encode(message).unwrap();
        self.plan(self.now + self.latency, Event::Say { node, source, bytes });
    }

    fn hear(&mut self, node: usize, source: SourceId, bytes: &[u8]) {
        let (message, taken) = read(bytes).unwrap().unwrap();
        assert_eq!(taken, bytes.len());
        let Some(link) = self.nodes[node].links.get_mut(&source) else { return };
        let count = |contents: &BTreeMap<ManifestHash, Content>, name| contents[&name].count();
        match message {
            ContentMessage::Interest { manifest } => {
                link.told.insert(manifest, Bits::default());
                self.tell_first(node, source, manifest);
            }
            ContentMessage::NoInterest { manifest } => {
                link.told.remove(&manifest);
            }
            ContentMessage::Have { manifest, held } => {
                let heard = link.heard.entry(manifest).or_default();
                match &held {
                    Held::All => *heard = Bits::below(count(&self.contents, manifest)),
                    Held::Runs(runs) => runs.iter().for_each(|run| {
                        heard.insert_run(*run);
                    }),
                }
                self.feed(node, Input::Have { source, manifest, held });
            }
            ContentMessage::Gone { manifest } => {
                self.nodes[node].open.retain(|_, (asked, of, _)| (*asked, *of) != (source, manifest));
                self.feed(node, Input::Gone { source, manifest });
            }
            ContentMessage::AskRoot { request, manifest } => self.answer_root(node, source, request, manifest),
            ContentMessage::AskPages { request, manifest, pages } => {
                for number in pages.first..pages.end() {
                    let bytes = Blob(self.contents[&manifest].pages[number as usize].clone());
                    self.say(node, source, &ContentMessage::Page { request, number, bytes });
                }
            }
            ContentMessage::Root { request, bytes } => {
                self.feed(node, Input::Root { source, request: RequestId(request), bytes: bytes.0 });
            }
            ContentMessage::Page { request, number, bytes } => {
                self.feed(node, Input::Page { source, request: RequestId(request), number, bytes: bytes.0 });
            }
            ContentMessage::AskChunks { request, manifest, chunks } => {
                self.answer_chunks(node, source, RequestId(request), manifest, chunks);
            }
            ContentMessage::Cancel { request } => link.queue.retain(|(name, _, _)| *name != RequestId(request)),
            ContentMessage::Refused { request, why } => {
                self.nodes[node].open.remove(&RequestId(request));
                self.feed(node, Input::Refused { source, request: RequestId(request), why });
            }
            ContentMessage::Hello(_)
            | ContentMessage::Goodbye { .. }
            | ContentMessage::Damaged { .. }
            | ContentMessage::Chunks { .. }
            | ContentMessage::Unknown { .. } => panic!("{message:?}"),
        }
    }
}
