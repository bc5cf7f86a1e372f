//! Where peers are, as they and others see it: machines with several addresses, listeners on all of them, names that
//! move, copied identities. Real nodes on a simulated network, where every message is encoded and decoded.
//!
//! Long because the network is only of use here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::config::Config;
use shared::gossip::io::{HostName, Identity, Input, LinkId, NodeEvent, Output};
use shared::gossip::node::Node;
use shared::ids::{PeerId, Version};
use shared::stamp::Stamp;
use shared::time::Instant;
use shared::wire::frame::{decode, encode};
use shared::wire::peer::PeerMessage;
use shared::wire::update::FileUpdate;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// How long anything takes on this network.
const WAY: Duration = Duration::from_millis(1);

struct Peer {
    node: Node,
    machine: usize,
    listen: SocketAddr,
    events: Vec<(Instant, NodeEvent)>,
}

/// One end of a connection: whose, and how it sees the other.
#[derive(Clone, Copy)]
struct End {
    peer: usize,
    link: LinkId,
    remote: SocketAddr,
}

#[derive(Default)]
struct Net {
    now: Instant,
    /// The addresses of the machines.
    machines: Vec<Vec<IpAddr>>,
    peers: Vec<Peer>,
    names: BTreeMap<&'static str, &'static str>,
    ends: BTreeMap<(usize, LinkId), [End; 2]>,
    queue: BTreeMap<(Instant, u64), (usize, Input)>,
    count: u64,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn id(number: u8) -> PeerId {
    PeerId(*blake3::hash(&[number]).as_bytes())
}

/// Whether two addresses are in one network.
fn are_near(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..2] == b.octets()[..2],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[0] == b.segments()[0],
        _ => false,
    }
}

impl Net {
    fn new(machines: &[&[&str]]) -> Self {
        let parse = |ips: &&[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Self { machines: machines.iter().map(parse).collect(), ..Self::default() }
    }

    /// Each machine with an address in two networks of each family.
    fn of_two_machines() -> Self {
        Self::new(&[&["10.0.0.1", "10.1.0.1", "fd00::1", "fd01::1"], &["10.0.0.2", "10.1.0.2", "fd00::2", "fd01::2"]])
    }

    fn start(&mut self, identity: u8, machine: usize, listen: &str, contacts: &[&str]) -> usize {
        self.start_in(Config::default(), identity, machine, listen, contacts)
    }

    fn start_in(&mut self, config: Config, identity: u8, machine: usize, listen: &str, contacts: &[&str]) -> usize {
        let peer = self.peers.len();
        let began_ms = 1_700_000_000_000 + self.now.as_micros() / 1000;
        let listen = addr(listen);
        let me = Identity { peer: id(identity), listen, durable: false, began_ms, version: String::new() };
        let seed = u64::try_from(peer).unwrap() + 1;
        let node = Node::new(me, config, Catalogue::default(), seed, self.now);
        self.peers.push(Peer { node, machine, listen, events: Vec::new() });
        for contact in contacts {
            let input = match contact.parse() {
                Ok(addr) => Input::Contact { addr },
                Err(_) => Input::Name { name: HostName((*contact).into()) },
            };
            self.feed(peer, input);
        }
        peer
    }

    /// It is gone without a word, and its connections are closed.
    fn kill(&mut self, peer: usize) {
        self.peers[peer].listen = addr("0.0.0.0:0");
        self.peers[peer].machine = usize::MAX;
        let links: Vec<LinkId> = self.ends.keys().filter(|(of, _)| *of == peer).map(|(_, link)| *link).collect();
        for link in links {
            self.execute(peer, Output::Close { link });
        }
    }

    fn later(&mut self, peer: usize, input: Input) {
        self.count += 1;
        self.queue.insert((self.now + WAY, self.count), (peer, input));
    }

    fn feed(&mut self, peer: usize, input: Input) {
        self.peers[peer].node.handle(self.now, input);
        while let Some(output) = self.peers[peer].node.poll_output() {
            self.execute(peer, output);
        }
    }

    fn execute(&mut self, peer: usize, output: Output) {
        match output {
            Output::Dial { addr } => self.dial(peer, addr, None),
            Output::DialName { name } => match self.names.get(&*name.0) {
                Some(at) => self.dial(peer, addr(at), Some(name)),
                None => self.later(peer, Input::NameFailed { name, reason: "no such name".to_owned() }),
            },
            Output::Send { to, message } => {
                for link in to {
                    self.send(peer, link, &message);
                }
            }
            Output::Close { link } => {
                if let Some([_, far]) = self.ends.remove(&(peer, link)) {
                    self.later(far.peer, Input::LinkDown { link: far.link, reason: "closed".to_owned() });
                }
            }
            Output::Event(event) => self.peers[peer].events.push((self.now, event)),
            Output::SendLines { .. } | Output::Persist { .. } => {}
        }
    }

    /// Who listens at an address, and from where one of its machine's addresses reaches it.
    fn listener(&self, from: usize, to: SocketAddr) -> Option<(usize, IpAddr)> {
        let own = self.peers.get(from)?.machine;
        let listens = |peer: &Peer| {
            let everywhere = peer.listen.ip().is_unspecified() && (peer.listen.is_ipv6() || to.is_ipv4());
            let here = if to.ip().is_loopback() { peer.machine == own } else { self.has(peer.machine, to.ip()) };
            here && peer.listen.port() == to.port() && (everywhere || peer.listen.ip() == to.ip())
        };
        let found = self.peers.iter().position(listens)?;
        if to.ip().is_loopback() || self.has(own, to.ip()) {
            return Some((found, to.ip()));
        }
        let source = self.machines.get(own)?.iter().find(|ip| are_near(**ip, to.ip()))?;
        Some((found, *source))
    }

    fn has(&self, machine: usize, ip: IpAddr) -> bool {
        self.machines.get(machine).is_some_and(|ips| ips.contains(&ip))
    }

    fn dial(&mut self, from: usize, to: SocketAddr, name: Option<HostName>) {
        let Some((far, source)) = self.listener(from, to) else {
            let reason = "refused".to_owned();
            let failed = name.map_or(Input::DialFailed { addr: to, reason: reason.clone() }, |name| {
                Input::NameFailed { name, reason }
            });
            return self.later(from, failed);
        };
        self.count += 2;
        let remote = SocketAddr::new(source, 40_000 + u16::try_from(self.count % 10_000).unwrap());
        let near = End { peer: from, link: LinkId(self.count), remote: to };
        let far = End { peer: far, link: LinkId(self.count + 1), remote };
        self.ends.insert((near.peer, near.link), [near, far]);
        self.ends.insert((far.peer, far.link), [far, near]);
        self.later(far.peer, Input::LinkUp { link: far.link, remote, dialled: None });
        self.later(
            from,
            match name {
                Some(name) => Input::NameReached { name, link: near.link, addr: to },
                None => Input::LinkUp { link: near.link, remote: to, dialled: Some(to) },
            },
        );
    }

    fn send(&mut self, from: usize, link: LinkId, message: &PeerMessage) {
        let Some([near, far]) = self.ends.get(&(from, link)).copied() else { return };
        let frame = encode(message).unwrap();
        let message = decode(&frame[LENGTH_BYTES..]).unwrap();
        if !near.remote.ip().is_loopback() {
            let mut told = message.clone();
            told.relocate(|addr| {
                assert!(!addr.ip().is_loopback(), "{message:?} leaves its machine");
                addr
            });
        }
        self.later(far.peer, Input::Messages { link: far.link, messages: vec![message] });
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let alive = self.peers.iter().enumerate().filter(|(_, peer)| peer.machine != usize::MAX);
            let wake = alive.map(|(place, peer)| (peer.node.next_wake(), place)).min();
            match (event, wake) {
                (Some(at), wake) if at <= end && wake.is_none_or(|(wake_at, _)| at <= wake_at) => {
                    let (_, (peer, input)) = self.queue.pop_first().unwrap();
                    self.now = self.now.max(at);
                    self.deliver(peer, input);
                }
                (_, Some((at, peer))) if at <= end => {
                    self.now = self.now.max(at) + Duration::from_micros(1);
                    self.feed(peer, Input::Wake);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Unless the connection is closed by now.
    fn deliver(&mut self, peer: usize, input: Input) {
        let link = match &input {
            Input::LinkUp { link, .. } | Input::Messages { link, .. } | Input::NameReached { link, .. } => Some(*link),
            Input::LinkDown { link, .. } => {
                self.ends.remove(&(peer, *link));
                None
            }
            _ => None,
        };
        if self.peers[peer].machine != usize::MAX && link.is_none_or(|link| self.ends.contains_key(&(peer, link))) {
            self.feed(peer, input);
        }
    }

    fn neighbours(&self, peer: usize) -> usize {
        self.peers[peer].node.neighbours().count()
    }

    fn are_linked(&self, one: usize, other: u8) -> bool {
        self.peers[one].node.neighbours().any(|peer| peer == id(other))
    }

    fn events<T>(&self, peer: usize, pick: impl Fn(&NodeEvent) -> Option<T>) -> Vec<T> {
        self.peers[peer].events.iter().filter_map(|(_, event)| pick(event)).collect()
    }

    /// How many neighbours it has lost since a moment.
    fn losses(&self, peer: usize, since: Instant) -> usize {
        let lost =
            |(at, event): &&(Instant, NodeEvent)| *at > since && matches!(event, NodeEvent::NeighbourDown { .. });
        self.peers[peer].events.iter().filter(lost).count()
    }

    /// A change that one makes comes to all others.
    fn check_news_spreads(&mut self, from: usize, to: &[usize]) {
        let stamp = Stamp((1_700_000_000_000 << 16) + self.now.as_micros());
        let update = FileUpdate::injected(format!("f{from}").parse().unwrap(), Version(1), stamp, id(99));
        self.feed(from, Input::Publish { update: update.clone().into() });
        self.run(Duration::from_secs(5));
        for peer in to {
            assert!(self.peers[*peer].node.catalogue().of_file(&update.file).is_some(), "{peer} knows nothing of it");
        }
    }
}

/// Three local peers that listen everywhere, and two on another machine, which know one address of the first machine.
fn everywhere(listen: &str, loopback: &str, contact: &str) {
    let mut net = Net::of_two_machines();
    let first = net.start(1, 0, &format!("{listen}:9001"), &[]);
    let local = [&*format!("{loopback}:9001")];
    let second = net.start(2, 0, &format!("{listen}:9002"), &local);
    let third = net.start(3, 0, &format!("{listen}:9003"), &local);
    let far = net.start(4, 1, &format!("{listen}:9001"), &[contact]);
    let farther = net.start(5, 1, &format!("{listen}:9002"), &local);
    net.run(Duration::from_mins(1));
    for peer in [first, second, third, far, farther] {
        assert_eq!(net.neighbours(peer), 4, "{peer} has found all others");
    }
    net.check_news_spreads(third, &[first, second, far, farther]);
    net.check_news_spreads(farther, &[first, second, third, far]);
    let census = net.peers[farther].node.census();
    let near: IpAddr = contact.parse::<SocketAddr>().unwrap().ip();
    for (number, port) in [(1, 9001), (2, 9002), (3, 9003)] {
        let told = census.of(id(number)).unwrap().addr;
        assert!(net.machines[0].contains(&told.ip()) && told.port() == port, "{told}, by way of {near}");
    }
    let seen = net.events(first, |event| if let NodeEvent::SeenAt { addr } = event { Some(*addr) } else { None });
    assert!(seen.contains(&SocketAddr::new(near, 9001)), "{seen:?}");
}

#[test]
fn peers_that_listen_everywhere_are_known_by_where_they_are_seen() {
    everywhere("0.0.0.0", "127.0.0.1", "10.0.0.1:9001");
    everywhere("[::]", "[::1]", "[fd00::1]:9001");
    everywhere("[::]", "[::1]", "10.1.0.1:9001");
}

#[test]
fn two_addresses_of_one_peer_make_no_two_links_and_no_end_of_links() {
    for (listen, contacts) in
        [("0.0.0.0:9001", ["10.0.0.1:9001", "10.1.0.1:9001"]), ("[::]:9001", ["10.0.0.1:9001", "[fd01::1]:9001"])]
    {
        let mut net = Net::of_two_machines();
        let first = net.start(1, 0, listen, &[]);
        let second = net.start(2, 1, listen, &contacts);
        net.run(Duration::from_secs(10));
        assert!(net.are_linked(first, 2) && net.are_linked(second, 1));
        let settled = net.now;
        net.run(Duration::from_mins(10));
        assert_eq!((net.losses(first, settled), net.losses(second, settled)), (0, 0));
        assert_eq!((net.neighbours(first), net.neighbours(second)), (1, 1));
    }
}

#[test]
fn a_peer_that_cant_be_dialled_back_is_nowhere_else() {
    let mut net = Net::of_two_machines();
    let first = net.start(1, 0, "[::]:9001", &[]);
    // It dials over IPv6 and listens on IPv4 only.
    let second = net.start(2, 1, "0.0.0.0:9001", &["[fd00::1]:9001"]);
    let third = net.start(3, 0, "[::]:9003", &["[::1]:9001"]);
    net.run(Duration::from_mins(1));
    assert!(net.are_linked(first, 2) && net.are_linked(second, 1) && net.are_linked(second, 3));
    assert!(net.peers[third].node.known().all(|addr| net.listener(third, addr).is_some()));
}

#[test]
fn a_name_is_dialled_again_where_it_leads_to_now() {
    let mut net = Net::of_two_machines();
    let first = net.start(1, 0, "10.0.0.1:9001", &[]);
    net.names.insert("moves:9001", "10.0.0.1:9001");
    let second = net.start(2, 1, "10.0.0.2:9001", &["nowhere:9001", "moves:9001"]);
    net.run(Duration::from_secs(5));
    assert!(net.are_linked(second, 1));
    let settled = net.now;
    net.run(Duration::from_mins(5));
    assert_eq!(net.losses(second, settled), 0, "a name that leads to a neighbour is left alone");
    let unreached = net.events(second, |event| match event {
        NodeEvent::Unreached { place, reason, is_named: _ } => Some((place.clone(), reason.clone())),
        _ => None,
    });
    assert!(unreached.contains(&("nowhere:9001".to_owned(), "no such name".to_owned())), "{unreached:?}");
    net.kill(first);
    let third = net.start(3, 0, "10.1.0.1:9001", &[]);
    net.names.insert("moves:9001", "10.1.0.1:9001");
    net.run(Duration::from_mins(1));
    assert!(net.are_linked(second, 3) && net.are_linked(third, 2));
}

fn twins(net: &Net, peer: usize) -> Vec<(SocketAddr, bool)> {
    net.events(peer, |event| match event {
        NodeEvent::Twin { addr, stays_out } => Some((*addr, *stays_out)),
        _ => None,
    })
}

fn no_twins(net: &Net, peer: usize) -> usize {
    net.events(peer, |event| matches!(event, NodeEvent::NoTwin).then_some(())).len()
}

#[test]
fn who_goes_on_says_when_its_twin_is_gone() {
    let mut net = Net::of_two_machines();
    net.start(2, 0, "10.0.0.1:9002", &[]);
    let older = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    let younger = net.start(1, 1, "10.0.0.2:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_mins(10));
    assert_eq!((no_twins(&net, older), no_twins(&net, younger)), (0, 0), "both are still there");
    net.kill(younger);
    net.run(Duration::from_mins(4));
    assert_eq!(no_twins(&net, older), 1);
}

#[test]
fn of_two_peers_with_one_identity_the_younger_stays_out_and_both_say_so() {
    let mut net = Net::of_two_machines();
    let other = net.start(2, 0, "10.0.0.1:9002", &[]);
    let older = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    let settled = net.now;
    let younger = net.start(1, 1, "10.0.0.2:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_mins(10));
    let (told, seen) = (twins(&net, older), twins(&net, younger));
    assert!(told.iter().all(|twin| *twin == (addr("10.0.0.2:9001"), false)), "{told:?}");
    assert!(seen.iter().all(|twin| *twin == (addr("10.0.0.1:9001"), true)), "{seen:?}");
    // It looks once a minute whether the older one still answers.
    assert!((1..=10).contains(&told.len()) && told.len() == seen.len(), "{told:?} {seen:?}");
    assert_eq!((net.losses(older, settled), net.losses(other, settled)), (0, 0), "nothing flaps");
    assert_eq!((net.neighbours(older), net.neighbours(younger)), (1, 0));
}

#[test]
fn who_stays_out_comes_back_once_the_older_one_has_ended() {
    let mut net = Net::of_two_machines();
    let other = net.start(2, 0, "10.0.0.1:9002", &[]);
    let older = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    let younger = net.start(1, 1, "10.0.0.2:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    assert_eq!((net.neighbours(older), net.neighbours(younger)), (1, 0));
    assert_eq!((no_twins(&net, older), no_twins(&net, younger)), (0, 0));
    net.kill(older);
    net.run(Duration::from_mins(2));
    assert!(net.are_linked(other, 1) && net.are_linked(younger, 2));
    assert_eq!(no_twins(&net, younger), 1, "it says that it takes part again");
}

#[test]
fn who_was_told_to_leave_while_it_stays_out_doesnt_come_back() {
    let mut net = Net::of_two_machines();
    net.start(2, 0, "10.0.0.1:9002", &[]);
    let older = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    let younger = net.start(1, 1, "10.0.0.2:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    net.feed(younger, Input::Leave);
    net.kill(older);
    net.run(Duration::from_mins(5));
    assert_eq!(net.neighbours(younger), 0);
}

#[test]
fn twins_with_no_neighbour_in_common_find_out_by_their_records() {
    let mut net = Net::of_two_machines();
    let first = net.start(20, 0, "10.0.0.1:9020", &[]);
    for number in 1..15_u8 {
        net.start(20 + number, 0, &format!("10.0.0.1:{}", 9020 + u16::from(number)), &["10.0.0.1:9020"]);
        net.run(Duration::from_secs(1));
    }
    let older = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.1:9020"]);
    net.run(Duration::from_secs(30));
    let stranger = (first..older).find(|peer| !net.are_linked(*peer, 1)).unwrap();
    let contact = net.peers[stranger].listen.to_string();
    let younger = net.start(1, 1, "10.0.0.2:9001", &[&contact]);
    net.run(Duration::from_mins(5));
    assert!(twins(&net, older).contains(&(addr("10.0.0.2:9001"), false)));
    assert_eq!(twins(&net, younger).last().map(|(_, stays_out)| *stays_out), Some(true));
    assert_eq!(net.neighbours(younger), 0);
    assert!(net.neighbours(older) > 0);
}

#[test]
fn a_peer_that_comes_back_as_another_life_is_no_twin() {
    let mut net = Net::of_two_machines();
    let other = net.start(2, 0, "10.0.0.1:9002", &[]);
    let former = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(5));
    net.kill(former);
    // It has moved, too.
    let back = net.start(1, 1, "10.0.0.2:9001", &["10.0.0.1:9002"]);
    net.run(Duration::from_secs(10));
    assert!(net.are_linked(other, 1) && net.are_linked(back, 2));
    assert_eq!(twins(&net, back), []);
}

#[test]
fn who_reaches_nobody_says_why_and_so_does_who_refuses() {
    let mut net = Net::of_two_machines();
    let strict = net.start(1, 0, "10.0.0.1:9001", &[]);
    let config = Config { cluster: "another".parse().unwrap(), ..Config::default() };
    let lost = net.start_in(config, 2, 1, "10.0.0.2:9001", &["10.0.0.1:9001", "10.0.0.1:9009"]);
    net.run(Duration::from_secs(35));
    let unreached = net.events(lost, |event| match event {
        NodeEvent::Unreached { place, reason, is_named: _ } => Some(format!("{place}: {reason}")),
        _ => None,
    });
    for expected in ["10.0.0.1:9001: cluster \"grapevine\"; this peer is in \"another\"", "10.0.0.1:9009: refused"] {
        assert!(unreached.iter().any(|said| said == expected), "{expected} isn't in {unreached:?}");
    }
    let alone = |event: &NodeEvent| if let NodeEvent::Alone { time } = event { Some(time.as_secs()) } else { None };
    assert_eq!(net.events(lost, alone), [10, 20, 30]);
    assert_eq!(net.events(strict, alone), [0_u64; 0], "it seeks nobody");
    let refused = net.events(strict, |event| match event {
        NodeEvent::Misbehaved { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    assert!(refused.iter().any(|reason| reason.contains("cluster")), "{refused:?}");
}

#[test]
fn a_lone_peer_whose_machine_slept_says_once_that_it_is_alone() {
    let mut net = Net::new(&[&["10.0.0.1"]]);
    let lone = net.start(1, 0, "10.0.0.1:9001", &["10.0.0.9:9001"]);
    net.now = net.now + Duration::from_hours(1);
    net.feed(lone, Input::Wake);
    net.feed(lone, Input::Wake);
    let told = net.events(lone, |event| matches!(event, NodeEvent::Alone { .. }).then_some(()));
    assert_eq!(told.len(), 1, "what it slept through isn't told after the fact");
}
