//! Getting to know the other end of a link: who is it, what does it want, and is there a better link with it? What
//! follows is done by the node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::handshake::twins::Myself;
use crate::gossip::io::{LinkId, NodeEvent};
use crate::gossip::links::{Dialled, Links};
use crate::gossip::reason::Reason;
use crate::gossip::runtime::Runtime;
use crate::gossip::whereabouts::meant;
use crate::ids::{ClusterName, PeerId};
use crate::wire::peer::{DURABLE, Feature, Hello, Incarnation, MAJOR, MINOR, Mismatch, PeerMessage, Presence, Purpose};

pub mod twins;

/// Addresses under which others see this node that are told of. A guess: two networks of both families, and some.
const MAX_SEEN_AT: usize = 8;

/// What a node says of itself on a new link, and makes of what the other side says.
#[derive(Debug)]
pub struct Handshake {
    cluster: ClusterName,
    /// Where others see this node, if it listens everywhere.
    seen_at: BTreeSet<SocketAddr>,
}

/// Who says hello.
#[derive(Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Somebody that can't be spoken with, and why.
    Unfit(Reason),
    /// A client.
    Client,
    /// Somebody with this node's own id.
    Myself {
        /// Which of the two.
        who: Myself,
        /// Where it listens.
        addr: SocketAddr,
    },
    /// A peer.
    Peer(Guest),
}

/// A peer that says hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// Who.
    pub peer: PeerId,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Which life of it, as far as it says.
    pub life: Option<Incarnation>,
    /// What it dialled for.
    pub purpose: Purpose,
}

/// Which of the links with one peer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This one; there is no other.
    Only,
    /// The new one, in the place of this one.
    NewFor(LinkId),
    /// This one, which was there before.
    Old(LinkId),
}

/// Who has to speak next on a link with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The other side was dialled, and says whether it takes this node in.
    Theirs,
    /// This node was dialled, and says whether it takes the other side in.
    Mine,
    /// Nobody: what the other side wants doesn't fit who dialled.
    Nobodys,
}

impl Handshake {
    /// A node of an overlay.
    pub fn new(cluster: ClusterName) -> Self {
        Self { cluster, seen_at: BTreeSet::new() }
    }

    /// Says hello on a new link.
    pub fn introduce_myself(&self, link: LinkId, rt: &mut Runtime) {
        let Some((remote, dialled)) = rt.links.get(link).map(|link| (link.remote, link.dialled)) else { return };
        let Dialled { addr, purpose } = dialled.unwrap_or(Dialled { addr: remote, purpose: Purpose::Answer });
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: self.cluster.to_string(),
            peer: rt.me.peer,
            listen: Some(rt.me.listen),
            purpose,
            presence: Some(Presence { life: rt.life, sees: addr }),
            features: features(rt),
        };
        rt.send(vec![link], PeerMessage::Hello(hello));
    }

    /// Somebody says hello on a link. Returns who it is.
    pub fn greeted(&mut self, link: LinkId, hello: &Hello, rt: &mut Runtime) -> Option<Stranger> {
        if let Err(mismatch) = hello.check(self.cluster.as_str()) {
            return Some(Stranger::Unfit(match mismatch {
                Mismatch::Major(theirs) => Reason::OtherVersion(theirs),
                Mismatch::Cluster(theirs) => Reason::OtherCluster { theirs, own: self.cluster.clone() },
            }));
        }
        let remote = rt.links.get(link)?.remote;
        let Some(listen) = hello.listen else { return Some(Stranger::Client) };
        let (addr, life) = (meant(listen, remote), hello.presence.map(|presence| presence.life));
        if hello.peer == rt.me.peer {
            return Some(Stranger::Myself { who: twins::meet(life, rt.life), addr });
        }
        self.introduced(link, hello.presence, rt);
        Some(Stranger::Peer(Guest { peer: hello.peer, addr, life, purpose: hello.purpose }))
    }

    /// Notes what a hello says of whoever says it, and of this node.
    fn introduced(&mut self, link: LinkId, presence: Option<Presence>, rt: &mut Runtime) {
        let (Some(Presence { life, sees }), Some(link)) = (presence, rt.links.get_mut(link)) else { return };
        (link.life, link.sees) = (Some(life), Some(sees));
        let addr = SocketAddr::new(sees.ip(), rt.me.listen.port());
        let is_news = rt.me.listen.ip().is_unspecified() && !sees.ip().is_loopback();
        if is_news && self.seen_at.len() < MAX_SEEN_AT && self.seen_at.insert(addr) {
            rt.event(NodeEvent::SeenAt { addr });
        }
    }

    /// Where this node listens, for somebody at `remote`; `None` where it isn't known.
    pub fn own_addr_for(&self, remote: SocketAddr, rt: &Runtime) -> Option<SocketAddr> {
        let listen = rt.me.listen;
        if !listen.ip().is_unspecified() {
            return Some(listen);
        }
        if remote.ip().is_loopback() {
            return Some(SocketAddr::new(remote.ip(), listen.port()));
        }
        self.seen_at.iter().find(|addr| addr.is_ipv4() == remote.is_ipv4()).copied()
    }
}

/// What this node offers to everybody.
fn features(rt: &Runtime) -> Vec<Feature> {
    let durable = Feature { name: DURABLE.to_owned(), version: 1 };
    if rt.me.durable { vec![durable] } else { Vec::new() }
}

/// A peer says hello with which there may be a link in another life and at another address. Returns where the other is.
/// `longest_silence`: after so long one of them would have been given up.
pub fn twin_of(guest: Guest, longest_silence: Duration, rt: &mut Runtime) -> Option<(LinkId, SocketAddr)> {
    let id = rt.links.with(guest.peer)?;
    let link = rt.links.get_mut(id)?;
    let (_, at) = link.role.peer()?;
    if link.life? == guest.life? || at == guest.addr {
        return None;
    }
    let since = *link.rivalled.get_or_insert(rt.now);
    if rt.now - since >= longest_silence {
        // It has given a sign of life since, or the link would be closed.
        rt.event(NodeEvent::Twins { peer: guest.peer, addrs: [at, guest.addr] });
    }
    Some((id, at))
}

/// Which of two links with the same peer must go. If one side dialled both under different addresses, the former one is
/// as good; if under the same, it is dead and only this side doesn't know it yet; else both sides keep the one that was
/// dialled by the smaller id.
pub fn best_link(new: LinkId, peer: PeerId, me: PeerId, links: &Links) -> Choice {
    let Some(old) = links.with(peer) else { return Choice::Only };
    let dialled = |link| links.get(link).is_some_and(|link| link.dialled.is_some());
    let (dialled_old, dialled_new) = (dialled(old), dialled(new));
    let keep_new =
        if dialled_old == dialled_new { !are_ways_to_one(old, new, links) } else { dialled_new == (me < peer) };
    if keep_new { Choice::NewFor(old) } else { Choice::Old(old) }
}

/// Whether one side has dialled the other, in one life of it, under two addresses.
fn are_ways_to_one(old: LinkId, new: LinkId, links: &Links) -> bool {
    let (Some(one), Some(other)) = (links.get(old), links.get(new)) else { return false };
    let is_one_life = one.life.is_some() && one.life == other.life;
    is_one_life && one.target().is_some() && other.target().is_some() && one.target() != other.target()
}

/// Whose turn it is where a peer has said hello, with a purpose; `dialled`: how this node dialled it.
pub fn turn(dialled: Option<Dialled>, purpose: Purpose) -> Turn {
    match (dialled, purpose) {
        (Some(_), Purpose::Answer) => Turn::Theirs,
        (None, Purpose::Join | Purpose::Neighbour | Purpose::Probe) => Turn::Mine,
        (Some(_), Purpose::Join | Purpose::Neighbour | Purpose::Probe | Purpose::Submit)
        | (None, Purpose::Answer | Purpose::Submit) => Turn::Nobodys,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::broadcast::Source;

    const LINK: LinkId = LinkId(9);

    fn addr(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    fn life(started: u64) -> Incarnation {
        Incarnation { started, source: Source(1) }
    }

    /// A node with neighbour 1 and a stranger.
    fn runtime() -> Runtime {
        let mut rt = Runtime::with_neighbours(1);
        rt.links.open(LINK, addr(9), None, rt.now);
        rt
    }

    fn hello(peer: u8) -> Hello {
        Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: ClusterName::default().to_string(),
            peer: PeerId([peer; 32]),
            listen: Some(addr(peer)),
            purpose: Purpose::Join,
            presence: Some(Presence { life: life(5), sees: addr(100) }),
            features: Vec::new(),
        }
    }

    fn greet(hello: &Hello) -> Option<Stranger> {
        Handshake::new(ClusterName::default()).greeted(LINK, hello, &mut runtime())
    }

    #[test]
    fn who_says_hello_is_told_apart() {
        let guest = Guest { peer: PeerId([9; 32]), addr: addr(9), life: Some(life(5)), purpose: Purpose::Join };
        assert_eq!(greet(&hello(9)), Some(Stranger::Peer(guest)));
        assert_eq!(greet(&Hello { listen: None, ..hello(9) }), Some(Stranger::Client));
        let younger = Stranger::Myself { who: Myself::Younger, addr: addr(100) };
        let presence = Some(Presence { life: life(u64::MAX), sees: addr(9) });
        assert_eq!(greet(&Hello { presence, ..hello(100) }), Some(younger));
        for unfit in [Hello { major: MAJOR + 1, ..hello(9) }, Hello { cluster: "another".to_owned(), ..hello(9) }] {
            assert!(matches!(greet(&unfit), Some(Stranger::Unfit(_))));
        }
    }

    #[test]
    fn both_sides_introduce_themselves() {
        let mut rt = runtime();
        Handshake::new(ClusterName::default()).introduce_myself(LINK, &mut rt);
        let sent = rt.sent();
        let [(LINK, PeerMessage::Hello(hello))] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!((hello.peer, hello.purpose, hello.listen), (rt.me.peer, Purpose::Answer, Some(rt.me.listen)));
        assert_eq!(hello.presence.map(|presence| presence.sees), Some(addr(9)));
    }

    #[test]
    fn of_two_links_with_a_peer_both_sides_keep_the_same() {
        let (me, smaller, larger) = (PeerId([100; 32]), PeerId([1; 32]), PeerId([200; 32]));
        let mut rt = runtime();
        assert_eq!(best_link(LINK, larger, me, &rt.links), Choice::Only);
        assert_eq!(best_link(LINK, smaller, me, &rt.links), Choice::NewFor(LinkId(1)), "the old one is dead");
        let dialled = Dialled { addr: addr(1), purpose: Purpose::Neighbour };
        rt.links.open(LinkId(10), addr(1), Some(dialled), rt.now);
        assert_eq!(best_link(LinkId(10), smaller, me, &rt.links), Choice::Old(LinkId(1)), "the smaller id dialled it");
    }

    #[test]
    fn a_second_life_at_another_address_is_a_twin_once_the_first_has_shown_that_it_lives() {
        let (mut rt, longest) = (runtime(), Duration::from_secs(2));
        rt.links.get_mut(LinkId(1)).unwrap().life = Some(life(1));
        let guest = Guest { peer: PeerId([1; 32]), addr: addr(9), life: Some(life(5)), purpose: Purpose::Join };
        assert_eq!(twin_of(Guest { life: Some(life(1)), ..guest }, longest, &mut rt), None);
        assert_eq!(twin_of(Guest { addr: addr(1), ..guest }, longest, &mut rt), None, "it was started anew");
        assert_eq!(twin_of(guest, longest, &mut rt), Some((LinkId(1), addr(1))));
        assert_eq!(rt.outputs(), []);
        rt.pass(longest);
        twin_of(guest, longest, &mut rt);
        assert!(matches!(rt.outputs().as_slice(), [crate::gossip::io::Output::Event(NodeEvent::Twins { .. })]));
    }

    #[test]
    fn only_who_dialled_may_want_something() {
        let dialled = Some(Dialled { addr: addr(9), purpose: Purpose::Join });
        assert_eq!(turn(None, Purpose::Probe), Turn::Mine);
        assert_eq!(turn(None, Purpose::Answer), Turn::Nobodys);
        assert_eq!(turn(dialled, Purpose::Answer), Turn::Theirs);
        assert_eq!(turn(dialled, Purpose::Join), Turn::Nobodys);
    }
}
