//! What goes wrong around a peer, for people: what repeats is logged at once and then in sum, what lasts is a condition.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::ids::PeerId;
use shared::wire::condition::Condition;
use shared::wire::event::{Event, PeerState};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::hub::Hub;
use crate::log_lines::Line;
use crate::outage::{News, Outage};
use crate::peer::PeerError;
use crate::peer::observer::{Observer, Place};

/// How long nobody may be refused before the next refusal is news. What is in a sum is at most a minute old.
const QUIET: Duration = Duration::from_mins(2);

/// What is wrong with which peer, in words.
type Faults = BTreeMap<(Condition, PeerId), String>;

/// Makes the reporters of a process's peers, which share what the hub is told.
#[derive(Debug, Clone)]
pub struct Reporters {
    hub: Hub,
    /// A lock is enough: it is held to change an entry and to tell the hub.
    faults: Arc<Mutex<Faults>>,
}

impl Reporters {
    /// For peers of whom `hub` is told.
    pub fn new(hub: Hub) -> Self {
        Self { hub, faults: Arc::default() }
    }

    /// One for one peer.
    pub fn reporter(&self) -> Arc<Reporter> {
        Arc::new(Reporter { all: self.clone(), told: Mutex::default() })
    }

    /// Something is wrong with a peer, or isn't any more.
    fn set(&self, condition: Condition, peer: PeerId, fault: Option<String>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => drop(faults.entry((condition, peer)).or_insert(fault)),
            None if faults.remove(&(condition, peer)).is_none() => return,
            None => {}
        }
        let all: Vec<&str> = faults.iter().filter(|((of, _), _)| *of == condition).map(|(_, text)| &**text).collect();
        if all.is_empty() { self.hub.clear(condition) } else { self.hub.raise(condition, all.join("; ")) }
    }
}

/// Tells the hub and the log what happens at one peer.
#[derive(Debug)]
pub struct Reporter {
    all: Reporters,
    /// A lock is enough: it is held to count one fault.
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
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

impl Observer for Reporter {
    fn started(&self, at: Place, kept: &Catalogue) {
        self.all.hub.started(at, kept);
    }

    fn observe(&self, at: Place, event: NodeEvent) {
        self.report(at, &event);
        self.all.hub.observe(at, event);
    }

    fn stopped(&self, at: Place, state: PeerState) {
        self.all.set(Condition::PeerAlone, at.peer, None);
        self.all.set(Condition::SameIdentity, at.peer, None);
        self.all.set(Condition::ClockWrong, at.peer, None);
        self.all.hub.stopped(at, state);
    }

    fn state_was_damaged(&self, aside: &Path, why: &PeerError) {
        self.all.hub.state_was_damaged(aside, why);
    }
}

impl Reporter {
    fn report(&self, at: Place, event: &NodeEvent) {
        let (me, now) = (at.addr, Instant::now());
        match event {
            NodeEvent::Unreached { place, reason, is_named } => {
                let what = format!("{place}: {reason}");
                if let Some(text) = self.unreached(&what, *is_named, now) {
                    warn!(peer.addr = %me, "[P2P] {text}");
                } else {
                    debug!(peer.addr = %me, "[P2P] can't join through {what}");
                }
            }
            NodeEvent::NeighbourUp { peer, .. } => {
                self.told().neighbours.insert(*peer);
                if let Some(text) = self.told().unreached.over(now) {
                    info!(peer.addr = %me, "[P2P] joined {text}");
                }
                self.all.set(Condition::PeerAlone, at.peer, None);
                self.all.set(Condition::SameIdentity, at.peer, None);
            }
            NodeEvent::NeighbourDown { peer, .. } => drop(self.told().neighbours.remove(peer)),
            NodeEvent::Alone { time } => {
                let fault = format!("peer {} at {me} has found no neighbour for {} s", at.peer.short(), time.as_secs());
                self.all.set(Condition::PeerAlone, at.peer, Some(fault));
            }
            NodeEvent::Misbehaved { remote, reason, offences } => {
                // The next attempt comes from another port.
                if let Some(text) = self.told().refused.happened(&format!("{}: {reason}", remote.ip()), now) {
                    let text = text.strip_prefix(&format!("{}: ", remote.ip())).unwrap_or(&text);
                    warn!(peer.addr = %me, offences, "{}", Line::Refused(*remote, text));
                }
            }
            NodeEvent::NotUnderstood { remote, reason, lines } => {
                if let Some(text) = self.told().lines.happened(&format!("{}: {reason}", remote.ip()), now) {
                    warn!(peer.addr = %me, lines, "[P2P] not understood: {text}");
                }
            }
            NodeEvent::Twin { addr, stays_out } => self.twin(at, *addr, *stays_out, now),
            NodeEvent::Twins { peer, addrs: [one, other] } => {
                let text = format!("two peers say that they are {}, at {one} and at {other}", peer.short());
                self.same_identity(at, (*peer, *other), &text, now);
            }
            NodeEvent::ClockWrong { file, origin, ahead } => {
                let fault = format!(
                    "a change of {file} that {} made came to peer {} at {me} stamped {} s ahead of this machine's clock: \
                     one of the two clocks is wrong",
                    origin.short(),
                    at.peer.short(),
                    ahead.as_secs()
                );
                warn!(peer.addr = %me, "[P2P] {fault}");
                self.all.set(Condition::ClockWrong, at.peer, Some(fault));
            }
            NodeEvent::ClocksAgree => self.all.set(Condition::ClockWrong, at.peer, None),
            NodeEvent::SeenAt { addr } => info!(peer.addr = %me, "[P2P] neighbours see this peer at {addr}"),
            NodeEvent::Applied { .. }
            | NodeEvent::Received { .. }
            | NodeEvent::Learned { .. }
            | NodeEvent::Suspected { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::KeepsUp { .. }
            | NodeEvent::Rejected { .. } => {}
        }
    }

    /// Says what to warn of, if anything. It matters to a peer without neighbours whose place a person named; whether those
    /// that are known from an earlier life can be reached is told by the peer's being alone.
    fn unreached(&self, what: &str, is_named: bool, now: Instant) -> Option<String> {
        let mut told = self.told();
        if !is_named || !told.neighbours.is_empty() {
            return None;
        }
        Some(match told.unreached.failed(what, now)? {
            News::Reason(reason) => format!("can't join through {reason}"),
            News::Still { time, failures, reasons } => {
                let places: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
                let time_s = time.as_secs();
                format!("still can't join after {time_s} s and {failures} attempts, through {}", places.join("; "))
            }
        })
    }

    fn twin(&self, at: Place, addr: SocketAddr, stays_out: bool, now: Instant) {
        let who = at.peer.short();
        if stays_out {
            let fault = format!(
                "peer {who} at {} stays out, since the one at {addr} has the same identity: was its data directory \
                 copied? Started once with --new-identity it gets one of its own",
                at.addr
            );
            self.all.set(Condition::SameIdentity, at.peer, Some(fault));
        }
        let text = format!("the peer at {addr} has this one's identity, {who}");
        self.same_identity(at, (at.peer, addr), &text, now);
    }

    fn same_identity(&self, at: Place, (peer, addr): (PeerId, SocketAddr), text: &str, now: Instant) {
        if let Some(text) = self.told().twins.happened(text, now) {
            warn!(peer.addr = %at.addr, "[P2P] {text}: was a data directory copied? The younger one stays out");
            self.all.hub.emit(Event::SameIdentity { peer, addr });
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_around_a_peer_is_a_condition_while_it_lasts() {
        let (hub, peer, addr) = (Hub::new(10, true), PeerId([1; 32]), ([127, 0, 0, 1], 9001).into());
        let (reporter, at) = (Reporters::new(hub.clone()).reporter(), Place { peer, addr, bound: addr });
        let file = "f".parse().unwrap();
        let ahead = Duration::from_hours(24);
        for (begins, ends, condition) in [
            (NodeEvent::ClockWrong { file, origin: peer, ahead }, NodeEvent::ClocksAgree, Condition::ClockWrong),
            (NodeEvent::Twin { addr, stays_out: true }, NodeEvent::NeighbourUp { peer, addr }, Condition::SameIdentity),
        ] {
            let lasts = || hub.read(|overview| overview.conditions.contains_key(&condition));
            reporter.observe(at, begins);
            assert!(lasts(), "{condition}");
            reporter.observe(at, ends);
            assert!(!lasts(), "{condition}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_reached_matters_to_who_has_no_neighbours_and_only_if_a_person_named_it() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let reporter = Reporters::new(Hub::new(1, false)).reporter();
        let unreached = |is_named, second| reporter.unreached("10.0.0.1:9: refused", is_named, at(second));
        assert_eq!(unreached(false, 0), None);
        assert_eq!(unreached(true, 0).as_deref(), Some("can't join through 10.0.0.1:9: refused"));
        assert_eq!(unreached(true, 59), None, "it was told");
        let still = "still can't join after 83 s and 3 attempts, through 10.0.0.1:9: refused";
        assert_eq!(unreached(true, 83).as_deref(), Some(still));
        reporter.told().neighbours.insert(PeerId([1; 32]));
        assert_eq!(unreached(true, 200), None);
    }
}
