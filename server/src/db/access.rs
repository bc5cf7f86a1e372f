//! Ways to a database's file: for the one writer, for readers, and on a disk that is full.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::warn;

use crate::db::{DbError, succession};

/// How long a statement waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

/// How `SQLite` reaches the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// As usual: a file beside the database lets other processes read it, too.
    Shared,
    /// Without that file, where there is no room for it.
    Exclusive,
}

/// The first sentence of what is wrong with a database, if anything is. Reads all of it. Blocks.
///
/// # Errors
/// [`DbError::Damaged`], or when it can't be read.
pub fn quick_check(connection: &Connection) -> Result<(), DbError> {
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said == "ok" { Ok(()) } else { Err(DbError::Damaged(said.lines().collect::<Vec<_>>().join(" "))) }
}

/// Where the log of a database is.
pub fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// Whether there is a log with something in it.
pub fn has_log(path: &Path) -> bool {
    std::fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0)
}

/// Whether there is no database at `path`, or a file without a byte. Of such a one `SQLite` removes the log.
pub fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |found| found.len() == 0)
}

/// On a full disk there may be no room for the file that processes share the log's index in: then nobody else gets in.
pub(super) fn connect_writer(path: &Path) -> Result<(Access, Connection), DbError> {
    refuse_foreign_log(path)?;
    let failed = |source| DbError::Open { path: path.to_owned(), source };
    match connect(path, Access::Shared) {
        Ok(connection) => Ok((Access::Shared, connection)),
        Err(error) if may_lack_room(&error) => {
            let connection = connect(path, Access::Exclusive).map_err(|_same| failed(error))?;
            warn!(path = %path.display(), "there is no room beside the database; no other process can read it now");
            Ok((Access::Exclusive, connection))
        }
        Err(error) => Err(failed(error)),
    }
}

fn refuse_foreign_log(path: &Path) -> Result<(), DbError> {
    if is_empty(path) && has_log(path) {
        return Err(DbError::Damaged("there is its log, and nothing that it belongs to".to_owned()));
    }
    succession::check(path, &log_of(path))
}

/// Opens a database that nobody uses, only to read it; one that was closed as it should be is left untouched. Blocks.
///
/// # Errors
/// When it can't be opened.
pub fn open_to_read(path: &Path) -> Result<Connection, DbError> {
    refuse_foreign_log(path)?;
    if has_log(path) {
        return connect_reader(path, Access::Shared);
    }
    // Without a log nothing has to be put together, and SQLite needn't make its files.
    let name = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let opened = open_file(Path::new(&format!("file:{name}?immutable=1")), flags, Access::Shared);
    opened.map_err(|source| DbError::Open { path: path.to_owned(), source })
}

fn may_lack_room(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}

fn open_file(path: &Path, flags: OpenFlags, access: Access) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match access {
        Access::Shared => Connection::open_with_flags(path, flags)?,
        Access::Exclusive => Connection::open_with_flags_and_vfs(path, flags, "unix-excl")?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// A connection for the writer, which leaves database and log as they are for as long as it only reads, closing it
/// included: the log may belong to another file. See [`use_log`].
pub(super) fn connect(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open_file(path, flags, access)?;
    keep_log(&connection)?;
    // FULL: the log is synced at each commit, so that a commit survives a power cut.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    // Now it is seen whether there is room for what SQLite puts beside it.
    look(&connection)?;
    Ok(connection)
}

/// From now on changes go to the log, and closing puts that into the file and removes it: the database is the right one.
pub(super) fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA journal_mode = WAL")?;
    // Now the log is there.
    look(connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

fn look(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_row| Ok(()))
}

/// Closing leaves the log alone.
pub(super) fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// A connection that only reads.
pub(super) fn connect_reader(path: &Path, access: Access) -> Result<Connection, DbError> {
    let opened = open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY, access);
    opened.map_err(|source| DbError::Open { path: path.to_owned(), source })
}
