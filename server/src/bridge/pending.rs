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
/// How many forwarded messages are remembered, to know repetitions. 256 windows of the relay.
const REMEMBERED: usize = 65_536;

/// One change on its way.
pub(super) struct Pending {
    pub(super) message: Uuid,
    /// The deliveries of this message: more than one when it was published twice; none when the subscription is lost, for
    /// what was delivered may be in no queue any more.
    pub(super) tags: Vec<u64>,
    pub(super) update: Arc<FileUpdate>,
    /// The links on which an answer is awaited, and since when.
    asked: Vec<(LinkId, Instant)>,
    /// Whether it goes to every link there is, not only to the first.
    hurried: bool,
    deferred: Option<Deferred>,
}

/// An entry peer can't take it now.
struct Deferred {
    since: Instant,
    times: u32,
    retry_at: Instant,
}

impl Pending {
    pub(super) fn new(message: Uuid, tag: u64, update: Arc<FileUpdate>) -> Self {
        Self { message, tags: vec![tag], update, asked: Vec::new(), hurried: false, deferred: None }
    }

    /// To which of `links`, the first of which comes first, it is to be submitted now.
    pub(super) fn due_on(&self, links: &[LinkId], now: Instant) -> Vec<LinkId> {
        if self.retry_at().is_some_and(|retry_at| now < retry_at) {
            return Vec::new();
        }
        let unasked = links.iter().copied().filter(|link| !self.is_asked(*link));
        match (self.hurried, self.asked.is_empty()) {
            (true, _) => unasked.collect(),
            (false, true) => unasked.take(1).collect(),
            (false, false) => Vec::new(),
        }
    }

    pub(super) fn asked(&mut self, link: LinkId, now: Instant) {
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
    }

    /// The entry peer on `link` can't take it now.
    pub(super) fn defer(&mut self, link: LinkId, now: Instant, rng: &mut Rng) {
        self.forget(link);
        self.hurried = true;
        if self.asked.is_empty() {
            let deferred = self.deferred.get_or_insert(Deferred { since: now, times: 0, retry_at: now });
            deferred.retry_at = now + BACKOFF.delay(deferred.times, rng);
            deferred.times = deferred.times.saturating_add(1);
        }
    }

    fn retry_at(&self) -> Option<Instant> {
        self.deferred.as_ref().filter(|_| self.asked.is_empty()).map(|deferred| deferred.retry_at)
    }

    /// Whether it was put off for too long.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        self.deferred.as_ref().is_some_and(|deferred| now >= deferred.since + DEFERRED_LIMIT)
    }

    /// Whether every entry peer that was asked has put it off.
    pub(super) fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

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
        let answer = self.asked.iter().map(|(_, at)| *at + limit).min();
        answer.or(self.retry_at())
    }
}

/// The ids of the last [`REMEMBERED`] messages that were forwarded.
#[derive(Default)]
pub(super) struct Forwarded {
    order: VecDeque<Uuid>,
    ids: HashSet<Uuid>,
}

impl Forwarded {
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

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
    use super::*;

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
