//! Which changes are on disk, and who waits for that.

use std::collections::BTreeMap;

use crate::gossip::io::{LinkId, Ticket};

/// The order in which changes are stored.
#[derive(Debug, Default)]
pub struct Journal {
    /// The last ticket given out.
    issued: Ticket,
    /// The last ticket that is on disk.
    stored: Ticket,
    /// Submitted changes whose acceptance waits for the disk.
    unanswered: BTreeMap<(Ticket, LinkId), Vec<u64>>,
}

impl Journal {
    /// The place of the next change.
    pub fn next_ticket(&mut self) -> Ticket {
        self.issued = Ticket(self.issued.0 + 1);
        self.issued
    }

    /// Returns whether all that was given a place is on disk. If not, it is remembered that a client waits for that.
    pub fn await_disk(&mut self, client: LinkId, request: u64) -> bool {
        let stored = self.stored >= self.issued;
        if !stored {
            self.unanswered.entry((self.issued, client)).or_default().push(request);
        }
        stored
    }

    /// All up to a ticket is on disk. Returns one of the clients that waited for that, and its requests; `None` when there
    /// is no other.
    pub fn poll_stored(&mut self, ticket: Ticket) -> Option<(LinkId, Vec<u64>)> {
        self.stored = self.stored.max(ticket);
        let first = self.unanswered.first_entry().filter(|first| first.key().0 <= ticket)?;
        let ((_, client), requests) = first.remove_entry();
        Some((client, requests))
    }

    /// A client is gone.
    pub fn gone(&mut self, client: LinkId) {
        self.unanswered.retain(|(_, waiting), _| *waiting != client);
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
        journal.next_ticket();
        assert!(!journal.await_disk(ONE, 8));
        let second = journal.next_ticket();
        assert!(!journal.await_disk(OTHER, 9) && !journal.await_disk(OTHER, 10));
        assert_eq!(journal.poll_stored(Ticket(1)), Some((ONE, vec![8])));
        assert_eq!(journal.poll_stored(Ticket(1)), None);
        assert_eq!(journal.poll_stored(second), Some((OTHER, vec![9, 10])));
        assert!(journal.await_disk(ONE, 11));
    }

    #[test]
    fn nobody_is_answered_whose_link_is_gone() {
        let mut journal = Journal::default();
        let ticket = journal.next_ticket();
        journal.await_disk(ONE, 1);
        journal.await_disk(OTHER, 2);
        journal.gone(ONE);
        assert_eq!(journal.poll_stored(ticket), Some((OTHER, vec![2])));
        assert_eq!(journal.poll_stored(ticket), None);
    }
}
