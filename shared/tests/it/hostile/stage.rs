//! A node, an honest neighbour of it, and strangers who may say to it what they like. What is said goes through the
//! real encoder and decoder.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::config::Config;
use shared::gossip::io::{Identity, Input, LinkId, NodeEvent, Output};
use shared::gossip::node::Node;
use shared::ids::{PeerId, Version};
use shared::stamp::Stamp;
use shared::time::Instant;
use shared::wire::broadcast::{MessageId, Source};
use shared::wire::frame::{self, Decoder};
use shared::wire::peer::{Hello, MAJOR, MINOR, Partner, Payload, PeerMessage, Purpose, Unknown};
use shared::wire::update::FileUpdate;

/// Wall time when a test begins, in milliseconds since 1970.
pub(super) const BEGAN_MS: u64 = 1_700_000_000_000;
/// A node that wants to be woken more often than this in one second, with nobody saying anything, runs in circles.
const WAKES_PER_SECOND: u64 = 2000;
/// The honest neighbour's number, among those of strangers.
const HONEST: u32 = 0x00ff_ff01;

/// The node under attack.
pub(super) struct Stage {
    pub(super) node: Node,
    pub(super) now: Instant,
    links: u64,
    honest: LinkId,
    /// Addresses that the node dials and that haven't answered.
    pub(super) dials: Vec<SocketAddr>,
    closed: BTreeSet<LinkId>,
    said: u64,
}

/// Where the node listens.
pub(super) fn own_addr() -> SocketAddr {
    "10.0.0.1:9001".parse().unwrap()
}

/// Another address for each number.
pub(super) fn addr(number: u32) -> SocketAddr {
    SocketAddr::from(((0x1400_0000 + number).to_be_bytes(), 9001))
}

/// Another peer for each number.
pub(super) fn peer(number: u32) -> PeerId {
    PeerId(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

/// Who says hello, and what for.
pub(super) fn hello(number: u32, purpose: Purpose) -> Hello {
    let (cluster, listen) = (Config::default().cluster.to_string(), Some(addr(number)));
    let (peer, features) = (peer(number), Vec::new());
    Hello { major: MAJOR, minor: MINOR, cluster, peer, listen, purpose, presence: None, features }
}

/// A change made just when the test began.
pub(super) fn update(file: &str, version: u64) -> FileUpdate {
    FileUpdate::injected(file.parse().unwrap(), Version(version), Stamp(BEGAN_MS << 16), peer(9))
}

/// News from a source.
pub(super) fn broadcast(source: u64, seq: u64, payload: Payload) -> PeerMessage {
    PeerMessage::Broadcast { id: MessageId { source: Source(source), seq }, hops: 0, payload }
}

/// A change from a source.
pub(super) fn news(source: u64, seq: u64, update: FileUpdate) -> PeerMessage {
    broadcast(source, seq, Payload::Update(update.into()))
}

/// Something from a source that only a newer minor of the protocol knows.
pub(super) fn unknown(source: u64, seq: u64) -> PeerMessage {
    broadcast(source, seq, Payload::Unknown(Unknown { kind: 200, body: [1, 2, 3].into() }.into()))
}

/// The messages among some outputs, each with the links that it goes to.
pub(super) fn sent(outputs: &[Output]) -> impl Iterator<Item = (&[LinkId], &PeerMessage)> {
    outputs.iter().filter_map(|output| match output {
        Output::Send { to, message } => Some((to.as_slice(), message)),
        _ => None,
    })
}

/// How many bytes some outputs put on links.
pub(super) fn bytes(outputs: &[Output]) -> usize {
    sent(outputs).map(|(to, message)| to.len() * frame::encode(message).unwrap().len()).sum()
}

/// The reasons with which links were closed because of what the other side did.
pub(super) fn offences(outputs: &[Output]) -> Vec<String> {
    let mut reasons = Vec::new();
    for output in outputs {
        if let Output::Event(NodeEvent::Misbehaved { reason, .. }) = output {
            reasons.push(reason.to_string());
        }
    }
    reasons
}

impl Stage {
    pub(super) fn new(config: Config) -> Self {
        let me = Identity {
            peer: peer(0),
            listen: own_addr(),
            durable: true,
            began_ms: BEGAN_MS,
            version: "0.1.0".to_owned(),
        };
        let node = Node::new(me, config, Catalogue::default(), 1, Instant::START);
        let (dials, closed) = (Vec::new(), BTreeSet::new());
        let mut stage = Self { node, now: Instant::START, links: 0, honest: LinkId(0), dials, closed, said: 0 };
        stage.honest = stage.neighbour(HONEST);
        stage
    }

    /// One input; disks are quick, and whoever is pinged answers.
    pub(super) fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut inputs = vec![input];
        let mut outputs = Vec::new();
        while let Some(input) = inputs.pop() {
            self.node.handle(self.now, input);
            while let Some(output) = self.node.poll_output() {
                match &output {
                    Output::Dial { addr } => self.dials.push(*addr),
                    Output::Close { link } => drop(self.closed.insert(*link)),
                    Output::Persist { seq, .. } => inputs.push(Input::Persisted { seq: *seq }),
                    Output::Send { to, message: PeerMessage::Ping { nonce, .. } } => {
                        let catalogue = self.node.catalogue().total();
                        let pong = PeerMessage::Pong { nonce: *nonce, catalogue, partner: Partner::You };
                        inputs.extend(
                            to.iter().map(|link| Input::Messages { link: *link, messages: vec![pong.clone()] }),
                        );
                    }
                    Output::Send { .. } | Output::SendLines { .. } | Output::DialName { .. } | Output::Event(_) => {}
                }
                outputs.push(output);
            }
        }
        outputs
    }

    /// A stranger dials the node.
    pub(super) fn open_from(&mut self, remote: SocketAddr) -> (LinkId, Vec<Output>) {
        self.links += 1;
        let link = LinkId(self.links);
        (link, self.feed(Input::LinkUp { link, remote, dialled: None }))
    }

    /// A stranger dials and says hello.
    pub(super) fn greet(&mut self, number: u32, hello: Hello) -> (LinkId, Vec<Output>) {
        let (link, _) = self.open_from(addr(number));
        (link, self.say(link, PeerMessage::Hello(hello)))
    }

    /// A stranger becomes a neighbour.
    pub(super) fn neighbour(&mut self, number: u32) -> LinkId {
        let (link, outputs) = self.greet(number, hello(number, Purpose::Join));
        assert!(sent(&outputs).any(|(_, message)| matches!(message, PeerMessage::Welcome { .. })), "{outputs:?}");
        link
    }

    /// A client, as the bridge is one.
    pub(super) fn client(&mut self, number: u32) -> LinkId {
        let hello = Hello { listen: None, ..hello(number, Purpose::Submit) };
        self.greet(number, hello).0
    }

    /// Something is said on a link.
    pub(super) fn say(&mut self, link: LinkId, message: PeerMessage) -> Vec<Output> {
        self.say_all(link, vec![message])
    }

    /// Much is said on a link at once.
    pub(super) fn say_all(&mut self, link: LinkId, messages: Vec<PeerMessage>) -> Vec<Output> {
        let mut decoder = Decoder::default();
        let mut arrived = Vec::with_capacity(messages.len());
        for message in messages {
            decoder.push(&frame::encode(&message).unwrap());
            arrived.push(decoder.next_message().unwrap().unwrap());
        }
        self.feed(Input::Messages { link, messages: arrived })
    }

    /// Time goes by, and the node is woken whenever it wants to be.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        let limit = (time.as_secs() + 1) * WAKES_PER_SECOND;
        for _ in 0..limit {
            self.now = self.node.next_wake().max(self.now + Duration::from_micros(1)).min(end);
            outputs.extend(self.feed(Input::Wake));
            if self.now == end {
                return outputs;
            }
        }
        panic!("woken {limit} times in {time:?}: it runs in circles");
    }

    /// Nobody answers where the node dialled.
    pub(super) fn fail_dials(&mut self) {
        for addr in std::mem::take(&mut self.dials) {
            self.feed(Input::DialFailed { addr, reason: "refused".to_owned() });
        }
    }

    pub(super) fn is_closed(&self, link: LinkId) -> bool {
        self.closed.contains(&link)
    }

    /// The honest neighbour's link: a new one where it was pushed out.
    pub(super) fn honest(&mut self) -> LinkId {
        if self.is_closed(self.honest) {
            self.honest = self.neighbour(HONEST);
        }
        self.honest
    }

    /// What every attack has to leave as it was: the honest neighbour's news is merged, and its question answered.
    pub(super) fn check_it_still_works(&mut self) {
        let link = self.honest();
        self.said += 1;
        let update = update(&format!("honest-{}", self.said), 1);
        let name = update.file.clone();
        self.say(link, news(u64::from(HONEST), self.said, update));
        assert!(self.node.catalogue().of_file(&name).is_some(), "honest news is lost");
        let (nonce, catalogue) = (77, self.node.catalogue().total());
        let answers = self.say(link, PeerMessage::Ping { nonce, catalogue, partner: Partner::Another });
        let is_pong = |message: &PeerMessage| matches!(message, PeerMessage::Pong { nonce: 77, catalogue: told, .. } if *told == catalogue);
        assert!(sent(&answers).any(|(to, message)| to == [link] && is_pong(message)), "no answer: {answers:?}");
    }
}
