//! What a node says: on its links, and to people.

use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::node::Node;
use crate::gossip::whereabouts;
use crate::time::Instant;
use crate::wire::peer::PeerMessage;

impl Node {
    pub(super) fn say_what_the_tree_says(&mut self, now: Instant) {
        while let Some((to, message)) = self.tree.poll_said() {
            self.send(now, to, message);
        }
    }

    pub(super) fn send(&mut self, now: Instant, to: Vec<LinkId>, message: PeerMessage) {
        if to.is_empty() {
            return;
        }
        if !message.kind().is_spare {
            for id in &to {
                if let Some(link) = self.links.get_mut(*id) {
                    link.pulse.said(now);
                }
            }
            self.check_at = self.check_at.min(now + self.config.liveness.busy_ping);
        }
        let Some(told) = whereabouts::as_others_are_told(&message) else {
            self.outputs.push_back(Output::Send { to, message });
            return;
        };
        let is_here = |id: &LinkId| self.links.get(*id).is_some_and(|link| link.remote.ip().is_loopback());
        let (here, elsewhere): (Vec<LinkId>, Vec<LinkId>) = to.into_iter().partition(is_here);
        for (to, message) in [(here, message), (elsewhere, told)] {
            if !to.is_empty() {
                self.outputs.push_back(Output::Send { to, message });
            }
        }
    }

    pub(super) fn event(&mut self, event: NodeEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}
