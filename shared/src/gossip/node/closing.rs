//! The end of a link, and of a node: what each part has to do with that.

use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::anti_entropy::Sets;
use crate::gossip::deadlines::Deadline;
use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::links::Role;
use crate::gossip::membership::contacts::Ended;
use crate::gossip::node::Node;
use crate::gossip::reason::Reason;
use crate::gossip::stats::count;
use crate::wire::peer::{MAX_REASON_BYTES, PeerMessage};

/// How long a peer stays out before it looks whether the older one still answers. A guess: costs next to nothing, and far
/// below what it takes a person to see that one of them is missing.
const STAYS_OUT_FOR: Duration = Duration::from_mins(1);
/// How long the older one may take to answer then. As long as a hello may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long nothing may be heard of a younger peer of the same id until it counts as gone: it looks each
/// [`STAYS_OUT_FOR`], and may be missed once.
pub(super) const TWIN_GONE_AFTER: Duration = Duration::from_mins(3);

impl Node {
    // --- saying why -----------------------------------------------------------------------------------------------

    /// Closes a link after saying why.
    pub(super) fn goodbye(&mut self, id: LinkId, reason: Reason, ended: Ended) {
        let others = self.membership.others_for_stranger(&mut self.rt);
        self.goodbye_with(id, reason, ended, others);
    }

    /// The same, naming these others that the receiver could turn to.
    pub(super) fn goodbye_with(&mut self, id: LinkId, reason: Reason, ended: Ended, others: Vec<SocketAddr>) {
        if let Some(Role::Expected { .. } | Role::Original { .. }) = self.rt.links.get(id).map(|link| link.role) {
            return self.close(id, reason);
        }
        let mut text = reason.to_string();
        text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
        let leaving = self.rt.leaving;
        self.rt.send(vec![id], PeerMessage::Goodbye { reason: text, leaving, others });
        self.rt.push(Output::Close { link: id });
        self.drop_link(id, reason, ended);
    }

    /// Closes a link on which no goodbye would be understood.
    pub(super) fn close(&mut self, id: LinkId, reason: Reason) {
        self.rt.push(Output::Close { link: id });
        self.drop_link(id, reason, Ended::Broken);
    }

    /// Closes a link because of what the other side did.
    pub(super) fn refuse(&mut self, id: LinkId, reason: Reason) {
        self.misbehaved_on(id, &reason);
        self.goodbye_with(id, reason, Ended::Broken, Vec::new());
    }

    /// The same where the driver has closed it already.
    pub(super) fn unreadable(&mut self, id: LinkId, reason: Reason) {
        self.misbehaved_on(id, &reason);
        self.drop_link(id, reason, Ended::Broken);
    }

    fn misbehaved_on(&mut self, id: LinkId, reason: &Reason) {
        if let Some(remote) = self.rt.links.get(id).map(|link| link.remote) {
            self.misbehaved(remote, reason.clone());
        }
    }

    /// Somebody did what it may not do.
    pub(super) fn misbehaved(&mut self, remote: SocketAddr, reason: Reason) {
        count(&mut self.stats.offences, reason.name());
        let offences = self.stats.offences.values().sum();
        self.rt.event(NodeEvent::Misbehaved { remote, reason, offences });
    }

    // --- what follows ---------------------------------------------------------------------------------------------

    /// A link is gone.
    pub(super) fn drop_link(&mut self, id: LinkId, reason: Reason, ended: Ended) {
        let Some(link) = self.rt.links.close(id) else { return };
        count(&mut self.stats.closed, reason.name());
        self.updates.gone(id);
        if let Role::Expected { .. } | Role::Original { .. } = link.role {
            return self.original_gone(id, link.role);
        }
        self.membership.closed(&link, reason, ended, &mut self.rt);
        if let Role::Neighbour { .. } = link.role {
            self.neighbour_down(id);
        } else if link.dialled.is_some() {
            self.membership.contacts.seek_later(&mut self.rt);
        }
        if ended == Ended::Broken {
            self.membership.contacts.hasten_probe(&mut self.rt);
        }
    }

    fn neighbour_down(&mut self, id: LinkId) {
        let rt = &mut self.rt;
        self.census.neighbours_changed(rt.now, &mut rt.rng);
        // It may have been the partner.
        rt.deadlines.set(Deadline::Links, rt.now);
        let sets = Sets { catalogue: self.updates.catalogue(), census: &self.census };
        for mended in self.tree.unlinked(id, rt.now) {
            self.anti_entropy.compare_with(mended, sets.catalogue, rt);
        }
        self.anti_entropy.gone(id, sets, rt);
    }

    /// A link with an original is closed. Who was dialled as one and didn't speak first isn't one.
    fn original_gone(&mut self, id: LinkId, role: Role) {
        match role {
            Role::Original { dialled: Some(addr) } => {
                self.originals.lost(addr, Some(id), self.rt.now, &mut self.rt.rng);
            }
            Role::Expected { addr } if self.originals.knows(&addr) => {
                if self.originals.forget(&addr) {
                    self.membership.contacts.named(addr, &mut self.rt);
                } else {
                    self.membership.contacts.learn(vec![addr], &self.originals, &mut self.rt);
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

    // --- leaving --------------------------------------------------------------------------------------------------

    /// Says goodbye to everybody, and to all of the overlay.
    pub(super) fn leave(&mut self) {
        self.rt.leaving = true;
        self.rt.deadlines.stop(Deadline::Return);
        self.tell_that_i_leave();
        self.flush_tree();
        self.close_all(&Reason::Leaving);
    }

    /// Leaves without a word of it to the census: who bears the same id, at `older`, goes on. Only for a while: anybody can
    /// say a hello, and every peer ends some time.
    pub(super) fn stay_out(&mut self, older: SocketAddr) {
        self.rt.leaving = true;
        self.older = Some(older);
        self.rt.deadlines.set(Deadline::Return, self.rt.now + STAYS_OUT_FOR);
        self.rt.deadlines.stop(Deadline::Twin);
        self.close_all(&Reason::StaysOut);
    }

    /// Takes part again, if the older one doesn't answer.
    pub(super) fn come_back(&mut self) {
        let rt = &mut self.rt;
        rt.leaving = false;
        rt.deadlines.stop(Deadline::Return);
        let answered_by = rt.now + ANSWERS_WITHIN;
        rt.deadlines.set(Deadline::Seek, answered_by);
        rt.deadlines.set(Deadline::Probe, answered_by);
        rt.deadlines.set(Deadline::Twin, answered_by);
        let contacts = &mut self.membership.contacts;
        if let Some(older) = self.older.filter(|older| contacts.book().is_dialable(older)) {
            contacts.look_up(older, &self.originals, rt);
        }
    }

    /// Nobody else with this node's id has been heard of for long, nor where the older one was.
    pub(super) fn no_twin(&mut self) {
        self.older = None;
        self.rt.deadlines.stop(Deadline::Twin);
        self.rt.event(NodeEvent::NoTwin);
    }

    fn close_all(&mut self, reason: &Reason) {
        let all: Vec<LinkId> = self.rt.links.iter().map(|(id, _)| id).collect();
        for id in all {
            self.goodbye(id, reason.clone(), Ended::Left);
        }
    }
}
