//! What goes over the links: messages as bytes, and the ends of connections.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::gossip::io::{Input, LinkId};
use crate::sim::check::Violation;
use crate::sim::host::{Life, addr as addr_of, host_at};
use crate::sim::network::Wire;
use crate::sim::world::{Scheduled, World};
use crate::wire::frame;
use crate::wire::lines::{self, Line};
use crate::wire::peer::PeerMessage;

impl World {
    /// Whether two hosts are in different groups of a partition.
    pub(super) fn are_apart(&self, a: usize, b: usize) -> bool {
        let side = |host: usize| self.hosts.get(host).map(|host| host.side);
        side(a) != side(b)
    }

    /// A host dials an address: opens a link, or tells it that nobody answers.
    pub(super) fn dialled(&mut self, from: Life, addr: SocketAddr) -> Result<(), Violation> {
        if self.life(from.host) != Some(from) {
            return Ok(());
        }
        let to = host_at(addr);
        let Some(other) = self.life(to).filter(|_| !self.are_apart(from.host, to)) else {
            return self.feed(from, Input::DialFailed { addr, reason: "no answer".to_owned() });
        };
        let link = self.wires.open(Wire::new([from, other], &self.scenario.network, &mut self.rng, self.now));
        for end in [from, other] {
            if let Some(host) = self.hosts.get_mut(end.host) {
                host.links.insert(link);
            }
        }
        // A stopped process's kernel accepts for it.
        let up = Input::LinkUp { link, remote: addr_of(from.host), dialled: None };
        if !self.is_paused(other.host) {
            self.feed(other, up)?;
        }
        self.feed(from, Input::LinkUp { link, remote: addr, dialled: Some(addr) })
    }

    /// Puts a message on some links, as bytes.
    pub(super) fn send(&mut self, from: Life, to: &[LinkId], message: &PeerMessage) {
        let Ok(frame) = frame::encode(message) else { return };
        let ordered = matches!(message, PeerMessage::Hello(_) | PeerMessage::Goodbye { .. });
        self.send_bytes(from, to, &frame.into(), (message.kind().name, ordered));
    }

    /// Puts lines on some links, as bytes.
    pub(super) fn send_lines(&mut self, from: Life, to: &[LinkId], lines: &[Line]) {
        for line in lines {
            let Ok(bytes) = lines::encode(line) else { return };
            self.send_bytes(from, to, &bytes.into(), ("line", true));
        }
    }

    fn send_bytes(&mut self, from: Life, to: &[LinkId], frame: &Arc<[u8]>, (kind, ordered): (&'static str, bool)) {
        for link in to {
            let Some(wire) = self.wires.get(*link) else { continue };
            let Some(end) = wire.peer_end(from) else { continue };
            let Some(life) = wire.ends.get(end).copied() else { continue };
            self.tally.sent(kind, frame.len(), self.now);
            if self.are_apart(from.host, life.host) {
                continue;
            }
            let Some(wire) = self.wires.get_mut(*link) else { continue };
            let network = &self.scenario.network;
            for at in wire.arrivals(end, (frame.len(), ordered), network, &mut self.rng, self.now) {
                self.queue.push(at, Scheduled::Arrives { link: *link, to: life, frame: frame.clone() });
            }
        }
    }

    /// Bytes come to the end of a link: they are decoded and fed to the node.
    pub(super) fn arrives(&mut self, link: LinkId, to: Life, bytes: &[u8]) -> Result<(), Violation> {
        let Some(wire) = self.wires.get(link) else { return Ok(()) };
        let Some(peer_end) = wire.peer_end(to) else { return Ok(()) };
        let Some(from) = wire.ends.get(peer_end).copied() else { return Ok(()) };
        if self.are_apart(from.host, to.host) {
            return Ok(());
        }
        let is_open = wire.ends.into_iter().zip(wire.open).any(|(end, open)| end == to && open);
        if !is_open {
            // What a socket that is gone answers, behind what was said before it was closed.
            let at = wire.end_arrives(peer_end, self.now);
            self.queue.push(at, Scheduled::Closed { link, to: from });
            return Ok(());
        }
        for part in [&self.now.as_micros().to_be_bytes()[..], &link.0.to_be_bytes(), bytes] {
            self.trace.update(part);
        }
        if bytes.first() == Some(&lines::OPENING) {
            let mut decoder = lines::Decoder::default();
            decoder.push(bytes);
            let lines = decoder.next_line().ok().flatten().into_iter().collect();
            return self.feed(to, Input::Lines { link, lines });
        }
        self.decoder.push(bytes);
        match self.decoder.next_message() {
            Ok(Some(message)) => self.feed(to, Input::Messages { link, messages: vec![message] }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// One side closes a link; the other hears of it if packets get there.
    pub(super) fn close(&mut self, link: LinkId, by: Life) {
        if let Some(host) = self.hosts.get_mut(by.host) {
            host.links.remove(&link);
        }
        let Some(wire) = self.wires.get_mut(link) else { return };
        for (end, open) in wire.ends.into_iter().zip(&mut wire.open) {
            *open &= end != by;
        }
        if wire.open == [false; 2] {
            self.wires.close(link);
            return;
        }
        let Some(end) = wire.peer_end(by) else { return };
        let (Some(to), at) = (wire.ends.get(end).copied(), wire.end_arrives(end, self.now)) else { return };
        if !self.are_apart(by.host, to.host) {
            self.queue.push(at, Scheduled::Closed { link, to });
        }
    }

    /// The other end of a link has closed it.
    pub(super) fn closed(&mut self, link: LinkId, to: Life) -> Result<(), Violation> {
        let open = self
            .wires
            .get(link)
            .is_some_and(|wire| wire.ends.into_iter().zip(wire.open).any(|(end, open)| end == to && open));
        if !open {
            return Ok(());
        }
        self.close(link, to);
        self.feed(to, Input::LinkDown { link, reason: "closed by the other side".to_owned() })
    }
}
