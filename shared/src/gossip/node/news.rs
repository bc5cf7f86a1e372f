//! What comes and what is passed on: changes, records and suspicions, each to the part that it concerns.

use std::sync::Arc;

use crate::gossip::anti_entropy::Sets;
use crate::gossip::anti_entropy::fetch::Page;
use crate::gossip::census::short_name;
use crate::gossip::deadlines::Deadline;
use crate::gossip::handshake::twins;
use crate::gossip::io::{LinkId, NodeEvent};
use crate::gossip::liveness;
use crate::gossip::node::Node;
use crate::gossip::recent::Pushed;
use crate::gossip::updates::Taken;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::broadcast::MessageId;
use crate::wire::census::Record;
use crate::wire::peer::{Key, MAX_RECORD_NEIGHBOURS, Payload, Prefix, Set};
use crate::wire::update::FileUpdate;

impl Node {
    /// Sends what the tree wants sent.
    pub(super) fn flush_tree(&mut self) {
        while let Some((to, message)) = self.tree.poll_outgoing() {
            self.rt.send(to, message);
        }
    }

    // --- changes --------------------------------------------------------------------------------------------------

    /// A change begins its way here. Returns what became of it.
    pub(super) fn publish(&mut self, update: &Arc<FileUpdate>) -> Taken {
        let taken = self.updates.publish(update, &mut self.rt);
        if taken == Taken::Applied {
            self.originals.changed(&update.file, update.version);
            self.tree.publish(Payload::Update(update.clone()), self.rt.now, &mut self.rt.rng);
        }
        taken
    }

    /// A change came over a link. Returns whether it was news.
    fn received(&mut self, from: PeerId, update: &Arc<FileUpdate>, hops: Option<u16>) -> bool {
        let is_news = self.updates.receive(from, update, hops, &mut self.rt) == Taken::Applied;
        if is_news {
            self.originals.changed(&update.file, update.version);
        }
        is_news
    }

    /// A broadcast came: it is passed on if it comes for the first time, whatever it says.
    pub(super) fn broadcast(&mut self, (link, from): (LinkId, PeerId), id: MessageId, pushed: Pushed) {
        let hops = pushed.hops.saturating_add(1);
        let first_time = self.tree.note(id, self.rt.now);
        let news = match &pushed.payload {
            Payload::Update(update) => self.received(from, update, Some(hops)),
            Payload::Record(record) => first_time && self.take_record(record),
            Payload::Suspect(peer) => {
                if first_time {
                    liveness::accused(**peer, &mut self.rt);
                }
                first_time
            }
            Payload::Beacon => first_time,
            // Nothing is known of it but that those behind may know it.
            Payload::Unknown(_) => {
                self.stats.unknown += 1;
                first_time
            }
        };
        // What is known or not taken, but no duplicate, is passed on, too: those behind would miss its number.
        let now = self.rt.now;
        if first_time || news {
            self.tree.pass_on(link, id, Pushed { hops, ..pushed }, now, &mut self.rt.rng);
        } else {
            self.tree.on_duplicate(link, id, hops, now);
        }
    }

    /// A page of the catalogue came.
    pub(super) fn state(
        &mut self,
        (link, from): (LinkId, PeerId),
        entries: &[Arc<FileUpdate>],
        rest: Option<(Prefix, Key)>,
    ) {
        let mut news = false;
        for update in entries {
            // What is on its way comes to the others, too, without anybody's comparing.
            news |= self.received(from, update, None) && self.updates.is_settled(update, &self.rt);
        }
        self.page_came(link, Page { set: Set::Catalogue, rest, news });
    }

    fn page_came(&mut self, link: LinkId, page: Page) {
        let sets = Sets { catalogue: self.updates.catalogue(), census: &self.census };
        self.anti_entropy.came(link, page, sets, &mut self.rt);
    }

    // --- records --------------------------------------------------------------------------------------------------

    /// When this node's record is to be sent.
    fn record_due(&self) -> Option<Instant> {
        let is_heard = self.census.is_on() && !self.rt.leaving && self.rt.links.active() > 0;
        self.census.next_due(self.updates.applied()).filter(|_| is_heard)
    }

    /// Sends it where it is due, and plans the next.
    pub(super) fn publish_own_record(&mut self) {
        let (now, mut due) = (self.rt.now, self.record_due());
        if due.is_some_and(|due| due <= now) {
            for peer in self.census.expire(self.rt.me.peer, now) {
                self.rt.event(NodeEvent::Unrecorded { peer });
            }
            self.send_record();
            due = self.record_due();
        }
        self.rt.deadlines.put(Deadline::Record, due);
    }

    /// The last record, so that nobody waits for this node to come back.
    pub(super) fn tell_that_i_leave(&mut self) {
        if self.census.is_on() {
            self.send_record();
        }
    }

    fn send_record(&mut self) {
        let rt = &mut self.rt;
        let now = rt.now;
        let active = rt.links.neighbours().map(|neighbour| short_name(neighbour.peer));
        let record = Arc::new(Record {
            peer: rt.me.peer,
            source: rt.life.source,
            started: rt.life.started,
            serial: self.census.next_serial(self.updates.applied(), now),
            addr: rt.me.listen,
            left: rt.leaving,
            active: active.take(MAX_RECORD_NEIGHBOURS).collect(),
            passive: u16::try_from(self.membership.contacts.book().passive()).unwrap_or(u16::MAX),
            files: self.updates.files(),
            applied: self.updates.applied(),
            duplicates: self.tree.duplicates,
            load: self.liveness.load(now),
            version: rt.me.version.as_str().into(),
        });
        self.census.merge(record.clone(), now);
        self.tree.publish(Payload::Record(record), now, &mut rt.rng);
    }

    /// A record came. Returns whether it is news. One from the future would never be replaced.
    fn take_record(&mut self, record: &Arc<Record>) -> bool {
        if record.peer == self.rt.me.peer {
            if twins::is_of_younger(record, &self.rt) && self.membership.contacts.book().is_dialable(&record.addr) {
                self.membership.contacts.look_up(record.addr, &self.originals, &mut self.rt);
            }
            return false;
        }
        let credible = !self.updates.is_future(record.started, &self.rt);
        let is_news = self.census.is_on() && credible && self.census.merge(record.clone(), self.rt.now);
        if is_news {
            self.rt.event(NodeEvent::Recorded { record: record.clone() });
        }
        is_news
    }

    /// A page of the census came.
    pub(super) fn records(&mut self, link: LinkId, entries: &[Arc<Record>], rest: Option<(Prefix, Key)>) {
        for record in entries {
            self.take_record(record);
        }
        self.page_came(link, Page { set: Set::Census, rest, news: false });
    }
}
