//! One link with a neighbour, as the tree sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::gossip::config::Broadcast;
use crate::gossip::pulse::PUNCTUAL;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::peer::{MessageId, Source};

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
    pub eager: bool,
    /// It pushes news here, once it has heard that this node wants that.
    pub feeds: bool,
    /// It was asked to push in the place of another, and hasn't said yet what it passed on before it heard of that.
    pub takes_over: bool,
    /// It takes nothing now; so many broadcasts weren't pushed or announced since then.
    pub withheld: Option<u64>,
    /// When it wanted to be pushed to no more, or was last asked to again.
    pub refused: Instant,
    /// When something was last asked of it.
    pub asked: Instant,
    /// When it was last looked at which way was too many, since something came once more.
    pub judged: Instant,
    /// What was received since the last announcement, and how many hops the last of it took.
    pub unannounced: BTreeMap<Source, (u64, u64, u16)>,
    /// How many they are, about.
    pub waiting: u32,
    /// When something was last announced.
    pub announced: Instant,
    /// When they are to be announced.
    pub announce_at: Option<Instant>,
    /// Announcements since the tree or the neighbours changed here.
    pub settled: u32,
    /// How long an answer usually takes here.
    pub wait: Duration,
}

impl Default for Branch {
    /// A link of the tree that nothing has gone over yet.
    fn default() -> Self {
        Self {
            eager: true,
            feeds: true,
            takes_over: false,
            withheld: None,
            refused: Instant::START,
            asked: Instant::START,
            judged: Instant::START,
            unannounced: BTreeMap::new(),
            waiting: 0,
            announced: Instant::START,
            announce_at: None,
            settled: 0,
            wait: FIRST_WAIT,
        }
    }
}

impl Branch {
    /// It is one of the tree's, both ways.
    pub fn join_the_tree(&mut self) {
        (self.eager, self.feeds) = (true, true);
    }

    /// Whether it pushes news here and has long refused this node's own: a tree for all sources needs both ways.
    pub fn is_one_way(&self, now: Instant) -> bool {
        self.feeds && !self.eager && self.is_past(self.refused, now)
    }

    /// Whether it has heard what it was asked, so that nothing it announces is being sent for that reason.
    pub fn has_answered(&self, now: Instant) -> bool {
        self.is_past(self.asked, now)
    }

    /// Whether to look at which way is too many: not each time that something comes once more.
    pub fn is_to_be_judged(&self, now: Instant) -> bool {
        self.is_past(self.judged, now)
    }

    /// Whether what was on its way at that time has come, if all is well.
    fn is_past(&self, then: Instant, now: Instant) -> bool {
        now - then > self.wait.max(PUNCTUAL)
    }

    /// Something came that is to be announced here. What comes at once makes it sooner: see [`Broadcast::announce_batch`].
    pub fn announce_later(&mut self, id: MessageId, hops: u16, config: &Broadcast, now: Instant, rng: &mut Rng) {
        let range = self.unannounced.entry(id.source).or_insert((id.seq, id.seq, hops));
        range.0 = range.0.min(id.seq);
        if id.seq >= range.1 {
            (range.1, range.2) = (id.seq, hops);
        }
        let planned = self.announce_at.unwrap_or_else(|| {
            let first = config.announce.first.max(self.wait);
            now + Backoff { first, ..config.announce }.delay(self.settled, rng)
        });
        self.waiting = self.waiting.saturating_add(1);
        let (many, pause) = config.announce_batch;
        let soon = (self.waiting >= many).then(|| now.max(self.announced + pause));
        self.announce_at = Some(soon.map_or(planned, |soon| soon.min(planned)));
    }

    /// The neighbour has this and, as it comes in order, what was before it: it needn't be told.
    pub fn has(&mut self, source: Source, seq: u64) {
        if self.unannounced.get(&source).is_some_and(|(_, last, _)| *last <= seq) {
            self.unannounced.remove(&source);
            if self.unannounced.is_empty() {
                self.announce_at = None;
                self.waiting = 0;
            }
        }
    }
}
