//! Fan-out of what happens inside the process. Keeps the [`Overview`]; a reader that falls behind gets it anew and is
//! told how much it missed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::ids::{FileId, PeerId, Version};
use shared::wire::condition::Condition;
use shared::wire::overview::{Overview, SNAPSHOT_FILES};
use shared::wire::stream::{Entry, Event, StreamFrame, VERSION};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tracing::{info, warn};

use crate::wall;

/// How many entries wait for a slow reader before it is resynchronised. A second of a busy overlay.
const READER_QUEUE: usize = 4096;
/// Entries are put together for this long: at most 20 batches a second (from the design; a page can't show more).
const BATCH_TIME: Duration = Duration::from_millis(50);
/// The most entries in one batch: what a page folds in within one frame.
const BATCH_LIMIT: usize = 1000;

#[derive(Debug, Clone)]
enum Item {
    Entry(Arc<Entry>),
    /// The overview changed in a way that no entry tells.
    Reload,
}

/// The hub; clones are the same hub.
#[derive(Debug, Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// A lock is enough: it is held to fold in one entry, never across an await.
    overview: Mutex<Overview>,
    feed: Sender<Item>,
}

impl Hub {
    /// A hub that knows of nothing yet and keeps at most `file_limit` files.
    pub fn new(file_limit: u32, bridge: bool) -> Self {
        let (feed, _) = broadcast::channel(READER_QUEUE);
        Self { inner: Arc::new(Inner { overview: Mutex::new(Overview::new(file_limit, bridge)), feed }) }
    }

    /// Something happened now.
    pub fn emit(&self, event: Event) {
        let mut overview = self.lock();
        let entry = Entry { seq: overview.seq + 1, at_ms: wall::now_ms(), event };
        overview.apply(&entry);
        // Sent under the lock, so that the order is that of the numbers. No reader is no error.
        drop(self.inner.feed.send(Item::Entry(Arc::new(entry))));
    }

    /// A fault lasts; told when it begins, and when `detail` (a sentence for people) is another.
    pub fn raise(&self, condition: Condition, detail: impl Into<String>) {
        let detail = detail.into();
        let known = self.read(|overview| overview.conditions.get(&condition).is_some_and(|now| now.detail == detail));
        if !known {
            warn!("{condition}: {detail}");
            self.emit(Event::ConditionRaised { condition, detail });
        }
    }

    /// A fault is over, if it lasted; told once.
    pub fn clear(&self, condition: Condition) {
        if self.read(|overview| overview.conditions.contains_key(&condition)) {
            info!("no more {condition}");
            self.emit(Event::ConditionCleared { condition });
        }
    }

    /// A peer is about to start with a catalogue that it kept.
    pub fn load_catalogue(&self, peer: PeerId, holds: impl IntoIterator<Item = (FileId, Version)>) {
        let mut overview = self.lock();
        overview.load_catalogue(peer, wall::now_ms(), holds);
        drop(self.inner.feed.send(Item::Reload));
    }

    /// Reads the overview; `read` should be short.
    pub fn read<T>(&self, read: impl FnOnce(&Overview) -> T) -> T {
        read(&self.lock())
    }

    /// A reader that begins now.
    pub fn subscribe(&self) -> Subscription {
        Subscription { hub: self.clone(), feed: self.inner.feed.subscribe(), due: Due::Snapshot, seen: None }
    }

    fn lock(&self) -> MutexGuard<'_, Overview> {
        self.inner.overview.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Due {
    Snapshot,
    Entries,
}

/// One reader's place in the stream.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    feed: Receiver<Item>,
    due: Due,
    /// The number of the last entry that the reader got.
    seen: Option<u64>,
}

impl Subscription {
    /// The next frame: a snapshot first and after falling behind, else what happened since the last frame. Dropping
    /// the future may lose entries: drop the subscription with it.
    pub async fn next_frame(&mut self) -> StreamFrame {
        loop {
            match self.due {
                Due::Snapshot => return self.snapshot(),
                Due::Entries => {
                    if let Some(entries) = self.gather().await {
                        return StreamFrame::Batch { entries };
                    }
                    self.due = Due::Snapshot;
                }
            }
        }
    }

    fn snapshot(&mut self) -> StreamFrame {
        // From the queue's end on: what is in the overview comes no more, what is not in it still comes.
        self.feed = self.feed.resubscribe();
        let overview = self.hub.read(|overview| overview.recent(SNAPSHOT_FILES));
        let missed = self.seen.map_or(0, |seen| overview.seq - seen);
        self.seen = Some(overview.seq);
        self.due = Due::Entries;
        StreamFrame::Snapshot { format: VERSION, missed, overview: Box::new(overview) }
    }

    /// What happens from now until the batch is due; `None` when the reader needs a snapshot.
    async fn gather(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        while entries.is_empty() {
            let item = match self.feed.recv().await {
                Ok(item) => item,
                Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
            };
            self.take(item, &mut entries)?;
        }
        tokio::time::sleep(BATCH_TIME).await;
        while entries.len() < BATCH_LIMIT {
            match self.feed.try_recv() {
                Ok(item) => self.take(item, &mut entries)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return None,
            }
        }
        Some(entries)
    }

    fn take(&mut self, item: Item, entries: &mut Vec<Entry>) -> Option<()> {
        match item {
            Item::Reload => None,
            Item::Entry(entry) => {
                // Those that the snapshot has already, because they came between it and the subscription.
                if self.seen.is_none_or(|seen| entry.seq > seen) {
                    self.seen = Some(entry.seq);
                    entries.push(Arc::unwrap_or_clone(entry));
                }
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(port: u16) -> Event {
        Event::PeerLearned { peer: PeerId([1; 32]), addr: ([127, 0, 0, 1], port).into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_gets_a_snapshot_and_then_every_entry_once() {
        let hub = Hub::new(10, true);
        hub.emit(learned(1));
        let mut reader = hub.subscribe();
        assert!(
            matches!(reader.next_frame().await, StreamFrame::Snapshot { overview, missed: 0, .. } if overview.seq == 1)
        );
        hub.emit(learned(2));
        hub.emit(learned(3));
        let StreamFrame::Batch { entries } = reader.next_frame().await else { panic!("a batch is due") };
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_condition_is_told_when_it_begins_changes_and_ends() {
        let hub = Hub::new(10, true);
        hub.raise(Condition::LostContents, "two");
        hub.raise(Condition::LostContents, "two");
        assert_eq!(hub.read(|overview| (overview.seq, overview.conditions.len())), (1, 1));
        hub.raise(Condition::LostContents, "three");
        assert_eq!(hub.read(|overview| overview.conditions[&Condition::LostContents].detail.clone()), "three");
        hub.clear(Condition::LostContents);
        hub.clear(Condition::LostContents);
        assert_eq!(hub.read(|overview| (overview.seq, overview.conditions.len())), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_resynchronised_and_told_what_it_missed() {
        let hub = Hub::new(10, true);
        let mut reader = hub.subscribe();
        reader.next_frame().await;
        let flood = u64::try_from(READER_QUEUE).unwrap() + 10;
        (0..flood).for_each(|_| hub.emit(learned(1)));
        let StreamFrame::Snapshot { missed, overview, .. } = reader.next_frame().await else { panic!("no snapshot") };
        assert_eq!((missed, overview.seq), (flood, flood));
        hub.emit(learned(2));
        let StreamFrame::Batch { entries } = reader.next_frame().await else { panic!("a batch is due") };
        assert_eq!(entries[0].seq, flood + 1);
    }
}
