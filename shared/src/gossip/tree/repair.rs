//! What is asked of neighbours that have what is missing, and when (Plumtree, section 3.5).

use std::collections::BTreeMap;

use crate::gossip::branch::{Branch, FIRST_WAIT};
use crate::gossip::graft_timers::Ask;
use crate::gossip::io::LinkId;
use crate::gossip::tree::Tree;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::IdRange;
use crate::wire::peer::{MAX_RANGES, PeerMessage};

impl Tree {
    /// A neighbour has what this node hasn't: plans when to ask for it.
    pub(super) fn miss(&mut self, range: IdRange, announcer: LinkId, now: Instant, rng: &mut Rng) {
        let branch = self.branches.get(&announcer);
        let wait = branch.map_or(Some(FIRST_WAIT), |branch| branch.wait_for_announced(now));
        let urgent = wait.is_some();
        let wait = wait.unwrap_or_else(|| {
            // All on this side of a cut miss it. Whom chance lets ask first gets it for all (Floyd, Jacobson, McCanne,
            // Liu, Zhang, "A Reliable Multicast Framework", SIGCOMM 1995, section 3.2: request timers).
            let graft_timeout = self.graft_timers.graft_timeout(branch.map_or(FIRST_WAIT, Branch::wait), now);
            rng.duration(graft_timeout, graft_timeout * 2)
        });
        self.graft_timers.add(range, announcer, Ask { at: now + wait, urgent }, now);
    }

    /// Asks for what is due.
    pub(super) fn graft(&mut self, now: Instant) {
        if self.graft_timers.next_wake().is_none_or(|at| now < at) {
            return;
        }
        let mut asked: BTreeMap<LinkId, Vec<IdRange>> = BTreeMap::new();
        let missing =
            self.graft_timers.ranges().map(|range| self.streams.count_missing(range)).fold(0, u64::saturating_add);
        for mut gap in self.graft_timers.due(now) {
            let mut wanted = self.streams.missing(gap.range);
            let Some(first) = wanted.first().map(|range| range.first) else { continue };
            if gap.may_wait(first, now) {
                let announcer = gap.announcer().and_then(|link| self.branches.get(&link));
                let graft_timeout = self.graft_timers.graft_timeout(announcer.map_or(FIRST_WAIT, Branch::wait), now);
                self.graft_timers.put_back(gap, now + graft_timeout);
                continue;
            }
            let more = gap.extra_wait(missing);
            if !more.is_zero() {
                self.graft_timers.put_back(gap, now + more);
                continue;
            }
            // Each link that is pushed on makes another circle in the tree: one that is already is asked first.
            let pushes = |link| self.branches.get(&link).is_some_and(Branch::is_inbound_eager);
            let Some(announcer) = gap.next_announcer(|link| self.branches.contains_key(&link), pushes) else {
                self.streams.give_up(gap.range);
                continue;
            };
            let Some(branch) = self.branches.get_mut(&announcer) else { continue };
            branch.ask(now);
            let again_after = gap.backed_off(self.graft_timers.graft_timeout(branch.wait() * 2, now));
            self.graft_timers.put_back(gap, now + again_after);
            if let Some(end) = wanted.last_mut() {
                self.streams.open(end);
            }
            wanted.truncate(MAX_RANGES);
            asked.entry(announcer).or_default().append(&mut wanted);
        }
        for (announcer, wanted) in asked {
            let grafts = wanted.chunks(MAX_RANGES).map(|ranges| PeerMessage::Graft(ranges.to_vec()));
            self.outgoing.extend(grafts.map(|graft| (vec![announcer], graft)));
        }
    }
}
