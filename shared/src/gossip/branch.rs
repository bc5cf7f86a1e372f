//! One link with a neighbour, as the tree sees it, and when something is announced there.
//!
//! An announcement waits for an answer's time at least, doubled with each ([`Broadcast::announce`]), and begins anew when
//! the tree changes here or a neighbour comes or goes: then gaps are likely. Where much waits, it comes sooner
//! ([`Broadcast::announce_batch`]). What the neighbour announces or pushes itself isn't announced to it.

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
/// The longest that an answer is waited for, whatever was measured: what was in a crowd of newcomers isn't measured anew
/// while nothing is said on the link. RFC 6298's first RTO.
pub const LONGEST_ANSWER: Duration = Duration::from_secs(1);

/// One link with a neighbour.
#[derive(Debug)]
pub struct Branch {
    /// News is pushed to it, as it wants.
    eager: bool,
    /// It pushes news here, once it has heard that this node wants that.
    feeds: bool,
    /// It was asked to push in the place of another, and hasn't said yet what it passed on before it heard of that.
    takes_over: bool,
    /// It takes nothing now; so many broadcasts weren't pushed or announced since then.
    withheld: Option<u64>,
    /// When it wanted to be pushed to no more, or was last asked to again.
    refused: Option<Instant>,
    /// When something was last asked of it.
    asked: Option<Instant>,
    /// When it was last looked at which way was too many, since something came once more.
    judged: Option<Instant>,
    /// What was received since the last announcement.
    unannounced: BTreeMap<Source, Run>,
    /// How many they are, about.
    waiting: u32,
    /// When something was last announced.
    announced: Option<Instant>,
    /// When they are to be announced.
    announce_at: Option<Instant>,
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
            eager: in_tree,
            feeds: in_tree,
            takes_over: false,
            withheld: None,
            refused: None,
            asked: None,
            judged: None,
            unannounced: BTreeMap::new(),
            waiting: 0,
            announced: None,
            announce_at: None,
            settled: 0,
            wait: FIRST_WAIT,
        }
    }

    /// Whether news is pushed to it.
    pub fn is_eager(&self) -> bool {
        self.eager
    }

    /// Whether it pushes news here.
    pub fn feeds(&self) -> bool {
        self.feeds
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
        (self.eager, self.feeds) = (true, true);
    }

    /// Whether it could push in the place of another.
    pub fn can_take_over(&self) -> bool {
        !self.feeds && self.withheld.is_none()
    }

    /// It is asked to push in the place of another.
    pub fn take_over(&mut self) {
        self.join_the_tree();
        self.takes_over = true;
    }

    /// It is told not to push here any more.
    pub fn give_up(&mut self) {
        (self.feeds, self.takes_over) = (false, false);
        self.settled = 0;
    }

    /// It doesn't want to be pushed to any more.
    pub fn pruned(&mut self, now: Instant) {
        (self.eager, self.refused) = (false, Some(now));
        self.settled = 0;
    }

    /// It wants to be pushed to, and some broadcasts besides if it `misses` any. Returns whether it is to be asked to push
    /// here in turn.
    pub fn grafted(&mut self, misses: bool, now: Instant) -> bool {
        self.eager = true;
        // What came before the graft is pushed to nobody there any more: the neighbour learns of it at once.
        self.announce_at = self.announce_at.map(|at| at.min(now));
        if misses {
            self.settled = 0;
        }
        let answers = !misses && !self.feeds;
        self.feeds |= answers;
        answers
    }

    /// It is asked for what is missing, and with that to push.
    pub fn ask(&mut self, now: Instant) {
        (self.feeds, self.settled, self.asked) = (true, 0, Some(now));
    }

    /// Returns whether it is to be asked once more to be pushed to: it pushes news here and has long refused this node's
    /// own, and a tree for all sources needs both ways.
    pub fn ask_for_both_ways(&mut self, now: Instant) -> bool {
        let one_way = self.feeds && !self.eager && self.is_past(self.refused, now);
        if one_way {
            self.refused = Some(now);
        }
        one_way
    }

    /// Returns whether to look now at which way is too many: not each time that something comes once more.
    pub fn judge(&mut self, now: Instant) -> bool {
        let due = self.is_past(self.judged, now);
        if due {
            self.judged = Some(now);
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
        self.unannounced.clear();
        self.announce_at = None;
        self.waiting = 0;
    }

    /// It takes something again. Returns how many broadcasts it missed.
    pub fn drained(&mut self) -> u64 {
        self.withheld.take().unwrap_or(0)
    }

    // --- announcements --------------------------------------------------------------------------------------------

    /// Something came over another link. Returns whether it is to be pushed here; if not, it is announced later, or withheld.
    pub fn pass_on(&mut self, id: MessageId, hops: u16, config: &Broadcast, now: Instant, rng: &mut Rng) -> bool {
        if let Some(withheld) = &mut self.withheld {
            *withheld += 1;
            return false;
        }
        if !self.eager {
            self.announce_later(id, hops, config, now, rng);
        }
        self.eager
    }

    /// Something is to be announced here. What comes at once makes it sooner: see [`Broadcast::announce_batch`].
    fn announce_later(&mut self, id: MessageId, hops: u16, config: &Broadcast, now: Instant, rng: &mut Rng) {
        let run = self.unannounced.entry(id.source).or_insert(Run { first: id.seq, last: id.seq, hops });
        run.first = run.first.min(id.seq);
        if id.seq >= run.last {
            (run.last, run.hops) = (id.seq, hops);
        }
        let planned = self.announce_at.unwrap_or_else(|| {
            let first = config.announce.first.max(self.wait);
            now + Backoff { first, ..config.announce }.delay(self.settled, rng)
        });
        self.waiting = self.waiting.saturating_add(1);
        let Batch { count, pause } = config.announce_batch;
        let soon = (self.waiting >= count).then(|| self.announced.map_or(now, |last| now.max(last + pause)));
        self.announce_at = Some(soon.map_or(planned, |soon| soon.min(planned)));
    }

    /// When [`Branch::poll_announcement`] has something.
    pub fn announce_at(&self) -> Option<Instant> {
        self.announce_at
    }

    /// What is to be announced now, as much as one message holds.
    pub fn poll_announcement(&mut self, now: Instant) -> Option<Vec<Announced>> {
        self.announce_at.filter(|at| *at <= now)?;
        let mut all = Vec::new();
        while let Some((source, Run { first, last, hops })) = self.unannounced.pop_first() {
            all.push(Announced { range: IdRange { source, first, last }, hops });
            if all.len() == MAX_RANGES {
                break;
            }
        }
        self.announce_at = (!self.unannounced.is_empty()).then_some(now);
        self.settled = self.settled.saturating_add(1);
        (self.announced, self.waiting) = (Some(now), 0);
        Some(all)
    }

    /// Gaps are likely for a while: announcements are to be quick again.
    pub fn unsettle(&mut self) {
        self.settled = 0;
    }

    /// The neighbour has this and, as it comes in order, what was before it: it needn't be told.
    pub fn has(&mut self, source: Source, seq: u64) {
        if self.unannounced.get(&source).is_some_and(|run| run.last <= seq) {
            self.unannounced.remove(&source);
            if self.unannounced.is_empty() {
                self.announce_at = None;
                self.waiting = 0;
            }
        }
    }

    /// It has announced what it has: what it passed on before it took over is known now.
    pub fn has_announced(&mut self) {
        self.takes_over = false;
    }

    /// How long to wait for what it has announced before it is asked for that, where nobody else would bring it.
    pub fn wait_for_announced(&self, now: Instant) -> Option<Duration> {
        if self.takes_over {
            // Nobody brings what passed the new parent before it heard of that, and would have passed the old one later.
            return Some(Duration::ZERO);
        }
        // A parent announces only what it had before it became one: it doesn't come by itself. But where it hasn't heard yet
        // what it was asked, that may be what it is sending.
        (self.feeds && self.is_past(self.asked, now)).then_some(self.wait)
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
        let due = branch.announce_at().unwrap();
        let range = IdRange { source: SOURCE, first: 7, last: 8 };
        assert_eq!(branch.poll_announcement(due), Some(vec![Announced { range, hops: 3 }]));
        pass_on(&mut branch, 9, 500);
        branch.has(SOURCE, 9);
        assert_eq!(branch.announce_at(), None);
    }

    #[test]
    fn a_congested_link_gets_nothing_and_counts_what_it_misses() {
        let mut branch = Branch::new(true);
        assert!(pass_on(&mut branch, 1, 0));
        branch.congested();
        assert!(!pass_on(&mut branch, 2, 0) && !branch.can_take_over());
        assert_eq!((branch.announce_at(), branch.drained(), branch.drained()), (None, 1, 0));
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
        assert!(branch.is_eager() && branch.feeds());
        assert!(!branch.grafted(false, at(0)));
    }
}
