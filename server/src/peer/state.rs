//! What a peer keeps across a crash: its id, its catalogue and the addresses that it knows. Changes are written in
//! groups, one sync for all that came while the last was under way. A state that is damaged is set aside, for the peer
//! can have its catalogue from its neighbours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::JournalSeq;
use shared::ids::PeerId;
use shared::wire::update::FileUpdate;
use tokio::sync::{mpsc, watch};
use tokio::task;
use tracing::{error, info};

use crate::db::access::{open_to_read, quick_check};
use crate::db::{Db, DbError};
use crate::peer::PeerError;
use crate::shutdown::Tasks;

/// Turns of the peer whose changes wait for the disk. A full queue holds up the peer: the network is faster than the
/// disk.
const WRITE_QUEUE: usize = 64;
/// The pause before a failed commit (a full disk) is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long closing may take: less than a peer that leaves has.
const CLOSE_LIMIT: Duration = Duration::from_millis(1500);
/// What the file is called.
pub const FILE: &str = "peer.sqlite";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), peer TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS catalogue (file TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS known (addr TEXT PRIMARY KEY) WITHOUT ROWID;
";

/// What a peer starts with.
#[derive(Debug)]
pub struct Kept {
    /// Who it is.
    pub peer: PeerId,
    /// What it knew.
    pub catalogue: Catalogue,
    /// The addresses that it knew.
    pub known: Vec<SocketAddr>,
    /// Where it writes; absent for a peer that keeps nothing.
    pub journal: Option<Journal>,
    /// Where the state that it had is now, and what is wrong with it; absent where it wasn't damaged.
    pub set_aside: Option<(PathBuf, PeerError)>,
}

/// Where changes are written.
#[derive(Debug)]
pub struct Journal {
    /// Changes to be written, in the order of their sequence numbers.
    pub changes: mpsc::Sender<Change>,
    /// The last seq that is on disk.
    pub stored: watch::Receiver<JournalSeq>,
}

/// What is written.
#[derive(Debug)]
pub enum Change {
    /// Changes of files.
    Updates(Vec<(JournalSeq, Arc<FileUpdate>)>),
    /// All addresses that are known now.
    Known(Vec<SocketAddr>),
}

/// Reads what was kept under `dir`, and starts the task that writes there. Without a directory, or where what is in it
/// is damaged, the peer is new. With `new_identity` its id is, so that a copied directory makes no second peer of one
/// id.
///
/// # Errors
/// When the directory can't be used.
pub async fn load(dir: Option<&Path>, new_identity: bool, tasks: &Tasks) -> Result<Kept, PeerError> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh)?;
    let fresh = PeerId(fresh);
    let Some(dir) = dir else {
        let (catalogue, known) = (Catalogue::default(), Vec::new());
        return Ok(Kept { peer: fresh, catalogue, known, journal: None, set_aside: None });
    };
    let dir = dir.to_owned();
    let opened = task::spawn_blocking(move || open(&dir, fresh, new_identity)).await;
    let (db, Read { peer, catalogue, known }, set_aside) = opened.map_err(|_panicked| DbError::Closed)??;
    let (changes, queue) = mpsc::channel(WRITE_QUEUE);
    let (done, stored) = watch::channel(JournalSeq::default());
    tasks.spawn(write(db, queue, done));
    Ok(Kept { peer, catalogue, known, journal: Some(Journal { changes, stored }), set_aside })
}

struct Read {
    peer: PeerId,
    catalogue: Catalogue,
    known: Vec<SocketAddr>,
}

type Opened = (Db, Read, Option<(PathBuf, PeerError)>);

fn open(dir: &Path, fresh: PeerId, new_identity: bool) -> Result<Opened, PeerError> {
    let failed = |source| PeerError::Directory { path: dir.to_owned(), source };
    let mut cleared = clear_way(dir).map_err(failed)?;
    std::fs::create_dir_all(dir).map_err(failed)?;
    let path = dir.join(FILE);
    if !is_usable(&path) {
        cleared = Some(set_aside(&path).map_err(failed)?);
    }
    let cleared = cleared.map(|aside| (aside, PeerError::Damaged("it isn't a file in a folder".to_owned())));
    // Room is made by whoever keeps a reserve of it: a write that fails is tried again.
    let open = || Db::open(&path, || (), |db| read(db, fresh, new_identity));
    match open() {
        Ok((db, read)) => Ok((db, read, cleared)),
        Err(error) if error.is_damage() => {
            let aside = set_aside(&path).map_err(failed)?;
            open().map(|(db, read)| (db, read, Some((aside, error))))
        }
        Err(error) => Err(error),
    }
}

/// Moves away what isn't a folder in the place of `dir` or the folder that it is in; says where it is now. Blocks.
fn clear_way(dir: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut folders = dir.parent().into_iter().chain([dir]);
    let Some(obstacle) = folders.find(|folder| folder.symlink_metadata().is_ok() && !folder.is_dir()) else {
        return Ok(None);
    };
    let aside = free_name(obstacle);
    std::fs::rename(obstacle, &aside)?;
    Ok(Some(aside))
}

/// Whether what is at `path`, and beside it, can be a database: files, or nothing.
fn is_usable(path: &Path) -> bool {
    let is_obstacle = |part: &PathBuf| part.symlink_metadata().is_ok() && !part.is_file();
    !parts(path).iter().any(is_obstacle)
}

/// Where a database and its log are.
fn parts(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| beside(path, suffix))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// A free name beside `path`, for what is of no use in its place.
fn free_name(path: &Path) -> PathBuf {
    let mut names = (1..).map(|number: u32| beside(path, &format!(".damaged-{number}")));
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| beside(path, ".damaged"))
}

/// Moves the state of a peer to a free name beside it, its log with it; says which. Blocks.
///
/// # Errors
/// When a file can't be moved.
pub fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = free_name(path);
    for (from, to) in parts(path).iter().zip(parts(&aside)) {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

/// Whether the state at `path`, which no peer uses, can be read. Changes nothing. Blocks.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path) -> Result<(), PeerError> {
    if !is_usable(path) {
        return Err(PeerError::Damaged("it isn't a file".to_owned()));
    }
    let db = open_to_read(path)?;
    quick_check(&db)?;
    identity(&db)?;
    read_catalogue(&db)?;
    read_known(&db).map(drop)
}

fn read(db: &Connection, fresh: PeerId, new_identity: bool) -> Result<Read, PeerError> {
    quick_check(db)?;
    db.execute_batch(SCHEMA).map_err(DbError::from)?;
    Ok(Read { peer: identify(db, fresh, new_identity)?, catalogue: read_catalogue(db)?, known: read_known(db)? })
}

fn identify(db: &Connection, fresh: PeerId, new_identity: bool) -> Result<PeerId, PeerError> {
    let insert = if new_identity {
        "INSERT INTO identity VALUES (1, ?1) ON CONFLICT DO UPDATE SET peer = excluded.peer"
    } else {
        "INSERT INTO identity VALUES (1, ?1) ON CONFLICT DO NOTHING"
    };
    db.execute(insert, [fresh.to_string()]).map_err(DbError::from)?;
    identity(db)
}

fn identity(db: &Connection) -> Result<PeerId, PeerError> {
    let kept: Option<String> =
        db.query_row("SELECT peer FROM identity", [], |row| row.get(0)).optional().map_err(DbError::from)?;
    kept.unwrap_or_default().parse().map_err(|error| PeerError::Damaged(format!("{error}")))
}

fn read_catalogue(db: &Connection) -> Result<Catalogue, PeerError> {
    let mut select = db.prepare("SELECT body FROM catalogue").map_err(DbError::from)?;
    let rows = select.query_map([], |row| row.get::<_, String>(0)).map_err(DbError::from)?;
    rows.map(|body| {
        let body = body.map_err(DbError::from)?;
        let update = serde_json::from_str::<FileUpdate>(&body);
        update.map(Arc::new).map_err(|error| PeerError::Damaged(format!("{error}")))
    })
    .collect()
}

fn read_known(db: &Connection) -> Result<Vec<SocketAddr>, PeerError> {
    let mut select = db.prepare("SELECT addr FROM known").map_err(DbError::from)?;
    let rows = select.query_map([], |row| row.get::<_, String>(0)).map_err(DbError::from)?;
    rows.map(|addr| {
        let addr = addr.map_err(DbError::from)?;
        addr.parse().map_err(|error| PeerError::Damaged(format!("{error}: {addr}")))
    })
    .collect()
}

/// Ends when nobody can send changes any more and all are written, in a file that can be copied.
async fn write(db: Db, mut queue: mpsc::Receiver<Change>, done: watch::Sender<JournalSeq>) {
    let mut changes = Vec::new();
    while queue.recv_many(&mut changes, WRITE_QUEUE).await > 0 {
        let group = Arc::new(Group::of(std::mem::take(&mut changes)));
        if !commit_at_last(&db, &group, &done).await {
            break;
        }
        if let Some((seq, _)) = group.updates.last() {
            done.send_replace(*seq);
        }
    }
    db.close(CLOSE_LIMIT).await;
}

/// Tries until it succeeds, or the peer is gone. Whether it did.
async fn commit_at_last(db: &Db, group: &Arc<Group>, done: &watch::Sender<JournalSeq>) -> bool {
    let mut failures = 0_u64;
    while let Err(failure) = commit(db, Arc::clone(group)).await {
        if failures == 0 {
            error!(error = &failure as &dyn std::error::Error, "a peer can't write its state; trying on");
        }
        failures += 1;
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = done.closed() => return false,
        }
    }
    if failures > 0 {
        info!(failures, "a peer can write its state again");
    }
    true
}

/// What goes into one commit.
#[derive(Debug, Default)]
struct Group {
    updates: Vec<(JournalSeq, Arc<FileUpdate>)>,
    known: Option<Vec<SocketAddr>>,
}

impl Group {
    fn of(changes: Vec<Change>) -> Self {
        let mut group = Self::default();
        for change in changes {
            match change {
                Change::Updates(updates) => group.updates.extend(updates),
                Change::Known(known) => group.known = Some(known),
            }
        }
        group
    }
}

async fn commit(db: &Db, group: Arc<Group>) -> Result<(), DbError> {
    let written = db.write(move |db| {
        let mut upsert = db.prepare_cached(
            "INSERT INTO catalogue (file, body) VALUES (?1, ?2) ON CONFLICT (file) DO UPDATE SET body = excluded.body",
        )?;
        for (_, update) in &group.updates {
            let body =
                serde_json::to_string(update).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            upsert.execute(params![update.file.as_str(), body])?;
        }
        if let Some(known) = &group.known {
            db.execute("DELETE FROM known", [])?;
            let mut insert = db.prepare_cached("INSERT INTO known VALUES (?1)")?;
            known.iter().try_for_each(|addr| insert.execute([addr.to_string()]).map(drop))?;
        }
        Ok::<(), DbError>(())
    });
    written.await
}

#[cfg(test)]
mod tests {
    use super::*;

    type Harm = fn(&Path);

    /// What is loaded from a directory in which something was done to the file.
    async fn load_after(harm: impl FnOnce(&Path)) -> (PeerId, Kept) {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let first = load(Some(dir.path()), false, &tasks).await.unwrap();
        let (peer, mut journal) = (first.peer, first.journal.unwrap());
        let update = FileUpdate::injected("a".parse().unwrap(), shared::ids::Version(1), shared::stamp::Stamp(1), peer);
        journal.changes.send(Change::Updates(vec![(JournalSeq::default(), Arc::new(update))])).await.unwrap();
        drop(journal.changes);
        while journal.stored.changed().await.is_ok() {}
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a closed state is one file");
        harm(&dir.path().join(FILE));
        (peer, load(Some(dir.path()), false, &tasks).await.unwrap())
    }

    #[tokio::test]
    async fn a_state_that_is_whole_is_kept() {
        let (peer, kept) = load_after(|_file| {}).await;
        assert_eq!((kept.peer, kept.catalogue.len()), (peer, 1));
        assert!(kept.set_aside.is_none());
    }

    #[tokio::test]
    async fn a_damaged_state_is_set_aside_and_the_peer_begins_anew() {
        let damage: [(&str, Harm); 3] = [
            ("garbage", |file| std::fs::write(file, vec![7; 20_000]).unwrap()),
            ("a zeroed page", |file| {
                let mut bytes = std::fs::read(file).unwrap();
                bytes[4096..8192].fill(0);
                std::fs::write(file, bytes).unwrap();
            }),
            ("a row that is none", |file| {
                let change = "UPDATE catalogue SET body = 'nonsense'";
                Connection::open(file).unwrap().execute(change, []).unwrap();
            }),
        ];
        for (what, harm) in damage {
            let (peer, kept) = load_after(harm).await;
            assert!(kept.peer != peer && kept.catalogue.is_empty() && kept.journal.is_some(), "{what}");
            let (aside, _why) = kept.set_aside.unwrap();
            assert!(aside.to_str().unwrap().ends_with("peer.sqlite.damaged-1"), "{what}");
        }
    }

    #[tokio::test]
    async fn whatever_is_in_the_way_is_set_aside_and_the_peer_begins_anew() {
        let obstacles: [(&str, Harm); 4] = [
            ("peers.damaged-1", |peers| std::fs::write(peers, "").unwrap()),
            ("peers/1.damaged-1", |peers| {
                std::fs::create_dir(peers).unwrap();
                std::fs::write(peers.join("1"), "").unwrap();
            }),
            ("peers/1/peer.sqlite.damaged-1", |peers| std::fs::create_dir_all(peers.join("1").join(FILE)).unwrap()),
            ("peers/1/peer.sqlite.damaged-1-wal", |peers| {
                std::fs::create_dir_all(peers.join("1/peer.sqlite-wal")).unwrap();
            }),
        ];
        for (aside, obstacle) in obstacles {
            let dir = tempfile::tempdir().unwrap();
            obstacle(&dir.path().join("peers"));
            let tasks = Tasks::default();
            let kept = load(Some(&dir.path().join("peers/1")), false, &tasks).await.unwrap();
            assert!(kept.journal.is_some() && kept.set_aside.is_some(), "{aside}");
            assert!(dir.path().join(aside).exists(), "{aside}");
        }
    }
}
