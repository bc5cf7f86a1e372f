//! One `SQLite` database: a single writer that commits in groups, and a few readers. Knows no table.
//!
//! Writing jobs queue up for one thread. It runs those that wait, each in a savepoint of its own, commits once and
//! only then answers them all: under load one fsync pays for many. A job that fails takes back its own changes and
//! nobody else's. Readers see the last commit and never wait for the writer. Closing puts everything into the one file,
//! which can then be copied.
//!
//! Opening changes nothing until the database was found to be usable: a log that belongs to another file stays as it is.
//! When the files are moved or removed under the open database, nothing more is written.
//!
//! Long because writer and readers are opened and closed together, and their order is the point.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, oneshot};
use tokio::task;
use tokio::time::timeout;
use tracing::warn;

use crate::db::access::{Access, connect_reader, connect_writer, keep_log, log_of, use_log};
use crate::db::anchor::Anchor;

pub mod access;
pub mod anchor;
mod succession;

/// How many writing jobs wait at most; a caller beyond that waits for room. A few groups' worth.
const WRITE_QUEUE: usize = 1024;
/// The most jobs in one commit, so that the first of them is answered soon.
const GROUP_LIMIT: usize = 256;
/// How many may read at once. A guess: a few per core of a small machine.
const READERS: u32 = 4;
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
    /// It isn't what it was when it was written.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Its file, or its log, isn't where it was any more, or is another one.
    #[error("{0} was moved, replaced or removed while it was in use; nothing was changed")]
    Displaced(PathBuf),
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
            Self::RolledBack | Self::Thread(_) | Self::Closed | Self::Damaged(_) | Self::Displaced(_) => false,
        }
    }

    /// Whether the file isn't a database, or no longer a whole one.
    pub fn is_damaged(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Statement(error) => is_damage(error),
            Self::Commit(error) => is_damage(error),
            Self::Open { source, .. } => is_damage(source),
            Self::RolledBack | Self::Thread(_) | Self::Closed | Self::Displaced(_) => false,
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// A database; clones are the same one. The writer's thread ends when it is closed, or with the last of them.
#[derive(Clone)]
pub struct Db {
    jobs: Sender<Job>,
    readers: Arc<Readers>,
    /// The writer's thread, until it is joined. A lock is enough: it is held to take it.
    writer: Arc<Mutex<Option<Writer>>>,
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

enum Job {
    /// With others in one commit.
    Grouped(Work),
    /// In a group of its own.
    Alone(Work),
    /// No more jobs.
    Close,
}

struct Writer {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl Db {
    /// Opens the database at `path`, makes it where it doesn't exist, and does `prepare` (its schema, checks) in a
    /// transaction before anybody else can do anything. Before each group of changes the writer calls `before_writing`.
    /// Blocks.
    ///
    /// # Errors
    /// What `prepare` says, or when the file can't be opened; then database and log are as they were.
    pub fn open<T, E: From<DbError>>(
        path: &Path,
        before_writing: impl Fn() + Send + 'static,
        prepare: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let (access, connection) = connect_writer(path)?;
        // Waits for one who is about to close it.
        connection.execute_batch("BEGIN IMMEDIATE").map_err(DbError::from)?;
        let (changes, layout) = (connection.total_changes(), layout(&connection).map_err(DbError::from)?);
        let prepared = in_savepoint(&connection, prepare)?;
        if self::layout(&connection).map_err(DbError::from)? == layout {
            number_if_changed(&connection, changes).map_err(DbError::from)?;
        } else {
            succession::number(&connection).map_err(DbError::from)?;
        }
        connection.execute_batch("COMMIT").map_err(DbError::from)?;
        use_log(&connection).map_err(DbError::from)?;
        Ok((Self::start(path, access, connection, before_writing)?, prepared))
    }

    fn start(
        path: &Path,
        access: Access,
        connection: Connection,
        before_writing: impl Fn() + Send + 'static,
    ) -> Result<Self, DbError> {
        let (jobs, queue) = mpsc::channel(WRITE_QUEUE);
        let (end, ended) = oneshot::channel();
        let anchor = Anchor::of([path.to_owned(), log_of(path)]);
        let anchored = anchor.clone();
        let thread = std::thread::Builder::new().name("database".to_owned()).spawn(move || {
            write_all(connection, queue, before_writing, &anchored);
            // Whoever waits sees it.
            drop(end);
        });
        let writer = Writer { thread: thread.map_err(DbError::Thread)?, ended };
        let idle = Mutex::new(Vec::with_capacity(READERS as usize));
        let permits = Arc::new(Semaphore::new(READERS as usize));
        let readers = Readers { path: path.to_owned(), anchor, access, idle, permits };
        Ok(Self { jobs, readers: Arc::new(readers), writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Does what was asked before, puts all of it into the one file, closes that, and ends the thread. Who asks later
    /// hears that it is closed. Doesn't wait longer than `limit`; then the log still holds the rest.
    pub async fn close(&self, limit: Duration) {
        if timeout(limit, self.close_all()).await.is_err() {
            warn!(path = %self.readers.path.display(), "a database wasn't closed within {limit:?}");
        }
    }

    async fn close_all(&self) {
        self.readers.close().await;
        // One that has ended is closed.
        drop(self.jobs.send(Job::Close).await);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Writer { thread, ended }) = writer {
            // Either way the thread has nothing more to do: joining it takes no time.
            drop(ended.await);
            drop(thread.join());
        }
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
        self.enqueue(work, Job::Grouped).await
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
        self.enqueue(work, Job::Alone).await
    }

    async fn enqueue<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        job: impl FnOnce(Work) -> Job,
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
        self.jobs.send(job(work)).await.map_err(|_closed| DbError::Closed)?;
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
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(|_closed| DbError::Closed)?;
        let read = move || {
            let read = readers.read(work);
            // Not before, even when nobody waits for the answer any more: who closes waits for those who read.
            drop(permit);
            read
        };
        task::spawn_blocking(read).await.map_err(|_panicked| DbError::Closed)?
    }

    /// The file of this database that isn't where it was any more, or is another one; while that is so, nothing is
    /// written. Blocks.
    pub fn displaced(&self) -> Option<&Path> {
        self.readers.anchor.displaced()
    }
}

struct Readers {
    path: PathBuf,
    anchor: Anchor,
    access: Access,
    /// A lock is enough: it is held to take or to put back, never across a statement.
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    fn read<T, E: From<DbError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        // One transaction, so that all its statements see the same commit. It has nothing to keep: rolled back.
        let transaction = connection.unchecked_transaction().map_err(DbError::from)?;
        let result = work(&transaction);
        drop(transaction);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    /// One more reader, of the database that the writer has.
    fn connect(&self) -> Result<Connection, DbError> {
        refuse_displaced(&self.anchor)?;
        connect_reader(&self.path, self.access)
    }

    /// Waits for those who read, and lets nobody read any more.
    async fn close(&self) {
        let all = self.permits.acquire_many(READERS).await;
        self.permits.close();
        drop(all);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The writer's life.
fn write_all(connection: Connection, mut queue: Receiver<Job>, before_writing: impl Fn(), anchor: &Anchor) {
    let mut left_over = None;
    while let Some(job) = left_over.take().or_else(|| queue.blocking_recv()) {
        let (first, alone) = match job {
            Job::Grouped(work) => (work, false),
            Job::Alone(work) => (work, true),
            Job::Close => break,
        };
        before_writing();
        match refuse_displaced(anchor) {
            Ok(()) => left_over = write_group(&connection, (first, alone), &mut queue),
            Err(displaced) => first(Err(displaced))(Ok(())),
        }
    }
    // Whoever waits hears that the database is closed.
    drop(queue);
    if let Err(error) = put_together(&connection, anchor)
        .and_then(|()| connection.close().map_err(|(_connection, error)| DbError::from(error)))
    {
        warn!(error = &error as &dyn std::error::Error, "the database's log couldn't be emptied");
    }
}

fn refuse_displaced(anchor: &Anchor) -> Result<(), DbError> {
    anchor.displaced().map_or(Ok(()), |path| Err(DbError::Displaced(path.to_owned())))
}

/// Everything into the one file, so that a copy of it is a whole one. What fails here stays in the log, which counts.
fn put_together(connection: &Connection, anchor: &Anchor) -> Result<(), DbError> {
    if refuse_displaced(anchor).is_err() {
        // Closing removes the log by its name, under which there may be another one now.
        keep_log(connection)?;
    }
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        warn!("somebody reads the database still: a part of it is in its log, which must be copied with it");
    }
    Ok(())
}

/// Writes a group; returns a job that was taken from the queue and isn't part of it.
fn write_group(connection: &Connection, (first, alone): (Work, bool), queue: &mut Receiver<Job>) -> Option<Job> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        complain(&error, "the database can't begin a transaction");
        first(Err(error.into()))(Ok(()));
        return None;
    }
    let mut left_over = None;
    let changes = connection.total_changes();
    let mut full = alone;
    let mut answers = vec![first(Ok(connection))];
    // Some errors (a full disk among them) make SQLite roll back the whole transaction: then the group ends here.
    while !full && !connection.is_autocommit() {
        match queue.try_recv() {
            Ok(Job::Grouped(work)) => answers.push(work(Ok(connection))),
            Ok(other) => left_over = Some(other),
            Err(_empty) => break,
        }
        full = left_over.is_some() || answers.len() == GROUP_LIMIT;
    }
    let outcome = if connection.is_autocommit() { Err(None) } else { commit(connection, changes).map_err(Some) };
    for answer in answers {
        answer(match &outcome {
            Ok(()) => Ok(()),
            Err(None) => Err(DbError::RolledBack),
            Err(Some(error)) => Err(DbError::Commit(Arc::clone(error))),
        });
    }
    left_over
}

/// Commits what came after so many `changes`.
fn commit(connection: &Connection, changes: u64) -> Result<(), Arc<rusqlite::Error>> {
    let numbered = number_if_changed(connection, changes);
    numbered.and_then(|()| connection.execute_batch("COMMIT")).map_err(|error| {
        complain(&error, "the database can't commit");
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            complain(&error, "the database can't roll back");
        }
        Arc::new(error)
    })
}

/// Which tables there are, and of which version: a change of these alone counts as none.
fn layout(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get(0));
    Ok((number("PRAGMA schema_version")?, number("PRAGMA user_version")?))
}

/// A transaction that changes nothing costs nothing, and needs no room on the disk.
fn number_if_changed(connection: &Connection, changes: u64) -> rusqlite::Result<()> {
    if connection.total_changes() == changes { Ok(()) } else { succession::number(connection) }
}

/// Nothing is said of a full disk: that is told for as long as it lasts, and to whoever wants to change something.
fn complain(error: &rusqlite::Error, what: &str) {
    if !is_full(error) {
        tracing::error!(%error, "{what}");
    }
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
    use crate::db::access::{connect, quick_check};

    const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY) STRICT";
    const LIMIT: Duration = Duration::from_secs(30);

    fn open(path: &Path, schema: &str) -> Db {
        Db::open(path, || (), |c| Ok::<_, DbError>(c.execute_batch(schema)?)).unwrap().0
    }

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
        let db = open(&dir.path().join("db"), SCHEMA);
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
        let db = open(&path, SCHEMA);
        let writes = (1..=500).map(|n| insert(&db, n));
        assert!(futures_util::future::join_all(writes).await.iter().all(Result::is_ok));
        drop(db);
        assert_eq!(sum(&open(&path, SCHEMA)).await, 125_250);
    }

    #[tokio::test]
    async fn a_closed_database_is_one_file_with_everything_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let db = open(&path, SCHEMA);
        insert(&db, 1).await.unwrap();
        assert_eq!(sum(&db).await, 1);
        db.close(LIMIT).await;
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(insert(&db, 2).await, Err(DbError::Closed)));
        assert!(matches!(db.read(|_c| Ok::<_, DbError>(())).await, Err(DbError::Closed)));
        db.close(LIMIT).await;
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(sum(&open(&copy, SCHEMA)).await, 1);
    }

    #[tokio::test]
    async fn a_database_is_usable_without_the_file_that_processes_share() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        open(&path, SCHEMA).close(LIMIT).await;
        let alone = connect(&path, Access::Exclusive).unwrap();
        let db = Db::start(&path, Access::Exclusive, alone, || ()).unwrap();
        insert(&db, 1).await.unwrap();
        assert_eq!(sum(&db).await, 1);
        assert!(!dir.path().join("db-shm").exists());
        db.close(LIMIT).await;
        let db = open(&path, SCHEMA);
        assert_eq!((db.readers.access, sum(&db).await), (Access::Shared, 1));
    }

    #[tokio::test]
    async fn a_database_that_is_refused_keeps_its_log() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = open(&dir.path().join("db"), SCHEMA);
        insert(&db, 1).await.unwrap();
        for name in ["db", "db-wal"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let path = copy.path().join("db");
        let log = std::fs::read(log_of(&path)).unwrap();
        let refused = Db::open(&path, || (), |_c| Err::<(), _>(DbError::Closed));
        assert!(matches!(refused, Err(DbError::Closed)));
        assert!(std::fs::read(log_of(&path)).unwrap() == log);
        // Of a file without a byte SQLite would remove it.
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(Db::open(&path, || (), |_c| Ok::<_, DbError>(())).unwrap_err().is_damaged());
        assert!(std::fs::read(log_of(&path)).unwrap() == log);
        std::fs::write(&path, whole).unwrap();
        assert_eq!(sum(&open(&path, SCHEMA)).await, 1);
    }

    #[tokio::test]
    async fn closing_waits_for_a_read_that_nobody_waits_for() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir.path().join("db"), SCHEMA);
        let (start, mut started) = mpsc::channel::<()>(1);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let read = db.read(move |_c| {
            drop(start);
            // Until the test says so.
            assert!(ended.recv().is_err());
            Ok::<_, DbError>(())
        });
        tokio::select! {
            _done = read => panic!("it was told to wait"),
            _ = started.recv() => {}
        }
        assert_eq!(db.readers.permits.available_permits(), READERS as usize - 1);
        drop(end);
        db.close(LIMIT).await;
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn nothing_is_written_to_a_file_that_was_moved_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("db"), dir.path().join("away"));
        let db = open(&path, SCHEMA);
        for moved in [path.clone(), log_of(&path)] {
            std::fs::rename(&moved, &away).unwrap();
            assert!(matches!(insert(&db, 1).await, Err(DbError::Displaced(_))));
            assert_eq!(db.displaced(), Some(&*moved));
            std::fs::copy(&away, &moved).unwrap();
            assert!(matches!(insert(&db, 1).await, Err(DbError::Displaced(_))));
            std::fs::rename(&away, &moved).unwrap();
            assert_eq!(db.displaced(), None);
        }
        insert(&db, 2).await.unwrap();
        // What is there now isn't its own to remove.
        std::fs::remove_file(log_of(&path)).unwrap();
        std::fs::write(log_of(&path), "another's").unwrap();
        db.close(LIMIT).await;
        assert_eq!(std::fs::read(log_of(&path)).unwrap(), b"another's");
        std::fs::remove_file(log_of(&path)).unwrap();
        assert_eq!(sum(&open(&path, SCHEMA)).await, 2, "and nothing was lost");
    }

    #[tokio::test]
    async fn damage_is_found_and_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let db = open(&path, SCHEMA);
        let writes = (1..=2000).map(|n| insert(&db, n));
        assert!(futures_util::future::join_all(writes).await.iter().all(Result::is_ok));
        db.close(LIMIT).await;
        let opened = || Db::open(&path, || (), quick_check).map(drop);
        assert!(opened().is_ok());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192..12288].fill(0);
        std::fs::write(&path, bytes).unwrap();
        assert!(opened().unwrap_err().is_damaged());
        std::fs::write(&path, vec![7; 20_000]).unwrap();
        assert!(opened().unwrap_err().is_damaged());
    }

    #[tokio::test]
    async fn a_full_database_is_told_apart_and_harms_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir.path().join("db"), "CREATE TABLE IF NOT EXISTS blobs (b BLOB) STRICT");
        db.write(|c| Ok::<_, DbError>(c.pragma_update(None, "max_page_count", 20)?)).await.unwrap();
        let fill = |size: i64| {
            db.write(move |c| Ok::<_, DbError>(c.execute("INSERT INTO blobs VALUES (zeroblob(?1))", [size])?))
        };
        assert!(fill(1_000_000).await.unwrap_err().is_disk_full());
        assert_eq!(fill(100).await.unwrap(), 1);
    }
}
