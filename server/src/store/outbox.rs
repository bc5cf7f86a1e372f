//! Events for the broker: written in the transaction of the change that caused them, gone when the broker has them.
//! What the broker has lost can be written again from the catalogue.

use rusqlite::{Connection, Row, params};
use shared::ids::{FileId, PeerId, UserId, Version};
use shared::stamp::Stamp;
use shared::wire::queue::{ChangeKind, FileEvent};
use tokio::sync::watch;
use uuid::Uuid;

use crate::contents::error::ContentsError;
use crate::db::DbError;
use crate::store::error::StoreError;
use crate::store::metadata::{self, FileRecord, Newest, column_error, count, to_column};
use crate::store::{OutboxRow, Store};
use crate::wall;

/// How many files are looked at in one transaction when they are published again, so that changes come in between.
const REPUBLISHED: u32 = 500;
/// Nothing is published again while more events than these wait for the broker, so that asking again and again while it
/// is away doesn't fill the disk. A guess: some 50 MiB.
const BACKLOG: u64 = 100_000;

impl Store {
    /// The events after `after` that weren't set aside, at most `limit`, in the order of changes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_pending(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        self.db().read(move |connection| Ok(pending(connection, after, limit).map_err(DbError::from)?)).await
    }

    /// The broker has these messages: they are forgotten here.
    ///
    /// # Errors
    /// When the database fails; then none is.
    pub async fn outbox_sent(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        self.db()
            .write(move |connection| {
                let remove = "DELETE FROM outbox WHERE message_id = ?1";
                let mut remove = connection.prepare_cached(remove).map_err(DbError::from)?;
                ids.iter()
                    .try_for_each(|id| remove.execute([id.to_string()]).map(drop))
                    .map_err(|error| DbError::from(error).into())
            })
            .await
    }

    /// The broker will never take this message; it is set aside.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_dead(&self, id: Uuid, reason: String) -> Result<(), StoreError> {
        let mark = "UPDATE outbox SET dead_reason = ?2 WHERE message_id = ?1";
        let done = self.db().write(move |connection| Ok(connection.execute(mark, params![id.to_string(), reason])?));
        done.await.map(drop).map_err(|error: DbError| error.into())
    }

    /// How many events wait for the broker, and how many were set aside.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_counts(&self) -> Result<(u64, u64), StoreError> {
        let pending = "SELECT count(*) FROM outbox WHERE dead_reason IS NULL";
        let dead = "SELECT count(*) FROM outbox WHERE dead_reason IS NOT NULL";
        self.db().read(move |connection| Ok((count(connection, pending)?, count(connection, dead)?))).await
    }

    /// Writes events of the newest versions that were stored at `since_ms` (milliseconds since 1970) or later,
    /// tombstones included, so that they are published as if they had just been made. Returns how many. Harmless, for
    /// whoever knows a version already merges it to no effect.
    ///
    /// # Errors
    /// [`StoreError::Republishing`] while another call does so or much waits for the broker already, or when database
    /// or disk fail; then what came before is written.
    pub async fn republish(&self, since_ms: u64) -> Result<u64, StoreError> {
        let Ok(_alone) = self.keeper.republishing.try_acquire() else { return Err(StoreError::Republishing) };
        if self.outbox_counts().await?.0 > BACKLOG {
            return Err(StoreError::Republishing);
        }
        let (mut after, mut events) = (String::new(), 0);
        loop {
            if self.keeper.space.is_low() {
                return Err(ContentsError::NoRoom.into());
            }
            let (from, origin) = (after, self.keeper.node);
            let again = move |connection: &Connection| republish_some(connection, &from, since_ms, origin);
            let (last, written) = self.db().write(again).await?;
            events += written;
            self.outbox_sender().send_modify(|count| *count = count.wrapping_add(1));
            match last {
                Some(last) => after = last,
                None => return Ok(events),
            }
        }
    }

    /// The latest versions of the `limit` files that were changed last, without those of which an event is still here: the
    /// broker has had these, tombstones included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn handed_over(&self, limit: u32) -> Result<Vec<(FileId, Version)>, StoreError> {
        self.db().read(move |connection| Ok(metadata::handed_over(connection, limit)?)).await
    }

    /// Changes its value after each commit that wrote an event.
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        self.outbox_sender().subscribe()
    }
}

fn pending(connection: &Connection, after: i64, limit: u32) -> rusqlite::Result<Vec<OutboxRow>> {
    let mut select = connection.prepare_cached(
        "SELECT seq, message_id, event FROM outbox
         WHERE dead_reason IS NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    select.query_map(params![after, limit], row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let message_id = Uuid::parse_str(&row.get::<_, String>(1)?).map_err(|error| column_error(1, error))?;
    let event = serde_json::from_str(&row.get::<_, String>(2)?).map_err(|error| column_error(2, error))?;
    Ok(OutboxRow { seq: row.get(0)?, message_id, event })
}

/// What the broker is told of a change.
pub(super) struct Change<'a> {
    /// What happened.
    pub(super) kind: ChangeKind,
    /// To which file; as it is now.
    pub(super) file: &'a FileRecord,
    /// The stamp of the change.
    pub(super) stamp: Stamp,
    /// Who made the change.
    pub(super) origin: PeerId,
    /// With whom it was shared, if it was.
    pub(super) target: Option<UserId>,
}

/// Writes the event of a change that is being made in the same transaction.
pub(super) fn add(connection: &Connection, change: Change<'_>) -> Result<(), DbError> {
    let Change { kind, file, stamp, origin, target } = change;
    let event = FileEvent {
        event: kind,
        file_id: file.id.clone(),
        version: file.version,
        ts: stamp,
        origin: Some(origin),
        name: Some(file.name.clone()),
        owner: Some(file.owner.clone()),
        size_bytes: file.size_bytes,
        content_hash: file.content,
        target,
    };
    let json = serde_json::to_string(&event).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let message_id = Uuid::now_v7().to_string();
    let insert = "INSERT INTO outbox (message_id, event, created_ms) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(insert)?.execute(params![message_id, json, to_column(wall::now_ms())])?;
    Ok(())
}

/// One transaction of [`Store::republish`]: the last file that was looked at, and how many events were written.
fn republish_some(
    connection: &Connection,
    after: &str,
    since_ms: u64,
    origin: PeerId,
) -> Result<(Option<String>, u64), StoreError> {
    let files = metadata::newest_after(connection, after, REPUBLISHED)?;
    let last = files.last().map(|newest| newest.file.id.to_string());
    let mut written = 0;
    for Newest { file, stamp, is_deleted } in files.into_iter().filter(|newest| newest.file.stored_ms >= since_ms) {
        let kind = match (is_deleted, file.version) {
            (true, _) => ChangeKind::Deleted,
            (false, Version::FIRST) => ChangeKind::Uploaded,
            (false, _) => ChangeKind::Updated,
        };
        add(connection, Change { kind, file: &file, stamp, origin, target: None })?;
        written += 1;
    }
    Ok((last, written))
}
