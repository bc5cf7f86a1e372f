//! Two peers of one identity, as when a data directory was copied. Each life of a peer says in its hello when it began: of
//! two that live, the younger stays out.
//!
//! Who is linked with the one and greeted by the other tells that one where the first is. So both meet, and each knows
//! for certain that the other lives. Whoever isn't linked with both hears of the other by its record.

use std::net::SocketAddr;

use crate::gossip::io::{LinkId, NodeEvent};
use crate::gossip::links::Link;
use crate::gossip::node::{Ended, Node};
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::census::Record;
use crate::wire::peer::{Life, Wish};

/// What the younger of two is told.
const YOUNGER: &str = "a peer of the same id that began earlier goes on; start this one with --new-identity";

impl Node {
    /// This life, for comparison with others: the smaller one is the older.
    pub(super) fn life(&self) -> Life {
        Life { started: self.me.began_ms, source: self.source }
    }

    /// Somebody with this node's own id says hello: this node itself, or a twin.
    pub(super) fn met_myself(&mut self, now: Instant, id: LinkId, life: Option<Life>, addr: SocketAddr) {
        let dialled = self.links.get(id).and_then(Link::dialled_addr);
        let Some(other) = life.filter(|life| *life != self.life()) else {
            self.goodbye(now, id, "this is myself", Ended::Peacefully);
            if let Some(dialled) = dialled {
                self.book.is_own(dialled);
            }
            return;
        };
        let stays_out = other < self.life();
        self.event(NodeEvent::Twin { addr: dialled.unwrap_or(addr), stays_out });
        if stays_out {
            self.goodbye(now, id, "this is the younger of two peers of one id", Ended::Peacefully);
            self.stay_out(now);
        } else {
            self.goodbye(now, id, YOUNGER, Ended::Left);
        }
    }

    /// Leaves without a word of it to the census: who bears the same id goes on.
    fn stay_out(&mut self, now: Instant) {
        self.leaving = true;
        let all: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        for id in all {
            self.goodbye(now, id, "stays out: another peer has the same id", Ended::Left);
        }
    }

    /// Somebody says hello with whom there is a link, in another life and at another address: it has moved since that link
    /// fell silent, or it is a twin. Says where the other is, which is asked for a sign of life.
    pub(super) fn twin_of(
        &mut self,
        now: Instant,
        peer: PeerId,
        life: Option<Life>,
        addr: SocketAddr,
    ) -> Option<SocketAddr> {
        let patience = self.config.liveness.answer * (1 + self.config.liveness.patience);
        let link = self.links.with(peer).and_then(|rival| self.links.get_mut(rival))?;
        let (_, at) = link.role.peer()?;
        if link.life? == life? || at == addr {
            return None;
        }
        let since = *link.rivalled.get_or_insert(now);
        link.pulse.doubt(now);
        self.check_at = now;
        if now - since >= patience {
            // It has given that sign since, or the link would be closed.
            self.event(NodeEvent::Twins { peer, addrs: [at, addr] });
        }
        Some(at)
    }

    /// A record of this node's own id from a life that began later: its address is looked up, unless that is this node's.
    pub(super) fn heard_of_a_twin(&mut self, now: Instant, record: &Record) {
        let life = Life { started: record.started, source: record.source };
        if life > self.life() && !record.left && !self.leaving && self.book.is_dialable(&record.addr) {
            self.book.learn(record.addr, now, &mut self.rng);
            if self.book.is_idle(&record.addr) {
                self.dial(record.addr, Wish::Probe);
            }
        }
    }
}
