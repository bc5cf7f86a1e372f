//! Peers of the original system: who is one, what they tell, and what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::ledger::EVERYTHING;
use crate::gossip::links::{Admission, Dialled, Role};
use crate::gossip::node::Node;
use crate::gossip::reconcile;
use crate::gossip::whereabouts::meant;
use crate::ids::{FileId, PeerId, Version};
use crate::stamp::Stamp;
use crate::time::Instant;
use crate::wire::lines::{self, Line, Said};
use crate::wire::peer::{Key, Wanted};
use crate::wire::update::FileUpdate;

/// A change from a line is made equal everywhere: whoever hears the line makes the same one, and a change of ours that
/// has the same version wins.
const STAMP: Stamp = Stamp(0);
const ORIGIN: PeerId = PeerId([0; 32]);

/// What somebody is told who speaks lines where that isn't wanted.
const TURNED_OFF: &str = "JSON lines, which are turned off";

/// The most peers that are taken from one line. As many as are remembered beyond the passive view.
const MAX_PEERS: usize = 256;

impl Node {
    // --- who is one -----------------------------------------------------------------------------------------------

    /// A connection to where an original may be: an original speaks first.
    pub(super) fn expect_original(&mut self, now: Instant, id: LinkId, addr: SocketAddr) {
        self.links.open(id, addr, None, now, &self.config.limits);
        self.links.identify(id, Role::Expected { addr });
        self.check_at = self.check_at.min(now + self.config.liveness.hello);
        if self.leaving {
            self.close(now, id, "leaving");
        }
    }

    /// A connection with an original, or its bridge, that has dialled and speaks lines. Nothing said there is read.
    pub(super) fn original_up(&mut self, now: Instant, id: LinkId, remote: SocketAddr) {
        let crowded = self.is_crowded(remote);
        self.links.open(id, remote, None, now, &self.config.limits);
        self.links.identify(id, Role::Original { dialled: None });
        self.check_at = self.check_at.min(now + self.config.liveness.idle_ping);
        if self.leaving {
            self.close(now, id, "leaving");
        } else if crowded {
            self.refuse(now, id, "too many links");
        }
    }

    /// Somebody says that it listens at an address and is an original.
    fn said_to_be_original(&mut self, now: Instant, addr: SocketAddr) {
        if !self.book.is_dialable(&addr) || self.book.is_in_use(&addr) || self.leaving {
            return;
        }
        let news = !self.originals.knows(&addr);
        if self.originals.learn(addr, false, now) && news {
            self.book.forget(&addr);
            self.event(NodeEvent::Learned { addr });
        }
    }

    /// The one that was dialled as one of ours answers in lines: it is dialled again, without our hello, which it can't
    /// read.
    fn is_an_original_after_all(&mut self, now: Instant, id: LinkId, addr: SocketAddr) {
        self.outputs.push_back(Output::Close { link: id });
        self.links.close(id);
        let named = self.book.forget(&addr);
        self.originals.learn(addr, named, now);
        self.sought = self.sought.saturating_add(1);
        self.seek_at = now;
    }

    /// A link with an original is closed. Who was dialled as one and didn't speak first isn't one.
    pub(super) fn original_gone(&mut self, now: Instant, id: LinkId, role: Role) {
        match role {
            Role::Original { dialled: Some(addr) } => {
                self.originals.lost(addr, Some(id), now, self.config.views.redial_lost, &mut self.rng);
            }
            Role::Expected { addr } if self.originals.knows(&addr) => {
                if self.originals.forget(&addr) {
                    self.named(now, addr);
                } else {
                    self.learn(now, vec![addr]);
                }
            }
            Role::Expected { .. }
            | Role::Original { dialled: None }
            | Role::Stranger
            | Role::Asked { .. }
            | Role::Neighbour { .. }
            | Role::Client => {}
        }
    }

    // --- what they tell -------------------------------------------------------------------------------------------

    pub(super) fn lines(&mut self, now: Instant, id: LinkId, lines: Vec<Line>) {
        let Some((role, dialled)) = self.links.get(id).map(|link| (link.role, link.dialled)) else { return };
        let (mut found, Some(remote)) = (None, self.links.get(id).map(|link| link.remote)) else { return };
        match role {
            Role::Stranger | Role::Expected { .. } | Role::Original { .. } if !self.config.original => {
                return self.refuse(now, id, TURNED_OFF);
            }
            Role::Stranger => match dialled {
                Some(Dialled { addr, .. }) => return self.is_an_original_after_all(now, id, addr),
                None => self.links.identify(id, Role::Original { dialled: None }),
            },
            Role::Expected { addr } => {
                self.links.identify(id, Role::Original { dialled: Some(addr) });
                found = Some(addr);
            }
            Role::Original { .. } => {}
            Role::Asked { .. } | Role::Neighbour { .. } | Role::Client => return,
        }
        for line in lines {
            match self.links.heard(id, now, &self.config.limits) {
                Admission::Closed => return,
                Admission::TooMany => return self.refuse(now, id, "too many lines"),
                Admission::Admitted => self.line(now, (remote, found.is_some() || is_dialled(role)), line),
            }
        }
        if let Some(addr) = found {
            self.originals.linked(addr, id, now);
            let own = self.own_addr_for(remote).filter(can_be_told);
            self.say_lines(vec![id], own.map(|from| Said::Hello { from }));
        }
    }

    /// What somebody brings who is no link, or not yet.
    pub(super) fn brought(&mut self, now: Instant, remote: SocketAddr, lines: Vec<Line>) {
        if !self.config.original {
            return self.misbehaved(remote, TURNED_OFF);
        }
        if self.leaving {
            return;
        }
        for line in lines {
            self.line(now, (remote, false), line);
        }
    }

    fn line(&mut self, now: Instant, (remote, is_dialled): (SocketAddr, bool), line: Line) {
        self.originals.heard(line.ts);
        match line.said {
            // One that was dialled is known by the address at which it answered.
            Said::Hello { .. } if is_dialled => {}
            Said::Hello { from } => self.said_to_be_original(now, meant(from, remote)),
            Said::State { from, files, peers } => {
                self.told_files(now, from.map(|from| meant(from, remote)), files);
                self.told_peers(now, peers.into_iter().map(|addr| meant(addr, remote)).collect());
            }
            Said::Event { file, version } => self.told_files(now, None, [(file, version)].into()),
            Said::NotUnderstood { why } => {
                self.not_understood += 1;
                self.event(NodeEvent::NotUnderstood { remote, reason: why, lines: self.not_understood });
            }
        }
    }

    /// Takes what is above what is known; `teller` needn't be told it again.
    fn told_files(&mut self, now: Instant, teller: Option<SocketAddr>, files: BTreeMap<FileId, Version>) {
        self.tell_changes(None);
        for (file, version) in files {
            if self.catalogue.of_file(&file).is_none_or(|known| known.version < version) {
                self.publish(now, &FileUpdate::injected(file, version, STAMP, ORIGIN).into());
            }
        }
        self.tell_changes(teller);
    }

    /// Learns addresses that aren't known. An original never forgets anybody, so it's no sign of life that it names one.
    fn told_peers(&mut self, now: Instant, mut peers: Vec<SocketAddr>) {
        peers.truncate(MAX_PEERS);
        peers.retain(|addr| !self.book.knows(addr) && !self.originals.knows(addr));
        let news = !peers.is_empty();
        self.learn(now, peers);
        if news && self.links.active() == 0 {
            self.seek_at = self.seek_at.min(now + self.config.views.redial.delay(0, &mut self.rng));
        }
    }

    // --- what they are told ---------------------------------------------------------------------------------------

    /// Dials those that are to be dialled, and tells the others what is to be told.
    pub(super) fn tend_originals(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        while let Some(addr) = self.originals.poll_dial(now) {
            self.outputs.push_back(Output::Dial { addr });
        }
        self.tell_changes(None);
        self.tell_peers(now);
        if let Some((link, from)) = self.originals.poll_state() {
            self.tell_state(now, link, from);
        }
    }

    fn tell_changes(&mut self, except: Option<SocketAddr>) {
        let (links, changes) = self.originals.poll_changes(except);
        let events = changes.into_iter().map(|(file, version)| Said::Event { file, version });
        self.say_lines(links, events);
    }

    fn tell_peers(&mut self, now: Instant) {
        if self.originals.are_peers_due(now) {
            let peers = self.known_peers();
            let links = self.originals.poll_peers(now, &peers);
            self.say_lines(links, lines::state(self.own_addr(), [], &peers));
        }
    }

    /// This node, the active view and the passive one, as far as an original can dial them.
    fn known_peers(&self) -> Vec<SocketAddr> {
        let known = self.links.neighbours().map(|neighbour| neighbour.addr).chain(self.book.passive_view());
        std::iter::once(self.me.listen).chain(known).filter(can_be_told).collect()
    }

    /// Where this node listens, if that is the same for all.
    fn own_addr(&self) -> Option<SocketAddr> {
        Some(self.me.listen).filter(|addr| !addr.ip().is_unspecified())
    }

    /// Tells a page of the files, from a key on. The driver says when the link takes no more.
    fn tell_state(&mut self, now: Instant, link: LinkId, from: Key) {
        let (page, rest) = reconcile::page(&self.catalogue, &Wanted::Range(EVERYTHING, from));
        let files = page.iter().map(|update| (update.file.clone(), update.version));
        let peers = if from == Key(0) { self.known_peers() } else { Vec::new() };
        let state = lines::state(self.own_addr(), files, &peers);
        self.say_lines(vec![link], state);
        self.originals.told_state(link, rest.map(|(_, key)| key), now);
    }

    fn say_lines(&mut self, to: Vec<LinkId>, said: impl IntoIterator<Item = Said>) {
        if to.is_empty() {
            return;
        }
        let lines: Vec<Line> = said.into_iter().map(|said| Line { said, ts: self.originals.stamp() }).collect();
        if !lines.is_empty() {
            self.outputs.push_back(Output::SendLines { to, lines });
        }
    }
}

/// The original can't dial an address with more than one colon, and would find itself everywhere.
fn can_be_told(addr: &SocketAddr) -> bool {
    addr.is_ipv4() && !addr.ip().is_unspecified()
}

/// Whether this node dialled it, to tell it what is known here.
fn is_dialled(role: Role) -> bool {
    matches!(role, Role::Original { dialled: Some(_) })
}
