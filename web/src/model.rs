//! All that can happen to the dashboard: a pure reducer over the frames of the event stream. No leptos, no browser.

pub mod connection;
pub mod lab;
pub mod outbox;
pub mod upload;
pub mod way;

use std::collections::VecDeque;
use std::net::SocketAddr;

use shared::ids::PeerId;
use shared::wire::event::{Entry, Event};
use shared::wire::overview::Overview;
use shared::wire::stream::{OutboxView, StreamFrame, VERSION};

use lab::LabView;

use crate::small_map::SmallMap;

/// How many hops wait to be drawn; beyond it the oldest aren't drawn. A guess: more can't be told apart on the canvas.
const HOP_LIMIT: usize = 256;

/// A message that travelled over a link, waiting to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Who sent it.
    pub from: PeerId,
    /// Who received it.
    pub to: PeerId,
    /// Over how many links it had come then; absent for a catalogue exchange.
    pub hops: Option<u16>,
    /// Whether it was news to the receiver.
    pub fresh: bool,
}

/// Why a frame can't be taken over. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The server speaks another version of the format than this page.
    #[error("the server speaks version {found} of the event stream, this page version {VERSION}")]
    Format {
        /// The server's version.
        found: u32,
    },
    /// Entries are missing: a new snapshot is needed.
    #[error("expected entry {expected} of the stream, got {found}")]
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Something came before any snapshot.
    #[error("something came before the first snapshot")]
    NoSnapshot,
}

/// What the page knows from the event stream.
#[derive(Debug, Clone, Default)]
pub struct Model {
    overview: Option<Overview>,
    lab: LabView,
    hops: VecDeque<Hop>,
    outbox: Option<OutboxView>,
    file_changes: u64,
    missed: u64,
}

impl Model {
    /// Takes over one frame. `watched`: whether anybody can see the page now; what moves while nobody does isn't kept, for
    /// it would be shown later as if it moved then.
    ///
    /// # Errors
    /// When the frame doesn't follow from what is known; the caller asks for a new snapshot by connecting anew.
    pub fn apply(&mut self, frame: StreamFrame, watched: bool) -> Result<(), ApplyError> {
        let applied = self.take(frame);
        if !watched {
            self.hops.clear();
        }
        applied
    }

    fn take(&mut self, frame: StreamFrame) -> Result<(), ApplyError> {
        match frame {
            StreamFrame::Snapshot { format, .. } if format != VERSION => Err(ApplyError::Format { found: format }),
            StreamFrame::Snapshot { format: _, missed, overview } => {
                self.replace(*overview, missed);
                Ok(())
            }
            StreamFrame::Batch { entries } => self.extend(&entries),
            StreamFrame::Heartbeat { at_ms: _, seq, outbox } => self.beat(seq, outbox),
        }
    }

    /// The state of everything; `None` before the first snapshot.
    pub fn overview(&self) -> Option<&Overview> {
        self.overview.as_ref()
    }

    /// Whether it is known that there are no peers; `false` before the first snapshot.
    pub fn is_without_peers(&self) -> bool {
        self.overview.as_ref().is_some_and(|overview| overview.peers.is_empty())
    }

    /// The lab's last run.
    pub fn lab(&self) -> &LabView {
        &self.lab
    }

    /// Grows whenever the list of files may have changed.
    pub fn file_changes(&self) -> u64 {
        self.file_changes
    }

    /// What lies in the server's outbox; `None` until it was told.
    pub fn outbox(&self) -> Option<OutboxView> {
        self.outbox
    }

    /// How many entries this page missed because it was too slow, since it was opened.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The hops that haven't been drawn yet, oldest first.
    pub fn take_hops(&mut self) -> VecDeque<Hop> {
        std::mem::take(&mut self.hops)
    }

    /// Returns the peers, in the order in which all of the page shows them.
    pub fn peers_by_address(&self) -> Vec<PeerId> {
        let mut found = SmallMap::<(SocketAddr, PeerId), ()>::new();
        for (peer, view) in self.overview.iter().flat_map(|overview| &overview.peers) {
            found.put((view.addr, *peer), ());
        }
        found.entries().iter().map(|((_, peer), ())| *peer).collect()
    }

    /// A peer as people call it: its port where it runs on this machine, else its address; the start of its id where
    /// it is no longer known.
    pub fn peer_label(&self, peer: &PeerId) -> String {
        match self.overview.as_ref().and_then(|overview| overview.peers.get(peer)) {
            Some(view) if view.addr.ip().is_loopback() => format!(":{}", view.addr.port()),
            Some(view) => view.addr.to_string(),
            None => peer.short(),
        }
    }

    fn replace(&mut self, overview: Overview, missed: u64) {
        self.lab = LabView::default();
        for entry in &overview.log {
            self.lab.apply(entry);
        }
        self.hops.clear();
        self.outbox = None;
        self.file_changes += 1;
        self.missed = self.missed.saturating_add(missed);
        self.overview = Some(overview);
    }

    /// The server is there; it must have sent all that this page has, and no more.
    fn beat(&mut self, seq: u64, outbox: Option<OutboxView>) -> Result<(), ApplyError> {
        let known = self.overview.as_ref().ok_or(ApplyError::NoSnapshot)?.seq;
        if seq != known {
            return Err(ApplyError::Gap { expected: known, found: seq });
        }
        self.outbox = outbox;
        Ok(())
    }

    fn extend(&mut self, entries: &[Entry]) -> Result<(), ApplyError> {
        let overview = self.overview.as_mut().ok_or(ApplyError::NoSnapshot)?;
        let known = overview.seq;
        let news = || entries.iter().skip_while(|entry| entry.seq <= known);
        if let Some((expected, entry)) = (known + 1..).zip(news()).find(|(expected, entry)| entry.seq != *expected) {
            return Err(ApplyError::Gap { expected, found: entry.seq });
        }
        news().for_each(|entry| overview.apply(entry));
        news().for_each(|entry| self.note(entry));
        Ok(())
    }

    /// What the page keeps beside the overview.
    fn note(&mut self, entry: &Entry) {
        self.lab.apply(entry);
        match &entry.event {
            Event::FileStored { .. } => self.file_changes += 1,
            Event::UpdateReceived { peer, from, hops, fresh, .. } => {
                if self.hops.len() == HOP_LIMIT {
                    self.hops.pop_front();
                }
                self.hops.push_back(Hop { from: *from, to: *peer, hops: *hops, fresh: *fresh });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::Version;
    use shared::wire::event::Audience;
    use shared::wire::queue::ChangeKind;

    use super::*;

    fn entry(seq: u64, event: Event) -> Entry {
        Entry { seq, at_ms: 1000 + seq, event }
    }

    fn stored(seq: u64) -> Entry {
        let (version, change, audience) = (Version(1), ChangeKind::Uploaded, Audience::default());
        entry(seq, Event::FileStored { file: "f".parse().unwrap(), version, change, size_bytes: 1, audience })
    }

    fn received(seq: u64) -> Entry {
        let (peer, from) = (PeerId([2; 32]), PeerId([1; 32]));
        let (file, version) = ("f".parse().unwrap(), Version(1));
        entry(seq, Event::UpdateReceived { peer, from, file, version, hops: Some(1), fresh: true, owner: None })
    }

    fn snapshot(seq: u64) -> StreamFrame {
        let overview = Box::new(Overview { seq, ..Overview::new(10, true) });
        StreamFrame::Snapshot { format: VERSION, missed: 0, overview }
    }

    fn batch(entries: impl IntoIterator<Item = Entry>) -> StreamFrame {
        StreamFrame::Batch { entries: entries.into_iter().collect() }
    }

    #[test]
    fn a_snapshot_and_its_batches_agree_with_the_servers_overview() {
        let (mut model, mut server) = (Model::default(), Overview::new(10, true));
        model.apply(snapshot(0), true).unwrap();
        for entries in [vec![stored(1), received(2)], vec![received(3)]] {
            for entry in &entries {
                server.apply(entry);
            }
            model.apply(batch(entries), true).unwrap();
        }
        assert_eq!(model.overview(), Some(&server));
    }

    #[test]
    fn before_the_first_snapshot_nobody_says_that_there_are_no_peers() {
        let mut model = Model::default();
        assert!(!model.is_without_peers());
        model.apply(snapshot(0), true).unwrap();
        assert!(model.is_without_peers());
    }

    #[test]
    fn a_gap_asks_for_a_new_snapshot_and_changes_nothing() {
        let mut model = Model::default();
        model.apply(snapshot(4), true).unwrap();
        let error = model.apply(batch([stored(5), stored(7)]), true);
        assert_eq!(error, Err(ApplyError::Gap { expected: 6, found: 7 }));
        assert_eq!(model.overview().unwrap().seq, 4);
        assert_eq!(model.file_changes(), 1);
    }

    #[test]
    fn entries_that_are_in_the_snapshot_already_count_once() {
        let mut model = Model::default();
        model.apply(snapshot(4), true).unwrap();
        model.apply(batch([received(3), received(4), received(5)]), true).unwrap();
        assert_eq!(model.take_hops().len(), 1);
        assert_eq!(model.overview().unwrap().seq, 5);
    }

    #[test]
    fn a_server_that_starts_again_from_nothing_replaces_everything() {
        let mut model = Model::default();
        model.apply(snapshot(900), true).unwrap();
        model.apply(snapshot(2), true).unwrap();
        model.apply(batch([stored(3)]), true).unwrap();
        assert_eq!(model.overview().unwrap().seq, 3);
        assert_eq!(model.file_changes(), 3);
    }

    #[test]
    fn another_format_and_a_batch_without_snapshot_are_refused() {
        let mut model = Model::default();
        assert_eq!(model.apply(batch([stored(1)]), true), Err(ApplyError::NoSnapshot));
        let overview = Box::new(Overview::new(1, false));
        let other = StreamFrame::Snapshot { format: VERSION + 1, missed: 0, overview };
        assert_eq!(model.apply(other, true), Err(ApplyError::Format { found: VERSION + 1 }));
    }

    #[test]
    fn hops_that_nobody_draws_are_bounded() {
        let mut model = Model::default();
        model.apply(snapshot(0), true).unwrap();
        model.apply(batch((1..=1000).map(received)), true).unwrap();
        assert_eq!(model.take_hops().len(), HOP_LIMIT);
    }

    #[test]
    fn messages_that_nobody_could_see_arent_played_later() {
        let mut model = Model::default();
        model.apply(snapshot(0), true).unwrap();
        model.apply(batch((1..=30).map(received)), false).unwrap();
        model.apply(batch([received(31)]), true).unwrap();
        assert_eq!(model.take_hops().len(), 1, "only the one that came while the page was seen");
        assert_eq!(model.overview().unwrap().seq, 31, "yet all of them count");
    }

    #[test]
    fn a_heartbeat_tells_what_waits_and_shows_what_is_missing() {
        let mut model = Model::default();
        let outbox = Some(OutboxView { waiting: 13, set_aside: 0 });
        let beat = |seq| StreamFrame::Heartbeat { at_ms: 0, seq, outbox };
        assert_eq!(model.apply(beat(0), true), Err(ApplyError::NoSnapshot));
        model.apply(snapshot(4), true).unwrap();
        model.apply(beat(4), true).unwrap();
        assert_eq!(model.outbox(), outbox);
        assert_eq!(model.apply(beat(5), true), Err(ApplyError::Gap { expected: 4, found: 5 }));
        model.apply(snapshot(9), true).unwrap();
        assert_eq!(model.outbox(), None, "what was told before isn't what is now");
    }
}
