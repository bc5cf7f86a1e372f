//! What a peer keeps across a crash: its id, its catalogue and the addresses that it knows. Changes are written in
//! groups, one sync for all that came while the last was under way.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::Ticket;
use shared::ids::PeerId;
use shared::wire::update::FileUpdate;
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::db::{Db, DbError};
use crate::peer::PeerError;
use crate::shutdown::Tasks;

/// Turns of the peer whose changes wait for the disk. A full queue holds up the peer: the network is faster than the
/// disk.
const WRITE_QUEUE: usize = 64;
/// The pause before a failed commit (a full disk) is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
}

/// Where changes are written.
#[derive(Debug)]
pub struct Journal {
    /// Changes to be written, in the order of their tickets.
    pub changes: mpsc::Sender<Change>,
    /// The last ticket that is on disk.
    pub stored: watch::Receiver<Ticket>,
}

/// What is written.
#[derive(Debug)]
pub enum Change {
    /// Changes of files.
    Updates(Vec<(Ticket, Arc<FileUpdate>)>),
    /// All addresses that are known now.
    Known(Vec<SocketAddr>),
}

/// Reads what was kept under `dir`, and starts the task that writes there. Without a directory the peer is new.
///
/// # Errors
/// When the directory can't be used or what is in it isn't a peer's state.
pub async fn load(dir: Option<&Path>, tasks: &Tasks) -> Result<Kept, PeerError> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh)?;
    let Some(dir) = dir else {
        return Ok(Kept { peer: PeerId(fresh), catalogue: Catalogue::default(), known: Vec::new(), journal: None });
    };
    let made = tokio::fs::create_dir_all(dir).await;
    made.map_err(|source| PeerError::Directory { path: dir.to_owned(), source })?;
    let db = Db::open(&dir.join("peer.sqlite"), SCHEMA)?;
    let peer = db.write(move |db| identify(db, PeerId(fresh))).await?;
    let catalogue = db.read(read_catalogue).await?;
    let known = db.read(read_known).await?;
    let (changes, queue) = mpsc::channel(WRITE_QUEUE);
    let (done, stored) = watch::channel(Ticket::default());
    tasks.spawn(write(db, queue, done));
    Ok(Kept { peer, catalogue, known, journal: Some(Journal { changes, stored }) })
}

fn identify(db: &Connection, fresh: PeerId) -> Result<PeerId, PeerError> {
    let insert = "INSERT INTO identity VALUES (1, ?1) ON CONFLICT DO NOTHING";
    db.execute(insert, [fresh.to_string()]).map_err(DbError::from)?;
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

/// Ends when nobody can send changes any more and all are written.
async fn write(db: Db, mut queue: mpsc::Receiver<Change>, done: watch::Sender<Ticket>) {
    let mut changes = Vec::new();
    while queue.recv_many(&mut changes, WRITE_QUEUE).await > 0 {
        let group = Arc::new(Group::of(std::mem::take(&mut changes)));
        while let Err(failure) = commit(&db, group.clone()).await {
            error!(error = %failure, "a peer can't write its state; trying again in {RETRY_AFTER:?}");
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                () = done.closed() => return,
            }
        }
        if let Some((ticket, _)) = group.updates.last() {
            done.send_replace(*ticket);
        }
    }
}

/// What goes into one commit.
#[derive(Debug, Default)]
struct Group {
    updates: Vec<(Ticket, Arc<FileUpdate>)>,
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
