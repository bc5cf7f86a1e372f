//! Opening the store: what is refused, what is made, and what an earlier run left.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use shared::ids::{ContentHash, PeerId};
use shared::stamp::Stamp;
use tracing::{info, warn};

use crate::contents::error::ContentsError;
use crate::contents::space::Space;
use crate::contents::{Contents, free_name};
use crate::db::access::{has_log, is_empty, log_of, quick_check};
use crate::db::{Db, DbError};
use crate::store::error::StoreError;
use crate::store::{metadata, schema};

/// What the catalogue is called.
pub const CATALOGUE: &str = "grapevine.db";
/// The tables that every catalogue has had from the beginning.
pub const TABLES: [&str; 5] = ["meta", "files", "versions", "shares", "outbox"];
/// A check of the catalogue that takes longer than this is told.
const LONG_CHECK: Duration = Duration::from_secs(1);
/// A content that came so shortly before it was forgotten may have come again since: file systems' clocks are coarse.
const SURELY_OLDER_MS: u64 = 1000;

/// What to open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The data directory.
    pub(super) dir: &'a Path,
    /// Its contents.
    pub(super) contents: &'a Contents,
    /// The room on its disk.
    pub(super) space: &'a Arc<Space>,
    /// Whether a new catalogue may be made beside what an old one knew.
    pub(super) new_catalogue: bool,
}

/// What is known when the catalogue is open.
#[derive(Debug)]
pub(super) struct Opened {
    /// Who makes changes here: their origin.
    pub(super) node: PeerId,
    /// The stamp of the last change.
    pub(super) last: Stamp,
    /// Contents whose files were forgotten and whose rows say so still.
    pub(super) forgotten: Vec<ContentHash>,
}

/// Opens the catalogue, and puts the contents in order. Blocks.
pub(super) fn open(place: Place<'_>) -> Result<(Db, Opened), StoreError> {
    let path = place.dir.join(CATALOGUE);
    if is_empty(&path) {
        refuse_new(place, &path)?;
        set_log_aside(&path)?;
    }
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(StoreError::Random)?;
    let space = Arc::clone(place.space);
    let prepare = |connection: &Connection| prepare(connection, place, &path, PeerId(fresh));
    Db::open(&path, move || space.make_room(), prepare).map_err(|error| match error {
        StoreError::Db(error) if error.is_damaged() => {
            StoreError::DamagedCatalogue { path: path.clone(), why: innermost(&error) }
        }
        other => other,
    })
}

fn prepare(connection: &Connection, place: Place<'_>, path: &Path, fresh: PeerId) -> Result<Opened, StoreError> {
    let tables = metadata::tables(connection)?;
    if tables.is_empty() {
        // Of a catalogue whose log is missing there is a file with nothing in it.
        refuse_new(place, path)?;
        schema::make(connection)?;
    } else {
        schema::refuse_newer(connection, path)?;
        if let Some(table) = TABLES.iter().find(|table| !tables.iter().any(|name| name == *table)) {
            let why = format!("it has no table {table}");
            return Err(StoreError::DamagedCatalogue { path: path.to_owned(), why });
        }
        check(connection)?;
        schema::bring_up(connection)?;
    }
    // From here on something is changed.
    place.contents.make()?;
    let forgotten = finish_forgetting(connection, place.contents)?;
    place.contents.tidy(|hash| Ok::<_, StoreError>(metadata::is_used(connection, hash)?))?;
    Ok(Opened { node: metadata::node(connection, fresh)?, last: metadata::last_stamp(connection)?, forgotten })
}

fn check(connection: &Connection) -> Result<(), DbError> {
    let began = Instant::now();
    quick_check(connection)?;
    let took = began.elapsed();
    if took > LONG_CHECK {
        info!(duration_ms = took.as_millis(), "the catalogue was checked");
    }
    Ok(())
}

/// A catalogue that is gone must not be taken for one that never was: what it knew would be lost.
fn refuse_new(place: Place<'_>, path: &Path) -> Result<(), StoreError> {
    let beside = if place.contents.has_any()? {
        "the contents of files"
    } else if has_entries(&place.dir.join("peers")) {
        "peers' state"
    } else if is_empty(path) && has_log(path) {
        "its log"
    } else {
        return Ok(());
    };
    if place.new_catalogue {
        warn!("a new catalogue is begun beside {beside}");
        return Ok(());
    }
    let path = path.to_owned();
    Err(if path.exists() {
        StoreError::EmptyCatalogue { path, beside }
    } else {
        StoreError::NoCatalogue { path, beside }
    })
}

/// SQLite would remove the log of a catalogue that is gone.
fn set_log_aside(path: &Path) -> Result<(), StoreError> {
    if !has_log(path) {
        return Ok(());
    }
    let log = log_of(path);
    let aside = free_name(&log.with_extension("db-wal.lost"));
    warn!("the log of a catalogue that is gone is kept as {}", aside.display());
    Ok(std::fs::rename(log, aside).map_err(ContentsError::io("set the log of the former catalogue aside"))?)
}

fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// Removes the contents that a change had left without use when the run ended. One that is younger came again later, and
/// this catalogue doesn't know of it: that is kept.
fn finish_forgetting(connection: &Connection, contents: &Contents) -> Result<Vec<ContentHash>, StoreError> {
    let forgotten = metadata::forgotten(connection)?;
    for (hash, at_ms) in &forgotten {
        if is_older(contents, *hash, *at_ms) && !metadata::is_used(connection, *hash)? {
            contents.forget(*hash)?;
        }
    }
    Ok(forgotten.into_iter().map(|(hash, _)| hash).collect())
}

/// Whether a content has surely lain where it is since before it was forgotten; then a start removes it. Blocks.
pub fn is_older(contents: &Contents, hash: ContentHash, forgotten_ms: u64) -> bool {
    contents.named_ms(hash).is_some_and(|named_ms| named_ms.saturating_add(SURELY_OLDER_MS) < forgotten_ms)
}

/// The last cause, which says most.
fn innermost(error: &DbError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
