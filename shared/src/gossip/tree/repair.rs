//! What neighbours ask for, and what is asked of them (Plumtree, section 3.5).

use std::collections::BTreeMap;

use crate::gossip::branch::{Branch, FIRST_WAIT};
use crate::gossip::io::LinkId;
use crate::gossip::missing::Ask;
use crate::gossip::recent::Pushed;
use crate::gossip::tree::Tree;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::{Announced, IdRange};
use crate::wire::peer::{MAX_RANGES, PeerMessage};

impl Tree {
    /// A neighbour wants to be pushed to, beginning with some broadcasts. Says whether all of them that have come are still
    /// here; the others must be reconciled.
    pub fn grafted(&mut self, link: LinkId, wanted: &[IdRange], now: Instant) -> bool {
        let Some(branch) = self.branches.get_mut(&link) else { return true };
        if branch.grafted(!wanted.is_empty(), now) {
            self.ask_to_push(vec![link]);
        }
        let mut sent = 0;
        for (id, Pushed { hops, payload }) in self.recent.of_ranges(wanted) {
            let message = PeerMessage::Broadcast { id, hops: *hops, payload: payload.clone() };
            self.said.push_back((vec![link], message));
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
            if missing.is_empty() && self.anchor.is(range.source) {
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

    /// A neighbour has what this node hasn't: plans when to ask for it.
    pub(super) fn miss(&mut self, range: IdRange, holder: LinkId, now: Instant, rng: &mut Rng) {
        let branch = self.branches.get(&holder);
        let wait = branch.map_or(Some(FIRST_WAIT), |branch| branch.wait_for_announced(now));
        let urgent = wait.is_some();
        let wait = wait.unwrap_or_else(|| {
            // All on this side of a cut miss it. Whom chance lets ask first gets it for all (Floyd, Jacobson, McCanne,
            // Liu, Zhang, "A Reliable Multicast Framework", SIGCOMM 1995, section 3.2: request timers).
            let patience = self.missing.patience(branch.map_or(FIRST_WAIT, Branch::wait), now);
            rng.duration(patience, patience * 2)
        });
        self.missing.add(range, holder, Ask { at: now + wait, urgent }, now);
    }

    /// Asks for what is due.
    pub(super) fn graft(&mut self, now: Instant) {
        if self.missing.next_wake().is_none_or(|at| now < at) {
            return;
        }
        let mut asked: BTreeMap<LinkId, Vec<IdRange>> = BTreeMap::new();
        let missing = self.missing.ranges().map(|range| self.streams.count_missing(range)).fold(0, u64::saturating_add);
        for mut gap in self.missing.due(now) {
            let mut wanted = self.streams.missing(gap.range);
            let Some(first) = wanted.first().map(|range| range.first) else { continue };
            if gap.may_wait(first, now) {
                let holder = gap.holder().and_then(|link| self.branches.get(&link));
                let patience = self.missing.patience(holder.map_or(FIRST_WAIT, Branch::wait), now);
                self.missing.put_back(gap, now + patience);
                continue;
            }
            let more = gap.more_patience(missing);
            if !more.is_zero() {
                self.missing.put_back(gap, now + more);
                continue;
            }
            // Each link that is pushed on makes another circle in the tree: one that is already is asked first.
            let pushes = |link| self.branches.get(&link).is_some_and(Branch::feeds);
            let Some(holder) = gap.next_holder(|link| self.branches.contains_key(&link), pushes) else {
                self.streams.give_up(gap.range);
                continue;
            };
            let Some(branch) = self.branches.get_mut(&holder) else { continue };
            branch.ask(now);
            let again_after = gap.backed_off(self.missing.patience(branch.wait() * 2, now));
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
