//! Plumtree (Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007): news is pushed along a tree of links,
//! and announced on all others, so that whoever misses it can ask.
//!
//! One tree serves all sources (section 3.8 of the paper discusses this): in it no broadcast comes twice to anybody,
//! whoever sends it. Where this departs from the paper:
//!
//! - Names are (source, number), so an announcement is a range of numbers and not a list of hashes, and "have I got
//!   it?" is answered for good ([`super::streams`]).
//! - An announcement waits, and isn't made to a neighbour that announces the same: short after a change of the tree,
//!   when gaps are likely, milliseconds; up to seconds when the tree has proved itself and little comes. The paper's
//!   section 3.4 leaves this policy open.
//! - How long an announced broadcast may take to come by itself follows the link's round trip, and how long others took
//!   (the paper's section 3.5 has one constant for all).
//! - Whether one side of a link pushes is decided by the other alone, and who gets the same twice gives up the longer
//!   way, not the slower, and never the last ([`Tree::on_duplicate`]): a crowd cuts hardly anybody off.
//! - The tree is only improved (section 3.8) for one source, which all peers choose alike ([`super::root`]), so that
//!   it comes to rest whoever sends.
//! - When a link of the tree is gone, all other links are pushed on until they prove redundant again (the paper's
//!   section 3.6 waits for announcements), since more than one neighbour may be gone.
//! - A link that can't keep up is left out ([`Tree::congested`]), and reconciles when it can again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::gossip::branch::Branch;
use crate::gossip::config::Broadcast;
use crate::gossip::graft_timers::GraftTimers;
use crate::gossip::io::LinkId;
use crate::gossip::recent::{Pushed, Recent, Route};
use crate::gossip::root::{Arrival, Root};
use crate::gossip::streams::Streams;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::{Announced, IdRange, MessageId, Source};
use crate::wire::peer::{Payload, PeerMessage};

mod repair;

/// A node's part of the tree.
#[derive(Debug)]
pub struct Tree {
    config: Broadcast,
    own: Source,
    published: u64,
    streams: Streams,
    root: Root,
    recent: Recent,
    graft_timers: GraftTimers,
    branches: BTreeMap<LinkId, Branch>,
    /// What is to be sent, and to whom.
    outgoing: VecDeque<(Vec<LinkId>, PeerMessage)>,
    /// Broadcasts that came more than once.
    pub duplicates: u64,
}

impl Tree {
    /// A node without neighbours.
    pub fn new(own: Source, config: Broadcast) -> Self {
        Self {
            own,
            published: 0,
            streams: Streams::new(config.sources, config.gaps),
            root: Root::new(own, config.beacon),
            recent: Recent::new(config.kept),
            graft_timers: GraftTimers::new(config.gaps),
            branches: BTreeMap::new(),
            outgoing: VecDeque::new(),
            duplicates: 0,
            config,
        }
    }

    /// Returns what is to be sent next, and to whom.
    pub fn poll_outgoing(&mut self) -> Option<(Vec<LinkId>, PeerMessage)> {
        self.outgoing.pop_front()
    }

    /// Returns how many messages are to be sent.
    pub fn outgoing_count(&self) -> usize {
        self.outgoing.len()
    }

    /// When [`Tree::tick`] has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        let announcements = self.branches.values().filter_map(Branch::lazy_push_at);
        announcements.chain(self.graft_timers.next_wake()).chain(self.root.next_wake()).min()
    }

    /// The links on which news is pushed.
    pub fn eager(&self) -> impl Iterator<Item = LinkId> {
        self.branches.iter().filter(|(_, branch)| branch.is_outbound_eager()).map(|(link, _)| *link)
    }

    /// Whether news is pushed on a link, one way at least.
    pub fn uses(&self, link: LinkId) -> bool {
        self.branches.get(&link).is_some_and(|branch| branch.is_outbound_eager() || branch.is_inbound_eager())
    }

    // --- links ------------------------------------------------------------------------------------------------

    /// A neighbour is there. Its link is part of the tree until it proves redundant (section 3.6) where there is no
    /// tree yet; later (departing from the paper), only where no other link is.
    pub fn linked(&mut self, link: LinkId) {
        let in_tree = self.root.is_unknown() || !self.branches.values().any(Branch::is_inbound_eager);
        self.branches.insert(link, Branch::new(in_tree));
        if in_tree {
            self.ask_to_push(vec![link]);
        }
        self.unsettle_all();
    }

    /// A neighbour is gone. Returns the links that are part of the tree again in its place; what was missed in between
    /// must be reconciled on them.
    pub fn unlinked(&mut self, link: LinkId, now: Instant) -> Vec<LinkId> {
        let Some(gone) = self.branches.remove(&link) else { return Vec::new() };
        self.graft_timers.gone(link, now);
        self.unsettle_all();
        if !gone.is_inbound_eager() {
            return Vec::new();
        }
        let mut mended = Vec::new();
        for (link, branch) in self.branches.iter_mut().filter(|(_, branch)| !branch.is_inbound_eager()) {
            branch.join_the_tree();
            mended.push(*link);
        }
        if !mended.is_empty() {
            self.ask_to_push(mended.clone());
        }
        mended
    }

    /// The link takes nothing until [`Tree::drained`].
    pub fn congested(&mut self, link: LinkId) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.congested();
        }
    }

    /// The link takes something again. Returns how many broadcasts it missed, which must be reconciled.
    pub fn drained(&mut self, link: LinkId) -> u64 {
        self.branches.get_mut(&link).map_or(0, Branch::drained)
    }

    /// How long an answer usually takes on a link.
    pub fn measured(&mut self, link: LinkId, wait: Duration) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.measured(wait);
        }
    }

    /// Gaps are likely for a while: announcements are to be quick again.
    fn unsettle_all(&mut self) {
        self.branches.values_mut().for_each(Branch::unsettle);
    }

    /// They are to push to this node from now on.
    fn ask_to_push(&mut self, to: Vec<LinkId>) {
        self.outgoing.push_back((to, PeerMessage::Graft(Vec::new())));
    }

    // --- news -------------------------------------------------------------------------------------------------

    /// Sends something of this node's own.
    pub fn publish(&mut self, payload: Payload, now: Instant, rng: &mut Rng) {
        self.published += 1;
        let id = MessageId { source: self.own, seq: self.published };
        self.streams.note(id, now);
        self.spread(id, Pushed { hops: 0, payload }, None, now, rng);
    }

    /// A broadcast came. Returns whether for the first time.
    pub fn note(&mut self, id: MessageId, now: Instant) -> bool {
        self.streams.note(id, now)
    }

    /// Passes a noted broadcast on.
    pub fn pass_on(&mut self, link: LinkId, id: MessageId, pushed: Pushed, now: Instant, rng: &mut Rng) {
        if self.branches.get_mut(&link).is_some_and(|branch| branch.ask_for_both_ways(now)) {
            self.ask_to_push(vec![link]);
        }
        self.graft_timers.came(link, id, now);
        if let Some(gap) = self.streams.gap_before(id) {
            self.miss(gap, link, now, rng);
        }
        self.spread(id, pushed, Some(link), now, rng);
    }

    fn spread(&mut self, id: MessageId, pushed: Pushed, from: Option<LinkId>, now: Instant, rng: &mut Rng) {
        self.root.heard(Arrival { id, link: from, hops: pushed.hops }, &pushed.payload, now, rng);
        let mut to = Vec::new();
        for (link, branch) in self.branches.iter_mut().filter(|(link, _)| Some(**link) != from) {
            if branch.pass_on(id, pushed.hops, &self.config, now, rng) {
                to.push(*link);
            }
        }
        let Pushed { hops, payload } = pushed.clone();
        if !to.is_empty() {
            self.outgoing.push_back((to, PeerMessage::Broadcast { id, hops, payload }));
        }
        self.recent.keep(id, from, pushed, now);
    }

    // --- grafts and announcements -------------------------------------------------------------------------------

    /// A neighbour wants to be pushed to, beginning with some broadcasts. Returns whether all of them that have come
    /// are still here; the others must be reconciled.
    pub fn grafted(&mut self, link: LinkId, wanted: &[IdRange], now: Instant) -> bool {
        let Some(branch) = self.branches.get_mut(&link) else { return true };
        if branch.grafted(!wanted.is_empty(), now) {
            self.ask_to_push(vec![link]);
        }
        let mut sent = 0;
        for (id, Pushed { hops, payload }) in self.recent.of_ranges(wanted) {
            let message = PeerMessage::Broadcast { id, hops: *hops, payload: payload.clone() };
            self.outgoing.push_back((vec![link], message));
            sent += 1;
        }
        let came = wanted.iter().map(|range| self.streams.received(*range)).fold(0, u64::saturating_add);
        sent == came
    }

    /// A neighbour has some broadcasts.
    pub fn announced(&mut self, link: LinkId, all: &[Announced], now: Instant, rng: &mut Rng) {
        for Announced { range, hops } in all {
            let missing = self.streams.missing(*range);
            if let Some(branch) = self.branches.get_mut(&link) {
                branch.has(range.source, range.last);
            }
            if missing.is_empty() && self.root.is(range.source) {
                self.optimise(link, *range, *hops, now);
            }
            for range in missing {
                self.miss(range, link, now, rng);
            }
        }
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.has_announced();
        }
    }

    // --- shape ------------------------------------------------------------------------------------------------

    /// A duplicate came, over so many hops: one link of the tree is redundant (section 3.5).
    pub fn on_duplicate(&mut self, link: LinkId, id: MessageId, hops: u16, now: Instant) {
        self.duplicates += 1;
        let Some(branch) = self.branches.get_mut(&link) else { return };
        branch.has(id.source, id.seq);
        if !branch.prune_check_due(now) {
            return;
        }
        if !branch.is_inbound_eager() {
            return self.prune(link);
        }
        if let Some(redundant) = self.redundant_link(link, id, hops) {
            self.prune(redundant);
        }
    }

    /// Returns which link to prune where a broadcast came over `link`, too. The paper prunes the one over which the
    /// duplicate came. In a crowd that is now one link and then the other, and two peers that choose each other as parents
    /// are cut off together. Here the longer way from the root is pruned: shortest ways form no circle.
    fn redundant_link(&self, link: LinkId, id: MessageId, hops: u16) -> Option<LinkId> {
        let Some(Route { from: Some(first), hops: first_hops }) = self.recent.route_of(id) else { return Some(link) };
        let first_is_parent = self.branches.get(&first).is_some_and(Branch::is_inbound_eager);
        if first == link || !first_is_parent {
            return None;
        }
        if self.root.is(id.source) {
            return Some(if hops < first_hops { first } else { link });
        }
        let is_parent = self.root.newest().is_some_and(|newest| newest.link == Some(link));
        (!is_parent).then_some(link)
    }

    fn prune(&mut self, link: LinkId) {
        let Some(branch) = self.branches.get_mut(&link) else { return };
        branch.give_up();
        self.outgoing.push_back((vec![link], PeerMessage::Prune));
    }

    /// A neighbour doesn't want to be pushed to any more.
    pub fn pruned(&mut self, link: LinkId, now: Instant) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.pruned(now);
        }
    }

    /// Section 3.8: a neighbour that is nearer to the source than the present parent becomes the parent.
    fn optimise(&mut self, link: LinkId, range: IdRange, hops: u16, now: Instant) {
        let Some(newest) = self.root.newest().filter(|newest| newest.id.seq == range.last) else { return };
        let Some(parent) = newest.link.filter(|parent| *parent != link) else { return };
        let nearer = hops.saturating_add(1).saturating_add(self.config.optimise_hops) <= newest.hops;
        let old_is_parent = self.branches.get(&parent).is_some_and(Branch::is_inbound_eager);
        let Some(branch) = self.branches.get_mut(&link) else { return };
        if nearer && old_is_parent && branch.can_become_parent() {
            branch.become_parent();
            self.ask_to_push(vec![link]);
            self.graft_timers.became_parent(link, now);
            self.prune(parent);
        }
    }

    // --- time -------------------------------------------------------------------------------------------------

    /// Does what is due. `slowness`: how late this node is for its own deadlines.
    pub fn tick(&mut self, now: Instant, slowness: Duration, rng: &mut Rng) {
        self.graft_timers.slowed(slowness);
        self.recent.forget_the_old(now);
        self.push_lazily(now);
        self.graft(now);
        if self.root.beacon_due(now) {
            self.publish(Payload::Beacon, now, rng);
        }
    }

    fn push_lazily(&mut self, now: Instant) {
        for (link, branch) in &mut self.branches {
            if let Some(all) = branch.poll_lazy_push(now) {
                self.outgoing.push_back((vec![*link], PeerMessage::IHave(all)));
            }
        }
    }
}
