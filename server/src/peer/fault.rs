//! What is wrong with a peer for as long as it lasts, in words: which event begins it and which ends it. The log and the
//! page say the same.

use std::collections::BTreeMap;
use std::path::Path;

use shared::gossip::io::NodeEvent;
use shared::ids::PeerId;
use shared::wire::condition::Condition;

use crate::peer::observer::Place;

/// What an event means for the faults of its peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// This is wrong from now on.
    Begins(Condition, String),
    /// This isn't wrong any more.
    Ends(&'static [Condition]),
}

/// Returns what follows from something that happened at a peer.
pub(super) fn change(at: Place, event: &NodeEvent) -> Option<Change> {
    let (who, me) = (at.peer.short(), at.addr);
    Some(match event {
        NodeEvent::Alone { time } => Change::Begins(
            Condition::PeerAlone,
            format!("peer {who} at {me} has found no neighbour for {} s", time.as_secs()),
        ),
        NodeEvent::Twin { addr, stays_out: true } => Change::Begins(
            Condition::SameIdentity,
            format!(
                "peer {who} at {me} stays out, since the one at {addr} has the same identity: was its data directory \
                 copied? Started once with --new-identity it gets one of its own"
            ),
        ),
        NodeEvent::Twin { addr, stays_out: false } => Change::Begins(
            Condition::SameIdentity,
            format!(
                "peer {who} at {me} goes on, but the one at {addr} has the same identity and stays out: was a data \
                 directory copied? The other one, started once with --new-identity, gets one of its own"
            ),
        ),
        NodeEvent::ClockWrong { file, origin, ahead } => Change::Begins(
            Condition::ClockWrong,
            format!(
                "a change of {file} that {} made came to peer {who} at {me} stamped {} s ahead of this machine's clock: \
                 one of the two clocks is wrong",
                origin.short(),
                ahead.as_secs()
            ),
        ),
        NodeEvent::NeighbourUp { .. } => Change::Ends(&[Condition::PeerAlone]),
        NodeEvent::NoTwin => Change::Ends(&[Condition::SameIdentity]),
        NodeEvent::ClocksAgree => Change::Ends(&[Condition::ClockWrong]),
        NodeEvent::Applied { .. }
        | NodeEvent::Received { .. }
        | NodeEvent::Learned { .. }
        | NodeEvent::NeighbourDown { .. }
        | NodeEvent::Suspected { .. }
        | NodeEvent::Unreached { .. }
        | NodeEvent::SeenAt { .. }
        | NodeEvent::Twins { .. }
        | NodeEvent::Recorded { .. }
        | NodeEvent::Unrecorded { .. }
        | NodeEvent::NotUnderstood { .. }
        | NodeEvent::Slow { .. }
        | NodeEvent::KeepsUp { .. }
        | NodeEvent::Rejected { .. }
        | NodeEvent::Misbehaved { .. } => return None,
    })
}

/// What isn't wrong any more with a peer that has stopped.
pub(super) const ENDS_WITH_THE_PEER: Change =
    Change::Ends(&[Condition::PeerAlone, Condition::SameIdentity, Condition::ClockWrong]);

/// That a peer's state was damaged; nothing ends it.
pub(super) fn damaged(aside: &Path) -> String {
    format!("the state of a peer was set aside as {}; it began anew and learns all from others", aside.display())
}

/// What is wrong with which peers.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<(Condition, PeerId), String>);

impl Faults {
    /// Takes over a change at one peer. Returns the conditions for which that is news, each with what is wrong now at any
    /// of the peers; `None` where nothing is any more. A fault that goes on keeps its first words.
    pub(super) fn take(&mut self, peer: PeerId, change: Change) -> Vec<(Condition, Option<String>)> {
        match change {
            Change::Begins(condition, fault) => {
                if self.0.contains_key(&(condition, peer)) {
                    return Vec::new();
                }
                self.0.insert((condition, peer), fault);
                vec![(condition, self.all(condition))]
            }
            Change::Ends(conditions) => {
                let ended = conditions.iter().filter(|condition| self.0.remove(&(**condition, peer)).is_some());
                let ended: Vec<Condition> = ended.copied().collect();
                ended.into_iter().map(|condition| (condition, self.all(condition))).collect()
            }
        }
    }

    fn all(&self, condition: Condition) -> Option<String> {
        let all: Vec<&str> = self.0.iter().filter(|((of, _), _)| *of == condition).map(|(_, text)| &**text).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(n: u8) -> Place {
        let addr = ([127, 0, 0, 1], u16::from(n)).into();
        Place { peer: PeerId([n; 32]), addr, bound: addr }
    }

    fn news(faults: &mut Faults, at: Place, event: &NodeEvent) -> Vec<(Condition, bool)> {
        let news = change(at, event).map(|change| faults.take(at.peer, change)).unwrap_or_default();
        news.into_iter().map(|(condition, fault)| (condition, fault.is_some())).collect()
    }

    #[test]
    fn what_is_wrong_around_a_peer_lasts_from_one_event_to_another() {
        let (here, mut faults) = (at(1), Faults::default());
        let (peer, addr, file) = (here.peer, here.addr, "f".parse().unwrap());
        let ahead = Duration::from_hours(24);
        for (begins, ends, condition) in [
            (NodeEvent::ClockWrong { file, origin: peer, ahead }, NodeEvent::ClocksAgree, Condition::ClockWrong),
            (NodeEvent::Twin { addr, stays_out: true }, NodeEvent::NoTwin, Condition::SameIdentity),
            (NodeEvent::Twin { addr, stays_out: false }, NodeEvent::NoTwin, Condition::SameIdentity),
            (NodeEvent::Alone { time: ahead }, NodeEvent::NeighbourUp { peer, addr }, Condition::PeerAlone),
        ] {
            assert_eq!(news(&mut faults, here, &begins), [(condition, true)]);
            assert_eq!(news(&mut faults, here, &begins), [], "it is known");
            assert_eq!(news(&mut faults, here, &ends), [(condition, false)]);
            assert_eq!(news(&mut faults, here, &ends), []);
        }
    }

    #[test]
    fn a_fault_of_two_peers_lasts_until_it_is_over_at_both() {
        let (mut faults, alone) = (Faults::default(), NodeEvent::Alone { time: Duration::from_secs(30) });
        news(&mut faults, at(1), &alone);
        assert_eq!(news(&mut faults, at(2), &alone), [(Condition::PeerAlone, true)]);
        let over = faults.take(at(1).peer, ENDS_WITH_THE_PEER);
        assert!(matches!(&over[..], [(Condition::PeerAlone, Some(left))] if !left.contains(';')), "{over:?}");
        assert_eq!(faults.take(at(2).peer, ENDS_WITH_THE_PEER), [(Condition::PeerAlone, None)]);
    }
}
