//! Changes: which are taken, what they make of the catalogue, and when whoever handed one over hears that it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::catalogue::Catalogue;
use crate::gossip::config::Limits;
use crate::gossip::deadlines::Deadline;
use crate::gossip::io::{JournalSeq, LinkId, NodeEvent, Output};
use crate::gossip::ledger::Entry as _;
use crate::gossip::reason::Refusal;
use crate::gossip::runtime::{Runtime, millis};
use crate::gossip::stats::count;
use crate::gossip::updates::journal::Journal;
use crate::ids::PeerId;
use crate::wire::peer::{Key, PeerMessage};
use crate::wire::update::{FileUpdate, MAX_NAME_BYTES};

pub mod journal;

/// How long after the last change that shows it a clock counts as wrong. A guess: several times what an operator needs to
/// see it, a fraction of what one remembers.
const WRONG_FOR: Duration = Duration::from_mins(10);

/// What a node knows of the files.
#[derive(Debug)]
pub struct Updates {
    limits: Limits,
    /// A change that is older than this must have come everywhere by itself, if it could.
    settled_after: Duration,
    catalogue: Catalogue,
    /// [`Catalogue::files`], kept up with each change.
    files: u32,
    applied: u64,
    rejected: BTreeMap<&'static str, u64>,
    journal: Journal,
}

/// What became of a change that was to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is news: others are to be told.
    Applied,
    /// It was known, or a later one is.
    Known,
    /// It can't be taken, of which people have been told.
    Refused(Refusal),
}

impl Updates {
    /// A node that starts with what it kept. `settled_after`: how old a change is that must have come by itself.
    pub fn new(limits: Limits, settled_after: Duration, catalogue: Catalogue) -> Self {
        let files = catalogue.files();
        Self {
            limits,
            settled_after,
            catalogue,
            files,
            applied: 0,
            rejected: BTreeMap::new(),
            journal: Journal::default(),
        }
    }

    /// What is known of every file.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How many files there are; deleted ones don't count.
    pub fn files(&self) -> u32 {
        self.files
    }

    /// How many changes were news since the start.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// How many changes weren't taken since the start, by [`Refusal::name`].
    pub fn rejected(&self) -> &BTreeMap<&'static str, u64> {
        &self.rejected
    }

    // --- changes --------------------------------------------------------------------------------------------------

    /// A change that begins its way here: this node's own, a client's, or an original's.
    pub fn publish(&mut self, update: &Arc<FileUpdate>, rt: &mut Runtime) -> Taken {
        let key = update.key();
        let known = self.catalogue.get(key);
        if known.is_some_and(|known| !update.replaces(known)) {
            return Taken::Known;
        }
        if let Err(refusal) = self.check(update, known) {
            return self.reject(update, refusal, rt);
        }
        let was_there = known.is_some_and(|known| !known.deleted);
        self.apply(key, update, was_there, rt);
        Taken::Applied
    }

    /// A change came over a link, over so many hops if it was pushed.
    pub fn receive(&mut self, from: PeerId, update: &Arc<FileUpdate>, hops: Option<u16>, rt: &mut Runtime) -> Taken {
        let key = update.key();
        let present = self.catalogue.get(key);
        let known = present.is_some_and(|present| !update.replaces(present));
        if !known && let Err(refusal) = self.check(update, present) {
            return self.reject(update, refusal, rt);
        }
        let was_there = present.is_some_and(|present| !present.deleted);
        // A page of the catalogue may hold what has come meanwhile: only its news is worth telling.
        if !known || hops.is_some() {
            let (file, version, owner) = (update.file.clone(), update.version, update.owner.clone());
            rt.event(NodeEvent::Received { from, file, version, owner, hops, fresh: !known });
        }
        if known {
            return Taken::Known;
        }
        self.apply(key, update, was_there, rt);
        Taken::Applied
    }

    /// A change isn't taken: counted and told. Returns what became of it.
    pub fn reject(&mut self, update: &FileUpdate, refusal: Refusal, rt: &mut Runtime) -> Taken {
        count(&mut self.rejected, refusal.name());
        rt.event(NodeEvent::Rejected { file: update.file.clone(), reason: refusal });
        Taken::Refused(refusal)
    }

    /// Whether a change is within the limits, given what is known of its file. Its stamp has none: whose clock is wrong
    /// can't be told, and a change of an honest peer is never to be refused for it.
    fn check(&self, update: &FileUpdate, known: Option<&Arc<FileUpdate>>) -> Result<(), Refusal> {
        if update.name.len() > MAX_NAME_BYTES {
            return Err(Refusal::LongName);
        }
        if update.version.0 > known.map_or(0, |known| known.version.0).saturating_add(self.limits.version_step) {
            return Err(Refusal::VersionJump);
        }
        if known.is_none() && self.catalogue.len() >= self.limits.files {
            return Err(Refusal::TooManyFiles);
        }
        Ok(())
    }

    /// Whether a moment, in milliseconds since 1970, is further ahead than clocks may differ.
    pub fn is_future(&self, wall_ms: u64, rt: &Runtime) -> bool {
        wall_ms > rt.wall_ms().saturating_add(millis(self.limits.future))
    }

    /// Says once that a clock is wrong, if a change is further ahead than clocks may differ.
    fn compare_clocks(&self, update: &FileUpdate, rt: &mut Runtime) {
        let wall_ms = update.stamp.wall_ms();
        if !self.is_future(wall_ms, rt) {
            return;
        }
        if !rt.deadlines.is_set(Deadline::Clocks) {
            let ahead = Duration::from_millis(wall_ms.saturating_sub(rt.wall_ms()));
            rt.event(NodeEvent::ClockWrong { file: update.file.clone(), origin: update.origin, ahead });
        }
        rt.deadlines.set(Deadline::Clocks, rt.now + WRONG_FOR);
    }

    /// Whether a change was made so long ago that the tree must have brought it everywhere, if it could.
    pub fn is_settled(&self, update: &FileUpdate, rt: &Runtime) -> bool {
        update.stamp.wall_ms().saturating_add(millis(self.settled_after)) < rt.wall_ms()
    }

    /// Takes news in, and has it kept. `was_there`: whether the file was known and not deleted.
    fn apply(&mut self, key: Key, update: &Arc<FileUpdate>, was_there: bool, rt: &mut Runtime) {
        self.compare_clocks(update, rt);
        self.catalogue.put(key, update.clone());
        self.applied += 1;
        match (was_there, update.deleted) {
            (false, false) => self.files = self.files.saturating_add(1),
            (true, true) => self.files = self.files.saturating_sub(1),
            (true, false) | (false, true) => {}
        }
        let (file, version, owner) = (update.file.clone(), update.version, update.owner.clone());
        rt.event(NodeEvent::Applied { file, version, owner, files: self.files });
        rt.push(Output::Persist { seq: self.journal.next_seq(), update: update.clone() });
    }

    // --- answers to clients ---------------------------------------------------------------------------------------

    /// Answers who handed a change over, now or once it is on disk. `taken`: what became of it.
    pub fn submitted(&mut self, client: LinkId, request: u64, taken: Taken, rt: &mut Runtime) {
        let answer = match taken {
            Taken::Refused(refusal) if refusal.passes() => {
                PeerMessage::Deferred { request, reason: refusal.to_string() }
            }
            Taken::Refused(refusal) => PeerMessage::Refused { request, reason: refusal.to_string() },
            Taken::Applied | Taken::Known => {
                if !self.journal.await_disk(client, request) {
                    return;
                }
                PeerMessage::Accepted { request }
            }
        };
        rt.send(vec![client], answer);
    }

    /// All that was to be kept up to a seq is on disk.
    pub fn on_persisted(&mut self, seq: JournalSeq, rt: &mut Runtime) {
        while let Some((client, requests)) = self.journal.poll_persisted(seq) {
            for request in requests {
                rt.answer(client, PeerMessage::Accepted { request });
            }
        }
    }

    /// A link is gone: nobody waits there for an answer.
    pub fn gone(&mut self, client: LinkId) {
        self.journal.gone(client);
    }
}

/// No change has shown for a while that a clock is wrong.
pub fn clocks_agree(rt: &mut Runtime) {
    rt.deadlines.stop(Deadline::Clocks);
    rt.event(NodeEvent::ClocksAgree);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Version;
    use crate::stamp::Stamp;

    const FROM: PeerId = PeerId([7; 32]);
    const CLIENT: LinkId = LinkId(1);

    fn update(version: u64, deleted: bool) -> Arc<FileUpdate> {
        let update = FileUpdate::injected("f".parse().unwrap(), Version(version), Stamp(1), FROM);
        Arc::new(FileUpdate { deleted, ..update })
    }

    fn updates() -> Updates {
        Updates::new(Limits::default(), Duration::from_secs(2), Catalogue::default())
    }

    /// How many files there are after each change, as people are told.
    fn counts(rt: &mut Runtime) -> Vec<u32> {
        let count = |output| match output {
            Output::Event(NodeEvent::Applied { files, .. }) => Some(files),
            _ => None,
        };
        rt.outputs().into_iter().filter_map(count).collect()
    }

    #[test]
    fn news_is_applied_once_and_kept() {
        let (mut rt, mut updates) = (Runtime::with_neighbours(0), updates());
        assert_eq!(updates.publish(&update(2, false), &mut rt), Taken::Applied);
        assert!(matches!(rt.outputs().last(), Some(Output::Persist { seq: JournalSeq(1), .. })));
        assert_eq!(updates.receive(FROM, &update(2, false), Some(3), &mut rt), Taken::Known);
        assert_eq!(updates.receive(FROM, &update(1, false), None, &mut rt), Taken::Known);
        assert!(rt.outputs().iter().all(|output| !matches!(output, Output::Persist { .. })));
        assert_eq!(updates.applied(), 1);
    }

    #[test]
    fn deleted_files_are_not_counted() {
        let (mut rt, mut updates) = (Runtime::with_neighbours(0), updates());
        for (version, deleted) in [(1, false), (2, true), (3, true), (4, false)] {
            updates.publish(&update(version, deleted), &mut rt);
        }
        assert_eq!(counts(&mut rt), [1, 0, 0, 1]);
    }

    #[test]
    fn what_breaks_a_limit_is_not_taken_and_people_are_told() {
        let (mut rt, mut updates) = (Runtime::with_neighbours(0), updates());
        let jump = update(Limits::default().version_step + 1, false);
        assert_eq!(updates.receive(FROM, &jump, Some(1), &mut rt), Taken::Refused(Refusal::VersionJump));
        assert!(matches!(rt.outputs().as_slice(), [Output::Event(NodeEvent::Rejected { .. })]));
        assert!(updates.catalogue().is_empty());
    }

    #[test]
    fn a_client_hears_of_its_change_when_it_is_on_disk() {
        let (mut rt, mut updates) = (Runtime::with_neighbours(1), updates());
        let taken = updates.publish(&update(1, false), &mut rt);
        updates.submitted(CLIENT, 5, taken, &mut rt);
        assert_eq!(rt.sent(), []);
        updates.on_persisted(JournalSeq(1), &mut rt);
        assert_eq!(rt.sent(), [(CLIENT, PeerMessage::Accepted { request: 5 })]);
        updates.submitted(CLIENT, 6, Taken::Known, &mut rt);
        assert_eq!(rt.sent(), [(CLIENT, PeerMessage::Accepted { request: 6 })]);
        let later = Taken::Refused(Refusal::TooManyFiles);
        updates.submitted(CLIENT, 7, later, &mut rt);
        assert_eq!(
            rt.sent(),
            [(CLIENT, PeerMessage::Deferred { request: 7, reason: Refusal::TooManyFiles.to_string() })]
        );
    }
}
