//! What repeats around a peer: told at once, and then in sum.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::gossip::io::NodeEvent;
use shared::ids::PeerId;
use tokio::time::Instant;

use crate::outage::{News, Outage};

/// How long nobody may be refused before the next refusal is news. What is in a sum is at most a minute old.
const QUIET: Duration = Duration::from_mins(2);

/// What has been told of it.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    neighbours: BTreeSet<PeerId>,
    unreached: Outage,
    refused: Repeated,
    lines: Repeated,
    twins: Repeated,
}

/// What nobody says the end of: it is over when it hasn't happened for a while.
#[derive(Debug, Default)]
struct Repeated {
    outage: Outage,
    last: Option<Instant>,
}

impl Repeated {
    fn happened(&mut self, reason: &str, now: Instant) -> Option<String> {
        if self.last.replace(now).is_some_and(|last| now - last >= QUIET) {
            self.outage = Outage::default();
        }
        Some(self.outage.failed(reason, now)?.to_string())
    }
}

impl Repeats {
    /// The peer has a neighbour. Returns what is to be said if it had been unable to join.
    pub(super) fn joined(&mut self, neighbour: PeerId, now: Instant) -> Option<String> {
        self.neighbours.insert(neighbour);
        self.unreached.over(now)
    }

    /// It has lost one.
    pub(super) fn lost(&mut self, neighbour: &PeerId) {
        self.neighbours.remove(neighbour);
    }

    /// Returns what is to be warned of now, if anything, when something happened to `me`.
    pub(super) fn news(&mut self, me: PeerId, event: &NodeEvent, now: Instant) -> Option<String> {
        match event {
            NodeEvent::Unreached { place, reason, is_named } => {
                self.unreached(&format!("{place}: {reason}"), *is_named, now)
            }
            NodeEvent::Misbehaved { remote, reason, offences: _ } => {
                // The next attempt comes from another port.
                let who = format!("{}: ", remote.ip());
                let text = self.refused.happened(&format!("{who}{reason}"), now)?;
                Some(text.strip_prefix(&who).map(ToOwned::to_owned).unwrap_or(text))
            }
            NodeEvent::NotUnderstood { remote, reason, lines: _ } => {
                self.lines.happened(&format!("{}: {reason}", remote.ip()), now)
            }
            NodeEvent::Twin { addr, stays_out: _ } => {
                self.same_identity(&format!("the peer at {addr} has this one's identity, {}", me.short()), now)
            }
            NodeEvent::Twins { peer, addrs: [one, other] } => self
                .same_identity(&format!("two peers say that they are {}, at {one} and at {other}", peer.short()), now),
            NodeEvent::Applied { .. }
            | NodeEvent::Received { .. }
            | NodeEvent::Learned { .. }
            | NodeEvent::NeighbourUp { .. }
            | NodeEvent::NeighbourDown { .. }
            | NodeEvent::Suspected { .. }
            | NodeEvent::Alone { .. }
            | NodeEvent::NoTwin
            | NodeEvent::Recorded { .. }
            | NodeEvent::Unrecorded { .. }
            | NodeEvent::SeenAt { .. }
            | NodeEvent::ClockWrong { .. }
            | NodeEvent::ClocksAgree
            | NodeEvent::Slow { .. }
            | NodeEvent::KeepsUp { .. }
            | NodeEvent::Rejected { .. } => None,
        }
    }

    /// It matters to a peer without neighbours whose place a person named; whether those that are known from an earlier
    /// life can be reached is told by the peer's being alone.
    fn unreached(&mut self, what: &str, is_named: bool, now: Instant) -> Option<String> {
        if !is_named || !self.neighbours.is_empty() {
            return None;
        }
        Some(match self.unreached.failed(what, now)? {
            News::Reason(reason) => format!("can't join through {reason}"),
            News::Still { time, failures, reasons } => {
                let places: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
                let time_s = time.as_secs();
                format!("still can't join after {time_s} s and {failures} attempts, through {}", places.join("; "))
            }
        })
    }

    fn same_identity(&mut self, text: &str, now: Instant) -> Option<String> {
        let text = self.twins.happened(text, now)?;
        Some(format!("{text}: was a data directory copied? The younger one stays out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_reached_matters_to_who_has_no_neighbours_and_only_if_a_person_named_it() {
        let (begin, me) = (Instant::now(), PeerId([1; 32]));
        let mut repeats = Repeats::default();
        let unreached = |repeats: &mut Repeats, is_named, second| {
            let event = NodeEvent::Unreached { place: "10.0.0.1:9".into(), reason: "refused".into(), is_named };
            repeats.news(me, &event, begin + Duration::from_secs(second))
        };
        assert_eq!(unreached(&mut repeats, false, 0), None);
        assert_eq!(unreached(&mut repeats, true, 0).as_deref(), Some("can't join through 10.0.0.1:9: refused"));
        assert_eq!(unreached(&mut repeats, true, 59), None, "it was told");
        let still = "still can't join after 83 s and 3 attempts, through 10.0.0.1:9: refused";
        assert_eq!(unreached(&mut repeats, true, 83).as_deref(), Some(still));
        assert!(repeats.joined(PeerId([2; 32]), begin).is_some());
        assert_eq!(unreached(&mut repeats, true, 200), None);
    }

    #[test]
    fn who_is_refused_again_and_again_is_told_once_and_a_while_later_anew() {
        let (begin, me) = (Instant::now(), PeerId([1; 32]));
        let mut repeats = Repeats::default();
        let mut refused = |port: u16, second| {
            let reason = shared::gossip::reason::Reason::TooManyLinks;
            let event = NodeEvent::Misbehaved { remote: ([10, 0, 0, 1], port).into(), reason, offences: 1 };
            repeats.news(me, &event, begin + Duration::from_secs(second)).is_some()
        };
        assert_eq!([refused(1, 0), refused(2, 1), refused(3, 2)], [true, false, false]);
        assert!(refused(4, 200), "nobody was for a while");
    }
}
