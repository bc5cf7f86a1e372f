//! Changes: from the driver, from clients, and from neighbours; merged, kept, passed on.

use std::sync::Arc;
use std::time::Duration;

use crate::gossip::io::{LinkId, NodeEvent, Output, Ticket};
use crate::gossip::ledger::Entry as _;
use crate::gossip::node::Node;
use crate::gossip::recent::Pushed;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::broadcast::MessageId;
use crate::wire::peer::{Key, Payload, PeerMessage};
use crate::wire::update::{FileUpdate, MAX_NAME_BYTES};

/// Why a change isn't taken.
struct Refusal {
    reason: &'static str,
    /// Whether it may be taken later.
    passes: bool,
}

impl Refusal {
    fn lasting(reason: &'static str) -> Self {
        Self { reason, passes: false }
    }

    fn passing(reason: &'static str) -> Self {
        Self { reason, passes: true }
    }
}

impl Node {
    pub(super) fn broadcast(&mut self, now: Instant, (link, from): (LinkId, PeerId), id: MessageId, pushed: Pushed) {
        let hops = pushed.hops.saturating_add(1);
        let first_time = self.tree.note(id, now);
        let news = match &pushed.payload {
            Payload::Update(update) => self.received(now, from, update, Some(hops)),
            Payload::Record(record) => first_time && self.take_record(now, record),
            Payload::Suspect(peer) => first_time && self.doubt(now, **peer),
            // Nothing is known of it but that those behind may know it.
            Payload::Beacon | Payload::Unknown(_) => first_time,
        };
        // What is known or not taken, but no duplicate, is passed on, too: those behind would miss its number.
        if first_time || news {
            self.tree.pass_on(link, id, Pushed { hops, ..pushed }, now, &mut self.rng);
        } else {
            self.tree.came_again(link, id, hops, now);
        }
    }

    /// Somebody gets no answer from a peer: if it is a neighbour, it is asked at once. An accusation is no more than
    /// this hint, so nothing has to be refuted and nobody can be slandered (SWIM, section 4.2, needs both).
    fn doubt(&mut self, now: Instant, peer: PeerId) -> bool {
        let link = self.links.with(peer);
        if let Some(link) = link.and_then(|link| self.links.get_mut(link)) {
            link.pulse.doubt(now);
            self.check_at = now;
        }
        true
    }

    /// A change of this node's own. Where it can't be taken, an event says why.
    pub(super) fn publish(&mut self, now: Instant, update: &Arc<FileUpdate>) {
        if let Err(refusal) = self.take(now, update) {
            self.reject(update, &refusal);
        }
    }

    /// Takes a change that begins its way here, if it is news.
    fn take(&mut self, now: Instant, update: &Arc<FileUpdate>) -> Result<(), Refusal> {
        let key = update.key();
        let known = self.catalogue.get(key);
        if known.is_some_and(|known| !update.replaces(known)) {
            return Ok(());
        }
        self.check(now, update, known)?;
        let was_there = known.is_some_and(|known| !known.deleted);
        self.apply(key, update, was_there);
        self.tree.publish(Payload::Update(update.clone()), now, &mut self.rng);
        Ok(())
    }

    /// A change came over a link. Says whether it was news.
    pub(super) fn received(&mut self, now: Instant, from: PeerId, update: &Arc<FileUpdate>, hops: Option<u16>) -> bool {
        let key = update.key();
        let present = self.catalogue.get(key);
        let known = present.is_some_and(|present| !update.replaces(present));
        if !known && let Err(refusal) = self.check(now, update, present) {
            self.reject(update, &refusal);
            return false;
        }
        let was_there = present.is_some_and(|present| !present.deleted);
        // A page of the catalogue may hold what has come meanwhile: only its news is worth telling.
        if !known || hops.is_some() {
            let (file, version) = (update.file.clone(), update.version);
            self.event(NodeEvent::Received { from, file, version, hops, fresh: !known });
        }
        if !known {
            self.apply(key, update, was_there);
        }
        !known
    }

    fn reject(&mut self, update: &FileUpdate, refusal: &Refusal) {
        self.event(NodeEvent::Rejected { file: update.file.clone(), reason: refusal.reason });
    }

    /// Whether a change is within the limits, given what is known of its file.
    fn check(&self, now: Instant, update: &FileUpdate, known: Option<&Arc<FileUpdate>>) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        if update.name.len() > MAX_NAME_BYTES {
            return Err(Refusal::lasting("its name is too long"));
        }
        if self.is_future(now, update.stamp.wall_ms()) {
            return Err(Refusal::passing("its stamp is from the future"));
        }
        if update.version.0 > known.map_or(0, |known| known.version.0).saturating_add(limits.version_step) {
            return Err(Refusal::lasting("its version is too far ahead"));
        }
        if known.is_none() && self.catalogue.len() >= limits.files {
            return Err(Refusal::passing("there are too many files"));
        }
        Ok(())
    }

    /// Whether a moment, in milliseconds since 1970, is further ahead than clocks may differ.
    pub(super) fn is_future(&self, now: Instant, wall_ms: u64) -> bool {
        wall_ms > self.wall_ms(now).saturating_add(millis(self.config.limits.future))
    }

    /// Wall time, in milliseconds since 1970.
    fn wall_ms(&self, now: Instant) -> u64 {
        self.me.began_ms.saturating_add(millis(now - Instant::START))
    }

    /// Whether a change was made so long ago that the tree must have brought it everywhere, if it could.
    pub(super) fn is_settled(&self, now: Instant, update: &FileUpdate) -> bool {
        update.stamp.wall_ms().saturating_add(millis(self.config.reconcile_after)) < self.wall_ms(now)
    }

    /// Takes news in, and has it kept. `was_there`: whether the file was known and not deleted.
    fn apply(&mut self, key: Key, update: &Arc<FileUpdate>, was_there: bool) {
        self.catalogue.put(key, update.clone());
        self.applied += 1;
        match (was_there, update.deleted) {
            (false, false) => self.files = self.files.saturating_add(1),
            (true, true) => self.files = self.files.saturating_sub(1),
            (true, false) | (false, true) => {}
        }
        let (file, version, files) = (update.file.clone(), update.version, self.files);
        self.event(NodeEvent::Applied { file, version, files });
        self.originals.changed(&update.file, update.version);
        self.issued = Ticket(self.issued.0 + 1);
        self.outputs.push_back(Output::Store { ticket: self.issued, update: update.clone() });
    }

    pub(super) fn submitted(&mut self, now: Instant, id: LinkId, request: u64, update: &Arc<FileUpdate>) {
        let answer = match self.take(now, update) {
            Err(refusal) => {
                self.reject(update, &refusal);
                let reason = refusal.reason.to_owned();
                if refusal.passes {
                    PeerMessage::Deferred { request, reason }
                } else {
                    PeerMessage::Refused { request, reason }
                }
            }
            Ok(()) if self.stored >= self.issued => PeerMessage::Accepted { request },
            Ok(()) => return self.unanswered.entry((self.issued, id)).or_default().push(request),
        };
        self.send(now, vec![id], answer);
    }

    pub(super) fn on_disk(&mut self, ticket: Ticket) {
        self.stored = self.stored.max(ticket);
        while let Some(first) = self.unanswered.first_entry().filter(|first| first.key().0 <= ticket) {
            let ((_, link), requests) = first.remove_entry();
            for request in requests {
                self.outputs.push_back(Output::Send { to: vec![link], message: PeerMessage::Accepted { request } });
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
