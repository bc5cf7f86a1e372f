//! What RabbitMQ confirmed and neither the bridge nor a peer of this process has heard of since: how much of it there is,
//! and what may have become of it.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::{FileId, Version};
use shared::wire::event::PartState;
use shared::wire::overview::Overview;

/// What is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Changes that are gone since somebody else read the queue, too.
    pub(super) taken: usize,
    /// The others.
    pub(super) vanished: usize,
}

/// Looks for what is missing.
#[derive(Debug)]
pub(super) struct Search {
    taken_after_ms: u64,
    vanished_after_ms: u64,
    began_ms: u64,
    /// What an earlier run of this server handed over, as long as no peer of this process is known to have it.
    inherited: BTreeMap<FileId, Version>,
    /// When somebody else was last seen reading the queue.
    shared_ms: Option<u64>,
}

impl Search {
    /// A change is missing so long after it was confirmed: where somebody else reads the queue, and else.
    pub(super) fn new(taken_after: Duration, vanished_after: Duration, now_ms: u64) -> Self {
        Self {
            taken_after_ms: millis(taken_after),
            vanished_after_ms: millis(vanished_after),
            began_ms: now_ms,
            inherited: BTreeMap::new(),
            shared_ms: None,
        }
    }

    /// Before this run the broker confirmed these versions, or nobody knows better.
    pub(super) fn inherit(&mut self, versions: Vec<(FileId, Version)>) {
        self.inherited = versions.into_iter().collect();
    }

    /// Somebody else reads the queue now.
    pub(super) fn saw_others(&mut self, now_ms: u64) {
        self.shared_ms = Some(now_ms);
    }

    /// Whether somebody else has read the queue of late, so that something of that may be missing soon.
    pub(super) fn has_seen_others(&self, now_ms: u64) -> bool {
        self.shared_ms.is_some_and(|shared_ms| now_ms.saturating_sub(shared_ms) <= self.vanished_after_ms)
    }

    /// What is missing by now, provided that nothing lies in the queue.
    pub(super) fn missing(&mut self, overview: &Overview, now_ms: u64) -> Missing {
        let (mut missing, is_older) = (Missing::default(), |at_ms: u64, by_ms| now_ms.saturating_sub(at_ms) > by_ms);
        for at_ms in unforwarded(overview) {
            if self.shared_ms.is_some_and(|shared_ms| at_ms <= shared_ms) {
                missing.taken += usize::from(is_older(at_ms, self.taken_after_ms));
            } else {
                missing.vanished += usize::from(is_older(at_ms, self.vanished_after_ms));
            }
        }
        self.inherited.retain(|file, version| !is_seen_to(overview, file, *version));
        if is_older(self.began_ms, self.vanished_after_ms) {
            missing.vanished += self.inherited.len();
        }
        missing
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether it would be seen that a change is forwarded: by a bridge of this process, or by its peers.
pub(super) fn tells_what_is_forwarded(overview: &Overview) -> bool {
    match &overview.bridge {
        Some(state) => *state == PartState::Up,
        None => overview.running() > 0,
    }
}

/// When those files' latest versions were confirmed that are neither forwarded nor known by a local peer.
fn unforwarded(overview: &Overview) -> impl Iterator<Item = u64> {
    let views = overview.files.values().filter(|view| view.forwarded_ms.is_none());
    let views = views.filter(|view| view.holders.values().all(|holding| holding.version < view.version));
    views.filter_map(|view| view.published_ms)
}

/// Whether a version of an earlier run has come to a peer or the bridge since, or this run handles the file itself.
fn is_seen_to(overview: &Overview, file: &FileId, version: Version) -> bool {
    overview.files.get(file).is_some_and(|view| {
        let is_known = view.holders.values().any(|holding| holding.version >= version);
        is_known || view.stored_ms.is_some() || view.published_ms.is_some() || view.forwarded_ms.is_some()
    })
}

#[cfg(test)]
mod tests {
    use shared::ids::PeerId;
    use shared::wire::event::{Entry, Event};

    use super::*;

    const PATIENCE_MS: u64 = 10;
    const LATER_MS: u64 = 1000;

    fn search() -> Search {
        Search::new(Duration::ZERO, Duration::from_millis(PATIENCE_MS), 0)
    }

    fn tell(overview: &mut Overview, at_ms: u64, event: Event) {
        overview.apply(&Entry { seq: overview.seq + 1, at_ms, event });
    }

    fn published(file: &str) -> Event {
        Event::FilePublished { file: file.parse().unwrap(), version: Version::FIRST, owner: None }
    }

    fn forwarded(file: &str) -> Event {
        let entry = ([127, 0, 0, 1], 9001).into();
        Event::FileForwarded { file: file.parse().unwrap(), version: Version::FIRST, entry, owner: None }
    }

    fn applied(file: &str) -> Event {
        Event::UpdateApplied {
            peer: PeerId([1; 32]),
            file: file.parse().unwrap(),
            version: Version::FIRST,
            files: 1,
            owner: None,
        }
    }

    #[test]
    fn a_change_that_was_confirmed_long_ago_and_not_forwarded_has_vanished() {
        let (mut overview, mut search) = (Overview::new(10, true), search());
        tell(&mut overview, 1, published("f"));
        tell(&mut overview, 2, published("g"));
        tell(&mut overview, 3, forwarded("g"));
        assert_eq!(search.missing(&overview, PATIENCE_MS), Missing::default(), "it may be on its way");
        assert_eq!(search.missing(&overview, LATER_MS), Missing { taken: 0, vanished: 1 });
        tell(&mut overview, 4, forwarded("f"));
        assert_eq!(search.missing(&overview, LATER_MS), Missing::default());
    }

    #[test]
    fn what_is_gone_while_somebody_else_reads_the_queue_was_taken_and_that_is_known_sooner() {
        let (mut overview, mut search) = (Overview::new(10, true), search());
        tell(&mut overview, 1, published("f"));
        search.saw_others(2);
        assert_eq!(search.missing(&overview, 3), Missing { taken: 1, vanished: 0 });
        // Nobody else has been seen since.
        tell(&mut overview, 4, published("g"));
        assert_eq!(search.missing(&overview, LATER_MS), Missing { taken: 1, vanished: 1 });
        tell(&mut overview, 5, applied("f"));
        tell(&mut overview, 6, applied("g"));
        assert_eq!(search.missing(&overview, LATER_MS), Missing::default(), "they came all the same");
    }

    #[test]
    fn what_an_earlier_run_handed_over_has_vanished_if_no_peer_has_it_after_a_while() {
        let (mut overview, mut search) = (Overview::new(10, true), search());
        search.inherit(["f", "g", "h"].map(|file| (file.parse().unwrap(), Version::FIRST)).into());
        tell(&mut overview, 1, applied("g"));
        assert_eq!(search.missing(&overview, PATIENCE_MS), Missing::default(), "peers may be about to hear of it");
        assert_eq!(search.missing(&overview, LATER_MS), Missing { taken: 0, vanished: 2 });
        // Published again.
        tell(&mut overview, LATER_MS, published("f"));
        assert_eq!(search.missing(&overview, LATER_MS), Missing { taken: 0, vanished: 1 });
        tell(&mut overview, LATER_MS, forwarded("f"));
        tell(&mut overview, LATER_MS, applied("h"));
        assert_eq!(search.missing(&overview, 2 * LATER_MS), Missing::default());
    }

    #[test]
    fn what_is_forwarded_is_seen_by_a_bridge_of_this_process_or_by_its_peers() {
        let (mut overview, mut search) = (Overview::new(10, false), search());
        assert!(!tells_what_is_forwarded(&overview), "neither is there");
        let (peer, addr) = (PeerId([1; 32]), ([127, 0, 0, 1], 9001).into());
        tell(&mut overview, 1, Event::PeerStarted { peer, addr, files: 0 });
        assert!(tells_what_is_forwarded(&overview));
        tell(&mut overview, 1, published("f"));
        assert_eq!(search.missing(&overview, LATER_MS).vanished, 1);
        tell(&mut overview, 1, applied("f"));
        assert_eq!(search.missing(&overview, LATER_MS).vanished, 0, "a peer of this process has it");
        tell(&mut overview, 1, Event::Bridge { state: PartState::Down { reason: "no broker".to_owned() } });
        assert!(!tells_what_is_forwarded(&overview), "the bridge knows better, and can't tell");
    }
}
