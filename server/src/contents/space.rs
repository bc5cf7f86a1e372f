//! Room on the disk: how much there is, and how much of it is kept for what must go on when the disk is full:
//! tombstones, journals, shutting down. That reserve really lies on the disk, as a file (the ballast) that is given up
//! when somebody else has filled the disk, and made again when there is room. Uploads never get it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{info, warn};

use crate::contents::error::ContentsError;

/// What the ballast is called.
pub const BALLAST: &str = "reserve";
/// How much is written at once where a file can't be given room without writing it.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The room on the disk of one data directory.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    ballast: PathBuf,
    /// What is kept, in bytes; 0 for nothing.
    reserve_bytes: u64,
    /// The ballast's size, in bytes; 0 while it is given up. A lock is enough: calls of the file system under it are
    /// short.
    held_bytes: Mutex<u64>,
    /// What uploads that are under way have announced and not yet written, in bytes.
    claimed_bytes: AtomicU64,
    /// Whether uploads are refused.
    is_low: AtomicBool,
}

impl Space {
    /// The room in `dir`, of which `reserve_bytes` are kept; from a full disk's reserve there is some already. Blocks.
    pub fn open(dir: &Path, reserve_bytes: u64) -> Self {
        let ballast = dir.join(BALLAST);
        let space = Self {
            dir: dir.to_owned(),
            held_bytes: Mutex::new(held_by(&ballast, reserve_bytes)),
            ballast,
            reserve_bytes,
            claimed_bytes: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
        };
        space.make_room();
        space
    }

    /// Looks how much room there is, and gives up the ballast or makes it. Blocks.
    ///
    /// # Errors
    /// When the file system doesn't say how much there is.
    pub fn tend(&self) -> Result<(), ContentsError> {
        let mut held = self.lock();
        let (free, margin) = (self.free()?, self.margin());
        if free < margin {
            self.give_up(&mut held);
        } else if *held == 0 && self.reserve_bytes > 0 && free >= self.reserve_bytes + 2 * margin {
            self.make(&mut held);
        }
        let total = self.free()?.saturating_add(*held);
        // Further off than where it begins, so that it doesn't flicker.
        let needed = self.reserve_bytes + if self.is_low() { 2 * margin } else { margin };
        self.is_low.store(total < needed, Ordering::Relaxed);
        Ok(())
    }

    /// Whether there is so little room that all uploads are refused.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// What is wrong while [`Space::is_low`], in a sentence for people.
    pub fn explain(&self) -> String {
        let mib = (self.reserve_bytes + self.margin()).div_ceil(1 << 20);
        let dir = self.dir.display();
        format!(
            "less than {mib} MiB are free on the disk of {dir} (see --disk-reserve-bytes): uploads are refused until \
             there is room; files can be downloaded and deleted"
        )
    }

    /// Before something small is written that must not fail: gives up the ballast where there is no room else. Blocks.
    pub fn make_room(&self) {
        // Where the file system doesn't say, the write will.
        if self.free().is_ok_and(|free| free < self.margin()) {
            self.give_up(&mut self.lock());
        }
    }

    /// Sets room aside for an upload of `bytes` bytes, as far as they are known. Blocks.
    ///
    /// # Errors
    /// [`ContentsError::NoRoom`], or when the file system doesn't say how much there is.
    pub fn claim(self: &Arc<Self>, bytes: u64) -> Result<Claim, ContentsError> {
        let claim = Claim { space: Arc::clone(self), left_bytes: AtomicU64::new(bytes) };
        let claimed = self.claimed_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if self.is_low() || self.total()? < self.reserve_bytes.saturating_add(claimed) {
            return Err(ContentsError::NoRoom);
        }
        Ok(claim)
    }

    /// What the ballast keeps and what nobody has, in bytes.
    fn total(&self) -> Result<u64, ContentsError> {
        let held = *self.lock();
        Ok(self.free()?.saturating_add(held))
    }

    fn free(&self) -> Result<u64, ContentsError> {
        let disk =
            statvfs(&self.dir).map_err(io::Error::from).map_err(ContentsError::io("ask for the room on the disk"))?;
        // Some file systems don't count: they refuse what they can't take.
        Ok(if disk.f_blocks == 0 { u64::MAX } else { disk.f_bavail.saturating_mul(disk.f_frsize) })
    }

    /// How much must be free besides the ballast: what the database's log and folders need beside the bytes of files. A
    /// guess: a quarter.
    fn margin(&self) -> u64 {
        self.reserve_bytes / 4
    }

    fn give_up(&self, held: &mut u64) {
        if *held == 0 {
            return;
        }
        match fs::remove_file(&self.ballast) {
            Ok(()) => {
                *held = 0;
                warn!("the disk is full: its reserve is used now, for all but uploads");
            }
            Err(error) => warn!(%error, "the disk is full, and its reserve can't be used"),
        }
    }

    fn make(&self, held: &mut u64) {
        match File::create(&self.ballast).and_then(|file| fill(&file, self.reserve_bytes)) {
            Ok(()) => {
                *held = self.reserve_bytes;
                info!(bytes = self.reserve_bytes, "a reserve of the disk is kept");
            }
            Err(error) => {
                warn!(%error, "no reserve of the disk can be kept");
                drop(fs::remove_file(&self.ballast));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.held_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a ballast of an earlier run keeps; one that isn't whole (a copy may have holes) is removed.
fn held_by(ballast: &Path, reserve_bytes: u64) -> u64 {
    let Ok(found) = fs::metadata(ballast) else { return 0 };
    if reserve_bytes > 0 && found.len() == reserve_bytes && found.blocks().saturating_mul(512) >= reserve_bytes {
        return reserve_bytes;
    }
    if let Err(error) = fs::remove_file(ballast) {
        warn!(%error, "the disk's reserve of another size can't be removed");
    }
    0
}

fn fill(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let (mut file, mut left) = (file, bytes);
            while left > 0 {
                let piece = ZEROS.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
                file.write_all(piece)?;
                left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            }
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Room that is set aside for one upload. Dropping it gives back what wasn't used.
#[derive(Debug)]
pub struct Claim {
    space: Arc<Space>,
    left_bytes: AtomicU64,
}

impl Claim {
    /// Before `bytes` of the upload are written. Blocks.
    ///
    /// # Errors
    /// [`ContentsError::NoRoom`] when only the reserve is left, or when the file system doesn't say.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), ContentsError> {
        if self.space.total()? < self.space.reserve_bytes.saturating_add(bytes) {
            return Err(ContentsError::NoRoom);
        }
        self.give_back(bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let less = |left: u64| Some(left.saturating_sub(bytes));
        // Always `Ok`: the function always gives a value.
        let left = self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        self.space.claimed_bytes.fetch_sub(left.min(bytes), Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_back(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_reserve_lies_on_the_disk_and_follows_the_setting() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = || fs::metadata(dir.path().join(BALLAST)).map(|found| found.len()).ok();
        let open = |bytes| {
            let space = Space::open(dir.path(), bytes);
            space.tend().unwrap();
            assert!(!space.is_low());
        };
        open(MIB);
        assert_eq!(ballast(), Some(MIB));
        open(2 * MIB);
        assert_eq!(ballast(), Some(2 * MIB));
        open(0);
        assert_eq!(ballast(), None);
        // A copy with holes keeps nothing.
        File::create(dir.path().join(BALLAST)).unwrap().set_len(MIB).unwrap();
        assert_eq!(held_by(&dir.path().join(BALLAST), MIB), 0);
    }

    #[test]
    fn what_is_announced_counts_until_it_is_written_or_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::open(dir.path(), 0));
        let claimed = || space.claimed_bytes.load(Ordering::Relaxed);
        let all = space.free().unwrap();
        let claim = space.claim(all / 2).unwrap();
        assert!(matches!(space.claim(all), Err(ContentsError::NoRoom)));
        assert_eq!(claimed(), all / 2);
        claim.spend(1000).unwrap();
        assert_eq!(claimed(), all / 2 - 1000);
        drop(claim);
        assert_eq!(claimed(), 0);
        // More comes than was announced.
        space.claim(10).unwrap().spend(1000).unwrap();
        assert_eq!(claimed(), 0);
    }
}
