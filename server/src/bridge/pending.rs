//! What was delivered and no entry peer has accepted yet: whom it was submitted to, and when something is due for it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use shared::rng::Rng;
use shared::wire::update::FileUpdate;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bridge::links::LinkId;
use crate::bridge::source::BACKOFF;

/// How long an entry peer may take to answer a submission.
const LIMIT: Duration = Duration::from_secs(5);
/// How long entry peers may put a change off before it is set aside. Below the half hour after which RabbitMQ takes an
/// unacknowledged message away.
const DEFERRED_LIMIT: Duration = Duration::from_mins(25);
/// The same while those that are put off take the others' places. A guess: longer than it takes to reach another entry
/// peer, which may take it.
const CROWDED_LIMIT: Duration = Duration::from_secs(10);
/// How many forwarded messages are remembered, to know repetitions. 256 windows of the relay.
const REMEMBERED: usize = 65_536;

/// One change on its way.
pub(super) struct Pending {
    /// The message's id.
    pub(super) message: Uuid,
    /// The deliveries of this message: more than one when it was published twice; none when the subscription is lost, for
    /// what was delivered may be in no queue any more.
    pub(super) tags: Vec<u64>,
    /// The change in it.
    pub(super) update: Arc<FileUpdate>,
    /// The links on which an answer is awaited, and since when.
    asked: Vec<(LinkId, Instant)>,
    /// Whether it goes to every link there is, not only to the first.
    hurried: bool,
    deferred: Option<Deferred>,
}

/// Entry peers couldn't take it.
struct Deferred {
    since: Instant,
    times: u32,
    /// The links on which it was put off, and when it may be submitted there again.
    until: Vec<(LinkId, Instant)>,
}

impl Pending {
    /// A change that came with the delivery `tag` and hasn't been handed over.
    pub(super) fn new(message: Uuid, tag: u64, update: Arc<FileUpdate>) -> Self {
        Self { message, tags: vec![tag], update, asked: Vec::new(), hurried: false, deferred: None }
    }

    /// To which of `links`, the first of which comes first, it is to be submitted now.
    pub(super) fn due_on(&self, links: &[LinkId], now: Instant) -> Vec<LinkId> {
        let due = |link: LinkId| !self.is_asked(link) && self.deferred_until(link).is_none_or(|until| now >= until);
        let due = links.iter().copied().filter(|link| due(*link));
        match (self.hurried, self.asked.is_empty()) {
            (true, _) => due.collect(),
            (false, true) => due.take(1).collect(),
            (false, false) => Vec::new(),
        }
    }

    /// It was submitted on `link`.
    pub(super) fn asked(&mut self, link: LinkId, now: Instant) {
        self.forget(link);
        self.asked.push((link, now));
    }

    /// Since when `link` owes an answer.
    pub(super) fn asked_at(&self, link: LinkId) -> Option<Instant> {
        self.asked.iter().find(|(other, _)| *other == link).map(|(_, at)| *at)
    }

    fn is_asked(&self, link: LinkId) -> bool {
        self.asked_at(link).is_some()
    }

    /// No answer will come on `link`.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.asked.retain(|(other, _)| *other != link);
        if let Some(deferred) = &mut self.deferred {
            deferred.until.retain(|(other, _)| *other != link);
        }
    }

    /// The entry peer on `link` can't take it now: it is asked again after a while, whatever others do meanwhile.
    pub(super) fn defer(&mut self, link: LinkId, now: Instant, rng: &mut Rng) {
        self.forget(link);
        self.hurried = true;
        let deferred = self.deferred.get_or_insert(Deferred { since: now, times: 0, until: Vec::new() });
        deferred.until.push((link, now + BACKOFF.delay(deferred.times, rng)));
        deferred.times = deferred.times.saturating_add(1);
    }

    fn deferred_until(&self, link: LinkId) -> Option<Instant> {
        let mut until = self.deferred.iter().flat_map(|deferred| &deferred.until);
        until.find(|(other, _)| *other == link).map(|(_, until)| *until)
    }

    /// Whether it was put off for too long; that is sooner while it is in others' way.
    pub(super) fn is_hopeless(&self, crowded: bool, now: Instant) -> bool {
        let limit = if crowded { CROWDED_LIMIT } else { DEFERRED_LIMIT };
        self.deferred.as_ref().is_some_and(|deferred| now >= deferred.since + limit)
    }

    /// Whether an entry peer has put it off.
    pub(super) fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// Whether it goes to every link there is.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// Whether the answer takes longer than usual; told once.
    pub(super) fn becomes_late(&mut self, patience: Duration, now: Instant) -> bool {
        let late = !self.hurried && self.asked.iter().any(|(_, at)| now >= *at + patience);
        self.hurried |= late;
        late
    }

    /// The links that have owed an answer for too long.
    pub(super) fn silent(&self, now: Instant) -> impl Iterator<Item = LinkId> {
        self.asked.iter().filter(move |(_, at)| now >= *at + LIMIT).map(|(link, _)| *link)
    }

    /// When something is due for it, if nothing comes.
    pub(super) fn wake_at(&self, patience: Duration) -> Option<Instant> {
        let limit = if self.hurried { LIMIT } else { patience };
        let answers = self.asked.iter().map(|(_, at)| *at + limit);
        let again = self.deferred.iter().flat_map(|deferred| &deferred.until).map(|(_, until)| *until);
        answers.chain(again).min()
    }
}

/// The ids of the last [`REMEMBERED`] messages that were forwarded.
#[derive(Default)]
pub(super) struct Forwarded {
    order: VecDeque<Uuid>,
    ids: HashSet<Uuid>,
}

impl Forwarded {
    /// Whether a message was handed over already, as far as is remembered.
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    /// A message was handed over; the oldest that is remembered gives way.
    pub(super) fn remember(&mut self, id: Uuid) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.ids.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{PeerId, Version};
    use shared::stamp::Stamp;

    use super::*;

    const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];

    fn pending() -> Pending {
        let update = FileUpdate::injected("f".parse().unwrap(), Version::FIRST, Stamp(1), PeerId([1; 32]));
        Pending::new(Uuid::from_u128(1), 1, Arc::new(update))
    }

    #[test]
    fn who_has_put_a_change_off_isnt_asked_at_once_again_though_another_owes_an_answer() {
        let (mut pending, mut rng, now) = (pending(), Rng::from_seed(1), Instant::now());
        pending.hurried = true;
        for link in LINKS {
            pending.asked(link, now);
        }
        pending.defer(LINKS[0], now, &mut rng);
        assert_eq!(pending.due_on(&LINKS, now), []);
        let again = pending.wake_at(LIMIT).unwrap();
        assert!(again > now && again < now + LIMIT);
        assert_eq!(pending.due_on(&LINKS, again), [LINKS[0]]);
        pending.asked(LINKS[0], again);
        assert_eq!(pending.wake_at(LIMIT), Some(now + LIMIT), "now two answers are waited for");
    }

    #[test]
    fn what_one_has_put_off_another_gets_at_once() {
        let (mut pending, mut rng, now) = (pending(), Rng::from_seed(1), Instant::now());
        pending.asked(LINKS[0], now);
        pending.defer(LINKS[0], now, &mut rng);
        assert_eq!(pending.due_on(&LINKS, now), [LINKS[1]]);
    }

    #[test]
    fn a_link_that_is_gone_leaves_nothing_to_wait_for() {
        let (mut pending, mut rng, now) = (pending(), Rng::from_seed(1), Instant::now());
        for link in LINKS {
            pending.asked(link, now);
        }
        pending.defer(LINKS[0], now, &mut rng);
        for link in LINKS {
            pending.forget(link);
        }
        assert_eq!(pending.wake_at(LIMIT), None);
    }

    #[test]
    fn what_is_put_off_is_hopeless_sooner_while_it_is_in_others_way() {
        let (mut pending, mut rng, now) = (pending(), Rng::from_seed(1), Instant::now());
        pending.defer(LINKS[0], now, &mut rng);
        pending.defer(LINKS[0], now + CROWDED_LIMIT / 2, &mut rng);
        assert!(!pending.is_hopeless(true, now + CROWDED_LIMIT / 2) && pending.is_hopeless(true, now + CROWDED_LIMIT));
        assert!(!pending.is_hopeless(false, now + CROWDED_LIMIT) && pending.is_hopeless(false, now + DEFERRED_LIMIT));
    }

    #[test]
    fn the_oldest_forwarded_message_is_forgotten_first() {
        let mut forwarded = Forwarded::default();
        let id = |number: usize| Uuid::from_u128(number.try_into().unwrap());
        (0..=REMEMBERED).for_each(|number| forwarded.remember(id(number)));
        assert!(!forwarded.has(id(0)));
        assert!(forwarded.has(id(1)) && forwarded.has(id(REMEMBERED)));
        assert_eq!(forwarded.ids.len(), REMEMBERED);
    }
}
