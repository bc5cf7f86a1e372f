//! Logs what happens at a peer. What the peers of one process say to each other is no news: each address is told once,
//! and their links aren't. What repeats is in [`repeated`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::gossip::stats::Stats;
use shared::ids::PeerId;
use shared::wire::event::PeerState;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::log_lines::Line;
use crate::peer::PeerError;
use crate::peer::fault::{self, Change, Faults};
use crate::peer::log::repeated::Repeats;
use crate::peer::observer::{Observer, Place};

mod repeated;

/// How many learned addresses are remembered: more than are told in a lifetime, but for somebody who makes them up.
const ADDRS: usize = 16_384;

/// What the logs of a process's peers share.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// A lock is enough: it is held for one look or one insertion.
    process: Arc<Mutex<Process>>,
}

#[derive(Debug, Default)]
struct Process {
    /// The peers that run here, or have run.
    ours: BTreeSet<PeerId>,
    /// At most [`ADDRS`] addresses that any of them has learned.
    learned: BTreeSet<SocketAddr>,
}

impl Logs {
    /// The log of one more peer.
    pub fn of_a_peer(&self) -> Arc<Log> {
        Arc::new(Log { logs: self.clone(), state: Mutex::default() })
    }

    fn is_ours(&self, peer: &PeerId) -> bool {
        self.lock().ours.contains(peer)
    }

    /// Whether no peer of this process has learned this address before, as far as is remembered.
    fn first_learns(&self, addr: SocketAddr) -> bool {
        let learned = &mut self.lock().learned;
        if learned.len() >= ADDRS {
            learned.clear();
        }
        learned.insert(addr)
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of one peer.
#[derive(Debug)]
pub struct Log {
    logs: Logs,
    /// A lock is enough: it is held to count one fault.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repeats: Repeats,
    faults: Faults,
}

impl Observer for Log {
    fn started(&self, at: Place, _kept: &Catalogue) {
        self.logs.lock().ours.insert(at.peer);
        let known = if at.bound.ip().is_unspecified() && at.addr.ip().is_loopback() {
            ", known by the address at which neighbours see it".to_owned()
        } else if at.bound == at.addr {
            String::new()
        } else {
            format!(", known as {}", at.addr)
        };
        info!(peer.id = %at.peer.short(), "{}{known}", Line::Listening(at.bound));
    }

    fn observe(&self, at: Place, event: &NodeEvent) {
        if let Some(change) = fault::change(at, event) {
            self.log_fault(at, change);
        }
        self.log_event(at, event);
    }

    fn stopped(&self, at: Place, _state: PeerState, _stats: &Stats) {
        self.log_fault(at, fault::ENDS_WITH_THE_PEER);
        info!(peer.addr = %at.addr, "[P2P] stopped");
    }

    fn state_was_damaged(&self, aside: &Path, why: &PeerError) {
        warn!(error = why as &dyn std::error::Error, "[P2P] a peer's state is damaged: {}", fault::damaged(aside));
    }
}

impl Log {
    fn log_fault(&self, at: Place, change: Change) {
        for (condition, fault) in self.lock().faults.take(at.peer, change) {
            if let Some(fault) = fault {
                warn!(peer.addr = %at.addr, "{condition}: {fault}");
            } else {
                info!(peer.addr = %at.addr, "no more {condition}");
            }
        }
    }

    fn log_event(&self, at: Place, event: &NodeEvent) {
        let (me, now) = (at.addr, Instant::now());
        match event {
            NodeEvent::Applied { file, version, .. } => info!(peer.addr = %me, "{}", Line::Applied(file, *version)),
            NodeEvent::Learned { addr } if self.logs.first_learns(*addr) => {
                info!(peer.addr = %me, "{}, of whom {me} was told", Line::Learned(*addr));
            }
            NodeEvent::Learned { addr } => debug!(peer.addr = %me, "{}, of whom {me} was told", Line::Learned(*addr)),
            NodeEvent::NeighbourUp { peer, addr } => {
                self.log_link(at, *peer, &Line::Connected(*addr));
                if let Some(text) = self.lock().repeats.joined(*peer, now) {
                    info!(peer.addr = %me, "[P2P] joined {text}");
                }
            }
            NodeEvent::NeighbourDown { peer, addr, reason } => {
                self.lock().repeats.lost(peer);
                self.log_link(at, *peer, &Line::Lost(&peer.short(), *addr, &reason.to_string()));
            }
            NodeEvent::Suspected { peer, addr } => {
                warn!(peer.addr = %me, "[P2P] neighbour {} at {addr} doesn't answer", peer.short());
            }
            NodeEvent::Slow { peer } => warn!(peer.addr = %me, "[P2P] neighbour {} doesn't keep up", peer.short()),
            NodeEvent::KeepsUp { peer, withheld } => {
                info!(peer.addr = %me, withheld, "[P2P] neighbour {} keeps up again; it catches up now", peer.short());
            }
            NodeEvent::Rejected { file, reason } => {
                warn!(peer.addr = %me, "[P2P] rejected a change of {file}: {reason}");
            }
            NodeEvent::SeenAt { addr } => info!(peer.addr = %me, "[P2P] neighbours see this peer at {addr}"),
            NodeEvent::Unreached { .. }
            | NodeEvent::Misbehaved { .. }
            | NodeEvent::NotUnderstood { .. }
            | NodeEvent::Twin { .. }
            | NodeEvent::Twins { .. } => self.log_what_repeats(at, event, now),
            // What is told only to who watches; and what is a fault that lasts.
            NodeEvent::Received { .. }
            | NodeEvent::Recorded { .. }
            | NodeEvent::Unrecorded { .. }
            | NodeEvent::NoTwin
            | NodeEvent::Alone { .. }
            | NodeEvent::ClockWrong { .. }
            | NodeEvent::ClocksAgree => {}
        }
    }

    fn log_link(&self, at: Place, peer: PeerId, line: &Line<'_>) {
        if self.logs.is_ours(&peer) {
            debug!(peer.addr = %at.addr, "{line}");
        } else {
            info!(peer.addr = %at.addr, "{line}");
        }
    }

    fn log_what_repeats(&self, at: Place, event: &NodeEvent, now: Instant) {
        let me = at.addr;
        match (self.lock().repeats.news(at.peer, event, now), event) {
            (Some(text), NodeEvent::Misbehaved { remote, offences, .. }) => {
                warn!(peer.addr = %me, offences, "{}", Line::Refused(*remote, &text));
            }
            (Some(text), NodeEvent::NotUnderstood { lines, .. }) => {
                warn!(peer.addr = %me, lines, "[P2P] not understood: {text}");
            }
            (Some(text), _) => warn!(peer.addr = %me, "[P2P] {text}"),
            (None, NodeEvent::Unreached { place, reason, .. }) => {
                debug!(peer.addr = %me, "[P2P] can't join through {place}: {reason}");
            }
            (None, _) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
