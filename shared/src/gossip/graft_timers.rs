//! What neighbours have of the broadcasts and this node hasn't, and when they are asked for it (Plumtree, section 3.5).
//!
//! Most of what was announced comes by itself a moment later, and who is asked in vain sends all of it once more. So:
//!
//! - A parent that wasn't asked of late announces only what it won't push: it is asked after one answer's time
//!   ([`super::tree`] decides which of these it is).
//! - Others are asked after as long as broadcasts of late took at most to come by themselves after their announcement
//!   ([`GraftTimers::graft_timeout`]), and twice this node's own slowness more, as its neighbours may be as slow.
//!   Chance makes that up to twice as long: all on one side of a cut miss the same, and whoever asks first gets it for
//!   all.
//! - The wait begins anew when another neighbour announces the same for the first time: it is still on its way. It is
//!   longer where much is missing, of whatever source: then all are busy.
//! - What has begun to come isn't asked for; nor is anything, once, by a node that was held up and hasn't read what
//!   came meanwhile.
//! - Of those that have where the gap begins, one that pushes here already is asked first, and once for all that is
//!   due. Before the next one is asked the wait passes again, doubled each time. After [`MAX_ASKED`] times it is left
//!   to the reconciliation for good. If the link of who was asked is gone, the next is asked at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::gossip::branch::LONGEST_ANSWER;
use crate::gossip::estimate::Lately;
use crate::gossip::io::LinkId;
use crate::gossip::liveness::local_health::PUNCTUAL;
use crate::time::Instant;
use crate::wire::broadcast::{IdRange, MessageId, Source};

/// How often a missing range is asked for, each time of another neighbour if there is one, before it is left to the
/// reconciliation.
const MAX_ASKED: u32 = 8;
/// Neighbours that are remembered to have a missing range.
const MAX_ANNOUNCERS: usize = 8;
/// The shortest wait for something that was announced: so late may be whoever is about to push it, and who is asked in
/// vain sends all that is on its way once more.
const SHORTEST_WAIT: Duration = PUNCTUAL;
/// The longest wait for something that was announced, on a link whose answers take less. A guess.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// So much longer is each missing broadcast waited for: that many come at once means that all peers have much to do,
/// and a machine with many of them lets each wait for its turn. What 128 on two cores take for one.
const WAIT_FOR_EACH: Duration = Duration::from_micros(250);

/// All gaps, by source.
#[derive(Debug)]
pub struct GraftTimers {
    gaps: BTreeMap<Source, Gap>,
    sources_max: usize,
    /// How long after their announcement broadcasts come by themselves.
    late: Lately,
    /// How late this node itself is.
    slowness: Duration,
}

/// When to ask for something.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// When.
    pub at: Instant,
    /// Whether nobody is going to push it. If somebody may, the wait begins anew each time that another neighbour
    /// announces it.
    pub urgent: bool,
}

/// What is missing of one source.
#[derive(Debug)]
pub struct Gap {
    /// All of it is in here.
    pub range: IdRange,
    /// One broadcast of it and when that was announced.
    timed: Option<(u64, Instant)>,
    /// When it is asked for.
    at: Instant,
    /// Whether nobody is going to push it.
    urgent: bool,
    /// Whether asking was put off because this node was held up.
    deferred: bool,
    /// For how long asking was put off because much is missing.
    waited: Duration,
    asked: u32,
    /// Who was asked last.
    asked_of: Option<LinkId>,
    /// Who has some of it, and up to which; who was asked is at the end.
    announcers: VecDeque<(LinkId, u64)>,
}

impl GraftTimers {
    /// No gaps; of more sources than this they are left to the reconciliation.
    pub fn new(sources_max: usize) -> Self {
        Self { gaps: BTreeMap::new(), sources_max, late: Lately::default(), slowness: Duration::ZERO }
    }

    /// When something is to be asked for.
    pub fn next_wake(&self) -> Option<Instant> {
        self.gaps.values().map(|gap| gap.at).min()
    }

    /// This node is so late for its own deadlines.
    pub fn slowed(&mut self, slowness: Duration) {
        self.slowness = slowness;
    }

    /// How long what a neighbour has announced may take to come by itself. `answer`: how long an answer takes there.
    /// Where this node is late, so may be the neighbour that is about to push it (Lifeguard, section III-A, of
    /// accusations).
    pub fn graft_timeout(&self, answer: Duration, now: Instant) -> Duration {
        let usual = self.late.largest(now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        answer.max(usual) + self.slowness * 2
    }

    /// A neighbour has what this node hasn't.
    pub fn add(&mut self, range: IdRange, announcer: LinkId, ask: Ask, now: Instant) {
        if self.gaps.len() >= self.sources_max && !self.gaps.contains_key(&range.source) {
            return;
        }
        let gap = self.gaps.entry(range.source).or_insert_with(|| Gap {
            range,
            timed: None,
            at: ask.at,
            urgent: ask.urgent,
            deferred: false,
            waited: Duration::ZERO,
            asked: 0,
            asked_of: None,
            announcers: VecDeque::new(),
        });
        let is_another = gap.add_announcer(announcer, range.last);
        if gap.asked == 0 {
            gap.plan(ask, is_another);
        }
        gap.timed.get_or_insert((range.last, now));
        gap.range.first = gap.range.first.min(range.first);
        gap.range.last = gap.range.last.max(range.last);
    }

    /// Something came: by itself, unless the neighbour that was asked for it sent it (then nobody knows how long it
    /// would have taken: RFC 6298, section 3, Karn's algorithm).
    pub fn came(&mut self, link: LinkId, id: MessageId, now: Instant) {
        let Some(gap) = self.gaps.get_mut(&id.source) else { return };
        let answered = gap.asked_of == Some(link);
        if let Some((_, announced)) = gap.timed.take_if(|(seq, _)| *seq == id.seq)
            && !answered
        {
            self.late.sample(now - announced, now);
        }
    }

    /// A neighbour is gone: what it was asked for last, or would have been next, is asked of others at once.
    pub fn gone(&mut self, link: LinkId, now: Instant) {
        self.hasten(now, |gap| [gap.announcer(), gap.asked_of].contains(&Some(link)));
    }

    /// A neighbour pushes now, in the place of another: nobody brings what it had already.
    pub fn became_parent(&mut self, link: LinkId, now: Instant) {
        self.hasten(now, |gap| gap.asked == 0 && gap.announcers.iter().any(|(announcer, _)| *announcer == link));
    }

    fn hasten(&mut self, now: Instant, concerned: impl Fn(&Gap) -> bool) {
        for gap in self.gaps.values_mut().filter(|gap| concerned(gap)) {
            (gap.at, gap.urgent) = (now, true);
        }
    }

    /// Where something may be missing.
    pub fn ranges(&self) -> impl Iterator<Item = IdRange> {
        self.gaps.values().map(|gap| gap.range)
    }

    /// Takes out what is to be asked for now.
    pub fn due(&mut self, now: Instant) -> Vec<Gap> {
        let due: Vec<Source> = self.gaps.iter().filter(|(_, gap)| gap.at <= now).map(|(source, _)| *source).collect();
        due.into_iter().filter_map(|source| self.gaps.remove(&source)).collect()
    }

    /// Looks at a gap again later.
    pub fn put_back(&mut self, gap: Gap, again_at: Instant) {
        self.gaps.insert(gap.range.source, Gap { at: again_at, ..gap });
    }
}

impl Gap {
    /// A neighbour has some of it, up to `last`. Returns whether it is one more.
    fn add_announcer(&mut self, announcer: LinkId, last: u64) -> bool {
        if let Some((_, known)) = self.announcers.iter_mut().find(|(known, _)| *known == announcer) {
            *known = last.max(*known);
            return false;
        }
        let room = self.announcers.len() < MAX_ANNOUNCERS;
        if room {
            self.announcers.push_back((announcer, last));
        }
        room
    }

    /// A neighbour has it, maybe one more. While it is on its way it reaches one after the other: it is waited for a
    /// while after the last.
    fn plan(&mut self, ask: Ask, is_another: bool) {
        if ask.urgent {
            (self.at, self.urgent) = (self.at.min(ask.at), true);
        } else if is_another && !self.urgent {
            self.at = self.at.max(ask.at);
        }
    }

    /// Begins at `first` now. Returns whether it is to be looked at again before anybody is asked: since it began
    /// earlier, and so is being filled; or since this node was held up, and hasn't read what came meanwhile.
    pub fn may_wait(&mut self, first: u64, now: Instant) -> bool {
        if first > self.range.first {
            (self.range.first, self.asked, self.asked_of) = (first, 0, None);
            (self.deferred, self.urgent, self.waited) = (false, false, Duration::ZERO);
            return true;
        }
        let was_deferred = std::mem::replace(&mut self.deferred, now - self.at > PUNCTUAL);
        self.deferred && !was_deferred
    }

    /// How much longer it is to be waited for since so many are missing, here and in other gaps.
    pub fn extra_wait(&mut self, missing: u64) -> Duration {
        if self.asked > 0 || self.urgent {
            return Duration::ZERO;
        }
        let all = WAIT_FOR_EACH.saturating_mul(u32::try_from(missing).unwrap_or(u32::MAX)).min(LONGEST_WAIT);
        let more = all.saturating_sub(self.waited);
        self.waited += more;
        more
    }

    /// How long after it was asked for somebody else is asked, who has to send all of it, too: twice as long each time.
    pub fn backed_off(&self, wait: Duration) -> Duration {
        let doubled = wait.saturating_mul(1_u32.checked_shl(self.asked.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(LONGEST_ANSWER)
    }

    /// Who would be asked next.
    pub fn announcer(&self) -> Option<LinkId> {
        self.announcers.front().map(|(announcer, _)| *announcer)
    }

    /// Whom to ask next, of those that are still neighbours and have where it begins: best one that `pushes` already,
    /// and not who was asked last; `None` when it was asked for often enough.
    pub fn next_announcer(
        &mut self,
        is_neighbour: impl Fn(LinkId) -> bool,
        pushes: impl Fn(LinkId) -> bool,
    ) -> Option<LinkId> {
        let first = self.range.first;
        self.announcers.retain(|(announcer, last)| is_neighbour(*announcer) && *last >= first);
        let is_other = |announcer: LinkId| self.asked_of != Some(announcer);
        let place =
            |wanted: &dyn Fn(LinkId) -> bool| self.announcers.iter().position(|(announcer, _)| wanted(*announcer));
        let best =
            place(&|announcer| is_other(announcer) && pushes(announcer)).or_else(|| place(&is_other)).unwrap_or(0);
        let (announcer, last) = self.announcers.remove(best).filter(|_| self.asked < MAX_ASKED)?;
        self.asked += 1;
        self.asked_of = Some(announcer);
        self.announcers.push_back((announcer, last));
        Some(announcer)
    }
}
