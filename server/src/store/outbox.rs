//! Events for the broker: written in the transaction of the change that caused them, marked when the broker has them.

use rusqlite::{Connection, Row, params};
use shared::ids::{PeerId, UserId};
use shared::stamp::Stamp;
use shared::wire::queue::{ChangeKind, FileEvent};
use tokio::sync::watch;
use uuid::Uuid;

use crate::db::DbError;
use crate::store::error::StoreError;
use crate::store::metadata::{FileRecord, column_error, count, to_column};
use crate::store::{OutboxRow, Store};
use crate::wall;

/// How long sent events are kept, to answer what happened. A guess: a month.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

impl Store {
    /// The events after `after` that were neither sent nor set aside, at most `limit`, in the order of changes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_pending(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        self.db().read(move |connection| Ok(pending(connection, after, limit).map_err(DbError::from)?)).await
    }

    /// The broker has these messages.
    ///
    /// # Errors
    /// When the database fails; then none is marked.
    pub async fn outbox_sent(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        let mark = "UPDATE outbox SET sent_ms = ?2 WHERE message_id = ?1 AND sent_ms IS NULL";
        self.db()
            .write(move |connection| {
                let now = to_column(wall::now_ms());
                let mut mark = connection.prepare_cached(mark).map_err(DbError::from)?;
                ids.iter()
                    .try_for_each(|id| mark.execute(params![id.to_string(), now]).map(drop))
                    .map_err(|error| DbError::from(error).into())
            })
            .await
    }

    /// The broker will never take this message; it is set aside.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_dead(&self, id: Uuid, reason: String) -> Result<(), StoreError> {
        let mark = "UPDATE outbox SET dead_reason = ?2 WHERE message_id = ?1 AND sent_ms IS NULL";
        let done = self.db().write(move |connection| Ok(connection.execute(mark, params![id.to_string(), reason])?));
        done.await.map(drop).map_err(|error: DbError| error.into())
    }

    /// How many events wait for the broker, and how many were set aside.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_counts(&self) -> Result<(u64, u64), StoreError> {
        let pending = "SELECT count(*) FROM outbox WHERE sent_ms IS NULL AND dead_reason IS NULL";
        let dead = "SELECT count(*) FROM outbox WHERE dead_reason IS NOT NULL";
        self.db().read(move |connection| Ok((count(connection, pending)?, count(connection, dead)?))).await
    }

    /// Changes its value after each commit that wrote an event.
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        self.outbox_sender().subscribe()
    }
}

fn pending(connection: &Connection, after: i64, limit: u32) -> rusqlite::Result<Vec<OutboxRow>> {
    let mut select = connection.prepare_cached(
        "SELECT seq, message_id, event FROM outbox
         WHERE sent_ms IS NULL AND dead_reason IS NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
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
    pub(super) kind: ChangeKind,
    pub(super) file: &'a FileRecord,
    pub(super) stamp: Stamp,
    pub(super) origin: PeerId,
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

/// Forgets events that were sent long ago.
pub(super) fn forget_old(connection: &Connection) -> Result<(), DbError> {
    let oldest = to_column(wall::now_ms().saturating_sub(KEPT_MS));
    connection.execute("DELETE FROM outbox WHERE sent_ms < ?1", [oldest])?;
    Ok(())
}
