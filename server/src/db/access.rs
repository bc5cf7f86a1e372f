//! Ways to a database's file: for the one writer, for readers, and on a disk that is full.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tracing::warn;

use crate::db::DbError;

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

/// On a full disk there may be no room for the file that processes share the log's index in: then nobody else gets in.
pub(super) fn connect_writer(path: &Path) -> Result<(Access, Connection), DbError> {
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

/// Opens a database that nobody uses, only to read it; one that was closed as it should be is left untouched. Blocks.
///
/// # Errors
/// When it can't be opened.
pub fn open_to_read(path: &Path) -> Result<Connection, DbError> {
    let log = format!("{}-wal", path.display());
    if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
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

pub(super) fn connect(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open_file(path, flags, access)?;
    // FULL: the log is synced at each commit, so that a commit survives a power cut.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    Ok(connection)
}

pub(super) fn connect_reader(path: &Path, access: Access) -> Result<Connection, DbError> {
    let opened = open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY, access);
    opened.map_err(|source| DbError::Open { path: path.to_owned(), source })
}
