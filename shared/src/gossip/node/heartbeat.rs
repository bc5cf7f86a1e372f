//! Which links are asked for a sign of life, and what follows when none comes.

use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::links::Role;
use crate::gossip::node::{Ended, Node};
use crate::gossip::pulse::Verdict;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{Fingerprint, Partner, Payload, PeerMessage};

impl Node {
    /// Asks the silent, closes the dead and those that don't introduce themselves.
    pub(super) fn check_links(&mut self, now: Instant) {
        let partner = self.partner();
        let slowness = self.health.slowness(now);
        let (me, liveness) = (self.me.peer, &self.config.liveness);
        let (mut ask, mut suspect, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = now + liveness.idle_ping;
        for (id, link) in self.links.iter_mut() {
            let limit = match link.role {
                Role::Stranger | Role::Asked { .. } | Role::Expected { .. } => {
                    Some((link.opened + liveness.hello, "no hello"))
                }
                // It says its state each 2 s, and must not keep somebody else's place once it can't.
                Role::Original { dialled: None } => Some((link.pulse.last_heard() + liveness.idle_ping, "silent")),
                // It never says a word here, and is gone when the connection is.
                Role::Original { dialled: Some(_) } => continue,
                Role::Neighbour { .. } | Role::Client => None,
            };
            if let Some((limit, reason)) = limit {
                if now >= limit {
                    dead.push((id, reason));
                } else {
                    next = next.min(limit);
                }
                continue;
            }
            let watched = Some(id) == partner || link.partner == Partner::You;
            let every = if watched { liveness.partner_ping } else { liveness.idle_ping };
            // One question serves both sides: of the two the same always asks first.
            let first = link.role.peer().is_some_and(|(peer, _)| peer < me);
            let every = if first { every.saturating_sub(liveness.asks_first) } else { every };
            match link.pulse.check(now, every, liveness, slowness) {
                Verdict::Fine(until) => next = next.min(until),
                Verdict::Ask(nonce) => ask.push((id, nonce)),
                Verdict::Suspect(nonce) => suspect.push((id, nonce, link.role)),
                Verdict::Dead => dead.push((id, "silent")),
            }
        }
        let soon = if ask.is_empty() && suspect.is_empty() { next } else { now + liveness.answer };
        self.check_at = next.min(soon);
        let catalogue = self.catalogue.total();
        for (id, nonce) in ask {
            self.send(now, vec![id], PeerMessage::Ping { nonce, catalogue, partner: self.tell_of_partner(id) });
        }
        for (id, nonce, role) in suspect {
            self.send(now, vec![id], PeerMessage::Ping { nonce, catalogue, partner: self.tell_of_partner(id) });
            if let Some((peer, addr)) = role.peer() {
                self.event(NodeEvent::Suspected { peer, addr });
                self.tree.publish(Payload::Suspect(peer.into()), now, &mut self.rng);
            }
        }
        for (id, reason) in dead {
            self.goodbye(now, id, reason, Ended::Broken);
        }
        self.compare_again(now);
        self.give_up_a_long_fetch(now);
    }

    /// The neighbour with which this node watches one another when nothing happens: of those that have chosen it, else
    /// of those that still look for one, else of all, the one whose id is nearest. Distances are the same from both
    /// sides, so that most peers end in pairs and one question in each pause does for two (a stable matching: Gale and
    /// Shapley, 1962). Who finds all others in pairs is watched by one of these, since it says whom it has chosen.
    fn partner(&self) -> Option<LinkId> {
        let distance = |peer: PeerId| peer.0.into_iter().zip(self.me.peer.0).map(|(a, b)| a ^ b);
        let nearest = self.links.neighbours().min_by(|one, other| {
            let told = self.told_of_partner(one.link).cmp(&self.told_of_partner(other.link));
            told.then_with(|| distance(one.peer).cmp(distance(other.peer)))
        });
        nearest.map(|nearest| nearest.link)
    }

    fn told_of_partner(&self, id: LinkId) -> Partner {
        self.links.get(id).map(|link| link.partner).unwrap_or_default()
    }

    fn told_partner(&mut self, now: Instant, id: LinkId, partner: Partner) {
        if let Some(link) = self.links.get_mut(id).filter(|link| link.partner != partner) {
            link.partner = partner;
            self.check_at = now;
        }
    }

    /// What a neighbour is told of this node's partner.
    fn tell_of_partner(&self, id: LinkId) -> Partner {
        match self.partner() {
            Some(partner) if partner == id => Partner::You,
            Some(partner) if self.told_of_partner(partner) == Partner::You => Partner::Another,
            _ => Partner::Open,
        }
    }

    pub(super) fn ping(&mut self, now: Instant, id: LinkId, nonce: u32, theirs: Fingerprint, partner: Partner) {
        self.told_partner(now, id, partner);
        let (catalogue, partner) = (self.catalogue.total(), self.tell_of_partner(id));
        self.outputs.push_back(Output::Send { to: vec![id], message: PeerMessage::Pong { nonce, catalogue, partner } });
        self.compare_sums(now, id, theirs);
    }

    pub(super) fn pong(&mut self, now: Instant, id: LinkId, nonce: u32, catalogue: Fingerprint, partner: Partner) {
        self.told_partner(now, id, partner);
        if let Some(link) = self.links.get_mut(id) {
            link.pulse.answered(nonce, now);
            if let Some(wait) = link.pulse.usual_wait() {
                self.tree.measured(id, wait);
            }
        }
        self.compare_sums(now, id, catalogue);
    }
}
