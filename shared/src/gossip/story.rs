//! What is told of the peers of one process to who watches: the one mapping from what nodes say of themselves to the event
//! stream, for the server and for the simulator. What is only logged isn't in it.
//!
//! Our peers are those of the process. Of the others, who run elsewhere, each of ours hears by its census; that is told
//! once, when the first of ours hears it, and again when the last of ours has forgotten it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::gossip::census::short_name;
use crate::gossip::io::NodeEvent;
use crate::ids::PeerId;
use crate::wire::broadcast::Source;
use crate::wire::census::Record;
use crate::wire::event::{Event, PeerState};

/// How many meetings of two peers with one id are remembered. A guess: far more than there are copied directories.
const TWINS: usize = 1024;

/// What has been told of the peers of one process.
#[derive(Debug, Default)]
pub struct Story {
    ours: BTreeMap<PeerId, PeerState>,
    others: BTreeMap<PeerId, Other>,
    /// Who is meant by the short names in records, of all peers that are known.
    names: BTreeMap<u64, PeerId>,
    /// Whose twins were told, and where they are: at most [`TWINS`].
    twins: BTreeSet<(PeerId, SocketAddr)>,
}

/// A peer that runs elsewhere.
#[derive(Debug, Default)]
struct Other {
    /// Its newest record: which of two is newer is decided by [`age`].
    age: Option<(u64, Source, u64)>,
    /// Which of ours have a record of it.
    known_by: BTreeSet<PeerId>,
}

/// The order of a peer's records, as in the census.
fn age(record: &Record) -> (u64, Source, u64) {
    (record.started, record.source, record.serial)
}

impl Story {
    /// One of ours starts, where it listens, knowing so many files. Returns what is told.
    pub fn started(&mut self, peer: PeerId, addr: SocketAddr, files: u32) -> Event {
        self.ours.insert(peer, PeerState::Up);
        self.others.remove(&peer);
        self.names.insert(short_name(peer), peer);
        Event::PeerStarted { peer, addr, files }
    }

    /// One of ours has stopped. Returns what is told: that, and which others nobody knows of any more. That of all others
    /// nobody does once none of ours runs goes without saying.
    pub fn stopped(&mut self, peer: PeerId, state: PeerState) -> Vec<Event> {
        self.ours.insert(peer, state);
        if self.ours.values().any(|state| state.runs()) {
            let others: Vec<PeerId> = self.others.keys().copied().collect();
            let forgotten = others.into_iter().filter_map(|other| self.forgotten(peer, other));
            return std::iter::once(Event::PeerStopped { peer, state }).chain(forgotten).collect();
        }
        self.others.clear();
        self.names.retain(|_, known| self.ours.contains_key(known));
        vec![Event::PeerStopped { peer, state }]
    }

    /// Something happened to one of ours. Returns what is told of it.
    pub fn heard(&mut self, peer: PeerId, event: &NodeEvent) -> Option<Event> {
        Some(match event {
            NodeEvent::Applied { file, version, owner, files } => {
                let (file, owner) = (file.clone(), owner.clone());
                Event::UpdateApplied { peer, file, version: *version, files: *files, owner }
            }
            NodeEvent::Received { from, file, version, owner, hops, fresh } => Event::UpdateReceived {
                peer,
                from: *from,
                file: file.clone(),
                version: *version,
                hops: *hops,
                fresh: *fresh,
                owner: owner.clone(),
            },
            NodeEvent::Learned { addr } => Event::PeerLearned { peer, addr: *addr },
            NodeEvent::NeighbourUp { peer: neighbour, addr } => {
                Event::LinkUp { peer, neighbour: *neighbour, addr: *addr }
            }
            NodeEvent::NeighbourDown { peer: neighbour, addr: _, reason } => {
                Event::LinkDown { peer, neighbour: *neighbour, reason: reason.to_string() }
            }
            NodeEvent::Recorded { record } => return self.recorded(peer, record),
            NodeEvent::Unrecorded { peer: other } => return self.forgotten(peer, *other),
            NodeEvent::Twin { addr, stays_out: true } => return self.stands_by(peer, *addr),
            NodeEvent::Twin { addr, stays_out: false } => return self.twin(peer, *addr),
            NodeEvent::Twins { peer, addrs: [_, other] } => return self.twin(*peer, *other),
            NodeEvent::NoTwin => return self.is_back(peer),
            NodeEvent::Suspected { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::KeepsUp { .. }
            | NodeEvent::Rejected { .. }
            | NodeEvent::ClockWrong { .. }
            | NodeEvent::ClocksAgree
            | NodeEvent::Unreached { .. }
            | NodeEvent::Alone { .. }
            | NodeEvent::SeenAt { .. }
            | NodeEvent::NotUnderstood { .. }
            | NodeEvent::Misbehaved { .. } => return None,
        })
    }

    // --- others ---------------------------------------------------------------------------------------------------

    /// One of ours has a record of a peer. Ours know themselves better than their records do.
    fn recorded(&mut self, by: PeerId, record: &Record) -> Option<Event> {
        let peer = record.peer;
        if self.ours.contains_key(&peer) {
            return None;
        }
        if record.left {
            return self.left(peer, age(record));
        }
        self.names.insert(short_name(peer), peer);
        let other = self.others.entry(peer).or_default();
        other.known_by.insert(by);
        if Some(age(record)) <= other.age {
            return None;
        }
        other.age = Some(age(record));
        let neighbours = record.active.iter().filter_map(|name| self.names.get(name).copied()).collect();
        Some(Event::PeerTold { peer, addr: record.addr, files: record.files, neighbours })
    }

    /// A peer says that it leaves: whoever else of ours still has an older record of it.
    fn left(&mut self, peer: PeerId, at: (u64, Source, u64)) -> Option<Event> {
        let other = self.others.get(&peer)?;
        if Some(at) < other.age {
            return None;
        }
        self.remove(peer)
    }

    /// One of ours has no record of a peer any more.
    fn forgotten(&mut self, by: PeerId, peer: PeerId) -> Option<Event> {
        let other = self.others.get_mut(&peer)?;
        other.known_by.remove(&by);
        if other.known_by.is_empty() { self.remove(peer) } else { None }
    }

    fn remove(&mut self, peer: PeerId) -> Option<Event> {
        self.others.remove(&peer)?;
        self.names.remove(&short_name(peer));
        Some(Event::PeerForgotten { peer })
    }

    // --- twins ----------------------------------------------------------------------------------------------------

    /// One of ours stays out. It looks every now and then whether it still has to: that is told once.
    fn stands_by(&mut self, peer: PeerId, addr: SocketAddr) -> Option<Event> {
        let state = self.ours.get_mut(&peer).filter(|state| **state == PeerState::Up)?;
        *state = PeerState::StandsBy;
        Some(Event::SameIdentity { peer, addr, stands_by: true })
    }

    /// Two peers have one id, one of which is at `addr`.
    fn twin(&mut self, peer: PeerId, addr: SocketAddr) -> Option<Event> {
        if self.twins.len() >= TWINS {
            self.twins.clear();
        }
        self.twins.insert((peer, addr)).then_some(Event::SameIdentity { peer, addr, stands_by: false })
    }

    /// One of ours hears of no twin any more.
    fn is_back(&mut self, peer: PeerId) -> Option<Event> {
        self.twins.retain(|(whose, _)| *whose != peer);
        let state = self.ours.get_mut(&peer).filter(|state| **state == PeerState::StandsBy)?;
        *state = PeerState::Up;
        Some(Event::PeerBack { peer })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn addr(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 9001).into()
    }

    fn record(n: u8, serial: u64, left: bool) -> NodeEvent {
        let active = [short_name(peer(1)), short_name(peer(77))].into();
        NodeEvent::Recorded {
            record: Arc::new(Record {
                peer: peer(n),
                source: Source(1),
                started: 1,
                serial,
                addr: addr(n),
                left,
                active,
                passive: 0,
                files: 3,
                applied: 0,
                duplicates: 0,
                load: 0,
                version: "".into(),
            }),
        }
    }

    fn two_peers() -> Story {
        let mut story = Story::default();
        for n in [1, 2] {
            story.started(peer(n), addr(n), 0);
        }
        story
    }

    fn forgotten(n: u8) -> Event {
        Event::PeerForgotten { peer: peer(n) }
    }

    #[test]
    fn what_several_of_ours_hear_of_another_is_told_once() {
        let mut story = two_peers();
        let neighbours = [peer(1)].into();
        let told = Event::PeerTold { peer: peer(9), addr: addr(9), files: 3, neighbours };
        assert_eq!(story.heard(peer(1), &record(9, 1, false)), Some(told.clone()), "of whom nobody knows is left out");
        assert_eq!(story.heard(peer(2), &record(9, 1, false)), None);
        assert_eq!(story.heard(peer(2), &record(9, 2, false)), Some(told));
        assert_eq!(story.heard(peer(1), &record(9, 2, false)), None);
        assert_eq!(story.heard(peer(1), &record(2, 1, false)), None, "one of ours");
    }

    #[test]
    fn another_is_forgotten_when_it_leaves_or_the_last_of_ours_forgets_it_or_stops() {
        let mut story = two_peers();
        let forgets = NodeEvent::Unrecorded { peer: peer(9) };
        story.heard(peer(1), &record(9, 1, false));
        story.heard(peer(2), &record(9, 1, false));
        assert_eq!([story.heard(peer(1), &forgets), story.heard(peer(2), &forgets)], [None, Some(forgotten(9))]);
        story.heard(peer(1), &record(9, 1, false));
        assert_eq!(story.heard(peer(2), &record(9, 2, true)), Some(forgotten(9)));
        assert_eq!(story.heard(peer(1), &record(9, 2, true)), None);
        story.heard(peer(1), &record(8, 1, false));
        let stopped = |n| Event::PeerStopped { peer: peer(n), state: PeerState::Left };
        assert_eq!(story.stopped(peer(1), PeerState::Left), [stopped(1), forgotten(8)]);
        story.heard(peer(2), &record(8, 1, false));
        assert_eq!(story.stopped(peer(2), PeerState::Left), [stopped(2)]);
    }

    #[test]
    fn who_stays_out_for_a_twin_is_told_when_that_begins_and_ends() {
        let mut story = two_peers();
        let meets = |stays_out| NodeEvent::Twin { addr: addr(7), stays_out };
        let same = |stands_by| Event::SameIdentity { peer: peer(1), addr: addr(7), stands_by };
        for _ in 0..2 {
            assert_eq!(story.heard(peer(1), &meets(true)), Some(same(true)));
            assert_eq!(story.heard(peer(1), &meets(true)), None);
            assert_eq!(story.heard(peer(1), &NodeEvent::NoTwin), Some(Event::PeerBack { peer: peer(1) }));
            assert_eq!(story.heard(peer(1), &NodeEvent::NoTwin), None);
            assert_eq!(story.heard(peer(1), &meets(false)), Some(same(false)), "it goes on itself");
            assert_eq!(story.heard(peer(1), &meets(false)), None);
            assert_eq!(story.heard(peer(1), &NodeEvent::NoTwin), None);
        }
    }
}
