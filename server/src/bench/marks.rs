//! When each node of this process got each update; and, in a file that all processes share, how many it got. Measuring
//! costs a delivery one reading of the clock, and a write of 8 bytes at most once in a millisecond.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bench::kernel::now_ns;

/// Bytes of a node's counter in the file.
const SLOT: u64 = 8;
/// The counter is written after so many deliveries, or after a millisecond without any write.
const WRITE_EVERY: u64 = 8;
const MILLISECOND_NS: u64 = 1_000_000;

/// The nodes' counters, one slot each.
#[derive(Debug)]
pub(super) struct Progress {
    file: File,
    nodes: usize,
}

impl Progress {
    /// Opens the file, which is made if it isn't there.
    pub(super) fn open(path: &Path, nodes: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(slot(nodes))?;
        Ok(Self { file, nodes })
    }

    /// How many updates each node has.
    pub(super) fn read(&self) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; usize::try_from(slot(self.nodes)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes.as_chunks().0.iter().map(|count| u64::from_le_bytes(*count)).collect())
    }

    fn write(&self, node: usize, count: u64) {
        // A counter that isn't written only makes somebody wait; the figures come from the times.
        drop(self.file.write_all_at(&count.to_le_bytes(), slot(node)));
    }
}

fn slot(node: usize) -> u64 {
    u64::try_from(node).unwrap_or(u64::MAX).saturating_mul(SLOT)
}

/// One node's deliveries.
#[derive(Debug)]
pub(super) struct Marks {
    node: usize,
    progress: Arc<Progress>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By update; 0: not yet.
    times: Vec<u64>,
    count: u64,
    written_ns: u64,
}

impl Marks {
    /// No deliveries yet, of so many updates that there may be.
    pub(super) fn new(node: usize, updates: usize, progress: Arc<Progress>) -> Self {
        Self { node, progress, inner: Mutex::new(Inner { times: vec![0; updates], count: 0, written_ns: 0 }) }
    }

    /// The node has an update now. Only the first time counts.
    pub(super) fn delivered(&self, update: usize) {
        let now = now_ns();
        let mut inner = self.lock();
        let Some(time) = inner.times.get_mut(update).filter(|time| **time == 0) else { return };
        *time = now;
        inner.count += 1;
        let write = inner.count.is_multiple_of(WRITE_EVERY) || now - inner.written_ns > MILLISECOND_NS;
        if write {
            inner.written_ns = now;
        }
        let count = inner.count;
        drop(inner);
        if write {
            self.progress.write(self.node, count);
        }
    }

    /// When the node got each of some updates, in nanoseconds; 0: it doesn't have it.
    pub(super) fn times(&self, first: usize, count: usize) -> Vec<u64> {
        let inner = self.lock();
        self.progress.write(self.node, inner.count);
        inner.times.iter().skip(first).take(count).copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
