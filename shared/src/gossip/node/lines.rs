//! What peers of the original system tell, each to the part that it concerns.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::links::{Admission, Dialled, Role};
use crate::gossip::node::Node;
use crate::gossip::reason::Reason;
use crate::gossip::whereabouts::meant;
use crate::ids::{FileId, PeerId, Version};
use crate::stamp::Stamp;
use crate::wire::lines::{Line, LineMessage};
use crate::wire::update::FileUpdate;

/// A change from a line is made equal everywhere: whoever hears the line makes the same one, and a change of ours that
/// has the same version wins.
const STAMP: Stamp = Stamp(0);
const ORIGIN: PeerId = PeerId([0; 32]);

/// The most peers that are taken from one line. As many as are remembered beyond the passive view.
const MAX_PEERS: usize = 256;

impl Node {
    /// Lines came on a link.
    pub(super) fn lines(&mut self, id: LinkId, lines: Vec<Line>) {
        let Some((role, dialled, remote)) = self.rt.links.get(id).map(|link| (link.role, link.dialled, link.remote))
        else {
            return;
        };
        let mut found = None;
        match role {
            Role::Stranger | Role::Expected { .. } | Role::Original { .. } if !self.takes_originals => {
                return self.refuse(id, Reason::LinesTurnedOff);
            }
            Role::Stranger => match dialled {
                Some(Dialled { addr, .. }) => return self.is_an_original_after_all(id, addr),
                None => self.rt.links.identify(id, Role::Original { dialled: None }),
            },
            Role::Expected { addr } => {
                self.rt.links.identify(id, Role::Original { dialled: Some(addr) });
                found = Some(addr);
            }
            Role::Original { .. } => {}
            Role::Asked { .. } | Role::Neighbour { .. } | Role::Client => return,
        }
        for line in lines {
            match self.rt.links.heard(id, self.rt.now) {
                Admission::Closed => return,
                Admission::TooMany => return self.refuse(id, Reason::TooManyLines),
                Admission::Admitted => self.line((remote, found.is_some() || is_dialled(role)), line),
            }
        }
        if let Some(addr) = found {
            self.originals.linked(addr, id, self.rt.now);
            let own = self.handshake.own_addr_for(remote, &self.rt);
            self.originals.introduce_myself(id, own, &mut self.rt);
        }
    }

    /// What somebody brings who is no link, or not yet.
    pub(super) fn brought(&mut self, remote: SocketAddr, lines: Vec<Line>) {
        if !self.takes_originals {
            return self.misbehaved(remote, Reason::LinesTurnedOff);
        }
        if self.rt.leaving {
            return;
        }
        for line in lines {
            self.line((remote, false), line);
        }
    }

    /// The one that was dialled as one of ours answers in lines: it is dialled again, without our hello, which it can't
    /// read.
    fn is_an_original_after_all(&mut self, id: LinkId, addr: SocketAddr) {
        self.rt.push(Output::Close { link: id });
        self.rt.links.close(id);
        let named = self.membership.contacts.forget(&addr);
        self.originals.learn(addr, named, self.rt.now);
        self.membership.contacts.found_an_original(&mut self.rt);
    }

    fn line(&mut self, (remote, is_dialled): (SocketAddr, bool), line: Line) {
        self.originals.heard(line.ts);
        match line.message {
            // One that was dialled is known by the address at which it answered.
            LineMessage::Hello { .. } if is_dialled => {}
            LineMessage::Hello { from } => self.said_to_be_original(meant(from, remote)),
            LineMessage::State { from, files, peers } => {
                self.told_files(from.map(|from| meant(from, remote)), files);
                self.told_peers(peers.into_iter().map(|addr| meant(addr, remote)).collect());
            }
            LineMessage::Event { file, version } => self.told_files(None, [(file, version)].into()),
            LineMessage::NotUnderstood { why } => self.originals.not_understood(remote, why, &mut self.rt),
        }
    }

    /// Somebody says that it listens at an address and is an original.
    fn said_to_be_original(&mut self, addr: SocketAddr) {
        let book = self.membership.contacts.book();
        if !book.is_dialable(&addr) || book.is_in_use(&addr) || self.rt.leaving {
            return;
        }
        let news = !self.originals.knows(&addr);
        if self.originals.learn(addr, false, self.rt.now) && news {
            self.membership.contacts.forget(&addr);
            self.rt.event(NodeEvent::Learned { addr });
        }
    }

    /// Takes what is above what is known; `teller` needn't be told it again.
    fn told_files(&mut self, teller: Option<SocketAddr>, files: BTreeMap<FileId, Version>) {
        self.originals.tell_changes(None, &mut self.rt);
        for (file, version) in files {
            if self.updates.catalogue().of_file(&file).is_none_or(|known| known.version < version) {
                self.publish(&FileUpdate::injected(file, version, STAMP, ORIGIN).into());
            }
        }
        self.originals.tell_changes(teller, &mut self.rt);
    }

    /// Learns addresses that aren't known. An original never forgets anybody, so it's no sign of life that it names one.
    fn told_peers(&mut self, mut peers: Vec<SocketAddr>) {
        peers.truncate(MAX_PEERS);
        peers.retain(|addr| !self.membership.contacts.book().knows(addr) && !self.originals.knows(addr));
        let news = !peers.is_empty();
        self.membership.contacts.learn(peers, &self.originals, &mut self.rt);
        if news {
            self.membership.contacts.seek_alone(&mut self.rt);
        }
    }
}

/// Whether this node dialled it, to tell it what is known here.
fn is_dialled(role: Role) -> bool {
    matches!(role, Role::Original { dialled: Some(_) })
}
