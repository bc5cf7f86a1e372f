//! Counts what happens at a peer, by kind and reason. What it has counted is logged when the peer stops, with what the
//! peer has counted itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::gossip::stats::Stats;
use shared::wire::event::PeerState;
use tracing::info;

use crate::peer::PeerError;
use crate::peer::observer::{Observer, Place};

/// How often each kind of event happened at one peer.
#[derive(Debug, Default)]
pub struct Counts {
    /// A lock is enough: it is held to add one.
    events: Mutex<BTreeMap<(&'static str, Option<&'static str>), u64>>,
}

impl Counts {
    /// All that was counted, as `name number`, or `name.reason number`; what never happened isn't named. What the peer
    /// counts, and not its events, stands behind the semicolon.
    fn words(&self, stats: &Stats) -> String {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let events = events.iter().map(|((name, reason), count)| match reason {
            Some(reason) => format!("{name}.{reason} {count}"),
            None => format!("{name} {count}"),
        });
        let stats = stats.numbers().into_iter().map(|(name, count)| format!("{name} {count}"));
        format!("{}; {}", events.collect::<Vec<_>>().join(", "), stats.collect::<Vec<_>>().join(", "))
    }
}

impl Observer for Counts {
    fn started(&self, _at: Place, _kept: &Catalogue) {}

    fn observe(&self, _at: Place, event: &NodeEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        *events.entry(event.name()).or_default() += 1;
    }

    fn stopped(&self, at: Place, _state: PeerState, stats: &Stats) {
        info!(peer.addr = %at.addr, "[P2P] counted {}", self.words(stats));
    }

    fn state_was_damaged(&self, _aside: &Path, _why: &PeerError) {}
}

#[cfg(test)]
mod tests {
    use shared::gossip::reason::{Reason, Refusal};
    use shared::ids::PeerId;

    use super::*;

    #[test]
    fn what_happens_is_counted_by_kind_and_reason_and_what_the_peer_counts_stands_beside_it() {
        let (counts, addr, peer) = (Counts::default(), ([127, 0, 0, 1], 9001).into(), PeerId([1; 32]));
        let down = |reason| NodeEvent::NeighbourDown { peer, addr, reason };
        let rejected = NodeEvent::Rejected { file: "f".parse().unwrap(), reason: Refusal::LongName };
        let learned = NodeEvent::Learned { addr };
        let events = [down(Reason::Leaving), down(Reason::Lost("a".into())), down(Reason::Lost("b".into())), rejected];
        for event in events.iter().chain([&learned, &learned]) {
            counts.observe(Place { peer, addr, bound: addr }, event);
        }
        let mut stats = Stats { duplicates: 3, ..Stats::default() };
        stats.closed.insert("full", 2);
        assert_eq!(
            counts.words(&stats),
            "learned 2, neighbour_down.leaving 1, neighbour_down.lost 2, rejected.long_name 1; duplicates 3, closed.full 2"
        );
    }
}
