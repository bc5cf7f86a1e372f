//! The state of everything that the event stream tells of, and how one entry changes it.
//!
//! Who the peers are, and how they are linked, is in [`peers`].
//!
//! Long because the fold of all other events is one idea, and its tests stand beside it.

mod peers;
mod reading;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use serde::Serialize;

use crate::ids::{FileId, PeerId, Version};
use crate::wire::condition::{Condition, Standing};
use crate::wire::event::{Entry, Event, PartState, PeerState};
use crate::wire::file_view::{FileView, Reach, Reached};
use crate::wire::peer_view::PeerView;
use crate::wire::queue::ChangeKind;

/// The state of everything that the stream tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The number of the last entry in it.
    pub seq: u64,
    /// The peers.
    pub peers: BTreeMap<PeerId, PeerView>,
    /// How many of `peers` are up, counted when one starts or stops: each applied update needs the number.
    pub up: u32,
    /// The files, at most `file_limit`; the least recently touched go first.
    pub files: BTreeMap<FileId, FileView>,
    /// How many files are kept.
    pub file_limit: u32,
    /// The broker's state.
    pub broker: PartState,
    /// The bridge's state; absent where this server runs none.
    pub bridge: Option<PartState>,
    /// The faults that last.
    pub conditions: BTreeMap<Condition, Standing>,
    /// The last [`LOG_LIMIT`] entries, oldest first.
    pub log: VecDeque<Entry>,
}

/// How many entries an [`Overview`] keeps. A guess: a few screens.
pub const LOG_LIMIT: usize = 200;
/// How many files the overview of a snapshot has. A guess: a few screens.
pub const SNAPSHOT_FILES: u32 = 500;

impl Overview {
    /// Nothing has happened yet; at most `file_limit` files will be kept.
    pub fn new(file_limit: u32, bridge: bool) -> Self {
        Self {
            seq: 0,
            peers: BTreeMap::new(),
            up: 0,
            files: BTreeMap::new(),
            file_limit,
            broker: PartState::Starting,
            bridge: bridge.then_some(PartState::Starting),
            conditions: BTreeMap::new(),
            log: VecDeque::new(),
        }
    }

    /// Takes over one entry. Entries come in the order of their numbers; one that is in already changes nothing.
    pub fn apply(&mut self, entry: &Entry) {
        if entry.seq <= self.seq {
            return;
        }
        self.seq = entry.seq;
        self.apply_event(entry.at_ms, &entry.event);
        if self.log.len() == LOG_LIMIT {
            self.log.pop_front();
        }
        self.log.push_back(entry.clone());
    }

    /// The same with only the `limit` most recently touched files.
    #[must_use]
    pub fn recent(&self, limit: u32) -> Self {
        let mut recent = Self { file_limit: limit, files: BTreeMap::new(), ..self.clone_without_files() };
        let mut is_recent = most_recent(&self.files, limit);
        let kept = self.files.iter().filter(|(_, view)| is_recent(view));
        recent.files = kept.map(|(file, view)| (file.clone(), view.clone())).collect();
        recent
    }

    /// A peer is about to start with what it kept: `holds` is its catalogue. Part of the state, yet too large for an
    /// entry, so readers need a new snapshot after it.
    pub fn load_catalogue(&mut self, peer: PeerId, holds: impl IntoIterator<Item = (FileId, Version)>) {
        self.forget_holdings(peer);
        for (file, version) in holds {
            self.hold(peer, file, version, None);
        }
        self.forget_old_files();
    }

    /// How many running local peers know `version` of `file`, or a later one that this server has made; who knows a later
    /// one of somebody else's won't take it. `None` if there are no local peers, or the file isn't kept here.
    pub fn reached(&self, file: &FileId, version: Version) -> Option<u32> {
        if !self.has_local_peers() {
            return None;
        }
        let view = self.files.get(file)?;
        let latest = if view.is_foreign(version) { version } else { view.version.max(version) };
        let reached = view.holders.iter().filter(|(_, held)| (version..=latest).contains(&held.version));
        let reached = reached.filter(|(peer, _)| self.is_running(peer));
        u32::try_from(reached.count()).ok()
    }

    /// Whether this server runs peers of its own, or has run some.
    pub fn has_local_peers(&self) -> bool {
        self.peers.values().any(|view| view.state.is_ours())
    }

    /// How many of this server's peers run now.
    pub fn running(&self) -> u32 {
        self.up
    }

    /// Where the latest version of `file` is; `None` if the file isn't kept here.
    pub fn reach(&self, file: &FileId) -> Option<Reach> {
        Some(self.files.get(file)?.reach(&self.peers))
    }

    fn is_running(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|view| view.state == PeerState::Up)
    }

    /// The links, each once, the smaller id first: what either end says.
    pub fn links(&self) -> BTreeSet<(PeerId, PeerId)> {
        let ends = self.peers.iter().flat_map(|(peer, view)| view.neighbours.iter().map(move |other| (*peer, *other)));
        ends.map(|(a, b)| (a.min(b), a.max(b))).collect()
    }

    fn clone_without_files(&self) -> Self {
        Self {
            seq: self.seq,
            peers: self.peers.clone(),
            up: self.up,
            files: BTreeMap::new(),
            file_limit: self.file_limit,
            broker: self.broker.clone(),
            bridge: self.bridge.clone(),
            conditions: self.conditions.clone(),
            log: self.log.clone(),
        }
    }

    fn apply_event(&mut self, at_ms: u64, event: &Event) {
        match event {
            Event::FileStored { file, version, change, size_bytes, audience: _ } if *change != ChangeKind::Shared => {
                let seq = self.seq;
                let view = self.files.entry(file.clone()).or_insert_with(|| FileView::new(*version));
                if *version >= view.version {
                    view.advance(*version, seq);
                    view.change = Some(*change);
                    view.size_bytes = *size_bytes;
                    view.stored_ms = Some(at_ms);
                }
                self.forget_old_files();
            }
            Event::FilePublished { file, version, owner: _ } => {
                self.step(file, *version, |view| view.published_ms = view.published_ms.or(Some(at_ms)));
            }
            Event::FileForwarded { file, version, entry: _, owner: _ } => {
                self.step(file, *version, |view| view.forwarded_ms = view.forwarded_ms.or(Some(at_ms)));
            }
            Event::UpdateApplied { peer, file, version, files, owner: _ } => {
                self.hold(*peer, file.clone(), *version, Some(at_ms));
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.files = Some(*files);
                }
                self.note_reached(file, at_ms);
                self.forget_old_files();
            }
            Event::PeerStarted { peer, addr, files } => self.started(*peer, *addr, *files),
            Event::PeerStopped { peer, state } => self.stopped(*peer, *state),
            Event::PeerForgotten { peer } => self.forgotten(*peer),
            Event::PeerTold { peer, addr, files, neighbours } => self.told(*peer, *addr, Some(*files), neighbours),
            Event::SameIdentity { peer, addr: _, stands_by: true } => self.stopped(*peer, PeerState::StandsBy),
            Event::PeerBack { peer } => self.is_back(*peer),
            Event::LinkUp { peer, neighbour, addr } => self.linked(*peer, *neighbour, *addr),
            Event::LinkDown { peer, neighbour, reason: _ } => self.unlinked(*peer, *neighbour),
            Event::Broker { state } => self.broker = state.clone(),
            Event::Bridge { state } => self.bridge = Some(state.clone()),
            Event::ConditionRaised { condition, detail } => {
                let standing = self.conditions.entry(*condition);
                let standing = standing.or_insert_with(|| Standing { since_ms: at_ms, detail: String::new() });
                standing.detail.clone_from(detail);
            }
            Event::ConditionCleared { condition } => drop(self.conditions.remove(condition)),
            Event::FileStored { .. }
            | Event::DeadLettered { .. }
            | Event::UpdateReceived { .. }
            | Event::PeerLearned { .. }
            | Event::SameIdentity { stands_by: false, .. }
            | Event::Lab { .. }
            | Event::LabRace { .. }
            | Event::LabFinished { .. } => {}
        }
    }

    /// A later step of a version's way. It may be told before the first one: the parts don't wait for each other. Older
    /// versions don't matter any more.
    fn step(&mut self, file: &FileId, version: Version, mark: impl FnOnce(&mut FileView)) {
        let seq = self.seq;
        let view = self.files.entry(file.clone()).or_insert_with(|| FileView::new(version));
        if version >= view.version {
            view.advance(version, seq);
            mark(view);
        }
        self.forget_old_files();
    }

    fn hold(&mut self, peer: PeerId, file: FileId, version: Version, since_ms: Option<u64>) {
        let seq = self.seq;
        let view = self.files.entry(file).or_insert_with(|| FileView::new(version));
        view.advance(version, seq);
        view.hold(peer, version, since_ms);
    }

    /// Notes the moment at which all that run have the latest version. Looks at each peer only when so many have it.
    fn note_reached(&mut self, file: &FileId, at_ms: u64) {
        let Some(view) = self.files.get_mut(file) else { return };
        if view.reached.is_some() || self.up == 0 || view.current < self.up {
            return;
        }
        let reach = view.reach(&self.peers);
        if reach.behind == 0 {
            view.reached = Some(Reached { peers: reach.have, members: reach.members(), at_ms });
        }
    }

    fn forget_holdings(&mut self, peer: PeerId) {
        for view in self.files.values_mut() {
            view.forget(&peer);
        }
    }

    /// Keeps the number of files within its limit. Drops a tenth at a time, so that the search is paid rarely.
    fn forget_old_files(&mut self) {
        let limit = usize::try_from(self.file_limit).unwrap_or(usize::MAX);
        if self.files.len() > limit.saturating_add(limit / 10) {
            let mut is_recent = most_recent(&self.files, self.file_limit);
            self.files.retain(|_, view| is_recent(view));
        }
    }
}

/// Returns what tells of one file after the other whether it is among the `limit` most recently touched ones.
fn most_recent(files: &BTreeMap<FileId, FileView>, limit: u32) -> impl FnMut(&FileView) -> bool + use<> {
    // Sorted by a heap: for the page, which has no other sort, that is the smallest code.
    let touched = files.values().map(|view| view.touched_seq).collect::<BinaryHeap<u64>>().into_sorted_vec();
    let kept = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
    let recent = touched.split_at(touched.len().saturating_sub(kept)).1;
    let oldest = recent.first().copied().unwrap_or(0);
    // A catalogue is touched as a whole when its peer starts: not all of that may be kept.
    let mut ties = recent.iter().take_while(|touched| **touched == oldest).count();
    move |view| {
        let is_tie = view.touched_seq == oldest && ties > 0;
        ties -= usize::from(is_tie);
        is_tie || view.touched_seq > oldest
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::wire::event::Audience;

    pub(super) fn feed(overview: &mut Overview, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let seq = overview.seq + 1;
            overview.apply(&Entry { seq, at_ms: 1000 + seq, event });
        }
    }

    pub(super) fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    pub(super) fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], n))
    }

    fn applied(n: u8, file: &str, version: u64) -> Event {
        let (file, version) = (file.parse().unwrap(), Version(version));
        Event::UpdateApplied { peer: peer(n), file, version, files: 1, owner: None }
    }

    fn stored(file: &str, version: u64) -> Event {
        changed(file, version, ChangeKind::Uploaded)
    }

    fn changed(file: &str, version: u64, change: ChangeKind) -> Event {
        let (file, version, audience) = (file.parse().unwrap(), Version(version), Audience::default());
        Event::FileStored { file, version, change, size_bytes: 1, audience }
    }

    fn stopped(n: u8, state: PeerState) -> Event {
        Event::PeerStopped { peer: peer(n), state }
    }

    pub(super) fn started(n: u8) -> Event {
        Event::PeerStarted { peer: peer(n), addr: addr(n.into()), files: 0 }
    }

    #[test]
    fn a_version_counts_as_reached_until_a_newer_one_is_stored() {
        let mut overview = Overview::new(10, true);
        let file: FileId = "f".parse().unwrap();
        feed(&mut overview, [started(1), started(2), applied(1, "f", 1), applied(2, "f", 1)]);
        assert_eq!(overview.reached(&file, Version(1)), Some(2));
        feed(&mut overview, [changed("f", 2, ChangeKind::Updated)]);
        feed(&mut overview, [applied(1, "f", 2)]);
        assert_eq!(overview.reached(&file, Version(2)), Some(1));
        assert_eq!(overview.peers[&peer(1)].files, Some(1));
        let state = PeerState::Killed;
        feed(&mut overview, [Event::PeerStopped { peer: peer(1), state }]);
        assert_eq!(overview.reached(&file, Version(2)), Some(0));
    }

    #[test]
    fn who_knows_a_later_version_of_somebody_elses_was_not_reached() {
        let mut overview = Overview::new(10, true);
        let file: FileId = "f".parse().unwrap();
        feed(&mut overview, [started(1), started(2), applied(1, "f", 7), stored("f", 3), applied(2, "f", 3)]);
        assert_eq!(overview.reached(&file, Version(3)), Some(1));
        // Past it.
        feed(&mut overview, [stored("f", 8), applied(1, "f", 8), applied(2, "f", 8)]);
        assert_eq!(overview.reached(&file, Version(8)), Some(2));
        assert_eq!(overview.reached(&file, Version(3)), Some(2), "its successors are this server's");
    }

    #[test]
    fn bounded_memory_of_files_that_came_at_once_no_more_are_kept() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1)]);
        let names = (0..30).map(|n| format!("f{n}").parse().unwrap());
        overview.load_catalogue(peer(1), names.map(|file| (file, Version(1))));
        assert_eq!((overview.files.len(), overview.recent(4).files.len()), (10, 4));
        feed(&mut overview, [stored("new", 1)]);
        assert!(overview.recent(1).files.contains_key(&"new".parse().unwrap()));
    }

    #[test]
    fn a_reached_result_stays_as_it_was_reached() {
        let mut overview = Overview::new(10, true);
        let file: FileId = "f".parse().unwrap();
        feed(&mut overview, [started(1), started(2), stored("f", 1), applied(1, "f", 1)]);
        assert_eq!(overview.files[&file].reached, None, "one of two");
        feed(&mut overview, [applied(2, "f", 1)]);
        let reached = Some(Reached { peers: 2, members: 2, at_ms: 1005 });
        assert_eq!(overview.files[&file].reached, reached);
        feed(&mut overview, [stopped(2, PeerState::Killed)]);
        overview.load_catalogue(peer(2), [(file.clone(), Version(1))]);
        feed(&mut overview, [started(2), started(3), applied(3, "f", 1)]);
        assert_eq!(overview.files[&file].reached, reached, "who comes later changes nothing");
        assert_eq!(overview.reach(&file).unwrap().have, 3);
        feed(&mut overview, [applied(1, "f", 2)]);
        assert_eq!(overview.files[&file].reached, None, "a new version has a way of its own");
    }

    #[test]
    fn peers_that_are_down_stay_members_until_they_leave_or_are_back() {
        let mut overview = Overview::new(10, true);
        let file: FileId = "f".parse().unwrap();
        feed(&mut overview, (1..=5).map(started));
        feed(&mut overview, [stopped(4, PeerState::Killed), stopped(5, PeerState::Killed), stored("f", 1)]);
        feed(&mut overview, (1..=2).map(|n| applied(n, "f", 1)));
        let reach = overview.reach(&file).unwrap();
        assert_eq!(reach, Reach { have: 2, behind: 1, down: 2, elsewhere: 0 });
        feed(&mut overview, [applied(3, "f", 1)]);
        let reach = overview.reach(&file).unwrap();
        assert_eq!((reach.have, reach.members(), reach.is_whole()), (3, 5, false));
        assert_eq!(overview.files[&file].reached.map(|reached| (reached.peers, reached.members)), Some((3, 5)));
        feed(&mut overview, [started(4), stopped(3, PeerState::Left)]);
        assert_eq!(overview.reach(&file).unwrap(), Reach { have: 2, behind: 1, down: 1, elsewhere: 0 });
    }

    #[test]
    fn a_peer_that_started_with_a_version_is_counted_once() {
        let mut overview = Overview::new(10, true);
        let file: FileId = "f".parse().unwrap();
        overview.load_catalogue(peer(1), [(file.clone(), Version(1))]);
        feed(&mut overview, [started(1), started(2), applied(1, "f", 1)]);
        let view = &overview.files[&file];
        assert_eq!((view.current, view.reached), (1, None));
        overview.load_catalogue(peer(1), [(file.clone(), Version(1))]);
        assert_eq!(overview.files[&file].current, 1);
        assert_eq!(overview.files[&file].holders[&peer(1)].since_ms, None);
    }

    #[test]
    fn the_least_recently_touched_files_go_first() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, (0..30).map(|n| applied(1, &format!("f{n:02}"), 1)));
        assert!(overview.files.len() <= 11);
        assert!(overview.files.contains_key(&"f29".parse().unwrap()));
        assert!(!overview.files.contains_key(&"f00".parse().unwrap()));
        assert_eq!(overview.recent(3).files.len(), 3);
    }

    #[test]
    fn an_overview_is_read_as_it_was_written() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), stored("f", 1), applied(1, "f", 1)]);
        let neighbours = [peer(1)].into();
        feed(&mut overview, [Event::PeerTold { peer: peer(9), addr: addr(9), files: 3, neighbours }]);
        let (condition, detail) = (Condition::DiskFull, "full".to_owned());
        feed(&mut overview, [Event::ConditionRaised { condition, detail }]);
        let text = serde_json::to_string(&overview).unwrap();
        assert_eq!(serde_json::from_str::<Overview>(&text).unwrap(), overview, "{text}");
    }

    #[test]
    fn an_entry_that_comes_twice_changes_nothing() {
        let mut overview = Overview::new(10, true);
        feed(&mut overview, [started(1), applied(1, "f", 1)]);
        let before = overview.clone();
        let again = before.log.back().unwrap().clone();
        overview.apply(&again);
        assert_eq!(overview, before);
    }
}
