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
//! - The tree is only improved (section 3.8) for one source, which all peers choose alike ([`super::anchor`]), so that
//!   it comes to rest whoever sends.
//! - When a link of the tree is gone, all other links are pushed on until they prove superfluous again (the paper's
//!   section 3.6 waits for announcements), since more than one neighbour may be gone.
//! - A link that can't keep up is left out ([`Tree::congested`]), and reconciles when it can again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::gossip::anchor::{Anchor, Came};
use crate::gossip::branch::{Branch, FIRST_WAIT, LONGEST_ANSWER};
use crate::gossip::config::Broadcast;
use crate::gossip::io::LinkId;
use crate::gossip::missing::Missing;
use crate::gossip::recent::{Pushed, Recent};
use crate::gossip::streams::Streams;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::peer::{Announced, IdRange, MAX_RANGES, MessageId, Payload, PeerMessage, Source};

/// A node's part of the tree.
#[derive(Debug)]
pub struct Tree {
    config: Broadcast,
    own: Source,
    published: u64,
    streams: Streams,
    anchor: Anchor,
    recent: Recent,
    missing: Missing,
    branches: BTreeMap<LinkId, Branch>,
    /// What is to be said.
    said: VecDeque<(Vec<LinkId>, PeerMessage)>,
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
            anchor: Anchor::new(own, config.beacon),
            recent: Recent::new(config.kept),
            missing: Missing::new(config.gaps),
            branches: BTreeMap::new(),
            said: VecDeque::new(),
            duplicates: 0,
            config,
        }
    }

    /// What is to be said next, and to whom.
    pub fn poll_said(&mut self) -> Option<(Vec<LinkId>, PeerMessage)> {
        self.said.pop_front()
    }

    /// How much is to be said.
    pub fn unsaid(&self) -> usize {
        self.said.len()
    }

    /// When [`Tree::tick`] has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        let announcements = self.branches.values().filter_map(|branch| branch.announce_at);
        announcements.chain(self.missing.next_wake()).chain(self.anchor.next_wake()).min()
    }

    /// The links on which news is pushed.
    pub fn eager(&self) -> impl Iterator<Item = LinkId> {
        self.branches.iter().filter(|(_, branch)| branch.eager).map(|(link, _)| *link)
    }

    // --- links ------------------------------------------------------------------------------------------------

    /// A neighbour is there. Its link is part of the tree until it proves superfluous (section 3.6) where there is no tree
    /// yet; later (departing from the paper), only where no other link is.
    pub fn linked(&mut self, link: LinkId) {
        let eager = self.anchor.is_unknown() || self.eager().next().is_none();
        self.branches.insert(link, Branch { eager, ..Branch::default() });
        if eager {
            self.said.push_back((vec![link], PeerMessage::Graft(Vec::new())));
        }
        self.unsettle_all();
    }

    /// A neighbour is gone. Gives the links that are part of the tree again in its place; what was missed in between
    /// must be reconciled on them.
    pub fn unlinked(&mut self, link: LinkId, now: Instant) -> Vec<LinkId> {
        let Some(gone) = self.branches.remove(&link) else { return Vec::new() };
        self.missing.gone(link, now);
        self.unsettle_all();
        if !gone.eager {
            return Vec::new();
        }
        let mut mended = Vec::new();
        for (link, branch) in self.branches.iter_mut().filter(|(_, branch)| !branch.eager) {
            branch.eager = true;
            mended.push(*link);
        }
        if !mended.is_empty() {
            self.said.push_back((mended.clone(), PeerMessage::Graft(Vec::new())));
        }
        mended
    }

    /// The link takes nothing until [`Tree::drained`].
    pub fn congested(&mut self, link: LinkId) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.congested = true;
            branch.unannounced.clear();
            branch.announce_at = None;
            branch.waiting = 0;
        }
    }

    /// The link takes something again. Says how many broadcasts it missed, which must be reconciled.
    pub fn drained(&mut self, link: LinkId) -> u64 {
        let Some(branch) = self.branches.get_mut(&link) else { return 0 };
        branch.congested = false;
        std::mem::take(&mut branch.withheld)
    }

    /// How long an answer usually takes on a link.
    pub fn measured(&mut self, link: LinkId, wait: Duration) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.wait = wait.min(LONGEST_ANSWER);
        }
    }

    /// Gaps are likely for a while: announcements are to be quick again.
    fn unsettle_all(&mut self) {
        for branch in self.branches.values_mut() {
            branch.settled = 0;
        }
    }

    fn unsettle(&mut self, link: LinkId) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.settled = 0;
        }
    }

    // --- news -------------------------------------------------------------------------------------------------

    /// Sends something of this node's own.
    pub fn publish(&mut self, payload: Payload, now: Instant, rng: &mut Rng) {
        self.published += 1;
        let id = MessageId { source: self.own, seq: self.published };
        self.streams.note(id, now);
        self.spread(id, Pushed { hops: 0, payload }, None, now, rng);
    }

    /// A broadcast came. Says whether for the first time.
    pub fn note(&mut self, id: MessageId, now: Instant) -> bool {
        self.streams.note(id, now)
    }

    /// Passes a noted broadcast on.
    pub fn pass_on(&mut self, link: LinkId, id: MessageId, pushed: Pushed, now: Instant, rng: &mut Rng) {
        if let Some(branch) = self.branches.get_mut(&link)
            && branch.is_steady(now)
        {
            branch.eager = true;
        }
        self.missing.came(link, id, now);
        if let Some(gap) = self.streams.gap_before(id) {
            self.miss(gap, link, now, rng);
        }
        self.spread(id, pushed, Some(link), now, rng);
    }

    /// A broadcast came once too often: the link is none of the tree's (section 3.5).
    pub fn came_again(&mut self, link: LinkId, id: MessageId, now: Instant) {
        self.duplicates += 1;
        let Some(branch) = self.branches.get_mut(&link) else { return };
        branch.has(id.source, id.seq);
        if branch.is_steady(now) {
            self.prune(link, now);
        }
    }

    fn prune(&mut self, link: LinkId, now: Instant) {
        let Some(branch) = self.branches.get_mut(&link) else { return };
        branch.grow_lazy();
        branch.pruned = now;
        self.said.push_back((vec![link], PeerMessage::Prune));
    }

    fn spread(&mut self, id: MessageId, pushed: Pushed, from: Option<LinkId>, now: Instant, rng: &mut Rng) {
        self.anchor.heard(Came { id, link: from, hops: pushed.hops }, &pushed.payload, now, rng);
        let mut to = Vec::new();
        for (link, branch) in self.branches.iter_mut().filter(|(link, _)| Some(**link) != from) {
            if branch.congested {
                branch.withheld += 1;
            } else if branch.eager {
                to.push(*link);
            } else {
                branch.announce_later(id, pushed.hops, &self.config, now, rng);
            }
        }
        let Pushed { hops, payload } = pushed.clone();
        if !to.is_empty() {
            self.said.push_back((to, PeerMessage::Broadcast { id, hops, payload }));
        }
        self.recent.keep(id, pushed, now);
    }

    // --- repair -----------------------------------------------------------------------------------------------

    /// A neighbour doesn't want to be pushed to.
    pub fn pruned(&mut self, link: LinkId) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.grow_lazy();
        }
    }

    /// A neighbour wants to be pushed to, beginning with some broadcasts. Says whether all of them that have come are still
    /// here; the others must be reconciled.
    pub fn grafted(&mut self, link: LinkId, wanted: &[IdRange], now: Instant) -> bool {
        let Some(branch) = self.branches.get_mut(&link) else { return true };
        branch.eager = true;
        if wanted.is_empty() {
            branch.replaced = now;
        }
        // What came before the graft is pushed to nobody there any more: the neighbour learns of it at once.
        branch.announce_at = branch.announce_at.map(|at| at.min(now));
        let mut sent = 0;
        for (id, Pushed { hops, payload }) in self.recent.of_ranges(wanted) {
            let message = PeerMessage::Broadcast { id, hops: *hops, payload: payload.clone() };
            self.said.push_back((vec![link], message));
            sent += 1;
        }
        let came = wanted.iter().map(|range| self.streams.received(*range)).fold(0, u64::saturating_add);
        if !wanted.is_empty() {
            self.unsettle(link);
        }
        sent == came
    }

    /// A neighbour has some broadcasts.
    pub fn announced(&mut self, link: LinkId, all: &[Announced], now: Instant, rng: &mut Rng) {
        for Announced { range, hops } in all {
            let missing = self.streams.missing(*range);
            if let Some(branch) = self.branches.get_mut(&link) {
                branch.has(range.source, range.last);
            }
            if missing.is_empty() && self.anchor.is(range.source) {
                self.optimise(link, *range, *hops, now);
            }
            for range in missing {
                self.miss(range, link, now, rng);
            }
        }
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.takes_over = false;
        }
    }

    /// Section 3.8: a neighbour that is nearer to the source than the present parent becomes the parent.
    fn optimise(&mut self, link: LinkId, range: IdRange, hops: u16, now: Instant) {
        let Some(newest) = self.anchor.newest().filter(|newest| newest.id.seq == range.last) else { return };
        let Some(parent) = newest.link.filter(|parent| *parent != link) else { return };
        let nearer = hops.saturating_add(1).saturating_add(self.config.optimise_hops) <= newest.hops;
        let old_is_eager = self.branches.get(&parent).is_some_and(|old| old.eager);
        let Some(branch) = self.branches.get_mut(&link) else { return };
        if nearer && old_is_eager && !branch.eager && !branch.congested {
            (branch.eager, branch.replaced, branch.takes_over) = (true, now, true);
            self.said.push_back((vec![link], PeerMessage::Graft(Vec::new())));
            self.missing.takes_over(link, now);
            self.prune(parent, now);
        }
    }

    fn miss(&mut self, range: IdRange, holder: LinkId, now: Instant, rng: &mut Rng) {
        let wait = match self.branches.get(&holder) {
            None => FIRST_WAIT,
            // Nobody brings what passed the new parent before it heard of that, and would have passed the old one later.
            Some(branch) if branch.takes_over => Duration::ZERO,
            // A parent announces only what it had before it became one: it doesn't come by itself.
            Some(branch) if branch.eager => branch.wait,
            // All on this side of a cut miss it. Whom chance lets ask first gets it for all (Floyd, Jacobson, McCanne,
            // Liu, Zhang, "A Reliable Multicast Framework", SIGCOMM 1995, section 3.2: request timers).
            Some(branch) => {
                let patience = self.missing.patience(branch.wait, now);
                rng.duration(patience, patience * 2)
            }
        };
        self.missing.add(range, holder, wait, now);
    }

    /// Does what is due. `slowness`: how late this node is for its own deadlines.
    pub fn tick(&mut self, now: Instant, slowness: Duration, rng: &mut Rng) {
        self.missing.slowed(slowness);
        self.recent.forget_the_old(now);
        self.announce(now);
        self.graft(now);
        if self.anchor.is_to_show_itself(now) {
            self.publish(Payload::Beacon, now, rng);
        }
    }

    fn announce(&mut self, now: Instant) {
        for (link, branch) in &mut self.branches {
            if branch.announce_at.is_none_or(|at| now < at) {
                continue;
            }
            let mut all = Vec::new();
            while let Some((source, (first, last, hops))) = branch.unannounced.pop_first() {
                all.push(Announced { range: IdRange { source, first, last }, hops });
                if all.len() == MAX_RANGES {
                    break;
                }
            }
            branch.announce_at = (!branch.unannounced.is_empty()).then_some(now);
            branch.settled = branch.settled.saturating_add(1);
            (branch.announced, branch.waiting) = (now, 0);
            self.said.push_back((vec![*link], PeerMessage::Have(all)));
        }
    }

    fn graft(&mut self, now: Instant) {
        let mut asked: BTreeMap<LinkId, Vec<IdRange>> = BTreeMap::new();
        for mut gap in self.missing.due(now) {
            let mut wanted = self.streams.missing(gap.range);
            let Some(first) = wanted.first().map(|range| range.first) else { continue };
            if gap.may_wait(first, now) {
                let holder = gap.holder().and_then(|link| self.branches.get(&link));
                let patience = self.missing.patience(holder.map_or(FIRST_WAIT, |branch| branch.wait), now);
                self.missing.put_back(gap, now + patience);
                continue;
            }
            // Each link that is pushed on makes another circle in the tree: one that is already is asked first.
            let pushes = |link| self.branches.get(&link).is_some_and(|branch| branch.eager);
            let Some(holder) = gap.next_holder(|link| self.branches.contains_key(&link), pushes) else {
                self.streams.give_up(gap.range);
                continue;
            };
            let Some(branch) = self.branches.get_mut(&holder) else { continue };
            branch.eager = true;
            branch.settled = 0;
            let again_after = gap.backed_off(self.missing.patience(branch.wait * 2, now));
            self.missing.put_back(gap, now + again_after);
            if let Some(end) = wanted.last_mut() {
                self.streams.open(end);
            }
            wanted.truncate(MAX_RANGES);
            asked.entry(holder).or_default().append(&mut wanted);
        }
        for (holder, wanted) in asked {
            let grafts = wanted.chunks(MAX_RANGES).map(|ranges| PeerMessage::Graft(ranges.to_vec()));
            self.said.extend(grafts.map(|graft| (vec![holder], graft)));
        }
    }
}
