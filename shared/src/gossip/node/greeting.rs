//! Getting to know the other end of a link: who is it, is there room, and is there a better link with it?

use std::net::SocketAddr;

use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::links::Role;
use crate::gossip::node::Node;
use crate::time::Instant;
use crate::wire::peer::{Hello, MAJOR, MAX_PEERS_PER_MESSAGE, PeerMessage};

impl Node {
    pub(super) fn greeted(&mut self, now: Instant, id: LinkId, hello: &Hello) {
        if hello.major != MAJOR {
            return self.refuse(now, id, &format!("protocol version {}; this peer speaks {MAJOR}", hello.major));
        }
        if hello.cluster != self.config.cluster {
            return self.refuse(
                now,
                id,
                &format!("cluster {:?}; this peer is in {:?}", hello.cluster, self.config.cluster),
            );
        }
        let Some(link) = self.links.get(id).cloned() else { return };
        if hello.peer == self.me.peer {
            self.goodbye(now, id, "this is myself");
            if let Some(dialled) = link.dialled {
                self.membership.is_own(dialled);
            }
            return;
        }
        match hello.listen {
            None => self.links.identify(id, Role::Client),
            Some(listen) => {
                let ip = if listen.ip().is_unspecified() { link.remote.ip() } else { listen.ip() };
                let role = Role::Neighbour { peer: hello.peer, addr: SocketAddr::new(ip, listen.port()) };
                let insists = link.dialled.is_some() || hello.neighbours == 0;
                self.met(now, id, role, insists);
            }
        }
    }

    /// A peer introduced itself: is there room, and no better link with it? `insists`: it is lonely, or this node
    /// dialled it to mix with; then somebody else gives way.
    fn met(&mut self, now: Instant, id: LinkId, role: Role, insists: bool) {
        let Role::Neighbour { peer, addr } = role else { return };
        if let Some(rival) = self.links.with(peer) {
            return self.choose(now, rival, id, role);
        }
        if self.links.neighbours().len() >= self.config.neighbours_max {
            if !insists {
                let others = self.membership.sample(MAX_PEERS_PER_MESSAGE, &mut self.rng);
                self.send(vec![id], PeerMessage::Peers(others));
                return self.goodbye(now, id, "full");
            }
            if let Some(other) = self.rng.pick(self.links.neighbours()) {
                self.goodbye(now, other, "making room");
            }
        }
        self.accept(now, id, role);
        self.event(NodeEvent::NeighbourUp { peer, addr });
    }

    /// Two links with the same peer. If one side dialled both, the former one is dead and only this side doesn't know
    /// it yet; else both sides keep the one that was dialled by the smaller id.
    fn choose(&mut self, now: Instant, rival: LinkId, id: LinkId, role: Role) {
        let Role::Neighbour { peer, .. } = role else { return };
        let (Some(old), Some(new)) = (self.links.get(rival).cloned(), self.links.get(id).cloned()) else { return };
        let same_dialler = old.dialled.is_some() == new.dialled.is_some();
        let keep_new = same_dialler || new.dialled.is_some() == (self.me.peer < peer);
        let (loser, lost) = if keep_new { (rival, old) } else { (id, new) };
        self.send(vec![loser], PeerMessage::Goodbye { reason: "another link is in use".to_owned(), leaving: false });
        self.outputs.push_back(Output::Close { link: loser });
        self.links.close(loser);
        self.unanswered.retain(|(_, asker), _| *asker != loser);
        self.released(now, &lost);
        if keep_new {
            self.accept(now, id, role);
        } else if let Role::Neighbour { addr, .. } = role {
            self.membership.linked(addr);
        }
    }

    fn accept(&mut self, now: Instant, id: LinkId, role: Role) {
        let Role::Neighbour { addr, .. } = role else { return };
        self.links.identify(id, role);
        let dialled = self.links.get(id).and_then(|link| link.dialled);
        if let Some(alias) = dialled.filter(|dialled| *dialled != addr) {
            self.membership.forget(&alias);
        }
        self.learned(now, id, &[addr]);
        self.membership.linked(addr);
        let others = self.membership.sample(MAX_PEERS_PER_MESSAGE, &mut self.rng);
        self.send(vec![id], PeerMessage::Peers(others));
        self.send(vec![id], PeerMessage::Pull { after: None });
    }
}
