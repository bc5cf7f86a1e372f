//! Room on the disk: how much there is, and how much of it is kept for what must go on when the disk is full:
//! tombstones, journals, shutting down. That reserve really lies on the disk, as a file (the ballast) that is given up
//! when somebody else has filled the disk, and made again when there is room. Uploads never get it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{info, warn};

use crate::contents::error::ContentsError;

/// What the ballast is called.
pub const BALLAST: &str = "reserve";
/// How long it isn't tried again to keep a reserve that couldn't be made.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// How much is written at once where a file can't be given room without writing it.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The room on the disk of one data directory.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    ballast: PathBuf,
    /// What is kept, in bytes; 0 for nothing.
    reserve_bytes: u64,
    /// A lock is enough: calls of the file system under it are short.
    held: Mutex<Held>,
    /// Whether uploads are refused.
    is_low: AtomicBool,
}

/// The ballast.
#[derive(Debug, Default)]
struct Held {
    /// Its size; 0 while it is given up.
    bytes: u64,
    /// When it may be tried again to make it, and why it couldn't be made; absent where it wasn't tried in vain.
    failed: Option<(Instant, String)>,
}

impl Space {
    /// The room in `dir`, of which `reserve_bytes` are kept; from a full disk's reserve there is some already. Blocks.
    pub fn open(dir: &Path, reserve_bytes: u64) -> Self {
        let ballast = dir.join(BALLAST);
        let space = Self {
            dir: dir.to_owned(),
            held: Mutex::new(Held { bytes: held_by(&ballast, reserve_bytes), failed: None }),
            ballast,
            reserve_bytes,
            is_low: AtomicBool::new(false),
        };
        space.make_room();
        space
    }

    /// Looks how much room there is, and gives up the ballast or makes it. Blocks.
    ///
    /// # Errors
    /// When the file system doesn't say how much there is, or the ballast can't be made: until it can, there is none.
    pub fn tend(&self) -> Result<(), ContentsError> {
        let mut held = self.lock();
        let (free, margin) = (self.free()?, self.margin());
        let mut made = Ok(());
        if free < margin {
            self.give_up(&mut held);
        } else if held.bytes == 0 && self.reserve_bytes > 0 && free >= self.with_reserve(margin.saturating_mul(2)) {
            made = self.make(&mut held);
        }
        let total = self.free()?.saturating_add(held.bytes);
        // Further off than where it begins, so that it doesn't flicker.
        let needed = self.with_reserve(if self.is_low() { margin.saturating_mul(2) } else { margin });
        self.is_low.store(total < needed, Ordering::Relaxed);
        made
    }

    /// Whether there is so little room that all uploads are refused.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// What is wrong while [`Space::is_low`], in a sentence for people.
    pub fn explain(&self) -> String {
        let mib = self.with_reserve(self.margin()).div_ceil(1 << 20);
        let dir = self.dir.display();
        let rest = if self.total().is_ok_and(|total| total < self.margin()) {
            "the reserve is used up, too: files can be downloaded, and deleted only as long as there is a little room left"
        } else {
            "files can be downloaded and deleted"
        };
        format!(
            "less than {mib} MiB are free on the disk of {dir} (see --disk-reserve-bytes): uploads are refused until \
             there is room; {rest}"
        )
    }

    /// Before something small is written that must not fail: gives up the ballast where there is no room else. Blocks.
    pub fn make_room(&self) {
        // Where the file system doesn't say, the write will.
        if self.free().is_ok_and(|free| free < self.margin()) {
            self.give_up(&mut self.lock());
        }
    }

    /// Whether an upload of `bytes` bytes, as far as they are known, may begin. Nothing is kept for it: what is announced
    /// and doesn't come would keep others out. Whether there is room for what comes is checked as it comes. Blocks.
    ///
    /// # Errors
    /// [`ContentsError::NoRoom`], or when the file system doesn't say how much there is.
    pub fn admit(&self, bytes: u64) -> Result<(), ContentsError> {
        if self.is_low() { Err(ContentsError::NoRoom) } else { self.check(bytes) }
    }

    /// Before `bytes` of an upload are written. The margin is left, too: else an upload that is refused in the end has cost
    /// the ballast before. Blocks.
    ///
    /// # Errors
    /// [`ContentsError::NoRoom`] when only the reserve and the margin would be left, or when the file system doesn't say.
    pub(super) fn check(&self, bytes: u64) -> Result<(), ContentsError> {
        let needed = self.with_reserve(self.margin().saturating_add(bytes));
        if self.total()? < needed { Err(ContentsError::NoRoom) } else { Ok(()) }
    }

    /// So much and what is kept, in bytes.
    fn with_reserve(&self, bytes: u64) -> u64 {
        self.reserve_bytes.saturating_add(bytes)
    }

    /// What the ballast keeps and what nobody has, in bytes.
    fn total(&self) -> Result<u64, ContentsError> {
        let held = self.lock().bytes;
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

    fn give_up(&self, held: &mut Held) {
        if held.bytes == 0 {
            return;
        }
        match fs::remove_file(&self.ballast) {
            Ok(()) => {
                held.bytes = 0;
                warn!("the disk is full: its reserve is used now, for all but uploads");
            }
            Err(error) => warn!(%error, "the disk is full, and its reserve can't be used"),
        }
    }

    fn make(&self, held: &mut Held) -> Result<(), ContentsError> {
        let failed = |why: &str| Err(ContentsError::io("keep a reserve of the disk")(io::Error::other(why.to_owned())));
        if let Some((_, why)) = held.failed.as_ref().filter(|(retry_at, _)| Instant::now() < *retry_at) {
            return failed(why);
        }
        match File::create(&self.ballast).and_then(|file| fill(&file, self.reserve_bytes)) {
            Ok(()) => {
                *held = Held { bytes: self.reserve_bytes, failed: None };
                let mib = self.reserve_bytes >> 20;
                info!("[Store] {mib} MiB of the disk are kept for deletions and for stopping (--disk-reserve-bytes)");
                Ok(())
            }
            Err(error) => {
                drop(fs::remove_file(&self.ballast));
                let why = error.to_string();
                held.failed = Some((Instant::now() + RETRY_AFTER, why.clone()));
                failed(&why)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_is_announced_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::open(dir.path(), 0);
        let all = space.free().unwrap();
        for _ in 0..20 {
            space.admit(all / 2).unwrap();
        }
        space.check(1000).unwrap();
        assert!(matches!(space.admit(u64::MAX), Err(ContentsError::NoRoom)));
    }

    #[test]
    fn a_reserve_that_cannot_be_made_is_tried_again_after_a_while_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(BALLAST)).unwrap();
        let space = Space::open(dir.path(), MIB);
        assert!(space.tend().is_err());
        fs::remove_dir(dir.path().join(BALLAST)).unwrap();
        // Not yet.
        assert!(space.tend().is_err());
        assert!(!dir.path().join(BALLAST).exists() && !space.is_low());
    }

    #[test]
    fn a_reserve_beyond_all_numbers_is_room_that_is_never_there() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::open(dir.path(), u64::MAX);
        space.tend().unwrap();
        assert!(space.is_low() && !space.explain().is_empty());
        assert!(matches!(space.admit(1), Err(ContentsError::NoRoom)));
    }
}
