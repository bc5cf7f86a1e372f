//! One link with a neighbour, as the tree sees it, and when something is announced there.
//!
//! An announcement waits for an answer's time at least, doubled with each ([`Broadcast::lazy_push`]), and begins anew
//! when the tree changes here or a neighbour comes or goes: then gaps are likely. Where much waits, it comes sooner
//! ([`Broadcast::lazy_push_batch`]). What the neighbour announces or pushes itself isn't announced to it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::gossip::config::{Batch, Broadcast};
use crate::gossip::liveness::local_health::PUNCTUAL;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::broadcast::{Announced, IdRange, MessageId, Source};
use crate::wire::peer::MAX_RANGES;

/// The wait for an announced broadcast on a link whose round trip isn't measured yet: RFC 6298's first RTO is 1 s, for
/// the whole Internet; a lost graft here costs a repetition only.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest that an answer is waited for, whatever was measured: what was in a crowd of newcomers isn't measured
/// anew while nothing is said on the link. RFC 6298's first RTO.
pub const LONGEST_ANSWER: Duration = Duration::from_secs(1);

/// One link with a neighbour.
#[derive(Debug)]
pub struct Branch {
    /// News is pushed to it (eager push), as it wants.
    outbound_eager: bool,
    /// It pushes news here, as a parent, once it has heard that this node wants that.
    inbound_eager: bool,
    /// It was asked to become the parent in the place of another. Until it announces them, it isn't known which
    /// broadcasts it passed on before it heard of that.
    becoming_parent: bool,
    /// It takes nothing now; so many broadcasts weren't pushed or announced since then.
    withheld: Option<u64>,
    /// When it last sent a Prune, or was asked after that to take pushes again.
    pruned_at: Option<Instant>,
    /// When something was last asked of it.
    asked: Option<Instant>,
    /// When a duplicate from it last led to the question which link is redundant.
    last_prune_check: Option<Instant>,
    /// The broadcasts to announce here (lazy push): those received since the last announcement.
    lazy_queue: BTreeMap<Source, Run>,
    /// How many are in `lazy_queue`, about.
    lazy_count: u32,
    /// When something was last announced here.
    last_lazy_push: Option<Instant>,
    /// When `lazy_queue` is to be announced.
    lazy_push_at: Option<Instant>,
    /// Announcements since the tree or the neighbours changed here.
    settled: u32,
    /// How long an answer usually takes here.
    wait: Duration,
}

/// Broadcasts of one source that are announced together.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    /// Over how many links the last of them came.
    hops: u16,
}

impl Branch {
    /// A link that nothing has gone over yet, and whether it is one of the tree's.
    pub fn new(in_tree: bool) -> Self {
        Self {
            outbound_eager: in_tree,
            inbound_eager: in_tree,
            becoming_parent: false,
            withheld: None,
            pruned_at: None,
            asked: None,
            last_prune_check: None,
            lazy_queue: BTreeMap::new(),
            lazy_count: 0,
            last_lazy_push: None,
            lazy_push_at: None,
            settled: 0,
            wait: FIRST_WAIT,
        }
    }

    /// Whether news is pushed to it.
    pub fn is_outbound_eager(&self) -> bool {
        self.outbound_eager
    }

    /// Whether it pushes news here: whether it is a parent.
    pub fn is_inbound_eager(&self) -> bool {
        self.inbound_eager
    }

    /// How long an answer usually takes here.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// So long an answer usually takes here.
    pub fn measured(&mut self, wait: Duration) {
        self.wait = wait.min(LONGEST_ANSWER);
    }

    // --- shape ------------------------------------------------------------------------------------------------

    /// It is one of the tree's, both ways.
    pub fn join_the_tree(&mut self) {
        (self.outbound_eager, self.inbound_eager) = (true, true);
    }

    /// Whether it could push in the place of another parent.
    pub fn can_become_parent(&self) -> bool {
        !self.inbound_eager && self.withheld.is_none()
    }

    /// It is asked to push in the place of another parent.
    pub fn become_parent(&mut self) {
        self.join_the_tree();
        self.becoming_parent = true;
    }

    /// It is told not to push here any more.
    pub fn give_up(&mut self) {
        (self.inbound_eager, self.becoming_parent) = (false, false);
        self.settled = 0;
    }

    /// It doesn't want to be pushed to any more.
    pub fn pruned(&mut self, now: Instant) {
        (self.outbound_eager, self.pruned_at) = (false, Some(now));
        self.settled = 0;
    }

    /// It wants to be pushed to, and some broadcasts besides if it `misses` any. Returns whether it is to be asked to
    /// push here in turn.
    pub fn grafted(&mut self, misses: bool, now: Instant) -> bool {
        self.outbound_eager = true;
        // What came before the graft is pushed to nobody there any more: the neighbour learns of it at once.
        self.lazy_push_at = self.lazy_push_at.map(|at| at.min(now));
        if misses {
            self.settled = 0;
        }
        let answers = !misses && !self.inbound_eager;
        self.inbound_eager |= answers;
        answers
    }

    /// It is asked for what is missing, and with that to push.
    pub fn ask(&mut self, now: Instant) {
        (self.inbound_eager, self.settled, self.asked) = (true, 0, Some(now));
    }

    /// Returns whether it is to be asked once more to be pushed to: it pushes news here and has long refused this
    /// node's own, and a tree for all sources needs both ways.
    pub fn ask_for_both_ways(&mut self, now: Instant) -> bool {
        let one_way = self.inbound_eager && !self.outbound_eager && self.is_past(self.pruned_at, now);
        if one_way {
            self.pruned_at = Some(now);
        }
        one_way
    }

    /// Returns whether to ask now which link is redundant: not at each duplicate.
    pub fn prune_check_due(&mut self, now: Instant) -> bool {
        let due = self.is_past(self.last_prune_check, now);
        if due {
            self.last_prune_check = Some(now);
        }
        due
    }

    /// Whether what was on its way at that time has come, if all is well.
    fn is_past(&self, then: Option<Instant>, now: Instant) -> bool {
        then.is_none_or(|then| now - then > self.wait.max(PUNCTUAL))
    }

    // --- what is kept back -----------------------------------------------------------------------------------------

    /// It takes nothing until it is [`Branch::drained`].
    pub fn congested(&mut self) {
        self.withheld.get_or_insert(0);
        self.lazy_queue.clear();
        self.lazy_push_at = None;
        self.lazy_count = 0;
    }

    /// It takes something again. Returns how many broadcasts it missed.
    pub fn drained(&mut self) -> u64 {
        self.withheld.take().unwrap_or(0)
    }

    // --- announcements --------------------------------------------------------------------------------------------

    /// Something came over another link. Returns whether it is to be pushed here; if not, it is announced later, or
    /// withheld.
    pub fn pass_on(&mut self, id: MessageId, hops: u16, config: &Broadcast, now: Instant, rng: &mut Rng) -> bool {
        if let Some(withheld) = &mut self.withheld {
            *withheld += 1;
            return false;
        }
        if !self.outbound_eager {
            self.push_lazily(id, hops, config, now, rng);
        }
        self.outbound_eager
    }

    /// Something is to be announced here. What comes at once makes it sooner: see [`Broadcast::lazy_push_batch`].
    fn push_lazily(&mut self, id: MessageId, hops: u16, config: &Broadcast, now: Instant, rng: &mut Rng) {
        let run = self.lazy_queue.entry(id.source).or_insert(Run { first: id.seq, last: id.seq, hops });
        run.first = run.first.min(id.seq);
        if id.seq >= run.last {
            (run.last, run.hops) = (id.seq, hops);
        }
        let planned = self.lazy_push_at.unwrap_or_else(|| {
            let first = config.lazy_push.first.max(self.wait);
            now + Backoff { first, ..config.lazy_push }.delay(self.settled, rng)
        });
        self.lazy_count = self.lazy_count.saturating_add(1);
        let Batch { count, pause } = config.lazy_push_batch;
        let soon = (self.lazy_count >= count).then(|| self.last_lazy_push.map_or(now, |last| now.max(last + pause)));
        self.lazy_push_at = Some(soon.map_or(planned, |soon| soon.min(planned)));
    }

    /// When [`Branch::poll_lazy_push`] has something.
    pub fn lazy_push_at(&self) -> Option<Instant> {
        self.lazy_push_at
    }

    /// What is to be announced now, as much as one message holds.
    pub fn poll_lazy_push(&mut self, now: Instant) -> Option<Vec<Announced>> {
        self.lazy_push_at.filter(|at| *at <= now)?;
        let mut all = Vec::new();
        while let Some((source, Run { first, last, hops })) = self.lazy_queue.pop_first() {
            all.push(Announced { range: IdRange { source, first, last }, hops });
            if all.len() == MAX_RANGES {
                break;
            }
        }
        self.lazy_push_at = (!self.lazy_queue.is_empty()).then_some(now);
        self.settled = self.settled.saturating_add(1);
        (self.last_lazy_push, self.lazy_count) = (Some(now), 0);
        Some(all)
    }

    /// Gaps are likely for a while: announcements are to be quick again.
    pub fn unsettle(&mut self) {
        self.settled = 0;
    }

    /// The neighbour has this and, as it comes in order, what was before it: it needn't be told.
    pub fn has(&mut self, source: Source, seq: u64) {
        if self.lazy_queue.get(&source).is_some_and(|run| run.last <= seq) {
            self.lazy_queue.remove(&source);
            if self.lazy_queue.is_empty() {
                self.lazy_push_at = None;
                self.lazy_count = 0;
            }
        }
    }

    /// It has announced what it has: what it passed on before it took over is known now.
    pub fn has_announced(&mut self) {
        self.becoming_parent = false;
    }

    /// How long to wait for what it has announced before it is asked for that, where nobody else would bring it.
    pub fn wait_for_announced(&self, now: Instant) -> Option<Duration> {
        if self.becoming_parent {
            // Nobody brings what passed the new parent before it heard of that, and would have passed the old one
            // later.
            return Some(Duration::ZERO);
        }
        // A parent announces only what it had before it became one: it doesn't come by itself. But where it hasn't
        // heard yet what it was asked, that may be what it is sending.
        (self.inbound_eager && self.is_past(self.asked, now)).then_some(self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source(1);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn pass_on(branch: &mut Branch, seq: u64, ms: u64) -> bool {
        let id = MessageId { source: SOURCE, seq };
        branch.pass_on(id, 3, &Broadcast::default(), at(ms), &mut Rng::from_seed(1))
    }

    #[test]
    fn what_is_not_pushed_is_announced_in_one_range_unless_the_neighbour_has_it() {
        let mut branch = Branch::new(false);
        assert!(!pass_on(&mut branch, 7, 0) && !pass_on(&mut branch, 8, 0));
        let due = branch.lazy_push_at().unwrap();
        let range = IdRange { source: SOURCE, first: 7, last: 8 };
        assert_eq!(branch.poll_lazy_push(due), Some(vec![Announced { range, hops: 3 }]));
        pass_on(&mut branch, 9, 500);
        branch.has(SOURCE, 9);
        assert_eq!(branch.lazy_push_at(), None);
    }

    #[test]
    fn a_congested_link_gets_nothing_and_counts_what_it_misses() {
        let mut branch = Branch::new(true);
        assert!(pass_on(&mut branch, 1, 0));
        branch.congested();
        assert!(!pass_on(&mut branch, 2, 0) && !branch.can_become_parent());
        assert_eq!((branch.lazy_push_at(), branch.drained(), branch.drained()), (None, 1, 0));
        assert!(pass_on(&mut branch, 3, 0));
    }

    #[test]
    fn who_refuses_is_asked_again_only_after_an_answers_time() {
        let mut branch = Branch::new(true);
        branch.measured(Duration::from_millis(80));
        branch.pruned(at(0));
        assert!(!branch.ask_for_both_ways(at(80)));
        assert!(branch.ask_for_both_ways(at(81)));
        assert!(!branch.ask_for_both_ways(at(82)));
    }

    #[test]
    fn an_empty_graft_is_answered_where_the_other_way_is_missing_and_only_then() {
        let mut branch = Branch::new(false);
        assert!(!branch.grafted(true, at(0)), "who misses something asks for no more than that");
        assert!(branch.grafted(false, at(0)));
        assert!(branch.is_outbound_eager() && branch.is_inbound_eager());
        assert!(!branch.grafted(false, at(0)));
    }
}
