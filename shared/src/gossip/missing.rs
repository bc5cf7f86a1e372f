//! What neighbours have of the broadcasts and this node hasn't, and when they are asked for it (Plumtree, section 3.5).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::gossip::branch::LONGEST_ANSWER;
use crate::gossip::estimate::Lately;
use crate::gossip::io::LinkId;
use crate::gossip::pulse::PUNCTUAL;
use crate::time::Instant;
use crate::wire::peer::{IdRange, MessageId, Source};

/// How often a missing range is asked for, each time of another neighbour if there is one, before it is left to the
/// reconciliation.
const MAX_ASKED: u32 = 8;
/// Neighbours that are remembered to have a missing range.
const MAX_HOLDERS: usize = 8;
/// The shortest wait for something that was announced: so late may be whoever is about to push it, and who is asked in
/// vain sends all that is on its way once more.
const SHORTEST_WAIT: Duration = PUNCTUAL;
/// The longest wait for something that was announced, on a link whose answers take less. A guess.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// All gaps, by source.
#[derive(Debug)]
pub struct Missing {
    gaps: BTreeMap<Source, Gap>,
    sources_max: usize,
    /// How long after their announcement broadcasts come by themselves.
    late: Lately,
    /// How late this node itself is.
    slowness: Duration,
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
    /// That was put off since this node was held up.
    put_off: bool,
    asked: u32,
    /// Who has it; the last is the one that was asked last.
    holders: VecDeque<LinkId>,
}

impl Missing {
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

    /// How long what a neighbour has announced may take to come by itself. `answer`: how long an answer takes there. Where
    /// this node is late, so may be the neighbour that is about to push it (Lifeguard, section III-A, of accusations).
    pub fn patience(&self, answer: Duration, now: Instant) -> Duration {
        let usual = self.late.largest(now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        answer.max(usual) + self.slowness * 2
    }

    /// A neighbour has what this node hasn't; it is asked for after `wait`.
    pub fn add(&mut self, range: IdRange, holder: LinkId, wait: Duration, now: Instant) {
        if self.gaps.len() >= self.sources_max && !self.gaps.contains_key(&range.source) {
            return;
        }
        let at = now + wait;
        let gap = self.gaps.entry(range.source).or_insert_with(|| Gap {
            range,
            timed: None,
            at,
            put_off: false,
            asked: 0,
            holders: VecDeque::new(),
        });
        if gap.asked == 0 {
            gap.at = gap.at.min(at);
        }
        gap.timed.get_or_insert((range.last, now));
        gap.range.first = gap.range.first.min(range.first);
        gap.range.last = gap.range.last.max(range.last);
        if gap.holders.len() < MAX_HOLDERS && !gap.holders.contains(&holder) {
            gap.holders.push_back(holder);
        }
    }

    /// Something came: by itself, unless the neighbour that was asked for it sent it (then nobody knows how long it would
    /// have taken: RFC 6298, section 3, Karn's algorithm).
    pub fn came(&mut self, link: LinkId, id: MessageId, now: Instant) {
        let Some(gap) = self.gaps.get_mut(&id.source) else { return };
        let answered = gap.asked > 0 && gap.holders.back() == Some(&link);
        if let Some((_, announced)) = gap.timed.take_if(|(seq, _)| *seq == id.seq)
            && !answered
        {
            self.late.sample(now - announced, now);
        }
    }

    /// A neighbour is gone: what it was asked for last, or would have been next, is asked of others at once.
    pub fn gone(&mut self, link: LinkId, now: Instant) {
        self.hasten(now, |gap| [gap.holders.front(), gap.holders.back()].contains(&Some(&link)));
    }

    /// A neighbour pushes now, in the place of another: nobody brings what it had already.
    pub fn takes_over(&mut self, link: LinkId, now: Instant) {
        self.hasten(now, |gap| gap.asked == 0 && gap.holders.contains(&link));
    }

    fn hasten(&mut self, now: Instant, concerned: impl Fn(&Gap) -> bool) {
        for gap in self.gaps.values_mut().filter(|gap| concerned(gap)) {
            gap.at = now;
        }
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
    /// Begins at `first` now. Says whether it is to be looked at again before anybody is asked: since it began earlier, and
    /// so is being filled; or since this node was held up, and hasn't read what came meanwhile.
    pub fn may_wait(&mut self, first: u64, now: Instant) -> bool {
        if first > self.range.first {
            (self.range.first, self.asked, self.put_off) = (first, 0, false);
            return true;
        }
        let was_put_off = std::mem::replace(&mut self.put_off, now - self.at > PUNCTUAL);
        self.put_off && !was_put_off
    }

    /// How long after it was asked for somebody else is asked, who has to send all of it, too: twice as long each time.
    pub fn backed_off(&self, wait: Duration) -> Duration {
        let doubled = wait.saturating_mul(1_u32.checked_shl(self.asked.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(LONGEST_ANSWER)
    }

    /// Who would be asked next.
    pub fn holder(&self) -> Option<LinkId> {
        self.holders.front().copied()
    }

    /// Whom to ask next, of those that are still neighbours, best one that `pushes` already; `None` when it was asked for
    /// often enough.
    pub fn next_holder(
        &mut self,
        is_neighbour: impl Fn(LinkId) -> bool,
        pushes: impl Fn(LinkId) -> bool,
    ) -> Option<LinkId> {
        self.holders.retain(|holder| is_neighbour(*holder));
        let others = self.holders.len().saturating_sub(usize::from(self.asked > 0));
        let best = self.holders.iter().take(others).position(|holder| pushes(*holder)).unwrap_or(0);
        let holder = self.holders.remove(best).filter(|_| self.asked < MAX_ASKED)?;
        self.asked += 1;
        self.holders.push_back(holder);
        Some(holder)
    }
}
