//! One peer's protocol state: `handle(now, input)`, `poll_output()` until it is empty, sleep until `next_wake()`.
//!
//! A node is its parts, each a state machine of its own: it hands them what comes, and does what follows from one for the
//! others. What all of them act through is the [`Runtime`].

use std::net::SocketAddr;

use crate::gossip::anti_entropy::{self, AntiEntropy, Sets};
use crate::gossip::catalogue::Catalogue;
use crate::gossip::census::Census;
use crate::gossip::config::Config;
use crate::gossip::deadlines::Deadline;
use crate::gossip::handshake::Handshake;
use crate::gossip::io::{Identity, Input, LinkId, NodeEvent, Output};
use crate::gossip::links::{Admission, Role};
use crate::gossip::liveness::{self, Liveness};
use crate::gossip::membership::Membership;
use crate::gossip::membership::contacts::Ended;
use crate::gossip::originals::Originals;
use crate::gossip::reason::{Reason, Refusal};
use crate::gossip::recent::Pushed;
use crate::gossip::runtime::Runtime;
use crate::gossip::stats::Stats;
use crate::gossip::tree::Tree;
use crate::gossip::updates::{self, Updates};
use crate::gossip::whereabouts;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{Payload, PeerMessage};

mod closing;
mod lines;
mod news;
mod opening;

/// Outputs that the messages that came at once may bring before the rest of them is refused: twice what the largest
/// graft is answered with.
const MAX_OUTPUTS: usize = 16_384;

/// One peer.
#[derive(Debug)]
pub struct Node {
    rt: Runtime,
    handshake: Handshake,
    membership: Membership,
    liveness: Liveness,
    tree: Tree,
    updates: Updates,
    anti_entropy: AntiEntropy,
    census: Census,
    originals: Originals,
    /// Whether peers of the original system may take part.
    takes_originals: bool,
    /// Where the peer of the same id is for which this one stays out, until it is known to be gone.
    older: Option<SocketAddr>,
    /// What is counted here, and not by a part.
    stats: Stats,
    /// When this node wants to be woken.
    planned: Instant,
}

impl Node {
    /// A node that starts `now` with what it kept, and knows nobody yet.
    pub fn new(me: Identity, config: Config, catalogue: Catalogue, seed: u64, now: Instant) -> Self {
        let mut rt = Runtime::new(me, &config, seed, now);
        Self {
            liveness: Liveness::new(config.liveness, &mut rt),
            originals: Originals::new(config.views.redial_lost),
            membership: Membership::new(config.views, &mut rt),
            handshake: Handshake::new(config.cluster),
            tree: Tree::new(rt.life.source, config.broadcast),
            updates: Updates::new(config.limits, config.reconcile_after, catalogue),
            anti_entropy: AntiEntropy::new(config.reconcile_after, config.reconcile_pause),
            census: Census::new(config.census),
            takes_originals: config.original,
            older: None,
            stats: Stats::default(),
            planned: now,
            rt,
        }
    }

    /// Takes one thing that happened. The outputs must be drained before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.rt.waiting() == 0, "a driver drains the outputs after each input");
        self.rt.now = now;
        self.liveness.woken(self.planned, &mut self.rt);
        match input {
            Input::Wake => {}
            Input::LinkUp { link, remote, dialled } => self.link_up(link, remote, dialled),
            Input::DialFailed { addr, reason } => self.dial_failed(addr, reason),
            Input::NameReached { name, link, addr } => self.name_reached(&name, link, addr),
            Input::NameFailed { name, reason } => self.membership.contacts.name_failed(&name, reason, &mut self.rt),
            Input::OriginalUp { link, remote } => self.original_up(link, remote),
            Input::Brought { remote, lines } => self.brought(remote, lines),
            Input::TurnedAway { remote, reason } => self.misbehaved(remote, Reason::Unreadable(reason)),
            Input::LinkDown { link, reason } => self.drop_link(link, Reason::Lost(reason), Ended::Broken),
            Input::Unreadable { link, reason } => self.unreadable(link, Reason::Unreadable(reason)),
            Input::Messages { link, messages } => {
                for message in messages {
                    self.heard(link, message);
                }
            }
            Input::Lines { link, lines } => self.lines(link, lines),
            Input::Recall { addrs } => self.membership.contacts.recall(&addrs, &mut self.rt),
            Input::Contact { addr } => self.named(addr),
            Input::Name { name } => self.membership.contacts.host_named(name, &mut self.rt),
            Input::Publish { update } => {
                self.publish(&update);
            }
            Input::Persisted { seq } => self.updates.on_persisted(seq, &mut self.rt),
            Input::Congested { link } => self.congested(link),
            Input::Drained { link } => self.drained(link),
            Input::Clock { wall_ms } => self.rt.set_wall(wall_ms),
            Input::Leave => self.leave(),
        }
        self.tick();
        self.planned = self.rt.deadlines.next(self.rt.leaving).unwrap_or(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.rt.poll_output()
    }

    /// When to come back with [`Input::Wake`] if nothing else happens.
    pub fn next_wake(&self) -> Instant {
        self.planned
    }

    /// What this node knows of every file.
    pub fn catalogue(&self) -> &Catalogue {
        self.updates.catalogue()
    }

    /// What this node knows of every peer.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// The active view.
    pub fn neighbours(&self) -> impl Iterator<Item = PeerId> {
        self.rt.links.neighbours().map(|neighbour| neighbour.peer)
    }

    /// The links on which it pushes news.
    pub fn eager(&self) -> impl Iterator<Item = LinkId> {
        self.tree.eager()
    }

    /// The addresses that this node knows.
    pub fn known(&self) -> impl Iterator<Item = SocketAddr> {
        self.membership.contacts.book().addrs()
    }

    /// What has happened since it started, in numbers.
    pub fn stats(&self) -> Stats {
        Stats {
            applied: self.updates.applied(),
            rejected: self.updates.rejected().clone(),
            duplicates: self.tree.duplicates,
            not_understood: self.originals.lines_not_understood(),
            ..self.stats.clone()
        }
    }

    // --- time -------------------------------------------------------------------------------------------------

    /// Does what is due, and what follows each input.
    fn tick(&mut self) {
        let (now, mut former) = (self.rt.now, None);
        while let Some(deadline) = self.rt.deadlines.due_after(former, now) {
            self.meet(deadline);
            former = Some(deadline);
        }
        self.publish_own_record();
        let known = |rt: &Runtime| {
            let neighbours = rt.links.neighbours().map(|neighbour| neighbour.addr);
            neighbours.chain(self.membership.contacts.book().passive_view()).collect()
        };
        self.originals.tend(known, self.updates.catalogue(), &mut self.rt);
        self.tree.tick(now, self.liveness.slowness(now), &mut self.rt.rng);
        self.flush_tree();
        let deadlines = &mut self.rt.deadlines;
        deadlines.put(Deadline::Originals, self.originals.next_wake());
        deadlines.put(Deadline::Tree, self.tree.next_wake());
    }

    /// Does what is due.
    fn meet(&mut self, deadline: Deadline) {
        match deadline {
            Deadline::Links => {
                self.check_links();
                // Somebody who was given up just now may have been the partner: then another is, and has a deadline.
                if self.rt.deadlines.is_due(Deadline::Links, self.rt.now) {
                    self.check_links();
                }
            }
            Deadline::Return => self.come_back(),
            Deadline::Seek => self.membership.contacts.seek(&self.originals, &mut self.rt),
            Deadline::Probe => self.membership.contacts.probe(&self.census, &self.originals, &mut self.rt),
            Deadline::Shuffle => self.membership.shuffle(&mut self.rt),
            Deadline::Clocks => updates::clocks_agree(&mut self.rt),
            Deadline::Twin => self.no_twin(),
            Deadline::Alone => self.membership.tell_that_i_am_alone(&mut self.rt),
            // These follow each input: what comes can bring them forward.
            Deadline::Record | Deadline::Originals | Deadline::Tree => {}
        }
    }

    /// Asks the silent for a sign of life, closes the dead, and compares again.
    fn check_links(&mut self) {
        let findings = self.liveness.check(self.updates.catalogue().total(), &mut self.rt);
        for peer in findings.suspects {
            self.tree.publish(Payload::Suspect(peer.into()), self.rt.now, &mut self.rt.rng);
        }
        for (id, reason) in findings.dead {
            self.goodbye(id, reason, Ended::Broken);
        }
        let sets = Sets { catalogue: self.updates.catalogue(), census: &self.census };
        self.anti_entropy.tick(sets, &mut self.rt);
    }

    // --- driver -----------------------------------------------------------------------------------------------

    /// A person named an address.
    fn named(&mut self, addr: SocketAddr) {
        if self.originals.knows(&addr) {
            self.originals.learn(addr, true, self.rt.now);
        } else {
            self.membership.contacts.named(addr, &mut self.rt);
        }
    }

    /// A link takes nothing now.
    fn congested(&mut self, link: LinkId) {
        self.tree.congested(link);
        self.originals.congested(link);
        if let Some(Role::Neighbour { peer, .. }) = self.rt.links.get(link).map(|link| link.role) {
            self.rt.event(NodeEvent::Slow { peer });
        }
    }

    /// It takes something again.
    fn drained(&mut self, link: LinkId) {
        match self.rt.links.get(link).map(|link| link.role) {
            Some(Role::Original { .. }) => self.originals.drained(link, self.rt.now),
            Some(Role::Neighbour { peer, .. }) => {
                let withheld = self.tree.drained(link);
                self.rt.event(NodeEvent::KeepsUp { peer, withheld });
                self.anti_entropy.compare_with(link, self.updates.catalogue(), &mut self.rt);
            }
            Some(Role::Stranger | Role::Asked { .. } | Role::Client | Role::Expected { .. }) | None => {}
        }
    }

    // --- messages ---------------------------------------------------------------------------------------------

    fn heard(&mut self, id: LinkId, message: PeerMessage) {
        match self.rt.links.heard(id, self.rt.now) {
            Admission::Closed => {}
            Admission::TooMany => self.refuse(id, Reason::TooManyMessages),
            Admission::Admitted if self.rt.waiting() + self.tree.outgoing_count() > MAX_OUTPUTS => {
                self.refuse(id, Reason::TooMuchAsked);
            }
            Admission::Admitted => self.message(id, message),
        }
    }

    fn message(&mut self, id: LinkId, mut message: PeerMessage) {
        let Some((role, remote)) = self.rt.links.get(id).map(|link| (link.role, link.remote)) else { return };
        message.relocate(|addr| whereabouts::meant(addr, remote));
        let sets = Sets { catalogue: self.updates.catalogue(), census: &self.census };
        match (role, message) {
            (Role::Expected { .. }, _) => self.close(id, Reason::NotAnOriginal),
            // A driver tells the two ways of speaking apart.
            (Role::Original { .. }, _) => {}
            (_, PeerMessage::Goodbye { reason, leaving, others }) => {
                self.told_goodbye(id, Reason::told(reason), leaving, others);
            }
            (Role::Stranger, PeerMessage::Hello(hello)) => self.greeted(id, &hello),
            (Role::Stranger, _) => self.refuse(id, Reason::BeforeHello),
            (_, PeerMessage::Hello(_)) => self.refuse(id, Reason::SecondHello),
            (_, PeerMessage::Unknown { .. }) => self.stats.unknown += 1,
            (Role::Asked { peer, addr }, PeerMessage::Welcome { others }) => self.welcomed(id, (peer, addr), others),
            (_, PeerMessage::Ping { nonce, catalogue, partner }) => {
                liveness::ping(id, nonce, partner, sets.catalogue.total(), &mut self.rt);
                self.anti_entropy.compare_sums(id, catalogue, sets.catalogue, &mut self.rt);
            }
            (_, PeerMessage::Pong { nonce, catalogue, partner }) => {
                if let Some(wait) = liveness::pong(id, nonce, partner, &mut self.rt) {
                    self.tree.measured(id, wait);
                }
                self.anti_entropy.compare_sums(id, catalogue, sets.catalogue, &mut self.rt);
            }
            (_, PeerMessage::Submit { request, update }) => {
                // What is taken now would reach nobody if it has to stay out again.
                let taken = match self.older {
                    Some(_) => self.updates.reject(&update, Refusal::StandsBy, &mut self.rt),
                    None => self.publish(&update),
                };
                self.updates.submitted(id, request, taken, &mut self.rt);
            }
            (_, PeerMessage::Reconcile(set, claims)) => {
                self.anti_entropy.claimed(id, set, &claims, sets, &mut self.rt);
            }
            (_, PeerMessage::Request(set, wanted)) => anti_entropy::wanted(id, set, &wanted, sets, &mut self.rt),
            (Role::Neighbour { peer, .. }, message) => self.neighbourly(id, peer, message),
            // What was on its way when a link ended or was refused.
            (Role::Asked { .. }, _) => {}
            (Role::Client, message) if message.is_answer() => {}
            (Role::Client, _) => self.refuse(id, Reason::NoNeighbour),
        }
    }

    fn neighbourly(&mut self, id: LinkId, peer: PeerId, message: PeerMessage) {
        let (originals, now) = (&self.originals, self.rt.now);
        match message {
            PeerMessage::Broadcast { id: name, hops, payload } => {
                self.broadcast((id, peer), name, Pushed { hops, payload });
            }
            PeerMessage::IHave(announced) => self.tree.announced(id, &announced, now, &mut self.rt.rng),
            PeerMessage::Graft(wanted) => {
                if !self.tree.grafted(id, &wanted, now) {
                    self.anti_entropy.compare_with(id, self.updates.catalogue(), &mut self.rt);
                }
            }
            PeerMessage::Prune => self.tree.pruned(id, now),
            PeerMessage::ForwardJoin { addr, ttl } => {
                self.membership.forward_join(id, (addr, ttl), originals, &mut self.rt);
            }
            PeerMessage::Shuffle { walk, ttl, addrs } => {
                self.membership.shuffled(id, (walk, ttl), addrs, originals, &mut self.rt);
            }
            PeerMessage::ShuffleReply { walk, addrs } => {
                self.membership.shuffle_replied(walk, addrs, originals, &mut self.rt);
            }
            PeerMessage::State { entries, rest } => self.state((id, peer), &entries, rest),
            PeerMessage::Records { entries, rest } => self.records(id, &entries, rest),
            // A second welcome comes with a link that both sides dialled; the others were dealt with or are a client's.
            PeerMessage::Welcome { .. }
            | PeerMessage::Hello(_)
            | PeerMessage::Goodbye { .. }
            | PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Reconcile(..)
            | PeerMessage::Request(..)
            | PeerMessage::Submit { .. }
            | PeerMessage::Accepted { .. }
            | PeerMessage::Refused { .. }
            | PeerMessage::Deferred { .. }
            | PeerMessage::Unknown { .. } => {}
        }
    }
}
