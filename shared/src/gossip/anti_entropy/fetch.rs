//! What is being fetched of what neighbours have and this node lacks: from one of them at a time, so that nothing is
//! fetched twice.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::gossip::io::LinkId;
use crate::time::Instant;
use crate::wire::peer::{Key, MAX_WANTED, Prefix, Set, Wanted};

/// Requests that are under way at once: enough to keep a link of 100 ms busy with pages of 256 entries.
const WINDOW: usize = MAX_WANTED;
/// Requests that wait. A comparison that brings more is answered in part and made again.
const MAX_REQUESTS: usize = 4096;
/// A fetch from which nothing has come for this long is taken up with somebody else. As long as a hello may take.
const STALLED: Duration = Duration::from_secs(5);
/// After this long it's the turn of somebody else who has something, so that nobody is fetched from for ever. A guess:
/// some 300,000 files on a link of 100 ms.
const TURN: Duration = Duration::from_secs(30);

/// What is being fetched, if anything is.
#[derive(Debug, Default)]
pub struct Fetch {
    current: Option<Current>,
    /// Those that have something too; they are compared with anew afterwards.
    waiting: BTreeSet<(LinkId, Set)>,
}

/// A fetch from one neighbour.
#[derive(Debug)]
struct Current {
    link: LinkId,
    requests: VecDeque<(Set, Wanted)>,
    under_way: usize,
    began: Instant,
    /// When something last came.
    progress: Instant,
    /// Whether something came that was news.
    news: bool,
}

/// A page of entries that came.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Of which set.
    pub set: Set,
    /// What is left of the wanted range.
    pub rest: Option<(Prefix, Key)>,
    /// Whether others are to be told of what was news in it.
    pub news: bool,
}

/// A fetch that is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// From whom.
    pub link: LinkId,
    /// Whether it brought news, so that others must be told.
    pub news: bool,
    /// Who said meanwhile that it has something.
    pub waiting: BTreeSet<(LinkId, Set)>,
}

impl Fetch {
    /// A neighbour has these. While another one is being fetched from, it is only remembered that it has some.
    pub fn request(&mut self, link: LinkId, set: Set, wanted: Vec<Wanted>, now: Instant) {
        if wanted.is_empty() {
            return;
        }
        let current = self.current.get_or_insert_with(|| Current::new(link, now));
        if current.link != link {
            self.waiting.insert((link, set));
            return;
        }
        for wanted in wanted {
            if current.requests.len() >= MAX_REQUESTS {
                self.waiting.insert((link, set));
                return;
            }
            current.requests.push_back((set, wanted));
        }
    }

    /// The next thing to ask for, and whom.
    pub fn poll_request(&mut self) -> Option<(LinkId, Set, Wanted)> {
        let current = self.current.as_mut().filter(|current| current.under_way < WINDOW)?;
        let (set, wanted) = current.requests.pop_front()?;
        current.under_way += 1;
        Some((current.link, set, wanted))
    }

    /// A page came. Returns the fetch that is over with it.
    pub fn came(&mut self, link: LinkId, page: Page, now: Instant) -> Option<Fetched> {
        let current = self.current.as_mut().filter(|current| current.link == link)?;
        current.under_way = current.under_way.saturating_sub(1);
        current.progress = now;
        current.news |= page.news;
        if let Some((range, from)) = page.rest {
            current.requests.push_front((page.set, Wanted::Range(range, from)));
        }
        let is_over = current.under_way == 0 && current.requests.is_empty();
        if is_over { self.end() } else { None }
    }

    /// A link is gone, or too slow. Returns the fetch that is over with that.
    pub fn gone(&mut self, link: LinkId) -> Option<Fetched> {
        self.waiting.retain(|(waiting, _)| *waiting != link);
        self.current.as_ref().filter(|current| current.link == link)?;
        self.end()
    }

    /// From whom something is being fetched, and when that is given up: when nothing comes, or, since others have
    /// something too, when it was long their turn.
    pub fn until(&self) -> Option<(LinkId, Instant)> {
        let current = self.current.as_ref()?;
        let stalled = current.progress + STALLED;
        let until = if self.waiting.is_empty() { stalled } else { stalled.min(current.began + TURN) };
        Some((current.link, until))
    }

    fn end(&mut self) -> Option<Fetched> {
        let Current { link, news, .. } = self.current.take()?;
        Some(Fetched { link, news, waiting: std::mem::take(&mut self.waiting) })
    }
}

impl Current {
    fn new(link: LinkId, now: Instant) -> Self {
        Self { link, requests: VecDeque::new(), under_way: 0, began: now, progress: now, news: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::ledger::EVERYTHING;

    const ONE: LinkId = LinkId(1);
    const OTHER: LinkId = LinkId(2);
    const LAST: Page = Page { set: Set::Catalogue, rest: None, news: true };

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn all() -> Vec<Wanted> {
        vec![Wanted::Range(EVERYTHING, Key(0))]
    }

    #[test]
    fn who_has_something_too_waits_for_its_turn() {
        let mut fetch = Fetch::default();
        fetch.request(ONE, Set::Catalogue, all(), at(0));
        fetch.request(OTHER, Set::Census, all(), at(0));
        assert_eq!(fetch.poll_request().unwrap().0, ONE);
        assert_eq!(fetch.poll_request(), None);
        assert_eq!(fetch.came(OTHER, LAST, at(1)), None, "nothing was asked of it");
        let waiting = [(OTHER, Set::Census)].into();
        assert_eq!(fetch.came(ONE, LAST, at(1)), Some(Fetched { link: ONE, news: true, waiting }));
        assert_eq!(fetch.until(), None);
    }

    #[test]
    fn the_rest_of_a_range_is_asked_for() {
        let mut fetch = Fetch::default();
        fetch.request(ONE, Set::Catalogue, all(), at(0));
        fetch.poll_request();
        let page = Page { rest: Some((EVERYTHING, Key(9))), ..LAST };
        assert_eq!(fetch.came(ONE, page, at(1)), None);
        assert_eq!(fetch.poll_request(), Some((ONE, Set::Catalogue, Wanted::Range(EVERYTHING, Key(9)))));
    }

    #[test]
    fn a_fetch_is_given_up_when_nothing_comes_and_earlier_where_others_wait() {
        let mut fetch = Fetch::default();
        fetch.request(ONE, Set::Catalogue, [all(), all()].concat(), at(0));
        fetch.poll_request();
        assert_eq!(fetch.until(), Some((ONE, at(5))));
        fetch.came(ONE, LAST, at(28));
        assert_eq!(fetch.until(), Some((ONE, at(33))));
        fetch.request(OTHER, Set::Catalogue, all(), at(28));
        assert_eq!(fetch.until(), Some((ONE, at(30))));
        assert!(fetch.gone(ONE).is_some_and(|over| over.waiting.len() == 1));
    }
}
