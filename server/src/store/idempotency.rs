//! Uploads that named a key (the header `Idempotency-Key`): a repeated one is answered by what the first made. Written
//! in the transaction of the upload, so a key is known if and only if its file is.

use rusqlite::{Connection, OptionalExtension as _, params};
use shared::ids::{FileId, UserId, Version};

use crate::db::DbError;
use crate::store::error::StoreError;
use crate::store::metadata::{FileRecord, column_error, to_column};
use crate::store::{NewContent, metadata};
use crate::wall;

/// How long a key is remembered. As long as others do; clients give up after minutes.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// How many keys are remembered at most, the newest of all users: about 20 MB.
const KEYS_MAX: i64 = 100_000;

/// What `user` made under `key`, with `new` as its first version.
///
/// # Errors
/// When that was something else than `new`, or was deleted since, or the database fails.
pub(super) fn first_answer(
    connection: &Connection,
    (user, key): (&UserId, &str),
    new: &NewContent,
) -> Result<Option<FileRecord>, StoreError> {
    let select = "SELECT k.fingerprint, k.file, f.created_ms FROM idempotency k JOIN files f ON f.id = k.file
                  WHERE k.user = ?1 AND k.key = ?2 AND k.created_ms >= ?3";
    let oldest = to_column(wall::now_ms().saturating_sub(KEPT_MS));
    let found = connection.prepare_cached(select).and_then(|mut select| {
        let row = |row: &rusqlite::Row<'_>| {
            let file: FileId = row.get::<_, String>(1)?.parse().map_err(|error| column_error(1, error))?;
            Ok((row.get::<_, [u8; 32]>(0)?, file, row.get::<_, i64>(2)?))
        };
        select.query_row(params![user.as_str(), key, oldest], row).optional()
    });
    let Some((made, id, created_ms)) = found.map_err(DbError::from)? else { return Ok(None) };
    if made != new.fingerprint() {
        return Err(StoreError::KeyReused);
    }
    if metadata::latest(connection, &id)?.is_none() {
        return Err(StoreError::KeySpent);
    }
    // The first answer again, even where the file has newer versions: the fingerprint says that all else is the same.
    let created_ms = u64::try_from(created_ms).unwrap_or_default();
    Ok(Some(new.first_version(id, user.clone(), created_ms)))
}

/// Remembers that the owner of `file` made it under `key`, and forgets what is too old or too much.
pub(super) fn remember(
    connection: &Connection,
    key: &str,
    fingerprint: [u8; 32],
    file: &FileRecord,
) -> Result<(), DbError> {
    let now = wall::now_ms();
    let oldest = to_column(now.saturating_sub(KEPT_MS));
    connection.prepare_cached("DELETE FROM idempotency WHERE created_ms < ?1")?.execute([oldest])?;
    let insert = "INSERT INTO idempotency (user, key, fingerprint, file, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    let parameters = params![file.owner.as_str(), key, fingerprint, file.id.as_str(), to_column(now)];
    connection.prepare_cached(insert)?.execute(parameters)?;
    let newest = connection.last_insert_rowid();
    connection.prepare_cached("DELETE FROM idempotency WHERE seq <= ?1")?.execute([newest - KEYS_MAX])?;
    Ok(())
}

impl NewContent {
    /// Tells one upload from another: its name, its type and its bytes.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for text in [&self.name, &self.content_type] {
            hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        *hasher.update(&self.received.hash.0).finalize().as_bytes()
    }

    /// The first version of a file with this content.
    pub(super) fn first_version(&self, id: FileId, owner: UserId, now: u64) -> FileRecord {
        FileRecord {
            id,
            owner,
            version: Version::FIRST,
            name: self.name.clone(),
            content_type: self.content_type.clone(),
            size_bytes: self.received.size_bytes,
            content: Some(self.received.hash),
            sha256: Some(self.received.sha256),
            created_ms: now,
            stored_ms: now,
        }
    }
}
