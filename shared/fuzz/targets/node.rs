//! Whatever strangers say on some links, whenever: the node doesn't panic, what it wants done stays bounded, it doesn't
//! run in circles, and its versions never go back.
//!
//! The input is a script. Each step is one byte that says what happens, one that says to which link, and what that
//! needs: a frame as it goes over the wire, or a time.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shared::gossip::catalogue::Catalogue;
use shared::gossip::config::Config;
use shared::gossip::io::{Identity, Input, JournalSeq, LinkId, Output};
use shared::gossip::node::Node;
use shared::ids::PeerId;
use shared::time::Instant;
use shared::wire::frame::{decode, encode};
use shared::wire::lines;
use shared::wire::peer::{Hello, MAJOR, MINOR, PeerMessage, Purpose};

/// Links that a script may use.
const LINKS: u8 = 8;
/// Steps of a script.
const STEPS: usize = 200;
/// Outputs that follow from one step: what the largest graft is answered with, and some.
const MAX_OUTPUTS: usize = 32_768;
/// Addresses in the book: both its parts, and those in use or being dialled.
const MAX_KNOWN: usize = 400;
/// Wakes in a row without time passing as planned.
const MAX_WAKES: usize = 100;

fuzz_target!(|data: &[u8]| {
    let mut run = Run::new();
    let mut script = Script(data);
    for _ in 0..STEPS {
        if run.step(&mut script).is_none() {
            break;
        }
    }
    run.let_time_pass();
});

/// What is left of the input.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    /// A frame as on the wire; where its length is wrong, what is left.
    fn message(&mut self) -> Option<PeerMessage> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.min(rest.len());
        let (payload, rest) = rest.split_at(length);
        self.0 = rest;
        decode(payload).ok()
    }
}

fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 9001))
}

/// A node, and what has been done to it.
struct Run {
    node: Node,
    now: Instant,
    /// The open links, by the place where the script names them.
    links: [Option<LinkId>; LINKS as usize],
    opened: u64,
    dials: Vec<SocketAddr>,
    stored: Vec<JournalSeq>,
}

impl Run {
    fn new() -> Self {
        let (peer, version) = (PeerId([0; 32]), String::new());
        let me = Identity { peer, listen: addr(1), durable: true, began_ms: 1_700_000_000_000, version };
        let node = Node::new(me, Config::default(), Catalogue::default(), 1, Instant::START);
        Self { node, now: Instant::START, links: [None; 8], opened: 0, dials: Vec::new(), stored: Vec::new() }
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (what, place) = (script.byte()?, script.byte()? % LINKS);
        let link = self.links[usize::from(place)];
        match (what % 16, link) {
            (0, None) => self.open(place, None),
            (1, None) => {
                self.open(place, None);
                self.introduce(place, Purpose::Join);
            }
            (2, None) => {
                let dialled = self.dials.pop();
                self.open(place, dialled);
                self.introduce(place, Purpose::Answer);
            }
            (3, Some(link)) => {
                self.links[usize::from(place)] = None;
                self.feed(Input::LinkDown { link, reason: "gone".to_owned() });
            }
            (4, _) => self.feed(Input::Contact { addr: addr(place) }),
            (5, _) => {
                if let Some(addr) = self.dials.pop() {
                    self.feed(Input::DialFailed { addr, reason: "refused".to_owned() });
                }
            }
            (6, Some(link)) => self.feed(Input::Congested { link }),
            (7, Some(link)) => self.feed(Input::Drained { link }),
            (8, _) => self.wait(Duration::from_micros(script.number()? >> 32)),
            (9, _) => self.wait(Duration::from_micros(script.number()?)),
            (10, _) => {
                if let Some(seq) = self.stored.pop() {
                    self.feed(Input::Persisted { seq });
                }
            }
            (11, _) => self.feed(Input::Wake),
            (12, _) if place == 7 => self.feed(Input::Leave),
            (14, Some(link)) => {
                self.links[usize::from(place)] = None;
                self.feed(Input::Unreadable { link, reason: "bad frame".to_owned() });
            }
            (_, Some(link)) => {
                let message = script.message()?;
                // Once, or many times at once.
                let times = if what >= 0xf0 { 64 } else { 1 };
                self.feed(Input::Messages { link, messages: vec![message; times] });
            }
            (_, None) => {
                self.open(place, None);
                self.introduce(place, Purpose::Neighbour);
            }
        }
        Some(())
    }

    fn open(&mut self, place: u8, dialled: Option<SocketAddr>) {
        self.opened += 1;
        let link = LinkId(self.opened);
        self.links[usize::from(place)] = Some(link);
        self.feed(Input::LinkUp { link, remote: dialled.unwrap_or(addr(place + 100)), dialled });
    }

    /// So that a script needn't find out how to say hello.
    fn introduce(&mut self, place: u8, purpose: Purpose) {
        let Some(link) = self.links[usize::from(place)] else { return };
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: Config::default().cluster.to_string(),
            peer: PeerId([place + 1; 32]),
            listen: Some(addr(place + 100)),
            purpose,
            presence: None,
            features: Vec::new(),
        };
        let mut messages = vec![PeerMessage::Hello(hello)];
        if purpose == Purpose::Answer {
            messages.push(PeerMessage::Welcome { others: Vec::new() });
        }
        self.feed(Input::Messages { link, messages });
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.feed(Input::Wake);
    }

    fn feed(&mut self, input: Input) {
        let before = self.node.catalogue().clone();
        self.node.handle(self.now, input);
        let mut count = 0;
        while let Some(output) = self.node.poll_output() {
            count += 1;
            self.carry_out(output);
        }
        assert!(count <= MAX_OUTPUTS, "{count} outputs");
        assert!(self.node.known().count() <= MAX_KNOWN, "{} addresses", self.node.known().count());
        for update in before.iter() {
            let now = self.node.catalogue().of_file(&update.file).expect("a file isn't forgotten");
            assert!(now.rank() >= update.rank(), "{update:?} went back to {now:?}");
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial { addr } => self.dials.push(addr),
            Output::DialName { .. } => {}
            Output::Send { message, .. } => {
                encode(&message).expect("what a node says is within the limits");
            }
            Output::SendLines { lines, .. } => {
                for line in lines {
                    lines::encode(&line).expect("what a node says is within the limits");
                }
            }
            Output::Close { link } => {
                for place in self.links.iter_mut().filter(|place| **place == Some(link)) {
                    *place = None;
                }
            }
            Output::Persist { seq, .. } => self.stored.push(seq),
            Output::Event(_) => {}
        }
    }

    /// A minute, with the node woken when it wants to be: it always wants something later than now.
    fn let_time_pass(&mut self) {
        for _ in 0..MAX_WAKES {
            let next = self.node.next_wake().max(self.now + Duration::from_micros(1));
            self.now = next;
            self.feed(Input::Wake);
        }
        // Whoever plans nothing but the present is woken without end.
        assert!(self.node.next_wake() > self.now || self.now.as_micros() == u64::MAX, "it runs in circles");
    }
}
