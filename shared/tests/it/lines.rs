//! The original's JSON lines. What an original says here was recorded from one (its newest commit, unmodified): the
//! first three lines of [`RECORDED`], and the bridge's event.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::config::{Config, Limits};
use shared::gossip::io::{Identity, Input, LinkId, NodeEvent, Output};
use shared::gossip::node::Node;
use shared::ids::{FileId, PeerId, Version};
use shared::stamp::Stamp;
use shared::time::Instant;
use shared::wire::lines::{self, Decoder, Line};
use shared::wire::peer::{Hello, MAJOR, MINOR, PeerMessage, Purpose};
use shared::wire::update::FileUpdate;

pub(super) const RECORDED: [&str; 3] = [
    r#"{"type": "hello", "from": "127.0.0.1:29021", "ts": 1}"#,
    r#"{"type": "state", "from": "127.0.0.1:29021", "files": {"a": 3, "f1": 2}, "peers": ["127.0.0.1:29022"], "ts": 3}"#,
    r#"{"type": "event", "file_id": "f1", "version": 2, "ts": 0}"#,
];
const ORIGINAL: &str = "127.0.0.1:29021";
const HELLO: &str = RECORDED[0];
const ACCEPTED: LinkId = LinkId(1);
const DIALLED: LinkId = LinkId(2);

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn file(text: &str) -> FileId {
    text.parse().unwrap()
}

fn parsed(lines: &[&str]) -> Vec<Line> {
    let mut decoder = Decoder::default();
    decoder.push((lines.join("\n") + "\n").as_bytes());
    std::iter::from_fn(|| decoder.next_line().unwrap()).collect()
}

fn written(line: &Line) -> String {
    let bytes = lines::encode(line).unwrap();
    String::from_utf8(bytes).unwrap().strip_suffix('\n').unwrap().to_owned()
}

/// A node at 127.0.0.1:9001 whose time stands still unless it is told otherwise.
struct Peer {
    node: Node,
    now: Instant,
}

impl Peer {
    fn with(config: Config, files: &[(&str, u64)]) -> Self {
        let me = Identity {
            peer: PeerId([5; 32]),
            listen: addr("127.0.0.1:9001"),
            durable: false,
            began_ms: 1_700_000_000_000,
            version: String::new(),
        };
        let update = |(name, number): &(&str, u64)| {
            Arc::new(FileUpdate::injected(file(name), Version(*number), Stamp(7), PeerId([5; 32])))
        };
        let catalogue: Catalogue = files.iter().map(update).collect();
        Self { node: Node::new(me, config, catalogue, 1, Instant::START), now: Instant::START }
    }

    fn new(files: &[(&str, u64)]) -> Self {
        Self::with(Config::default(), files)
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.node.handle(self.now, input);
        std::iter::from_fn(|| self.node.poll_output()).collect()
    }

    fn up(&mut self, link: LinkId, dialled: Option<&str>) -> Vec<Output> {
        let remote = dialled.map_or(addr("127.0.0.1:50001"), addr);
        self.feed(Input::LinkUp { link, remote, dialled: dialled.map(addr) })
    }

    fn down(&mut self, link: LinkId) -> Vec<Output> {
        self.feed(Input::LinkDown { link, reason: "closed".to_owned() })
    }

    fn hear(&mut self, link: LinkId, lines: &[&str]) -> Vec<Output> {
        self.feed(Input::Lines { link, lines: parsed(lines) })
    }

    /// An original dials and says where it listens; it is dialled, and speaks.
    fn joined_by_an_original(&mut self) -> Vec<Output> {
        self.up(ACCEPTED, None);
        assert_eq!(dialled(&self.hear(ACCEPTED, &[HELLO])), [addr(ORIGINAL)]);
        assert_eq!(self.up(DIALLED, Some(ORIGINAL)), [], "an original speaks first");
        self.hear(DIALLED, &[HELLO])
    }

    fn version(&self, name: &str) -> Option<u64> {
        self.node.catalogue().of_file(&file(name)).map(|known| known.version.0)
    }

    /// Lets time pass. Nobody who is dialled answers.
    fn wait(&mut self, limit: Duration) -> Vec<Output> {
        let end = self.now + limit;
        let mut all = Vec::new();
        while self.node.next_wake() < end {
            self.now = self.now.max(self.node.next_wake());
            let outputs = self.feed(Input::Wake);
            for addr in dialled(&outputs) {
                self.feed(Input::DialFailed { addr, reason: "refused".to_owned() });
            }
            all.extend(outputs);
        }
        self.now = end;
        all
    }
}

fn dialled(outputs: &[Output]) -> Vec<SocketAddr> {
    let dialled = |output: &Output| if let Output::Dial { addr } = output { Some(*addr) } else { None };
    outputs.iter().filter_map(dialled).collect()
}

fn told(outputs: &[Output], link: LinkId) -> Vec<String> {
    let lines = outputs.iter().filter_map(|output| match output {
        Output::SendLines { to, lines } if to.contains(&link) => Some(lines),
        _ => None,
    });
    lines.flatten().map(written).collect()
}

fn learned(outputs: &[Output]) -> Vec<SocketAddr> {
    let learned = |output: &Output| match output {
        Output::Event(NodeEvent::Learned { addr }) => Some(*addr),
        _ => None,
    };
    outputs.iter().filter_map(learned).collect()
}

#[test]
fn recorded_lines_are_read_and_written_byte_for_byte() {
    let lines = parsed(&RECORDED);
    assert_eq!(lines.iter().map(written).collect::<Vec<_>>(), RECORDED);
}

#[test]
fn a_recorded_state_brings_files_and_peers() {
    let mut peer = Peer::new(&[]);
    peer.up(ACCEPTED, None);
    let outputs = peer.hear(ACCEPTED, &RECORDED);
    assert_eq!((peer.version("a"), peer.version("f1")), (Some(3), Some(2)));
    assert_eq!(learned(&outputs), [addr(ORIGINAL), addr("127.0.0.1:29022")]);
}

#[test]
fn an_original_is_told_what_is_known_and_then_what_changes() {
    let mut peer = Peer::new(&[("a", 3), ("f1", 2)]);
    let outputs = peer.joined_by_an_original();
    assert_eq!(
        told(&outputs, DIALLED),
        [
            r#"{"type": "hello", "from": "127.0.0.1:9001", "ts": 4}"#,
            r#"{"type": "state", "from": "127.0.0.1:9001", "files": {"a": 3, "f1": 2}, "peers": ["127.0.0.1:9001"], "ts": 5}"#,
        ]
    );
    let update = FileUpdate::injected(file("f1"), Version(3), Stamp(9), PeerId([5; 32]));
    let outputs = peer.feed(Input::Publish { update: update.into() });
    assert_eq!(told(&outputs, DIALLED), [r#"{"type": "event", "file_id": "f1", "version": 3, "ts": 6}"#]);
    assert_eq!(told(&outputs, ACCEPTED), [""; 0], "an original doesn't read what it is told on a link that it dialled");
}

#[test]
fn an_original_is_not_told_what_it_told() {
    let mut peer = Peer::new(&[]);
    peer.joined_by_an_original();
    let outputs = peer.hear(ACCEPTED, &[RECORDED[1]]);
    assert_eq!(peer.version("a"), Some(3));
    assert_eq!(told(&outputs, DIALLED), [""; 0]);
}

#[test]
fn the_bridges_only_line_is_taken_and_passed_on() {
    let mut peer = Peer::new(&[]);
    peer.joined_by_an_original();
    let bridge = LinkId(3);
    peer.up(bridge, None);
    let outputs = peer.hear(bridge, &[RECORDED[2]]);
    peer.down(bridge);
    assert_eq!(peer.version("f1"), Some(2));
    assert_eq!(told(&outputs, DIALLED), [r#"{"type": "event", "file_id": "f1", "version": 2, "ts": 7}"#]);
}

#[test]
fn convergence_every_peer_makes_the_same_of_a_line_and_a_change_of_ours_wins() {
    let of = |peer: &Peer| peer.node.catalogue().of_file(&file("f1")).cloned().unwrap();
    let (mut one, mut other, mut ours) = (Peer::new(&[]), Peer::new(&[]), Peer::new(&[("f1", 2)]));
    let before = of(&ours);
    for peer in [&mut one, &mut other, &mut ours] {
        peer.now = peer.now + Duration::from_secs(3);
        peer.up(ACCEPTED, None);
        peer.hear(ACCEPTED, &[RECORDED[2]]);
    }
    let made = of(&one);
    assert_eq!(made, of(&other));
    assert_eq!(of(&ours), before);
    assert!(before.rank() > made.rank());
}

#[test]
fn a_version_never_goes_back_or_too_far_ahead() {
    let mut peer = Peer::new(&[("f1", 5)]);
    peer.up(ACCEPTED, None);
    let outputs =
        peer.hear(ACCEPTED, &[RECORDED[2], r#"{"type": "event", "file_id": "f1", "version": 1000000000000, "ts": 0}"#]);
    assert_eq!(peer.version("f1"), Some(5));
    let rejected = |output: &Output| matches!(output, Output::Event(NodeEvent::Rejected { .. }));
    assert_eq!(outputs.iter().filter(|output| rejected(output)).count(), 1);
}

#[test]
fn a_contact_that_answers_in_lines_is_dialled_again_as_an_original() {
    let mut peer = Peer::new(&[("a", 1)]);
    assert_eq!(dialled(&peer.feed(Input::Contact { addr: addr(ORIGINAL) })), [addr(ORIGINAL)]);
    let outputs = peer.up(ACCEPTED, Some(ORIGINAL));
    assert!(matches!(&outputs[..], [Output::Send { message: PeerMessage::Hello(_), .. }]));
    let outputs = peer.hear(ACCEPTED, &[HELLO]);
    assert_eq!(outputs, [Output::Close { link: ACCEPTED }, Output::Dial { addr: addr(ORIGINAL) }]);
    assert_eq!(peer.up(DIALLED, Some(ORIGINAL)), []);
    assert!(told(&peer.hear(DIALLED, &[HELLO]), DIALLED)[0].contains("hello"));
    assert_eq!(peer.node.known().count(), 0, "no original among the peers that others are told of");
}

#[test]
fn a_lost_original_is_dialled_again_and_forgotten_unless_a_person_named_it() {
    let mut peer = Peer::new(&[]);
    peer.joined_by_an_original();
    peer.down(ACCEPTED);
    peer.down(DIALLED);
    let dials = dialled(&peer.wait(Duration::from_hours(1)));
    assert!((2..20).contains(&dials.len()), "{dials:?}");
    let mut peer = Peer::new(&[]);
    peer.feed(Input::Contact { addr: addr(ORIGINAL) });
    peer.up(ACCEPTED, Some(ORIGINAL));
    peer.hear(ACCEPTED, &[HELLO]);
    peer.feed(Input::DialFailed { addr: addr(ORIGINAL), reason: "refused".to_owned() });
    peer.wait(Duration::from_hours(1));
    assert!(!dialled(&peer.wait(Duration::from_mins(5))).is_empty());
}

#[test]
fn who_is_called_an_original_and_is_none_stays_a_peer() {
    let mut peer = Peer::new(&[]);
    peer.up(ACCEPTED, None);
    peer.hear(ACCEPTED, &[HELLO]);
    peer.up(DIALLED, Some(ORIGINAL));
    let hello = Hello {
        major: MAJOR,
        minor: MINOR,
        cluster: "grapevine".to_owned(),
        peer: PeerId([6; 32]),
        listen: Some(addr(ORIGINAL)),
        purpose: Purpose::Answer,
        presence: None,
        features: Vec::new(),
    };
    let outputs = peer.feed(Input::Messages { link: DIALLED, messages: vec![PeerMessage::Hello(hello)] });
    assert!(outputs.contains(&Output::Close { link: DIALLED }));
    assert_eq!(peer.node.known().collect::<Vec<_>>(), [addr(ORIGINAL)]);
}

#[test]
fn who_is_called_an_original_and_stays_silent_is_tried_as_a_peer() {
    let mut peer = Peer::new(&[]);
    peer.up(ACCEPTED, None);
    peer.hear(ACCEPTED, &[HELLO]);
    peer.up(DIALLED, Some(ORIGINAL));
    assert!(peer.wait(Duration::from_secs(6)).contains(&Output::Close { link: DIALLED }));
    assert_eq!(peer.node.known().collect::<Vec<_>>(), [addr(ORIGINAL)]);
}

#[test]
fn that_an_original_names_a_lost_peer_is_no_sign_of_life() {
    let dials = |again: bool| {
        let mut peer = Peer::new(&[]);
        peer.up(ACCEPTED, None);
        assert_eq!(learned(&peer.hear(ACCEPTED, &[RECORDED[1]])), [addr("127.0.0.1:29022")]);
        let mut dials = 0;
        for _ in 0..15 {
            dials += dialled(&peer.wait(Duration::from_secs(2))).len();
            if again {
                assert_eq!(learned(&peer.hear(ACCEPTED, &[RECORDED[1]])), []);
            }
        }
        dials
    };
    assert!(dials(false) > 0);
    assert_eq!(dials(true), dials(false));
}

#[test]
fn bounded_memory_no_more_originals_are_dialled_than_allowed() {
    let mut peer = Peer::new(&[]);
    peer.up(ACCEPTED, None);
    let hellos: Vec<String> =
        (1..100).map(|port| format!(r#"{{"type": "hello", "from": "10.0.0.1:{port}", "ts": 1}}"#)).collect();
    let hellos: Vec<&str> = hellos.iter().map(String::as_str).collect();
    let at_once = dialled(&peer.hear(ACCEPTED, &hellos));
    assert_eq!(at_once.len(), 1, "nobody is flooded with dials on behalf of somebody else");
    let mut all: BTreeSet<SocketAddr> = at_once.into_iter().collect();
    all.extend(dialled(&peer.wait(Duration::from_mins(10))));
    assert_eq!(all.len(), 16);
}

#[test]
fn an_original_that_writes_a_name_listens_where_it_comes_from() {
    let mut peer = Peer::new(&[]);
    peer.up(ACCEPTED, None);
    let outputs = peer.hear(ACCEPTED, &[r#"{"type": "hello", "from": "localhost:29021", "ts": 1}"#]);
    assert_eq!(dialled(&outputs), [addr(ORIGINAL)]);
}

#[test]
fn lines_that_are_turned_off_close_the_link() {
    let mut peer = Peer::with(Config { original: false, ..Config::default() }, &[]);
    peer.up(ACCEPTED, None);
    let outputs = peer.hear(ACCEPTED, &RECORDED);
    assert!(outputs.contains(&Output::Close { link: ACCEPTED }));
    assert_eq!(peer.version("f1"), None);
}

#[test]
fn lines_beyond_the_rate_close_the_link_whatever_they_say() {
    for line in [RECORDED[2], r#"{"type": "bye"}"#] {
        let limits = Limits { burst: 20, messages_per_second: 10, ..Limits::default() };
        let mut peer = Peer::with(Config { limits, ..Config::default() }, &[]);
        peer.up(ACCEPTED, None);
        let is_closed = |outputs: &[Output]| outputs.contains(&Output::Close { link: ACCEPTED });
        assert!(!is_closed(&peer.hear(ACCEPTED, &[line; 20])), "a burst is allowed");
        peer.wait(Duration::from_secs(1));
        assert!(!is_closed(&peer.hear(ACCEPTED, &[line; 10])), "and after a while another");
        let outputs = peer.hear(ACCEPTED, &[line]);
        assert!(is_closed(&outputs), "{line}");
        let reason = |output: &Output| match output {
            Output::Event(NodeEvent::Misbehaved { reason, .. }) => Some(reason.to_string()),
            _ => None,
        };
        assert_eq!(outputs.iter().find_map(reason).as_deref(), Some("too many lines"));
    }
}

#[test]
fn a_silent_speaker_of_lines_does_not_keep_its_place() {
    let mut peer = Peer::new(&[]);
    peer.up(ACCEPTED, None);
    peer.hear(ACCEPTED, &[RECORDED[2]]);
    let outputs = peer.wait(Duration::from_secs(61));
    assert!(outputs.contains(&Output::Close { link: ACCEPTED }));
}
