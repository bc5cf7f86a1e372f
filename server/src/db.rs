//! One `SQLite` database: a single writer that commits in groups, and a few readers. Knows no table.
//!
//! Writing jobs queue up for one thread. It runs those that wait, each in a savepoint of its own, commits once and
//! only then answers them all: under load one fsync pays for many. A job that fails takes back its own changes and
//! nobody else's. Readers see the last commit and never wait for the writer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, oneshot};
use tokio::task;

/// How many writing jobs wait at most; a caller beyond that waits for room. A few groups' worth.
const WRITE_QUEUE: usize = 1024;
/// The most jobs in one commit, so that the first of them is answered soon.
const GROUP_LIMIT: usize = 256;
/// How many may read at once. A guess: a few per core of a small machine.
const READERS: usize = 4;
/// How long a statement waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

/// What a database can fail with. Nothing of the failed job was kept.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It can't be opened, or its tables can't be made.
    #[error("can't open the database {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// Its writer's thread can't be started.
    #[error("can't start the database's thread")]
    Thread(#[source] std::io::Error),
    /// A statement failed.
    #[error("a statement failed")]
    Statement(#[from] rusqlite::Error),
    /// The statements succeeded, but the group of jobs couldn't be committed.
    #[error("the changes could not be committed")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// The group of jobs was rolled back because of another job's failure, such as a full disk.
    #[error("the changes were rolled back with another's")]
    RolledBack,
    /// The thread that should do the work has ended.
    #[error("the database is closed")]
    Closed,
}

impl DbError {
    /// Whether there is no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Statement(error) => is_full(error),
            Self::Commit(error) => is_full(error),
            Self::Open { source, .. } => is_full(source),
            // What rolls back others' work is a full disk or a broken one; the owner of the failure is told which.
            Self::RolledBack | Self::Thread(_) | Self::Closed => false,
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// A database; clones are the same one. The writer's thread ends with the last of them.
#[derive(Clone)]
pub struct Db {
    jobs: Sender<Job>,
    readers: Arc<Readers>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.readers.path).finish_non_exhaustive()
    }
}

/// Tells the caller what became of a job, once the group's commit has succeeded or failed.
type Answer = Box<dyn FnOnce(Result<(), DbError>) + Send>;
/// Does a job inside the group's transaction, or learns that there is none.
type Work = Box<dyn FnOnce(Result<&Connection, DbError>) -> Answer + Send>;

struct Job {
    work: Work,
    /// In a group of its own.
    alone: bool,
}

impl Db {
    /// Opens the database at `path`, makes it where it doesn't exist, and runs `schema`, which must be repeatable.
    /// Blocks.
    ///
    /// # Errors
    /// When the file can't be opened or the schema fails.
    pub fn open(path: &Path, schema: &str) -> Result<Self, DbError> {
        Self::open_with(path, schema, |_connection| Ok(())).map(|(db, ())| db)
    }

    /// The same, and does `prepare` in a transaction before anybody else can do anything. Blocks.
    ///
    /// # Errors
    /// What `prepare` says, or when the file can't be opened or the schema fails.
    pub fn open_with<T, E: From<DbError>>(
        path: &Path,
        schema: &str,
        prepare: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let failed = |source| DbError::Open { path: path.to_owned(), source };
        let writer = connect(path).map_err(failed)?;
        writer.execute_batch(&format!("BEGIN IMMEDIATE; {schema}; COMMIT;")).map_err(failed)?;
        let prepared = in_savepoint(&writer, prepare)?;
        Ok((Self::start(path, writer)?, prepared))
    }

    fn start(path: &Path, writer: Connection) -> Result<Self, DbError> {
        let (jobs, queue) = mpsc::channel(WRITE_QUEUE);
        let thread = std::thread::Builder::new().name("database".to_owned());
        // Not joined: what it was answered for is committed, and it ends with the last sender.
        drop(thread.spawn(move || write_all(&writer, queue)).map_err(DbError::Thread)?);
        let idle = Mutex::new(Vec::with_capacity(READERS));
        let readers = Readers { path: path.to_owned(), idle, permits: Semaphore::new(READERS) };
        Ok(Self { jobs, readers: Arc::new(readers) })
    }

    /// Does `work` in a transaction; when this returns `Ok`, its changes are on stable storage. When the future is
    /// dropped, the work may be done all the same, wholly or not at all.
    ///
    /// # Errors
    /// What `work` says, or that the database failed; in both cases nothing was changed.
    pub async fn write<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.enqueue(work, false).await
    }

    /// The same in a transaction that no other job is part of: `work` sees only what is committed, so it may do what a
    /// rollback couldn't take back.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_alone<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.enqueue(work, true).await
    }

    async fn enqueue<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        alone: bool,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let done = connection.map_err(E::from).and_then(|connection| in_savepoint(connection, work));
            Box::new(move |committed: Result<(), DbError>| {
                let result = done.and_then(|value| committed.map(|()| value).map_err(E::from));
                // A caller that went away wants no answer.
                drop(tell.send(result));
            })
        });
        self.jobs.send(Job { work, alone }).await.map_err(|_closed| DbError::Closed)?;
        told.await.map_err(|_closed| DbError::Closed)?
    }

    /// Does `work` on the state of the last commit.
    ///
    /// # Errors
    /// What `work` says, or that the database failed.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let _permit = self.readers.permits.acquire().await.map_err(|_closed| DbError::Closed)?;
        task::spawn_blocking(move || readers.read(work)).await.map_err(|_panicked| DbError::Closed)?
    }
}

struct Readers {
    path: PathBuf,
    /// A lock is enough: it is held to take or to put back, never across a statement.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    fn read<T, E: From<DbError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| connect_reader(&self.path), Ok)?;
        // One transaction, so that all its statements see the same commit. It has nothing to keep: rolled back.
        let transaction = connection.unchecked_transaction().map_err(DbError::from)?;
        let result = work(&transaction);
        drop(transaction);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // FULL: the log is synced at each commit, so that a commit survives a power cut.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn connect_reader(path: &Path) -> Result<Connection, DbError> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    open().map_err(|source| DbError::Open { path: path.to_owned(), source })
}

/// The writer's life.
fn write_all(connection: &Connection, mut queue: Receiver<Job>) {
    let mut left_over = None;
    while let Some(first) = left_over.take().or_else(|| queue.blocking_recv()) {
        left_over = write_group(connection, first, &mut queue);
    }
}

/// Writes a group; returns a job that was taken from the queue and isn't part of it.
fn write_group(connection: &Connection, first: Job, queue: &mut Receiver<Job>) -> Option<Job> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        tracing::error!(%error, "the database can't begin a transaction");
        (first.work)(Err(error.into()))(Ok(()));
        return None;
    }
    let mut left_over = None;
    let mut full = first.alone;
    let mut answers = vec![(first.work)(Ok(connection))];
    // Some errors (a full disk among them) make SQLite roll back the whole transaction: then the group ends here.
    while !full && !connection.is_autocommit() {
        match queue.try_recv() {
            Ok(job) if job.alone => left_over = Some(job),
            Ok(job) => answers.push((job.work)(Ok(connection))),
            Err(_empty) => break,
        }
        full = left_over.is_some() || answers.len() == GROUP_LIMIT;
    }
    let outcome = if connection.is_autocommit() { Err(None) } else { commit(connection).map_err(Some) };
    for answer in answers {
        answer(match &outcome {
            Ok(()) => Ok(()),
            Err(None) => Err(DbError::RolledBack),
            Err(Some(error)) => Err(DbError::Commit(Arc::clone(error))),
        });
    }
    left_over
}

fn commit(connection: &Connection) -> Result<(), Arc<rusqlite::Error>> {
    connection.execute_batch("COMMIT").map_err(|error| {
        tracing::error!(%error, "the database can't commit");
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the database can't roll back");
        }
        Arc::new(error)
    })
}

/// Runs `work` so that its failure undoes what it did and nothing else.
fn in_savepoint<T, E: From<DbError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.execute_batch("SAVEPOINT job").map_err(DbError::from)?;
    let result = work(connection);
    // After an error that rolled everything back there is no savepoint any more.
    if !connection.is_autocommit() {
        let end = if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        connection.execute_batch(end).map_err(DbError::from)?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY) STRICT";

    async fn insert(db: &Db, n: i64) -> Result<usize, DbError> {
        db.write(move |c| Ok(c.execute("INSERT INTO numbers VALUES (?1)", [n])?)).await
    }

    async fn sum(db: &Db) -> i64 {
        let sum = |c: &Connection| c.query_row("SELECT coalesce(sum(n), 0) FROM numbers", [], |row| row.get(0));
        db.read(move |c| sum(c).map_err(DbError::from)).await.unwrap()
    }

    #[tokio::test]
    async fn a_failed_job_undoes_its_own_changes_only() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("db"), SCHEMA).unwrap();
        let doomed = db.write(|c| -> Result<(), DbError> {
            c.execute("INSERT INTO numbers VALUES (100)", [])?;
            c.execute("INSERT INTO numbers VALUES (100)", [])?;
            Ok(())
        });
        let (one, doomed, two) = tokio::join!(insert(&db, 1), doomed, insert(&db, 2));
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(doomed, Err(DbError::Statement(_))));
        assert_eq!(sum(&db).await, 3);
    }

    #[tokio::test]
    async fn what_was_answered_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let db = Db::open(&path, SCHEMA).unwrap();
        let writes = (1..=500).map(|n| insert(&db, n));
        assert!(futures_util::future::join_all(writes).await.iter().all(Result::is_ok));
        drop(db);
        assert_eq!(sum(&Db::open(&path, SCHEMA).unwrap()).await, 125_250);
    }

    #[tokio::test]
    async fn a_full_database_is_told_apart_and_harms_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("db"), "CREATE TABLE IF NOT EXISTS blobs (b BLOB) STRICT").unwrap();
        db.write(|c| Ok::<_, DbError>(c.pragma_update(None, "max_page_count", 20)?)).await.unwrap();
        let fill = |size: i64| {
            db.write(move |c| Ok::<_, DbError>(c.execute("INSERT INTO blobs VALUES (zeroblob(?1))", [size])?))
        };
        assert!(fill(1_000_000).await.unwrap_err().is_disk_full());
        assert_eq!(fill(100).await.unwrap(), 1);
    }
}
