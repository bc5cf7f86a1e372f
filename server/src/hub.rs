//! Fan-out of what happens inside the process. Keeps the [`Overview`]; a reader that falls behind gets it anew and is
//! told how much it missed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::ids::{FileId, PeerId, Version};
use shared::wire::condition::Condition;
use shared::wire::event::{Entry, Event};
use shared::wire::overview::{Overview, SNAPSHOT_FILES};
use shared::wire::stream::{HEARTBEAT, OutboxView, StreamFrame, VERSION};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::time::Instant;
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
    /// A heartbeat is due at once: what it says has changed.
    Beat,
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
    /// As last counted; a lock as above.
    outbox: Mutex<Option<OutboxView>>,
    feed: Sender<Item>,
}

impl Hub {
    /// A hub that knows of nothing yet and keeps at most `file_limit` files.
    pub fn new(file_limit: u32, bridge: bool) -> Self {
        let (feed, _) = broadcast::channel(READER_QUEUE);
        let overview = Mutex::new(Overview::new(file_limit, bridge));
        Self { inner: Arc::new(Inner { overview, outbox: Mutex::default(), feed }) }
    }

    /// Something happened now.
    pub fn emit(&self, event: Event) {
        let mut overview = self.lock();
        let entry = Entry { seq: overview.seq + 1, at_ms: wall::now_ms(), event };
        overview.apply(&entry);
        // Sent under the lock, so that the order is that of the numbers. No reader is no error.
        drop(self.inner.feed.send(Item::Entry(Arc::new(entry))));
    }

    /// A fault lasts; told and logged when it begins, and when `detail` (a sentence for people) is another.
    pub fn raise(&self, condition: Condition, detail: impl Into<String>) {
        let detail = detail.into();
        if self.begin(condition, detail.clone()) {
            warn!("{condition}: {detail}");
        }
    }

    /// A fault is over, if it lasted; told and logged once.
    pub fn clear(&self, condition: Condition) {
        if self.end(condition) {
            info!("no more {condition}");
        }
    }

    /// [`Hub::raise`] without a line in the log, for a fault that is logged elsewhere. Returns whether it is news.
    pub fn begin(&self, condition: Condition, detail: String) -> bool {
        let known = self.read(|overview| overview.conditions.get(&condition).is_some_and(|now| now.detail == detail));
        if !known {
            self.emit(Event::ConditionRaised { condition, detail });
        }
        !known
    }

    /// [`Hub::clear`] without a line in the log. Returns whether it lasted.
    pub fn end(&self, condition: Condition) -> bool {
        let lasted = self.read(|overview| overview.conditions.contains_key(&condition));
        if lasted {
            self.emit(Event::ConditionCleared { condition });
        }
        lasted
    }

    /// So much lies in the outbox; told when it differs from what was told last.
    pub fn count_outbox(&self, counted: OutboxView) {
        let former = self.outbox().replace(counted);
        if former != Some(counted) {
            drop(self.inner.feed.send(Item::Beat));
        }
    }

    /// A peer is about to start with a catalogue that it kept.
    pub fn load_catalogue(&self, peer: PeerId, holds: impl IntoIterator<Item = (FileId, Version)>) {
        let mut overview = self.lock();
        overview.load_catalogue(peer, holds);
        drop(self.inner.feed.send(Item::Reload));
    }

    /// Reads the overview; `read` should be short.
    pub fn read<T>(&self, read: impl FnOnce(&Overview) -> T) -> T {
        read(&self.lock())
    }

    /// A reader that begins now.
    pub fn subscribe(&self) -> Subscription {
        let feed = self.inner.feed.subscribe();
        Subscription { hub: self.clone(), feed, due: Due::Snapshot(Cause::First), seen: 0, beat_at: Instant::now() }
    }

    fn outbox(&self) -> MutexGuard<'_, Option<OutboxView>> {
        self.inner.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Overview> {
        self.inner.overview.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Snapshot(Cause),
    Entries,
}

/// Why a reader needs a snapshot.
#[derive(Debug, Clone, Copy)]
enum Cause {
    /// It begins.
    First,
    /// The overview changed as a whole. The reader was quick enough: it has missed nothing.
    Reload,
    /// It fell behind.
    Lagged,
}

/// One reader's place in the stream.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    feed: Receiver<Item>,
    due: Due,
    /// The number of the last entry that the reader got.
    seen: u64,
    /// When the next heartbeat is due.
    beat_at: Instant,
}

impl Subscription {
    /// The next frame: a snapshot first and after falling behind, else what happened since the last frame, and between
    /// these a heartbeat when it is due. Dropping the future may lose entries: drop the subscription with it.
    pub async fn next_frame(&mut self) -> StreamFrame {
        loop {
            match self.due {
                Due::Snapshot(cause) => return self.snapshot(cause),
                Due::Entries if self.beat_at <= Instant::now() => return self.heartbeat(),
                Due::Entries => {
                    let entries = self.gather().await;
                    if !entries.is_empty() {
                        return StreamFrame::Batch { entries };
                    }
                }
            }
        }
    }

    fn snapshot(&mut self, cause: Cause) -> StreamFrame {
        // From the queue's end on: what is in the overview comes no more, what is not in it still comes.
        self.feed = self.feed.resubscribe();
        let overview = self.hub.read(|overview| overview.recent(SNAPSHOT_FILES));
        let missed = match cause {
            Cause::First | Cause::Reload => 0,
            Cause::Lagged => overview.seq - self.seen,
        };
        self.seen = overview.seq;
        self.due = Due::Entries;
        self.beat_at = Instant::now();
        StreamFrame::Snapshot { format: VERSION, missed, overview: Box::new(overview) }
    }

    fn heartbeat(&mut self) -> StreamFrame {
        self.beat_at = Instant::now() + HEARTBEAT;
        StreamFrame::Heartbeat { at_ms: wall::now_ms(), seq: self.seen, outbox: *self.hub.outbox() }
    }

    /// What happens from now until the batch is due. None when something else is due first; what was gathered before a
    /// snapshot became due is sent before it.
    async fn gather(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while entries.is_empty() {
            let received = tokio::select! {
                received = self.feed.recv() => received,
                () = tokio::time::sleep_until(self.beat_at) => return entries,
            };
            match received {
                Ok(item) => self.take(item, &mut entries),
                Err(RecvError::Lagged(_) | RecvError::Closed) => self.due = Due::Snapshot(Cause::Lagged),
            }
            if !matches!(self.due, Due::Entries) || self.beat_at <= Instant::now() {
                return entries;
            }
        }
        tokio::time::sleep(BATCH_TIME).await;
        while entries.len() < BATCH_LIMIT && matches!(self.due, Due::Entries) {
            match self.feed.try_recv() {
                Ok(item) => self.take(item, &mut entries),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => self.due = Due::Snapshot(Cause::Lagged),
            }
        }
        entries
    }

    fn take(&mut self, item: Item, entries: &mut Vec<Entry>) {
        match item {
            Item::Reload => self.due = Due::Snapshot(Cause::Reload),
            Item::Beat => self.beat_at = Instant::now(),
            // Not those that the snapshot has already, because they came between it and the subscription.
            Item::Entry(entry) if entry.seq > self.seen => {
                self.seen = entry.seq;
                entries.push(Arc::unwrap_or_clone(entry));
            }
            Item::Entry(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next frame that isn't a heartbeat.
    async fn next(reader: &mut Subscription) -> StreamFrame {
        loop {
            match reader.next_frame().await {
                StreamFrame::Heartbeat { .. } => {}
                frame => return frame,
            }
        }
    }

    fn learned(port: u16) -> Event {
        Event::PeerLearned { peer: PeerId([1; 32]), addr: ([127, 0, 0, 1], port).into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_gets_a_snapshot_and_then_every_entry_once() {
        let hub = Hub::new(10, true);
        hub.emit(learned(1));
        let mut reader = hub.subscribe();
        assert!(
            matches!(next(&mut reader).await, StreamFrame::Snapshot { overview, missed: 0, .. } if overview.seq == 1)
        );
        hub.emit(learned(2));
        hub.emit(learned(3));
        let StreamFrame::Batch { entries } = next(&mut reader).await else { panic!("a batch is due") };
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
        next(&mut reader).await;
        let flood = u64::try_from(READER_QUEUE).unwrap() + 10;
        (0..flood).for_each(|_| hub.emit(learned(1)));
        let StreamFrame::Snapshot { missed, overview, .. } = next(&mut reader).await else { panic!("no snapshot") };
        assert_eq!((missed, overview.seq), (flood, flood));
        hub.emit(learned(2));
        let StreamFrame::Batch { entries } = next(&mut reader).await else { panic!("a batch is due") };
        assert_eq!(entries[0].seq, flood + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_of_the_servers_own_making_is_no_loss() {
        let hub = Hub::new(10, true);
        let mut reader = hub.subscribe();
        next(&mut reader).await;
        hub.emit(learned(1));
        hub.load_catalogue(PeerId([1; 32]), [("f".parse().unwrap(), Version(1))]);
        hub.emit(learned(2));
        let StreamFrame::Batch { entries } = next(&mut reader).await else { panic!("what came before is told first") };
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1]);
        let StreamFrame::Snapshot { missed, overview, .. } = next(&mut reader).await else { panic!("no snapshot") };
        assert_eq!((missed, overview.seq, overview.files.len()), (0, 2, 1));
        hub.emit(learned(3));
        let StreamFrame::Batch { entries } = next(&mut reader).await else { panic!("a batch is due") };
        assert_eq!(entries[0].seq, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_server_says_that_it_is_there() {
        let hub = Hub::new(10, true);
        hub.emit(learned(1));
        let mut reader = hub.subscribe();
        next(&mut reader).await;
        let mut beats = Vec::new();
        for _ in 0..3 {
            let StreamFrame::Heartbeat { seq: 1, outbox: None, .. } = reader.next_frame().await else { panic!() };
            beats.push(Instant::now());
        }
        assert_eq!(beats.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>(), [HEARTBEAT, HEARTBEAT]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_says_so_too() {
        let hub = Hub::new(10, true);
        let mut reader = hub.subscribe();
        next(&mut reader).await;
        let end = Instant::now() + HEARTBEAT * 3;
        let mut beats = 0;
        while Instant::now() < end {
            hub.emit(learned(1));
            beats += u32::from(matches!(reader.next_frame().await, StreamFrame::Heartbeat { .. }));
        }
        assert_eq!(beats, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_in_the_outbox_is_told_at_once() {
        let hub = Hub::new(10, true);
        let mut reader = hub.subscribe();
        next(&mut reader).await;
        reader.next_frame().await;
        let counted = OutboxView { waiting: 13, set_aside: 0 };
        let began = Instant::now();
        hub.count_outbox(counted);
        hub.count_outbox(counted);
        let StreamFrame::Heartbeat { outbox, .. } = reader.next_frame().await else { panic!("it is told") };
        assert_eq!((outbox, began.elapsed()), (Some(counted), Duration::ZERO));
        reader.next_frame().await;
        assert_eq!(began.elapsed(), HEARTBEAT, "the same again isn't told at once");
    }
}
