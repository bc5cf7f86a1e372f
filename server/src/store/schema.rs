//! The version of the catalogue's schema, in the database's `user_version`. A new catalogue is made at today's; one of a
//! former version comes up to it a step at a time, in the transaction in which it is opened: all of the way or nothing.
//!
//! ```text
//! 0   written before there were versions: of three kinds, which are told apart by what they have
//! 1   schema.sql
//! ```
//!
//! A change of the schema is a step more: `schema.sql` says what comes out, and a test compares both.

use std::path::Path;

use rusqlite::Connection;
use tracing::info;

use crate::db::DbError;
use crate::store::error::StoreError;

/// The version that this build writes, and the last that it reads.
pub const VERSION: u32 = 1;

/// Makes of a catalogue of one version one of the next.
type Step = fn(&Connection) -> Result<(), DbError>;

/// The steps, each at the version that it begins with.
const STEPS: [Step; VERSION as usize] = [count_versions];

/// The version of a catalogue; 0 for one that has no tables, too.
///
/// # Errors
/// When the database fails.
pub fn version(connection: &Connection) -> Result<u32, DbError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Makes the tables of a new catalogue.
pub(super) fn make(connection: &Connection) -> Result<(), DbError> {
    connection.execute_batch(include_str!("schema.sql"))?;
    set_version(connection)
}

/// Makes of a catalogue of a former version one of today's.
pub(super) fn bring_up(connection: &Connection) -> Result<(), DbError> {
    let from = version(connection)?;
    if from == VERSION {
        return Ok(());
    }
    STEPS.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).try_for_each(|step| step(connection))?;
    set_version(connection)?;
    info!("the catalogue's schema was brought from version {from} to {VERSION}");
    Ok(())
}

/// Refuses a catalogue that a newer build has written: what it means by its tables isn't known here.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found <= VERSION {
        Ok(())
    } else {
        Err(StoreError::NewerCatalogue { path: path.to_owned(), found, known: VERSION })
    }
}

fn set_version(connection: &Connection) -> Result<(), DbError> {
    Ok(connection.pragma_update(None, "user_version", VERSION)?)
}

/// From 0 to 1. Rows of the outbox that were sent used to stay, and some tables are younger than others.
fn count_versions(connection: &Connection) -> Result<(), DbError> {
    let keeps_sent = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('outbox') WHERE name = 'sent_ms')";
    if connection.query_row(keeps_sent, [], |row| row.get(0))? {
        connection.execute_batch(
            "DELETE FROM outbox WHERE sent_ms IS NOT NULL;
             DROP INDEX IF EXISTS outbox_sent;
             DROP INDEX IF EXISTS outbox_pending;
             ALTER TABLE outbox DROP COLUMN sent_ms;",
        )?;
    }
    Ok(connection.execute_batch(include_str!("schema/to_1.sql"))?)
}
