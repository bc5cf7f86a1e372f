//! What every part of a node acts through, as foca's `runtime.rs`: who it is, what time it is, chance, the links, the
//! deadlines, and what is to be done. It decides nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::gossip::config::Config;
use crate::gossip::deadlines::{Deadline, Deadlines};
use crate::gossip::io::{Identity, LinkId, NodeEvent, Output};
use crate::gossip::links::Links;
use crate::gossip::whereabouts;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::Source;
use crate::wire::peer::{Incarnation, PeerMessage};

/// Bits of a source's number: what is 8 bytes on the wire.
const SOURCE_BITS: u32 = 56;

/// What the parts of one node share.
#[derive(Debug)]
pub struct Runtime {
    /// When the present input came.
    pub now: Instant,
    /// Who this node is.
    pub me: Identity,
    /// Its present life.
    pub life: Incarnation,
    /// Whether it is leaving for good: it dials nobody and takes nobody in.
    pub leaving: bool,
    /// Chance.
    pub rng: Rng,
    /// The open links.
    pub links: Links,
    /// When something is to be done.
    pub deadlines: Deadlines,
    /// When wall time was read last, and what it was, in milliseconds since 1970.
    wall: (Instant, u64),
    /// A link on which something was said without an answer is looked at after this.
    busy_ping: Duration,
    outputs: VecDeque<Output>,
}

impl Runtime {
    /// A node that starts `now`, with no links.
    pub fn new(me: Identity, config: &Config, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed);
        let life = Incarnation { started: me.began_ms, source: Source(rng.below(1 << SOURCE_BITS)) };
        Self {
            now,
            wall: (Instant::START, me.began_ms),
            me,
            life,
            leaving: false,
            rng,
            links: Links::new(config.limits.clone()),
            deadlines: Deadlines::default(),
            busy_ping: config.liveness.busy_ping,
            outputs: VecDeque::new(),
        }
    }

    /// Wall time, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        let (read_at, wall_ms) = self.wall;
        wall_ms.saturating_add(millis(self.now - read_at))
    }

    /// A clock on the wall was looked at: it may have been set.
    pub fn set_wall(&mut self, wall_ms: u64) {
        self.wall = (self.now, wall_ms);
    }

    /// Says the same on some links; addresses as those at the other ends have to understand them.
    pub fn send(&mut self, to: Vec<LinkId>, message: PeerMessage) {
        if to.is_empty() {
            return;
        }
        if !message.kind().is_spare {
            for id in &to {
                if let Some(link) = self.links.get_mut(*id) {
                    link.detector.said(self.now);
                }
            }
            self.deadlines.hasten(Deadline::Links, self.now + self.busy_ping);
        }
        let Some(told) = whereabouts::as_others_are_told(&message) else {
            return self.push(Output::Send { to, message });
        };
        let is_here = |id: &LinkId| self.links.get(*id).is_some_and(|link| link.remote.ip().is_loopback());
        let (here, elsewhere): (Vec<LinkId>, Vec<LinkId>) = to.into_iter().partition(is_here);
        for (to, message) in [(here, message), (elsewhere, told)] {
            if !to.is_empty() {
                self.push(Output::Send { to, message });
            }
        }
    }

    /// Answers on a link: what shows that this node lives, and asks for no sign of life in turn.
    pub fn answer(&mut self, link: LinkId, message: PeerMessage) {
        self.push(Output::Send { to: vec![link], message });
    }

    /// Tells people something.
    pub fn event(&mut self, event: NodeEvent) {
        self.push(Output::Event(event));
    }

    /// Has something done.
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How much is to be done.
    pub fn waiting(&self) -> usize {
        self.outputs.len()
    }
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl Runtime {
    /// A node of peer 100 for tests of one part, ten minutes after its start, with neighbours 1, 2, ... on links of these
    /// numbers.
    pub fn with_neighbours(count: u8) -> Self {
        let me = Identity {
            peer: crate::ids::PeerId([100; 32]),
            listen: std::net::SocketAddr::from(([10, 0, 0, 100], 1)),
            durable: true,
            began_ms: 1_000_000,
            version: "test".to_owned(),
        };
        let mut rt = Self::new(me, &Config::default(), 1, Instant::START + Duration::from_mins(10));
        for number in 1..=count {
            rt.add_neighbour(number);
        }
        rt
    }

    /// One more neighbour, which dialled this node.
    pub fn add_neighbour(&mut self, number: u8) -> LinkId {
        let (link, addr) = (LinkId(number.into()), std::net::SocketAddr::from(([10, 0, 0, number], 1)));
        self.links.open(link, addr, None, self.now);
        let peer = crate::ids::PeerId([number; 32]);
        self.links.identify(link, crate::gossip::links::Role::Neighbour { peer, addr });
        link
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// All that is to be done, in order.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.poll_output()).collect()
    }

    /// The messages among [`Runtime::outputs`], each with its first receiver.
    pub fn sent(&mut self) -> Vec<(LinkId, PeerMessage)> {
        let sent = |output| match output {
            Output::Send { to, message } => to.first().map(|to| (*to, message)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(sent).collect()
    }
}
