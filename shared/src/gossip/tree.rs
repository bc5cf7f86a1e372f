//! Plumtree (Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007): news is pushed along a tree of links,
//! and announced on all others, so that whoever misses it can ask.
//!
//! One tree serves all sources (section 3.8 of the paper discusses this): in it no broadcast comes twice to anybody,
//! whoever sends it. Where this departs from the paper:
//!
//! - Names are (source, number), so an announcement is a range of numbers and not a list of hashes, and "have I got
//!   it?" is answered for good ([`super::streams`]).
//! - An announcement waits, and isn't made to a neighbour that announces the same: short after a change of the tree,
//!   when gaps are likely, milliseconds; up to a second when the tree has proved itself. The paper's section 3.4 leaves
//!   this policy open.
//! - How long an announced broadcast may take to come by itself follows the link's round trip (the paper's section 3.5
//!   has one constant for all).
//! - When a link of the tree is gone, all other links are pushed on until they prove superfluous again (the paper's
//!   section 3.6 waits for announcements), since more than one neighbour may be gone.
//! - A link that can't keep up is left out ([`Tree::congested`]), and reconciles when it can again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::gossip::anchor::Anchor;
use crate::gossip::branch::{Branch, FIRST_WAIT};
use crate::gossip::config::Broadcast;
use crate::gossip::estimate::Estimate;
use crate::gossip::io::LinkId;
use crate::gossip::recent::{Pushed, Recent};
use crate::gossip::streams::Streams;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::peer::{Announced, IdRange, MAX_RANGES, MessageId, Payload, PeerMessage, Source};

/// How often a missing range is asked for, each time of another neighbour if there is one, before it is left to the
/// reconciliation.
const MAX_ASKED: u32 = 8;
/// The longest wait for something that was announced, on a link whose answers take less. A guess.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Neighbours that are remembered to have a missing range.
const MAX_HOLDERS: usize = 8;

/// A node's part of the tree.
#[derive(Debug)]
pub struct Tree {
    config: Broadcast,
    own: Source,
    published: u64,
    /// When this node last sent something of its own.
    spoke: Instant,
    beacon_at: Option<Instant>,
    /// Beacons sent since others were nearer to being the anchor.
    beacons: u32,
    streams: Streams,
    anchor: Anchor,
    /// How long after its announcement a broadcast comes by itself.
    late: Estimate,
    recent: Recent,
    /// By source.
    missing: BTreeMap<Source, Missing>,
    branches: BTreeMap<LinkId, Branch>,
    /// What is to be said.
    said: VecDeque<(Vec<LinkId>, PeerMessage)>,
    /// Broadcasts that came more than once.
    pub duplicates: u64,
    /// Broadcasts that weren't pushed to a neighbour since its link was full.
    pub withheld: u64,
}

/// What neighbours have of a source and this node hasn't.
#[derive(Debug)]
struct Missing {
    /// All gaps are in here.
    range: IdRange,
    /// One broadcast of it and when that was announced.
    timed: Option<(u64, Instant)>,
    /// When it is asked for.
    at: Instant,
    asked: u32,
    /// Who has it; the last is the one that was asked last.
    holders: VecDeque<LinkId>,
}

impl Tree {
    /// A node without neighbours.
    pub fn new(own: Source, config: Broadcast) -> Self {
        Self {
            own,
            published: 0,
            spoke: Instant::START,
            beacon_at: None,
            beacons: 0,
            streams: Streams::new(config.sources, config.gaps),
            anchor: Anchor::default(),
            late: Estimate::default(),
            recent: Recent::default(),
            missing: BTreeMap::new(),
            branches: BTreeMap::new(),
            said: VecDeque::new(),
            duplicates: 0,
            withheld: 0,
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
        announcements.chain(self.missing.values().map(|missing| missing.at)).chain(self.beacon_at).min()
    }

    /// The links on which news is pushed.
    pub fn eager(&self) -> impl Iterator<Item = LinkId> {
        self.branches.iter().filter(|(_, branch)| branch.eager).map(|(link, _)| *link)
    }

    // --- links ------------------------------------------------------------------------------------------------

    /// A neighbour is there. A new link is part of the tree until it proves superfluous (section 3.6).
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
        for missing in self.missing.values_mut().filter(|missing| missing.holders.front() == Some(&link)) {
            missing.at = now;
        }
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
        }
    }

    /// The link takes something again; what it missed must be reconciled.
    pub fn drained(&mut self, link: LinkId) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.congested = false;
        }
    }

    /// How long an answer usually takes on a link.
    pub fn measured(&mut self, link: LinkId, wait: Duration) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.wait = wait;
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
        self.spoke = now;
        self.beacon_at = None;
        let id = MessageId { source: self.own, seq: self.published };
        self.streams.note(id, None, 0, now);
        self.spread(id, Pushed { hops: 0, payload }, None, now, rng);
    }

    /// A broadcast came from a neighbour, over `hops` links in all. Says whether for the first time.
    pub fn note(&mut self, link: LinkId, id: MessageId, hops: u16, now: Instant) -> bool {
        self.streams.note(id, Some(link), hops, now)
    }

    /// Passes a noted broadcast on.
    pub fn pass_on(&mut self, link: LinkId, id: MessageId, pushed: Pushed, now: Instant, rng: &mut Rng) {
        if let Some(branch) = self.branches.get_mut(&link)
            && !branch.eager
            && now - branch.pruned > branch.wait
        {
            branch.eager = true;
        }
        self.learn_from_what_was_missing(link, id, now);
        if let Some(gap) = self.streams.gap_before(id) {
            self.miss(gap, link, now);
        }
        self.spread(id, pushed, Some(link), now, rng);
        self.plan_beacon(now, rng);
    }

    /// Others send: if the tree's distances are counted from here, they must hear from here, too.
    fn plan_beacon(&mut self, now: Instant, rng: &mut Rng) {
        if !self.anchor.is(self.own) {
            self.beacons = 0;
        } else if self.beacon_at.is_none() {
            let pause = self.config.beacon.delay(self.beacons, rng);
            self.beacon_at = Some(now.max(self.spoke + pause));
        }
    }

    /// A broadcast came once too often: the link is none of the tree's (section 3.5).
    pub fn came_again(&mut self, link: LinkId, id: MessageId, now: Instant) {
        self.duplicates += 1;
        let Some(branch) = self.branches.get_mut(&link) else { return };
        branch.has(id.source, id.seq);
        if branch.eager || now - branch.pruned > branch.wait * 2 {
            self.prune(link, now);
        }
    }

    fn prune(&mut self, link: LinkId, now: Instant) {
        let Some(branch) = self.branches.get_mut(&link) else { return };
        branch.eager = false;
        branch.pruned = now;
        branch.settled = 0;
        self.said.push_back((vec![link], PeerMessage::Prune));
    }

    fn spread(&mut self, id: MessageId, pushed: Pushed, from: Option<LinkId>, now: Instant, rng: &mut Rng) {
        self.anchor.heard(id.source, matches!(pushed.payload, Payload::Beacon), now);
        let mut to = Vec::new();
        for (link, branch) in self.branches.iter_mut().filter(|(link, _)| Some(**link) != from) {
            if branch.congested {
                self.withheld += 1;
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
        self.recent.keep(id, pushed, self.config.kept);
    }

    // --- repair -----------------------------------------------------------------------------------------------

    /// A neighbour doesn't want to be pushed to.
    pub fn pruned(&mut self, link: LinkId) {
        if let Some(branch) = self.branches.get_mut(&link) {
            branch.eager = false;
            branch.settled = 0;
        }
    }

    /// A neighbour wants to be pushed to, beginning with some broadcasts. Says whether all of them are still here; the
    /// others must be reconciled.
    pub fn grafted(&mut self, link: LinkId, wanted: &[IdRange], now: Instant) -> bool {
        let Some(branch) = self.branches.get_mut(&link) else { return true };
        branch.eager = true;
        // What came before the graft is pushed to nobody there any more: the neighbour learns of it at once.
        branch.announce_at = branch.announce_at.map(|at| at.min(now));
        let mut complete = true;
        // Ranges that overlap are nobody's honest wish.
        let mut left = self.config.kept;
        for range in wanted {
            let mut sent = 0;
            for (id, pushed) in self.recent.of_range(*range).take(left) {
                let Pushed { hops, payload } = pushed.clone();
                self.said.push_back((vec![link], PeerMessage::Broadcast { id, hops, payload }));
                sent += 1;
                left -= 1;
            }
            complete &= sent == range.last.saturating_sub(range.first).saturating_add(1);
        }
        if !wanted.is_empty() {
            self.unsettle(link);
        }
        complete
    }

    /// A neighbour has some broadcasts.
    pub fn announced(&mut self, link: LinkId, all: &[Announced], now: Instant) {
        for Announced { range, hops } in all {
            let missing = self.streams.missing(*range);
            if let Some(branch) = self.branches.get_mut(&link) {
                branch.has(range.source, range.last);
            }
            if missing.is_empty() && self.anchor.is(range.source) {
                self.optimise(link, *range, *hops, now);
            }
            for range in missing {
                self.miss(range, link, now);
            }
        }
    }

    /// Section 3.8: a neighbour that is nearer to the source than the present parent becomes the parent.
    fn optimise(&mut self, link: LinkId, range: IdRange, hops: u16, now: Instant) {
        let Some(latest) = self.streams.latest(range.source).filter(|latest| latest.seq == range.last) else { return };
        let Some(parent) = latest.link.filter(|parent| *parent != link) else { return };
        let nearer = hops.saturating_add(1).saturating_add(self.config.optimise_hops) <= latest.hops;
        let old_is_eager = self.branches.get(&parent).is_some_and(|old| old.eager);
        let Some(branch) = self.branches.get_mut(&link) else { return };
        if nearer && old_is_eager && !branch.eager && !branch.congested {
            branch.eager = true;
            self.said.push_back((vec![link], PeerMessage::Graft(Vec::new())));
            self.prune(parent, now);
        }
    }

    fn miss(&mut self, range: IdRange, holder: LinkId, now: Instant) {
        let wait = self.graft_wait(holder);
        if self.missing.len() >= self.config.gaps && !self.missing.contains_key(&range.source) {
            return; // the reconciliation finds it
        }
        let missing = self.missing.entry(range.source).or_insert_with(|| Missing {
            range,
            timed: None,
            at: now + wait,
            asked: 0,
            holders: VecDeque::new(),
        });
        if missing.asked == 0 {
            missing.at = missing.at.min(now + wait);
        }
        missing.timed.get_or_insert((range.last, now));
        missing.range.first = missing.range.first.min(range.first);
        missing.range.last = missing.range.last.max(range.last);
        if missing.holders.len() < MAX_HOLDERS && !missing.holders.contains(&holder) {
            missing.holders.push_back(holder);
        }
    }

    /// How long something that was announced by a neighbour may take to come by itself.
    fn graft_wait(&self, holder: LinkId) -> Duration {
        let Some(branch) = self.branches.get(&holder) else { return FIRST_WAIT };
        // A parent announces only what it had before it became one: it doesn't come by itself.
        let late = self.late.longest().filter(|_| !branch.eager).unwrap_or_default();
        branch.wait.max(late.min(LONGEST_WAIT))
    }

    /// What was announced has come, by itself unless the neighbour that was asked for it sent it (then nobody knows how
    /// long it would have taken: RFC 6298, section 3, Karn's algorithm).
    fn learn_from_what_was_missing(&mut self, link: LinkId, id: MessageId, now: Instant) {
        let Some(missing) = self.missing.get_mut(&id.source) else { return };
        let answered = missing.asked > 0 && missing.holders.back() == Some(&link);
        if let Some((_, announced)) = missing.timed.take_if(|(seq, _)| *seq == id.seq)
            && !answered
        {
            self.late.sample(now - announced);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant, rng: &mut Rng) {
        self.announce(now);
        self.graft(now);
        if self.beacon_at.take_if(|at| *at <= now).is_some() && self.anchor.is(self.own) {
            self.beacons = self.beacons.saturating_add(1);
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
        let due: Vec<Source> =
            self.missing.iter().filter(|(_, missing)| missing.at <= now).map(|(source, _)| *source).collect();
        for source in due {
            let Some(mut missing) = self.missing.remove(&source) else { continue };
            let rest = self.streams.missing(missing.range);
            missing.holders.retain(|holder| self.branches.contains_key(holder));
            let Some(holder) = missing.holders.pop_front() else { continue };
            if rest.is_empty() || missing.asked >= MAX_ASKED {
                continue;
            }
            let Some(branch) = self.branches.get_mut(&holder) else { continue };
            branch.eager = true;
            missing.at = now + branch.wait * 2;
            missing.asked += 1;
            missing.holders.push_back(holder);
            self.unsettle(holder);
            self.said.push_back((vec![holder], PeerMessage::Graft(rest.into_iter().take(MAX_RANGES).collect())));
            self.missing.insert(source, missing);
        }
    }
}
