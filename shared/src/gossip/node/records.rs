//! What this node tells of itself, and hears of others.

use std::sync::Arc;

use crate::gossip::census::short_name;
use crate::gossip::io::LinkId;
use crate::gossip::node::Node;
use crate::time::Instant;
use crate::wire::census::Record;
use crate::wire::peer::{Key, MAX_RECORD_NEIGHBOURS, Payload, Prefix, Set};

impl Node {
    /// When this node's record is to be sent.
    pub(super) fn record_due(&self) -> Option<Instant> {
        let is_heard = self.census.is_on() && !self.leaving && self.links.active() > 0;
        self.census.next_due(self.told_applied != Some(self.applied)).filter(|_| is_heard)
    }

    /// Sends it where it is due.
    pub(super) fn tell_of_myself(&mut self, now: Instant) {
        if self.record_due().is_some_and(|due| due <= now) {
            self.census.forget_the_gone(self.me.peer, now);
            self.send_record(now);
        }
    }

    /// The last record, so that nobody waits for this node to come back.
    pub(super) fn tell_that_i_leave(&mut self, now: Instant) {
        if self.census.is_on() {
            self.send_record(now);
        }
    }

    fn send_record(&mut self, now: Instant) {
        self.told_applied = Some(self.applied);
        let active =
            self.links.neighbours().map(|neighbour| short_name(neighbour.peer)).take(MAX_RECORD_NEIGHBOURS).collect();
        let record = Arc::new(Record {
            peer: self.me.peer,
            source: self.source,
            started: self.me.began_ms,
            serial: self.census.next_serial(now),
            addr: self.me.listen,
            left: self.leaving,
            active,
            passive: u16::try_from(self.book.passive()).unwrap_or(u16::MAX),
            files: u32::try_from(self.catalogue.len()).unwrap_or(u32::MAX),
            applied: self.applied,
            duplicates: self.tree.duplicates,
            load: self.health.load(now),
            version: self.me.version.as_str().into(),
        });
        self.census.merge(record.clone(), now);
        self.tree.publish(Payload::Record(record), now, &mut self.rng);
    }

    /// A record came. Says whether it is news. One from the future would never be replaced.
    pub(super) fn take_record(&mut self, now: Instant, record: &Arc<Record>) -> bool {
        if record.peer == self.me.peer {
            self.heard_of_a_twin(now, record);
            return false;
        }
        let credible = !self.is_future(now, record.started);
        self.census.is_on() && credible && self.census.merge(record.clone(), now)
    }

    pub(super) fn records(&mut self, now: Instant, link: LinkId, entries: &[Arc<Record>], rest: Option<(Prefix, Key)>) {
        for record in entries {
            self.take_record(now, record);
        }
        let fetched = self.fetch.came(link, Set::Census, rest, false, now);
        self.after_fetch(now, fetched);
        self.ask_for_wishes(now);
    }
}
