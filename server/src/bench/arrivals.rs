//! When each node of this process got each update; and, in a file that all processes share, how many it got. Measuring
//! costs a delivery one reading of the clock, and a write of 8 bytes at most once in a millisecond.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::bench::file_names::{Arrival, VERSION_FILES};
use crate::bench::procfs::now_ns;

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
    /// Counters in memory. They are in no folder, so that nothing is left of them however the run ends.
    pub(super) fn new(nodes: usize) -> io::Result<Self> {
        let file = File::from(memfd_create("grapevine-bench", MemfdFlags::empty())?);
        file.set_len(slot(nodes))?;
        Ok(Self { file, nodes })
    }

    /// Where the child processes find them, which inherit them.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// The parent's counters.
    pub(super) fn open(path: &Path, nodes: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
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
pub(super) struct Arrivals {
    node: usize,
    progress: Arc<Progress>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By update; 0: not yet.
    times: Vec<u64>,
    /// The versions of [`Files::Untimed`](super::file_names::Files), by file.
    versions: Vec<usize>,
    /// How many updates of them there have been, as far as the node knows.
    untimed: usize,
    count: u64,
    written_ns: u64,
}

impl Inner {
    /// Returns whether that is news.
    fn note(&mut self, update: usize, now_ns: u64) -> bool {
        let Some(time) = self.times.get_mut(update).filter(|time| **time == 0) else { return false };
        *time = now_ns;
        self.count += 1;
        true
    }

    fn know(&mut self, file: usize, version: usize) {
        if let Some(known) = self.versions.get_mut(file) {
            *known = version.max(*known);
        }
        let updates = version.saturating_sub(1) * VERSION_FILES + file + 1;
        self.count += u64::try_from(updates.saturating_sub(self.untimed)).unwrap_or(0);
        self.untimed = updates.max(self.untimed);
    }
}

impl Arrivals {
    /// No deliveries yet, of so many updates that there may be.
    pub(super) fn new(node: usize, updates: usize, progress: Arc<Progress>) -> Self {
        Self { node, progress, inner: Mutex::new(Inner { times: vec![0; updates], ..Inner::default() }) }
    }

    /// The node has an update now. Only the first time counts.
    pub(super) fn delivered(&self, update: usize) {
        self.arrived(&Arrival::Update { base: update, stride: 0, version: 1 });
    }

    /// The node knows a version now. Of a file that the others knew from the start, nothing is noted.
    pub(super) fn arrived(&self, arrival: &Arrival) {
        match *arrival {
            Arrival::Update { base, stride, version } => self.note(|inner, now_ns| {
                let mut updates = (0..version).rev().map(|round| base + round * stride);
                while updates.next().is_some_and(|update| inner.note(update, now_ns)) {}
            }),
            Arrival::Untimed { file, version } => self.note(|inner, _now| {
                inner.versions.resize(VERSION_FILES, 0);
                inner.know(file, version);
            }),
            Arrival::Kept => {}
        }
    }

    fn note(&self, note: impl FnOnce(&mut Inner, u64)) {
        let mut inner = self.lock();
        let (now_ns, before) = (now_ns(), inner.count);
        note(&mut inner, now_ns);
        let write = inner.count / WRITE_EVERY > before / WRITE_EVERY || now_ns - inner.written_ns > MILLISECOND_NS;
        if write {
            inner.written_ns = now_ns;
        }
        let count = inner.count;
        drop(inner);
        if write {
            self.progress.write(self.node, count);
        }
    }

    /// How many files the node knows in an older version than the last, or not at all, after `updates` untimed ones.
    pub(super) fn behind(&self, updates: usize) -> usize {
        let inner = self.lock();
        let last = |file: usize| updates.saturating_sub(file).div_ceil(VERSION_FILES);
        (0..VERSION_FILES).filter(|file| inner.versions.get(*file).copied().unwrap_or(0) < last(*file)).count()
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
