//! What a peer keeps across a crash: its id and its catalogue. Changes are written in groups, one sync for all that
//! came while the last was under way.

use std::path::Path;
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

/// Changes that wait for the disk. A full queue holds up the peer: the network is faster than the disk.
const WRITE_QUEUE: usize = 4096;
/// The most changes in one commit.
const WRITE_GROUP: usize = 1024;
/// The pause before a failed commit (a full disk) is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), peer TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS catalogue (file TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
";

/// What a peer starts with.
#[derive(Debug)]
pub struct Kept {
    /// Who it is.
    pub peer: PeerId,
    /// What it knew.
    pub catalogue: Catalogue,
    /// Where it writes; absent for a peer that keeps nothing.
    pub journal: Option<Journal>,
}

/// Where changes are written.
#[derive(Debug)]
pub struct Journal {
    /// Changes to be written, in the order of their tickets.
    pub changes: mpsc::Sender<(Ticket, FileUpdate)>,
    /// The last ticket that is on disk.
    pub stored: watch::Receiver<Ticket>,
}

/// Reads what was kept under `dir`, and starts the task that writes there. Without a directory the peer is new.
///
/// # Errors
/// When the directory can't be used or what is in it isn't a peer's state.
pub async fn load(dir: Option<&Path>, tasks: &Tasks) -> Result<Kept, PeerError> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh)?;
    let Some(dir) = dir else {
        return Ok(Kept { peer: PeerId(fresh), catalogue: Catalogue::default(), journal: None });
    };
    let made = tokio::fs::create_dir_all(dir).await;
    made.map_err(|source| PeerError::Directory { path: dir.to_owned(), source })?;
    let db = Db::open(&dir.join("peer.sqlite"), SCHEMA)?;
    let peer = db.write(move |db| identify(db, PeerId(fresh))).await?;
    let catalogue = db.read(read_catalogue).await?;
    let (changes, queue) = mpsc::channel(WRITE_QUEUE);
    let (done, stored) = watch::channel(Ticket::default());
    tasks.spawn(write(db, queue, done));
    Ok(Kept { peer, catalogue, journal: Some(Journal { changes, stored }) })
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
        serde_json::from_str::<FileUpdate>(&body).map_err(|error| PeerError::Damaged(format!("{error}")))
    })
    .collect()
}

/// Ends when nobody can send changes any more and all are written.
async fn write(db: Db, mut queue: mpsc::Receiver<(Ticket, FileUpdate)>, done: watch::Sender<Ticket>) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, WRITE_GROUP).await > 0 {
        let last = group.last().map(|(ticket, _)| *ticket);
        let mut changes: Vec<FileUpdate> = group.drain(..).map(|(_, update)| update).collect();
        while let Err((unwritten, failure)) = commit(&db, changes).await {
            error!(error = %failure, "a peer can't write its catalogue; trying again in {RETRY_AFTER:?}");
            changes = unwritten;
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                () = done.closed() => return,
            }
        }
        if let Some(ticket) = last {
            done.send_replace(ticket);
        }
    }
}

async fn commit(db: &Db, changes: Vec<FileUpdate>) -> Result<(), (Vec<FileUpdate>, DbError)> {
    let rows = changes.clone();
    let written = db.write(move |db| {
        let mut upsert = db.prepare_cached(
            "INSERT INTO catalogue (file, body) VALUES (?1, ?2) ON CONFLICT (file) DO UPDATE SET body = excluded.body",
        )?;
        for update in &rows {
            let body =
                serde_json::to_string(update).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            upsert.execute(params![update.file.as_str(), body])?;
        }
        Ok::<(), DbError>(())
    });
    written.await.map_err(|failure| (changes, failure))
}
