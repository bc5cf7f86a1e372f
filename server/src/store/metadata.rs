//! The SQL of the catalogue, all of it. Each function is one step inside a transaction that `store.rs` holds together.

use std::error::Error;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use shared::ids::{ContentHash, FileId, PeerId, UserId, Version};
use shared::stamp::Stamp;

use crate::db::DbError;

/// One version of one file, as the catalogue knows it. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// The file.
    pub id: FileId,
    /// Its owner.
    pub owner: UserId,
    /// The version.
    pub version: Version,
    /// Its name: data, never a path.
    pub name: String,
    /// Its media type as uploaded.
    pub content_type: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its content; absent for a tombstone.
    pub content: Option<ContentHash>,
    /// SHA-256 of its content.
    pub sha256: Option<[u8; 32]>,
    /// When the file's first version was stored.
    pub created_ms: u64,
    /// When this version was stored.
    pub stored_ms: u64,
}

/// One user who may see a file that isn't hers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRecord {
    /// The share's id.
    pub id: String,
    /// Who may see the file.
    pub target: UserId,
}

/// A column holds what its type can't be.
pub(super) fn column_error(index: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

/// A number for a column. Times, sizes and versions stay below 2^63 by far; what doesn't is cut.
pub(super) fn to_column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value = row.get(index)?;
    u64::try_from(value).map_err(|_negative| rusqlite::Error::IntegralValueOutOfRange(index, value))
}

fn parsed<T: FromStr<Err: Error + Send + Sync + 'static>>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    row.get::<_, String>(index)?.parse().map_err(|error| column_error(index, error))
}

/// The number that `query` counts.
pub(super) fn count(connection: &Connection, query: &str) -> Result<u64, DbError> {
    Ok(connection.prepare_cached(query)?.query_row([], |row| unsigned(row, 0))?)
}

/// The names of the tables.
///
/// # Errors
/// When the database fails.
pub fn tables(connection: &Connection) -> Result<Vec<String>, DbError> {
    let mut select = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The id of this host, which is `fresh` the first time.
pub(super) fn node(connection: &Connection, fresh: PeerId) -> Result<PeerId, DbError> {
    let insert = "INSERT OR IGNORE INTO meta (key, value) VALUES ('node', ?1)";
    connection.execute(insert, [fresh.to_string()])?;
    Ok(connection.query_row("SELECT value FROM meta WHERE key = 'node'", [], |row| parsed(row, 0))?)
}

/// The largest stamp that was given to a version.
pub(super) fn last_stamp(connection: &Connection) -> Result<Stamp, DbError> {
    let select = "SELECT coalesce(max(stamp), 0) FROM versions";
    Ok(connection.query_row(select, [], |row| unsigned(row, 0).map(Stamp))?)
}

/// Whether a version refers to the content.
///
/// # Errors
/// When the database fails.
pub fn is_used(connection: &Connection, content: ContentHash) -> Result<bool, DbError> {
    let exists = "SELECT EXISTS (SELECT 1 FROM versions WHERE content = ?1)";
    Ok(connection.prepare_cached(exists)?.query_row([content.to_string()], |row| row.get(0))?)
}

/// The next `limit` contents in the order of their hashes, with their sizes in bytes.
///
/// # Errors
/// When the database fails.
pub fn contents_after(connection: &Connection, after: &str, limit: u32) -> Result<Vec<(ContentHash, u64)>, DbError> {
    let select = "SELECT content, max(size_bytes) FROM versions WHERE content > ?1
                  GROUP BY content ORDER BY content LIMIT ?2";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map(params![after, limit], |row| Ok((parsed(row, 0)?, unsigned(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Some of the versions that have a content, each as `FILE v1 (NAME)`, for people.
///
/// # Errors
/// When the database fails.
pub fn files_with(connection: &Connection, content: ContentHash) -> Result<Vec<String>, DbError> {
    let mut select =
        connection.prepare_cached("SELECT file, version, name FROM versions WHERE content = ?1 LIMIT 3")?;
    let rows = select.query_map([content.to_string()], |row| {
        let version = Version(unsigned(row, 1)?);
        Ok(describe(&parsed(row, 0)?, version, &row.get::<_, String>(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A version of a file, for people.
pub(super) fn describe(file: &FileId, version: Version, name: &str) -> String {
    format!("{file} v{version} ({name:?})")
}

/// Remembers that contents are left without use, until their files are gone.
pub(super) fn insert_forgotten(connection: &Connection, contents: &[ContentHash], at_ms: u64) -> Result<(), DbError> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO forgotten (content, at_ms) VALUES (?1, ?2)")?;
    let mut insert = |content: &ContentHash| insert.execute(params![content.to_string(), to_column(at_ms)]).map(drop);
    Ok(contents.iter().try_for_each(&mut insert)?)
}

/// What is remembered so, and since when.
///
/// # Errors
/// When the database fails.
pub fn forgotten(connection: &Connection) -> Result<Vec<(ContentHash, u64)>, DbError> {
    let mut select = connection.prepare("SELECT content, at_ms FROM forgotten")?;
    Ok(select.query_map([], |row| Ok((parsed(row, 0)?, unsigned(row, 1)?)))?.collect::<Result<_, _>>()?)
}

/// A content's file is gone, or it is used again.
pub(super) fn remove_forgotten(connection: &Connection, content: ContentHash) -> Result<(), DbError> {
    connection.prepare_cached("DELETE FROM forgotten WHERE content = ?1")?.execute([content.to_string()])?;
    Ok(())
}

/// The newest version of a file, a tombstone or not, with what the overlay compares.
#[derive(Debug)]
pub(super) struct Newest {
    /// The file, as it was last.
    pub(super) file: FileRecord,
    /// The stamp of its newest version.
    pub(super) stamp: Stamp,
    /// Whether that is a tombstone.
    pub(super) is_deleted: bool,
}

/// The newest versions of the next `limit` files in the order of their ids.
pub(super) fn newest_after(connection: &Connection, after: &str, limit: u32) -> Result<Vec<Newest>, DbError> {
    let mut select = connection.prepare_cached(
        "SELECT f.id, f.owner, v.version, v.name, v.content_type, v.size_bytes, v.content, v.sha256, f.created_ms,
                v.stored_ms, v.stamp, f.deleted
         FROM files f JOIN versions v ON v.file = f.id AND v.version = f.version
         WHERE f.id > ?1 ORDER BY f.id LIMIT ?2",
    )?;
    let newest =
        |row: &Row<'_>| Ok(Newest { file: record(row)?, stamp: Stamp(unsigned(row, 10)?), is_deleted: row.get(11)? });
    Ok(select.query_map(params![after, limit], newest)?.collect::<Result<_, _>>()?)
}

/// The latest versions of the `limit` files that were changed last and that no event of the outbox is about.
pub(super) fn handed_over(connection: &Connection, limit: u32) -> Result<Vec<(FileId, Version)>, DbError> {
    let mut select = connection.prepare(
        "SELECT f.id, f.version FROM versions v JOIN files f ON f.id = v.file AND f.version = v.version
         WHERE f.id NOT IN (SELECT event ->> 'file_id' FROM outbox WHERE event ->> 'file_id' IS NOT NULL)
         ORDER BY v.stamp DESC LIMIT ?1",
    )?;
    let rows = select.query_map([limit], |row| Ok((parsed(row, 0)?, Version(unsigned(row, 1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT f.id, f.owner, v.version, v.name, v.content_type, v.size_bytes, v.content, v.sha256, f.created_ms,
                    v.stored_ms
             FROM files f JOIN versions v ON v.file = f.id ",
            $rest
        )
    };
}

fn record(row: &Row<'_>) -> rusqlite::Result<FileRecord> {
    let content: Option<String> = row.get(6)?;
    let content = content.map(|hash| hash.parse()).transpose().map_err(|error| column_error(6, error))?;
    Ok(FileRecord {
        id: parsed(row, 0)?,
        owner: parsed(row, 1)?,
        version: Version(unsigned(row, 2)?),
        name: row.get(3)?,
        content_type: row.get(4)?,
        size_bytes: unsigned(row, 5)?,
        content,
        sha256: row.get(7)?,
        created_ms: unsigned(row, 8)?,
        stored_ms: unsigned(row, 9)?,
    })
}

/// Which is the latest version of a file; `None` where the catalogue doesn't have it, or only its tombstone.
pub(super) fn latest_version(connection: &Connection, file: &FileId) -> Result<Option<Version>, DbError> {
    let mut select = connection.prepare_cached("SELECT version FROM files WHERE id = ?1 AND deleted = 0")?;
    Ok(select.query_row([file.as_str()], |row| Ok(Version(unsigned(row, 0)?))).optional()?)
}

/// The latest version of a file that isn't deleted.
pub(super) fn latest(connection: &Connection, file: &FileId) -> Result<Option<FileRecord>, DbError> {
    let select = select_versions!("AND v.version = f.version WHERE f.id = ?1 AND f.deleted = 0");
    Ok(connection.prepare_cached(select)?.query_row([file.as_str()], record).optional()?)
}

/// One version of a file that isn't deleted.
pub(super) fn version(connection: &Connection, file: &FileId, version: Version) -> Result<Option<FileRecord>, DbError> {
    let select = select_versions!("AND v.version = ?2 WHERE f.id = ?1 AND f.deleted = 0");
    let parameters = params![file.as_str(), to_column(version.0)];
    Ok(connection.prepare_cached(select)?.query_row(parameters, record).optional()?)
}

/// The versions of a file before `before`, the newest first, at most `limit`.
pub(super) fn history(
    connection: &Connection,
    file: &FileId,
    before: Option<Version>,
    limit: u32,
) -> Result<Vec<FileRecord>, DbError> {
    let select =
        select_versions!("WHERE f.id = ?1 AND f.deleted = 0 AND v.version <= ?2 ORDER BY v.version DESC LIMIT ?3");
    let newest = before.map_or(i64::MAX, |version| to_column(version.0.saturating_sub(1)));
    let mut select = connection.prepare_cached(select)?;
    Ok(select.query_map(params![file.as_str(), newest, limit], record)?.collect::<Result<_, _>>()?)
}

/// The files that `user` owns or that were shared with her, the newest first, from those older than `after`. Ids are
/// `UUIDv7`, so their order is that of creation.
pub(super) fn list(
    connection: &Connection,
    user: &UserId,
    after: Option<&FileId>,
    limit: u32,
) -> Result<Vec<FileRecord>, DbError> {
    let select = select_versions!(
        "AND v.version = f.version WHERE f.id IN (
            SELECT * FROM (SELECT id FROM files
                WHERE owner = :user AND deleted = 0 AND id < :after ORDER BY id DESC LIMIT :limit)
            UNION
            SELECT * FROM (SELECT s.file FROM shares s
                WHERE s.target = :user AND s.file < :after ORDER BY s.file DESC LIMIT :limit)
         ) ORDER BY f.id DESC LIMIT :limit"
    );
    // Every id is less than "~", which is no hexadecimal digit.
    let after = after.map_or("~", FileId::as_str);
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map(named_params! { ":user": user.as_str(), ":after": after, ":limit": limit }, record)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a new file without its first version.
pub(super) fn insert_file(connection: &Connection, file: &FileRecord) -> Result<(), DbError> {
    let insert = "INSERT INTO files (id, owner, version, created_ms) VALUES (?1, ?2, ?3, ?4)";
    let parameters =
        params![file.id.as_str(), file.owner.as_str(), to_column(file.version.0), to_column(file.created_ms)];
    connection.prepare_cached(insert)?.execute(parameters)?;
    Ok(())
}

/// Adds a version; `file.version` must be the file's.
pub(super) fn insert_version(connection: &Connection, file: &FileRecord, stamp: Stamp) -> Result<(), DbError> {
    let insert =
        "INSERT INTO versions (file, version, stamp, name, content_type, size_bytes, content, sha256, stored_ms)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    connection.prepare_cached(insert)?.execute(params![
        file.id.as_str(),
        to_column(file.version.0),
        to_column(stamp.0),
        file.name,
        file.content_type,
        to_column(file.size_bytes),
        file.content.map(|hash| hash.to_string()),
        file.sha256,
        to_column(file.stored_ms),
    ])?;
    Ok(())
}

/// Moves a file from `from` to `to`. Whether it was at `from`: this statement decides which of several writers wins.
pub(super) fn advance(
    connection: &Connection,
    file: &FileId,
    from: Version,
    (to, deleted): (Version, bool),
) -> Result<bool, DbError> {
    let update = "UPDATE files SET version = ?3, deleted = ?4 WHERE id = ?1 AND version = ?2 AND deleted = 0";
    let parameters = params![file.as_str(), to_column(from.0), to_column(to.0), deleted];
    Ok(connection.prepare_cached(update)?.execute(parameters)? == 1)
}

/// Forgets the contents and the shares of a deleted file. Returns the contents, which others may still use.
pub(super) fn forget_contents(connection: &Connection, file: &FileId) -> Result<Vec<ContentHash>, DbError> {
    let select = "SELECT DISTINCT content FROM versions WHERE file = ?1 AND content IS NOT NULL";
    let mut select = connection.prepare_cached(select)?;
    let contents = select.query_map([file.as_str()], |row| parsed(row, 0))?.collect::<Result<_, _>>()?;
    connection.execute("UPDATE versions SET content = NULL, sha256 = NULL WHERE file = ?1", [file.as_str()])?;
    connection.execute("DELETE FROM shares WHERE file = ?1", [file.as_str()])?;
    Ok(contents)
}

fn share_record(row: &Row<'_>) -> rusqlite::Result<ShareRecord> {
    Ok(ShareRecord { id: row.get(0)?, target: parsed(row, 1)? })
}

/// The share of a file with one user.
pub(super) fn share(connection: &Connection, file: &FileId, target: &UserId) -> Result<Option<ShareRecord>, DbError> {
    let mut select = connection.prepare_cached("SELECT id, target FROM shares WHERE file = ?1 AND target = ?2")?;
    Ok(select.query_row([file.as_str(), target.as_str()], share_record).optional()?)
}

/// All shares of a file, the oldest first.
pub(super) fn shares(connection: &Connection, file: &FileId) -> Result<Vec<ShareRecord>, DbError> {
    let mut select = connection.prepare_cached("SELECT id, target FROM shares WHERE file = ?1 ORDER BY id")?;
    Ok(select.query_map([file.as_str()], share_record)?.collect::<Result<_, _>>()?)
}

/// With whom a file is shared.
pub(super) fn targets(connection: &Connection, file: &FileId) -> Result<Vec<UserId>, DbError> {
    Ok(shares(connection, file)?.into_iter().map(|share| share.target).collect())
}

/// Adds a share.
pub(super) fn insert_share(
    connection: &Connection,
    file: &FileId,
    share: &ShareRecord,
    created_ms: u64,
) -> Result<(), DbError> {
    let insert = "INSERT INTO shares (id, file, target, created_ms) VALUES (?1, ?2, ?3, ?4)";
    let parameters = params![share.id, file.as_str(), share.target.as_str(), to_column(created_ms)];
    connection.prepare_cached(insert)?.execute(parameters)?;
    Ok(())
}

/// Removes a share; whether there was one.
pub(super) fn remove_share(connection: &Connection, file: &FileId, target: &UserId) -> Result<bool, DbError> {
    let delete = "DELETE FROM shares WHERE file = ?1 AND target = ?2";
    Ok(connection.prepare_cached(delete)?.execute([file.as_str(), target.as_str()])? == 1)
}
