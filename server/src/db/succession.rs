//! Whether a log continues the very file that it lies beside. `SQLite` believes in any log of the right form: beside an
//! older copy of its database, or a newer one, it makes a mixture of both, which may pass every check.
//!
//! So each commit is numbered, in a field of the file's first page that `SQLite` leaves to its users (`application_id`). A
//! commit that changes the first page puts all of it into the log; so the log says with which commit it begins and ends, and
//! the file up to which one it was brought. No commit may be missing between the two: the log begins at most one after the
//! file, and doesn't end before it. A log of an earlier version, which didn't number, says nothing or agrees. What isn't
//! noticed: a log of another history that has as many commits (an older copy was used for a while, and then the newer file
//! was put back beside the older one's log).

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use rusqlite::Connection;

use crate::db::DbError;

/// Where the number is in the first page. <https://www.sqlite.org/fileformat2.html#the_database_header>
const NUMBER_AT: usize = 68;
/// The log's head, and that of each page in it. <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// How the log begins; the last bit says in which order the bytes of its checksums are.
const MAGIC: u32 = 0x377f_0682;
/// The smallest and the largest page.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// How often both are read while somebody changes them. Who closes a database writes its log once more at most, and empties it.
const READINGS: u32 = 5;

/// Numbers the commit that is about to be made.
///
/// # Errors
/// When the database fails.
pub(super) fn number(connection: &Connection) -> rusqlite::Result<()> {
    let last: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    connection.pragma_update(None, "application_id", last.wrapping_add(1))
}

/// Refuses a database whose log continues another state of it. Nobody may have it open but who is just closing it: `SQLite`'s
/// locks end when any handle of the process on the file is closed. Blocks.
///
/// # Errors
/// [`DbError::Damaged`]. Where one of the two can't be read, `SQLite` says so.
pub(super) fn check(path: &Path, log_path: &Path) -> Result<(), DbError> {
    for _ in 0..READINGS {
        let (Ok(Some(log)), Ok(file)) = (span_of(log_path), number_of(path)) else { return Ok(()) };
        let Some(why) = contradiction(file, log) else { return Ok(()) };
        // Who closes the database writes both: only what stays as it was read is believed.
        if !matches!(span_of(log_path), Ok(Some(again)) if again == log) {
            continue;
        }
        return Err(DbError::Damaged(format!(
            "{why} (commit {file}; the log has {} to {}). Put back the file that belongs to {}, or move that away if it \
             isn't needed",
            log.first,
            log.last,
            log_path.display()
        )));
    }
    Ok(())
}

/// Why a file that was brought up to a commit doesn't go with a log; nothing where it does.
fn contradiction(file: u32, log: Span) -> Option<&'static str> {
    // Numbers go round.
    let ahead = |number: u32, other: u32| number.wrapping_sub(other).cast_signed();
    if ahead(log.first, file) > 1 {
        Some("it is older than its log: changes between them are missing")
    } else if ahead(file, log.last) > 0 {
        Some("it is newer than its log, which is of an older copy")
    } else {
        None
    }
}

/// Up to which commit the file itself was brought.
fn number_of(path: &Path) -> io::Result<u32> {
    let mut head = [0; NUMBER_AT + 4];
    File::open(path)?.read_exact(&mut head)?;
    word(&head, NUMBER_AT).ok_or(ErrorKind::InvalidData.into())
}

/// The commits that a log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u32,
    last: u32,
}

/// Reads a log as `SQLite` does: up to the first page that isn't of it or is only there in part. `None` where no commit in it
/// has a number.
fn span_of(log: &Path) -> io::Result<Option<Span>> {
    let mut log = BufReader::new(File::open(log)?);
    let mut head = [0; LOG_HEAD];
    log.read_exact(&mut head)?;
    let Some(mut sums) = Sums::begin(&head) else { return Ok(None) };
    let Some(page_bytes) = word(&head, 8).filter(|bytes| PAGE_BYTES.contains(bytes)) else { return Ok(None) };
    let mut page = vec![0; usize::try_from(page_bytes).unwrap_or(usize::MAX)];
    let (mut frame, mut span, mut begun) = ([0; FRAME_HEAD], None, None);
    while read_whole(&mut log, &mut frame)? && read_whole(&mut log, &mut page)? {
        if frame.get(8..16) != head.get(16..24) || !sums.agree(&frame, &page) {
            break;
        }
        if word(&frame, 0) == Some(1) {
            begun = word(&page, NUMBER_AT);
        }
        // The last page of a commit.
        if word(&frame, 4) != Some(0)
            && let Some(number) = begun
        {
            let first = span.map_or(number, |span: Span| span.first);
            span = Some(Span { first, last: number });
        }
    }
    Ok(span)
}

/// Whether there was so much still.
fn read_whole(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    word.try_into().ok().map(u32::from_be_bytes)
}

/// The running checksum of a log.
struct Sums {
    /// Whether its words are read with their last byte first.
    little: bool,
    sums: (u32, u32),
}

impl Sums {
    /// After the log's head; `None` where that isn't one.
    fn begin(head: &[u8; LOG_HEAD]) -> Option<Self> {
        let magic = word(head, 0)?;
        let mut sums = Self { little: magic == MAGIC, sums: (0, 0) };
        let (summed, told) = head.split_at(LOG_HEAD - 8);
        (magic & !1 == MAGIC && sums.add(summed) && sums.is(told)).then_some(sums)
    }

    /// Whether a page is as it was written, and comes after those before.
    fn agree(&mut self, frame: &[u8; FRAME_HEAD], page: &[u8]) -> bool {
        let (summed, told) = frame.split_at(8);
        self.add(summed) && self.add(page) && told.get(8..).is_some_and(|told| self.is(told))
    }

    /// Whether these are whole words, which are in now.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let read = if self.little { u32::from_le_bytes } else { u32::from_be_bytes };
        let (pairs, rest) = bytes.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in pairs {
            self.sums.0 = self.sums.0.wrapping_add(read([*a, *b, *c, *d])).wrapping_add(self.sums.1);
            self.sums.1 = self.sums.1.wrapping_add(read([*e, *f, *g, *h])).wrapping_add(self.sums.0);
        }
        rest.is_empty()
    }

    fn is(&self, told: &[u8]) -> bool {
        word(told, 0) == Some(self.sums.0) && word(told, 4) == Some(self.sums.1)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::db::Db;
    use crate::db::access::log_of;

    /// A database with `commits` numbered commits, all in its file, and then `more` in its log only.
    fn database(commits: i64, more: i64) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("live");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER, b BLOB)").unwrap();
        let commit = |n: i64| {
            connection.execute_batch("BEGIN").unwrap();
            connection.execute("INSERT INTO t VALUES (?1, zeroblob(9000))", [n]).unwrap();
            number(&connection).unwrap();
            connection.execute_batch("COMMIT").unwrap();
        };
        (0..commits).for_each(commit);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(())).unwrap();
        (0..more).for_each(commit);
        let copy = dir.path().join("db");
        fs::copy(&path, &copy).unwrap();
        fs::copy(log_of(&path), log_of(&copy)).unwrap();
        (dir, copy)
    }

    #[test]
    fn a_log_belongs_to_the_file_that_it_continues_and_to_none_that_misses_a_commit() {
        for (of_file, (of_log, more), belongs) in [
            (5, (5, 3), true),
            (4, (5, 3), false),
            (0, (5, 3), false),
            // What is in the file already may be in the log, too.
            (6, (5, 3), true),
            (8, (5, 3), true),
            (9, (5, 3), false),
            // Nothing is in the log.
            (1, (5, 0), true),
        ] {
            let (_dir, path) = database(of_log, more);
            let (_other, file) = database(of_file, 0);
            fs::copy(&file, &path).unwrap();
            let checked = check(&path, &log_of(&path));
            assert_eq!(checked.is_ok(), belongs, "{of_file} beside {of_log} and {more}: {checked:?}");
        }
    }

    #[tokio::test]
    async fn a_change_of_the_tables_alone_is_a_numbered_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut numbers = Vec::new();
        for schema in
            ["CREATE TABLE t (n INTEGER)", "SELECT 1", "CREATE TABLE u (n INTEGER)", "PRAGMA user_version = 7"]
        {
            let opened = Db::open(&path, || (), |c| Ok::<_, DbError>(c.execute_batch(schema)?));
            opened.unwrap().0.close(Duration::from_secs(30)).await;
            numbers.push(number_of(&path).unwrap());
        }
        assert_eq!(numbers, [1, 1, 2, 3]);
    }

    #[test]
    fn what_was_cut_off_by_a_crash_is_no_part_of_a_log() {
        let (_dir, path) = database(5, 3);
        let log = fs::read(log_of(&path)).unwrap();
        assert_eq!(span_of(&log_of(&path)).unwrap(), Some(Span { first: 6, last: 8 }));
        fs::write(log_of(&path), &log[..log.len() - 1]).unwrap();
        assert_eq!(span_of(&log_of(&path)).unwrap(), Some(Span { first: 6, last: 7 }));
        let mut harmed = log.clone();
        harmed[LOG_HEAD + FRAME_HEAD] ^= 1;
        for harmed in [&harmed[..], &log[..LOG_HEAD], &log[..LOG_HEAD - 1], b"another's"] {
            fs::write(log_of(&path), harmed).unwrap();
            assert!(matches!(span_of(&log_of(&path)), Ok(None) | Err(_)));
            check(&path, &log_of(&path)).unwrap();
        }
    }
}
