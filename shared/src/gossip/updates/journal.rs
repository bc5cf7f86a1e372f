//! Which changes are on disk, and who waits for that.

use std::collections::BTreeMap;

use crate::gossip::io::{JournalSeq, LinkId};

/// The order in which changes are stored.
#[derive(Debug, Default)]
pub struct Journal {
    /// The last seq given out.
    last_issued: JournalSeq,
    /// The last seq that is on disk.
    last_durable: JournalSeq,
    /// Submitted changes whose acceptance waits for the disk.
    awaiting_durability: BTreeMap<(JournalSeq, LinkId), Vec<u64>>,
}

impl Journal {
    /// The place of the next change.
    pub fn next_seq(&mut self) -> JournalSeq {
        self.last_issued = JournalSeq(self.last_issued.0 + 1);
        self.last_issued
    }

    /// Returns whether all that was given a place is on disk. If not, it is remembered that a client waits for that.
    pub fn await_disk(&mut self, client: LinkId, request: u64) -> bool {
        let stored = self.last_durable >= self.last_issued;
        if !stored {
            self.awaiting_durability.entry((self.last_issued, client)).or_default().push(request);
        }
        stored
    }

    /// All up to a seq is on disk. Returns one of the clients that waited for that, and its requests; `None` when there
    /// is no other.
    pub fn poll_persisted(&mut self, seq: JournalSeq) -> Option<(LinkId, Vec<u64>)> {
        self.last_durable = self.last_durable.max(seq);
        let first = self.awaiting_durability.first_entry().filter(|first| first.key().0 <= seq)?;
        let ((_, client), requests) = first.remove_entry();
        Some((client, requests))
    }

    /// A client is gone.
    pub fn gone(&mut self, client: LinkId) {
        self.awaiting_durability.retain(|(_, waiting), _| *waiting != client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LinkId = LinkId(1);
    const OTHER: LinkId = LinkId(2);

    #[test]
    fn who_hands_a_change_over_waits_until_that_and_all_before_it_are_on_disk() {
        let mut journal = Journal::default();
        assert!(journal.await_disk(ONE, 7), "there is nothing to wait for");
        journal.next_seq();
        assert!(!journal.await_disk(ONE, 8));
        let second = journal.next_seq();
        assert!(!journal.await_disk(OTHER, 9) && !journal.await_disk(OTHER, 10));
        assert_eq!(journal.poll_persisted(JournalSeq(1)), Some((ONE, vec![8])));
        assert_eq!(journal.poll_persisted(JournalSeq(1)), None);
        assert_eq!(journal.poll_persisted(second), Some((OTHER, vec![9, 10])));
        assert!(journal.await_disk(ONE, 11));
    }

    #[test]
    fn nobody_is_answered_whose_link_is_gone() {
        let mut journal = Journal::default();
        let seq = journal.next_seq();
        journal.await_disk(ONE, 1);
        journal.await_disk(OTHER, 2);
        journal.gone(ONE);
        assert_eq!(journal.poll_persisted(seq), Some((OTHER, vec![2])));
        assert_eq!(journal.poll_persisted(seq), None);
    }
}
