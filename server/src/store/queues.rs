//! Which queues of the broker were used: one that isn't any more may still be there, with messages in it.

use rusqlite::{Connection, params};

use crate::db::DbError;
use crate::store::Store;
use crate::store::error::StoreError;

/// Before a queue's name in the table of what this host is.
const PREFIX: &str = "queue:";

impl Store {
    /// This queue is used from now on. Returns which others were before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn use_queue(&self, queue: String) -> Result<Vec<String>, StoreError> {
        self.db().write(move |connection| Ok(note(connection, &queue).map_err(DbError::from)?)).await
    }

    /// This queue is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_queue(&self, queue: String) -> Result<(), StoreError> {
        let forget = move |connection: &Connection| -> Result<(), StoreError> {
            let forgotten = connection.execute("DELETE FROM meta WHERE key = ?1", [format!("{PREFIX}{queue}")]);
            Ok(forgotten.map(drop).map_err(DbError::from)?)
        };
        self.db().write(forget).await
    }
}

fn note(connection: &Connection, queue: &str) -> rusqlite::Result<Vec<String>> {
    let key = format!("{PREFIX}{queue}");
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)", params![key, queue])?;
    let mut select = connection.prepare("SELECT value FROM meta WHERE key LIKE ?1 AND key <> ?2")?;
    select.query_map(params![format!("{PREFIX}%"), key], |row| row.get(0))?.collect()
}
