//! Catalogues of every version that there has been come up to today's, with all that they know.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt as _;
use rusqlite::Connection;
use server::hub::Hub;
use server::store::error::StoreError;
use server::store::metadata::FileRecord;
use server::store::schema::{VERSION, version};
use server::store::{Store, StoreConfig};
use shared::ids::{UserId, Version};
use shared::wire::queue::ChangeKind;
use tempfile::TempDir;

/// How long closing may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Catalogues as `sqlite3 grapevine.db .dump` prints them: what each was written by, and its version.
const CATALOGUES: [(&str, u32, &str); 4] = [
    ("a build that kept what was sent", 0, include_str!("catalogues/0-sent.sql")),
    ("a build before keys of uploads", 0, include_str!("catalogues/0-no-keys.sql")),
    ("the last build before versions", 0, include_str!("catalogues/0.sql")),
    // The same but for its number.
    ("version 1", 1, include_str!("catalogues/0.sql")),
];

/// Catalogue and contents, as a server has left them.
fn data(catalogue: &str, version: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let database = Connection::open(dir.path().join("grapevine.db")).unwrap();
    database.execute_batch(catalogue).unwrap();
    database.pragma_update(None, "user_version", version).unwrap();
    fs::create_dir_all(dir.path().join("contents")).unwrap();
    for bytes in ["one", "two", "shared"] {
        fs::write(dir.path().join("contents").join(blake3::hash(bytes.as_bytes()).to_hex().as_str()), bytes).unwrap();
    }
    dir
}

async fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, StoreConfig::default(), Hub::new(10, true)).await
}

fn alice() -> UserId {
    "alice".parse().unwrap()
}

async fn text(store: &Store, file: &FileRecord) -> String {
    let content = store.open_content(file, 0..file.size_bytes).await.unwrap();
    let blocks: Vec<_> = content.into_blocks(|_error| ()).collect().await;
    String::from_utf8(blocks.into_iter().flat_map(Result::unwrap).collect()).unwrap()
}

/// Each table, index and column, in words that don't depend on how the schema was written down.
fn shape(database: &Connection) -> Vec<String> {
    let select = "SELECT t.name, c.name, c.type, c.\"notnull\", ifnull(c.dflt_value, ''), c.pk, '' FROM sqlite_schema t
                  JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_stat%'
                  UNION ALL SELECT name, '', '', 0, '', 0, ifnull(sql, '') FROM sqlite_schema WHERE type = 'index'
                  ORDER BY 1, 2";
    let mut select = database.prepare(select).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let text = |index| row.get::<_, String>(index);
        let sql = text(6)?.replace("IF NOT EXISTS ", "").split_whitespace().collect::<Vec<_>>().join(" ");
        let (not_null, key) = (row.get::<_, i64>(3)?, row.get::<_, i64>(5)?);
        Ok(format!("{} {} {} {not_null} {} {key} {sql}", text(0)?, text(1)?, text(2)?, text(4)?))
    };
    select.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_catalogue_of_any_version_comes_up_with_all_that_it_knows() {
    for (name, from, catalogue) in CATALOGUES {
        let dir = data(catalogue, from);
        let store = open(dir.path()).await.unwrap();
        let files = store.list(alice(), None, 10).await.unwrap();
        let known: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.version.0)).collect();
        assert_eq!(known, [("shared.txt", 1), ("a.txt", 2)], "{name}");
        let first = store.file(files[1].id.clone(), alice(), Some(Version(1))).await.unwrap();
        let texts = [text(&store, &files[0]).await, text(&store, &files[1]).await, text(&store, &first).await];
        assert_eq!(texts, ["shared", "two", "one"], "{name}");
        assert_eq!(store.shares(files[0].id.clone(), alice()).await.unwrap()[0].target.as_str(), "bob", "{name}");
        let events = store.outbox_pending(0, 10).await.unwrap();
        let last = events.last().unwrap();
        assert_eq!((last.event.event, last.event.version.0), (ChangeKind::Deleted, 2), "{name}");
        let waiting = if name == CATALOGUES[0].0 { 3 } else { 6 };
        assert_eq!(events.len(), waiting, "{name}");
        store.outbox_sent(events.iter().map(|row| row.message_id).collect()).await.unwrap();
        assert_eq!(store.outbox_counts().await.unwrap(), (0, 0), "{name}");
        store.close(LIMIT).await;
        // It is as a new one, and stays so.
        let new = tempfile::tempdir().unwrap();
        open(new.path()).await.unwrap().close(LIMIT).await;
        let [came_up, made] = [&dir, &new].map(|dir| Connection::open(dir.path().join("grapevine.db")).unwrap());
        assert_eq!([version(&came_up).unwrap(), version(&made).unwrap()], [VERSION; 2], "{name}");
        assert_eq!(shape(&came_up), shape(&made), "{name}");
        drop(came_up);
        assert_eq!(open(dir.path()).await.unwrap().list(alice(), None, 10).await.unwrap(), files, "{name}");
    }
}

#[test]
fn each_version_has_a_catalogue_that_is_tried() {
    for number in 0..=VERSION {
        assert!(CATALOGUES.iter().any(|(_, version, _)| *version == number), "none of version {number}");
    }
}

#[tokio::test]
async fn a_catalogue_that_cannot_come_up_is_left_as_it_was() {
    let (_, from, catalogue) = CATALOGUES[0];
    let dir = data(catalogue, from);
    let path = dir.path().join("grapevine.db");
    // What the step makes last is in its way.
    Connection::open(&path).unwrap().execute_batch("CREATE VIEW idempotency AS SELECT 1").unwrap();
    let before = shape(&Connection::open(&path).unwrap());
    assert!(matches!(open(dir.path()).await, Err(StoreError::Db(_))));
    let database = Connection::open(&path).unwrap();
    assert_eq!((shape(&database), version(&database).unwrap()), (before, 0));
    database.execute_batch("DROP VIEW idempotency").unwrap();
    drop(database);
    assert_eq!(open(dir.path()).await.unwrap().list(alice(), None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_catalogue_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (_, _, catalogue) = CATALOGUES[3];
    let dir = data(catalogue, VERSION + 1);
    Connection::open(dir.path().join("grapevine.db")).unwrap().execute_batch("DROP TABLE shares").unwrap();
    let opened = open(dir.path()).await;
    assert!(matches!(opened, Err(StoreError::NewerCatalogue { found, .. }) if found == VERSION + 1), "{opened:?}");
    let data_dir = dir.path().to_str().unwrap();
    for words in [&["serve", "--port", "0", "--peers", "0"][..], &["fsck"], &["fsck", "--repair"]] {
        let done =
            Command::new(env!("CARGO_BIN_EXE_grapevine")).args(words).args(["--data-dir", data_dir]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        let is_one_line = said.lines().count() == 1 && said.contains("was written by a newer grapevine");
        assert!(done.status.code() == Some(2) && is_one_line, "{words:?}: {said}");
    }
    assert!(dir.path().join("contents").join(blake3::hash(b"one").to_hex().as_str()).exists());
    let database = Connection::open(dir.path().join("grapevine.db")).unwrap();
    assert_eq!(version(&database).unwrap(), VERSION + 1);
}

#[test]
fn fsck_reads_a_catalogue_of_any_version_and_leaves_it_as_it_is() {
    for (name, from, catalogue) in CATALOGUES {
        let dir = data(catalogue, from);
        let done = Command::new(env!("CARGO_BIN_EXE_grapevine"))
            .args(["fsck", "--data-dir", dir.path().to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && said.starts_with("3 contents were read; 0 faults"), "{name}: {said}");
        assert_eq!(version(&Connection::open(dir.path().join("grapevine.db")).unwrap()).unwrap(), from, "{name}");
    }
}
