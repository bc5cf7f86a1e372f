//! What was acknowledged is kept: whatever happens to the data directory between two runs, and on the disk meanwhile.
//!
//! Long because each test does the harm that it is about by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use rusqlite::Connection;
use serde_json::Value;
use server::hub::Hub;
use server::store::error::StoreError;
use server::store::{Store, StoreConfig};
use shared::wire::queue::ChangeKind;
use tempfile::TempDir;

use crate::support::app::{App, UPLOAD_MAX, assert_problem, eventually};
use crate::support::process::Process;

/// How long closing may take.
const LIMIT: Duration = Duration::from_secs(30);
/// More than one block of a download.
const LARGE: usize = 700_000;

/// A store in a folder, as a server leaves it: with a content of its own for each of these.
async fn data_with(contents: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    for content in contents {
        app.upload("alice", "a", *content).await;
    }
    stop(app).await;
    dir
}

async fn stop(app: App) {
    app.state.store.close(LIMIT).await;
}

async fn open(dir: &Path, config: StoreConfig) -> Result<Store, StoreError> {
    Store::open(dir, config, Hub::new(10, true)).await
}

fn content(dir: &Path, bytes: impl AsRef<[u8]>) -> PathBuf {
    dir.join("contents").join(blake3::hash(bytes.as_ref()).to_hex().as_str())
}

fn lost(dir: &Path, bytes: impl AsRef<[u8]>) -> PathBuf {
    dir.join("contents/lost").join(blake3::hash(bytes.as_ref()).to_hex().as_str())
}

/// The conditions that `/ready` lists, and whether it says ready.
async fn conditions(app: &App) -> (bool, Vec<String>) {
    let ready: Value = app.call(Method::GET, "/ready").send().await.unwrap().json().await.unwrap();
    let names = ready["conditions"].as_array().unwrap().iter();
    (ready["ready"] == true, names.map(|condition| condition["name"].as_str().unwrap().to_owned()).collect())
}

/// `grapevine` with these words: its exit code, and what it said on both outputs.
fn grapevine(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_grapevine")).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[tokio::test]
async fn a_start_never_deletes_what_was_acknowledged() {
    let dir = data_with(&["kept"]).await;
    let (catalogue, copy) = (dir.path().join("grapevine.db"), dir.path().join("copy"));
    fs::rename(&catalogue, &copy).unwrap();
    let new = StoreConfig { new_catalogue: true, ..StoreConfig::default() };
    let app = App::start_with(dir.path(), UPLOAD_MAX, new).await;
    assert!(!content(dir.path(), "kept").exists() && lost(dir.path(), "kept").exists());
    assert_eq!(conditions(&app).await, (true, vec!["lost_contents".to_owned()]));
    stop(app).await;
    // The right catalogue is put back: what it knows is where it was.
    fs::rename(&copy, &catalogue).unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    assert_eq!(app.contents().0.len(), 1);
    assert_eq!(conditions(&app).await, (true, vec![]));
    let files: Value = app.get("alice", "/files").await.json().await.unwrap();
    let path = format!("/files/{}", files[0]["id"].as_str().unwrap());
    assert_eq!(app.get("alice", &path).await.text().await.unwrap(), "kept");
}

#[tokio::test]
async fn an_older_catalogue_keeps_what_it_does_not_know() {
    let dir = data_with(&["first"]).await;
    let (catalogue, copy) = (dir.path().join("grapevine.db"), dir.path().join("copy"));
    fs::copy(&catalogue, &copy).unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    app.upload("alice", "a", "second").await;
    stop(app).await;
    fs::rename(&copy, &catalogue).unwrap();
    open(dir.path(), StoreConfig::default()).await.unwrap();
    assert!(content(dir.path(), "first").exists());
    assert_eq!(fs::read(lost(dir.path(), "second")).unwrap(), b"second");
}

#[tokio::test]
async fn a_catalogue_that_is_gone_is_not_taken_for_one_that_never_was() {
    let refused = async |dir: &Path| {
        let opened = open(dir, StoreConfig::default()).await;
        assert!(
            matches!(opened, Err(StoreError::NoCatalogue { .. } | StoreError::EmptyCatalogue { .. })),
            "{opened:?}"
        );
    };
    let dir = data_with(&["kept"]).await;
    fs::remove_file(dir.path().join("grapevine.db")).unwrap();
    refused(dir.path()).await;
    // Of one whose log is missing there may be a file with nothing in it.
    Connection::open(dir.path().join("grapevine.db")).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert_eq!(fs::metadata(dir.path().join("grapevine.db")).unwrap().len(), 4096);
    refused(dir.path()).await;
    assert!(content(dir.path(), "kept").exists());
    let (code, _, said) =
        grapevine(&["serve", "--port", "0", "--peers", "0", "--data-dir", dir.path().to_str().unwrap()]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(code == 2 && lines.len() == 1 && lines[0].contains("--new-catalogue"), "{code}: {said}");
    assert!(said.contains("grapevine.db is empty"), "the file is there: {said}");
    // Peers that know what nobody has would be as wrong.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("peers/1")).unwrap();
    refused(dir.path()).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("grapevine.db-wal"), "the last changes").unwrap();
    refused(dir.path()).await;
    let new = StoreConfig { new_catalogue: true, ..StoreConfig::default() };
    open(dir.path(), new).await.unwrap();
    assert_eq!(fs::read(dir.path().join("grapevine.db-wal.lost")).unwrap(), b"the last changes");
}

#[tokio::test]
async fn a_removal_that_a_crash_interrupted_is_finished_and_what_came_later_is_kept() {
    let dir = data_with(&["kept"]).await;
    let hash = |bytes: &str| blake3::hash(bytes.as_bytes()).to_hex().to_string();
    let remember = |bytes: &str, at_ms: i64| {
        let catalogue = Connection::open(dir.path().join("grapevine.db")).unwrap();
        catalogue.execute("INSERT INTO forgotten VALUES (?1, ?2)", (hash(bytes), at_ms)).unwrap();
    };
    let later = jiff::Timestamp::now().as_millisecond() + 60_000;
    for (bytes, at_ms) in [("deleted", later), ("deleted, and come again", 1), ("kept", later)] {
        fs::write(content(dir.path(), bytes), bytes).unwrap();
        remember(bytes, at_ms);
    }
    let store = open(dir.path(), StoreConfig::default()).await.unwrap();
    assert!(!content(dir.path(), "deleted").exists() && !lost(dir.path(), "deleted").exists());
    assert!(lost(dir.path(), "deleted, and come again").exists());
    assert!(content(dir.path(), "kept").exists());
    store.close(LIMIT).await;
    let catalogue = Connection::open(dir.path().join("grapevine.db")).unwrap();
    let left: i64 = catalogue.query_row("SELECT count(*) FROM forgotten", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_damaged_catalogue_is_refused() {
    let refused = async |dir: &Path| {
        let opened = open(dir, StoreConfig::default()).await;
        assert!(matches!(opened, Err(StoreError::DamagedCatalogue { .. })), "{opened:?}");
    };
    let dir = data_with(&["kept"]).await;
    let catalogue = dir.path().join("grapevine.db");
    let whole = fs::read(&catalogue).unwrap();
    for first in (4096..whole.len() - 4 * 4096).step_by(4 * 4096) {
        let mut bytes = whole.clone();
        bytes[first..first + 4 * 4096].fill(0);
        fs::write(&catalogue, bytes).unwrap();
        refused(dir.path()).await;
    }
    fs::write(&catalogue, vec![7; 20_000]).unwrap();
    refused(dir.path()).await;
    fs::write(&catalogue, &whole).unwrap();
    Connection::open(&catalogue).unwrap().execute_batch("DROP TABLE shares").unwrap();
    refused(dir.path()).await;
    let (code, _, said) =
        grapevine(&["serve", "--port", "0", "--peers", "0", "--data-dir", dir.path().to_str().unwrap()]);
    assert!(code == 2 && said.lines().count() == 1 && said.contains("it has no table shares"), "{code}: {said}");
    assert!(content(dir.path(), "kept").exists());
    fs::write(&catalogue, whole).unwrap();
    open(dir.path(), StoreConfig::default()).await.unwrap();
}

#[tokio::test]
async fn what_the_broker_has_leaves_the_outbox_at_once() {
    let dir = data_with(&["one", "two"]).await;
    let store = open(dir.path(), StoreConfig::default()).await.unwrap();
    let rows = store.outbox_pending(0, 10).await.unwrap();
    store.outbox_sent(rows.iter().map(|row| row.message_id).collect()).await.unwrap();
    let catalogue = Connection::open(dir.path().join("grapevine.db")).unwrap();
    let left: i64 = catalogue.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap();
    assert_eq!((rows.len(), left), (2, 0));
}

/// A server in a process of its own, and where it listens.
fn serve(dir: &Path) -> (Process, String) {
    let dir = dir.to_str().unwrap();
    let server = Process::start(&["serve", "--port", "0", "--peers", "2", "--peer-port", "0", "--data-dir", dir]);
    let line = server.says(server::log_lines::Line::Ready(None));
    let url = line.split_once("open ").unwrap().1.split_once("/ui/").unwrap().0.to_owned();
    (server, url)
}

fn databases(dir: &Path) -> Vec<PathBuf> {
    vec![dir.join("grapevine.db"), dir.join("peers/1/peer.sqlite"), dir.join("peers/2/peer.sqlite")]
}

#[tokio::test]
async fn a_clean_stop_leaves_databases_that_a_copy_of_the_files_can_back_up() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = serve(dir.path());
    let client = reqwest::Client::new();
    for n in 0..30 {
        let form = crate::support::app::form("uploaded", &n.to_string(), n.to_string());
        let answer = client.post(format!("{url}/files")).header("x-user-id", "alice").multipart(form).send().await;
        assert_eq!(answer.unwrap().status(), 201);
    }
    server.says_times("event applied", 60, crate::support::process::PATIENCE);
    assert!(server.terminate().success());
    for database in databases(dir.path()) {
        assert!(database.exists());
        let log = PathBuf::from(format!("{}-wal", database.display()));
        assert!(fs::metadata(&log).is_ok_and(|log| log.len() == 0) || !log.exists(), "{}", log.display());
    }
    // One peer's state is damaged: it is set aside, everybody else is as before, and it learns all from the other.
    fs::write(dir.path().join("peers/2/peer.sqlite"), vec![7; 20_000]).unwrap();
    let (server, url) = serve(dir.path());
    let ready: Value = client.get(format!("{url}/ready")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&ready["ready"], &ready["conditions"][0]["name"]), (&true.into(), &"damaged_peer_state".into()));
    assert!(dir.path().join("peers/2/peer.sqlite.damaged-1").exists());
    server.says_times("event applied", 30, crate::support::process::PATIENCE);
    let files: Value =
        client.get(format!("{url}/files")).header("x-user-id", "alice").send().await.unwrap().json().await.unwrap();
    assert_eq!(files.as_array().unwrap().len(), 30);
    assert!(server.terminate().success());
}

#[tokio::test]
async fn damaged_bytes_are_never_served_and_the_same_bytes_mend_them() {
    let app = App::start().await;
    let harm = |bytes: &[u8]| {
        let path = content(&app.dir, bytes);
        let mut harmed = fs::read(&path).unwrap();
        let middle = harmed.len() / 2;
        harmed[middle..middle + 7].copy_from_slice(b"overwri");
        fs::write(path, harmed).unwrap();
    };
    let small = app.upload("alice", "a", "a small content").await;
    let path = format!("/files/{}", small.id);
    harm(b"a small content");
    let part = app.by("alice", Method::GET, &path).header("range", "bytes=0-1").send().await.unwrap();
    assert_problem(part, 500, "bad-content").await;
    assert_problem(app.get("alice", &path).await, 500, "bad-content").await;
    assert_eq!(conditions(&app).await, (true, vec!["bad_contents".to_owned()]));
    app.upload("bob", "b", "a small content").await;
    assert_eq!(app.get("alice", &path).await.text().await.unwrap(), "a small content");
    assert_eq!(conditions(&app).await, (true, vec![]));
    // A large one is found while it is sent: the connection breaks off before its end, and from then on it isn't sent.
    let bytes: Vec<u8> = (0..LARGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let large = app.upload("alice", "a", bytes.clone()).await;
    let path = format!("/files/{}", large.id);
    assert_eq!(app.get("alice", &path).await.bytes().await.unwrap(), bytes);
    harm(&bytes);
    let answer = app.get("alice", &path).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    assert_problem(app.get("alice", &path).await, 500, "bad-content").await;
    let part = app.by("alice", Method::GET, &path).header("range", "bytes=0-9").send().await.unwrap();
    assert_problem(part, 500, "bad-content").await;
    assert_eq!(conditions(&app).await.1, ["bad_contents"]);
    // With the file the fault goes.
    let delete = app.by("alice", Method::DELETE, &path).header("if-match", "*").send().await.unwrap();
    assert_eq!(delete.status(), 204);
    assert_eq!(conditions(&app).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_content_that_is_missing_or_too_short_is_a_fault_of_the_server() {
    let app = App::start().await;
    let (short, missing) = (app.upload("alice", "a", "0123456789").await, app.upload("alice", "a", "abcdef").await);
    fs::write(content(&app.dir, "0123456789"), "0123").unwrap();
    fs::remove_file(content(&app.dir, "abcdef")).unwrap();
    let part = app.by("alice", Method::GET, &format!("/files/{}", short.id)).header("range", "bytes=0-1");
    assert_problem(part.send().await.unwrap(), 500, "bad-content").await;
    assert_problem(app.get("alice", &format!("/files/{}", missing.id)).await, 500, "bad-content").await;
    assert_eq!(conditions(&app).await.1, ["bad_contents"]);
    for (file, bytes) in [(&short, "0123456789"), (&missing, "abcdef")] {
        app.upload("bob", "b", bytes).await;
        assert_eq!(app.get("alice", &format!("/files/{}", file.id)).await.text().await.unwrap(), bytes);
    }
    assert_eq!(conditions(&app).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn missing_contents_are_told_before_anybody_asks_for_them() {
    let dir = data_with(&["kept", "missing", "cut"]).await;
    fs::remove_file(content(dir.path(), "missing")).unwrap();
    fs::write(content(dir.path(), "cut"), "c").unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    eventually("the fault is told", async || conditions(&app).await.1 == ["bad_contents"]).await;
    let ready: Value = app.call(Method::GET, "/ready").send().await.unwrap().json().await.unwrap();
    eventually("both are counted", async || {
        let ready: Value = app.call(Method::GET, "/ready").send().await.unwrap().json().await.unwrap();
        ready["conditions"][0]["detail"].as_str().unwrap().starts_with("2 contents")
    })
    .await;
    assert_eq!(ready["ready"], true);
}

#[tokio::test]
async fn fsck_says_what_is_where_and_puts_right_what_can_be() {
    let dir = data_with(&["whole", "damaged", "missing", "mislaid"]).await;
    let fsck = |more: &[&str]| {
        let (code, said, _) = grapevine(&[&["fsck", "--data-dir", dir.path().to_str().unwrap()], more].concat());
        (code, said.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let entries = || fs::read_dir(dir.path()).unwrap().count();
    let before = entries();
    assert_eq!(fsck(&[]), (0, vec!["4 contents were read; 0 faults, 0 of them mended".to_owned()]));
    assert_eq!(entries() - before, 1, "its lock");
    fs::write(content(dir.path(), "damaged"), "DAMAGED").unwrap();
    fs::remove_file(content(dir.path(), "missing")).unwrap();
    fs::create_dir_all(dir.path().join("contents/lost")).unwrap();
    fs::rename(content(dir.path(), "mislaid"), lost(dir.path(), "mislaid")).unwrap();
    fs::write(content(dir.path(), "unknown"), "unknown").unwrap();
    fs::write(dir.path().join("contents/tmp/.tmpAbc"), "half").unwrap();
    fs::create_dir_all(dir.path().join("peers/1")).unwrap();
    fs::write(dir.path().join("peers/1/peer.sqlite"), vec![7; 20_000]).unwrap();
    let has = |said: &[String], path: &Path, text: &str| {
        let path = path.to_str().unwrap();
        assert!(said.iter().any(|line| line.starts_with(path) && line.contains(text)), "{path} {text}: {said:#?}");
    };
    for _ in 0..2 {
        let (code, said) = fsck(&[]);
        assert_eq!((code, said.last().unwrap().as_str()), (1, "5 contents were read; 5 faults, 0 of them mended"));
        has(&said, &content(dir.path(), "damaged"), "its bytes don't match its hash");
        has(&said, &content(dir.path(), "missing"), "it isn't on the disk");
        has(&said, &content(dir.path(), "mislaid"), "it is whole in");
        has(&said, &content(dir.path(), "unknown"), "no file has it");
        has(&said, &dir.path().join("contents/tmp/.tmpAbc"), "interrupted");
        has(&said, &dir.path().join("peers/1/peer.sqlite"), "not a database");
    }
    let (code, said) = fsck(&["--repair"]);
    // What is damaged and missing stays so, and nobody has claimed the unknown one.
    assert_eq!(code, 1, "{said:#?}");
    assert_eq!(fs::read_to_string(content(dir.path(), "mislaid")).unwrap(), "mislaid");
    assert_eq!(fs::read_to_string(lost(dir.path(), "unknown")).unwrap(), "unknown");
    let damaged = blake3::hash(b"damaged").to_hex().to_string();
    assert_eq!(fs::read_to_string(dir.path().join("contents/damaged").join(damaged)).unwrap(), "DAMAGED");
    assert!(dir.path().join("peers/1/peer.sqlite.damaged-1").exists());
    assert!(!dir.path().join("contents/tmp/.tmpAbc").exists());
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    let (code, _, said) = grapevine(&["fsck", "--data-dir", "/nowhere"]);
    assert!(code == 2 && said.contains("no data directory"), "{code}: {said}");
    app.upload("alice", "a", "damaged").await;
    app.upload("alice", "a", "missing").await;
    stop(app).await;
    fs::remove_file(lost(dir.path(), "unknown")).unwrap();
    assert_eq!(fsck(&[]).0, 0);
    // Without a catalogue a content's name says what it should be.
    fs::remove_file(dir.path().join("grapevine.db")).unwrap();
    let (code, said) = fsck(&[]);
    has(&said, &dir.path().join("grapevine.db"), "there is none");
    assert_eq!((code, said.last().unwrap().as_str()), (1, "4 contents were read; 1 fault, 0 of them mended"));
}

#[tokio::test]
async fn what_the_broker_has_lost_is_published_again() {
    let app = App::start().await;
    let store = &app.state.store;
    let (kept, gone) = (app.upload("alice", "a", "one").await, app.upload("alice", "b", "two").await);
    assert_eq!(app.put("alice", &kept.id, "*", "three").send().await.unwrap().status(), 200);
    let delete = app.by("alice", Method::DELETE, &format!("/files/{}", gone.id)).header("if-match", "*");
    assert_eq!(delete.send().await.unwrap().status(), 204);
    let first = store.outbox_pending(0, 10).await.unwrap();
    store.outbox_sent(first.iter().map(|row| row.message_id).collect()).await.unwrap();
    let mut changes = store.outbox_changes();
    changes.mark_unchanged();
    let url = format!("http://{}", app.address);
    let (code, said, wrong) = tokio::task::spawn_blocking(move || grapevine(&["republish", &url])).await.unwrap();
    assert_eq!((code, said.as_str()), (0, "2 versions are being published again\n"), "{wrong}");
    assert!(changes.has_changed().unwrap());
    let again = store.outbox_pending(0, 10).await.unwrap();
    let events = |kind| again.iter().find(|row| row.event.event == kind).unwrap();
    for (kind, was) in [(ChangeKind::Updated, &first[2]), (ChangeKind::Deleted, &first[3])] {
        assert_eq!(events(kind).event, was.event);
        assert_ne!(events(kind).message_id, was.message_id, "the bridge would know it already");
    }
    let post = |query: &str| app.call(Method::POST, &format!("/republish?{query}")).send();
    let later = post("since=2100-01-01T00:00:00Z").await.unwrap();
    assert_eq!((later.status().as_u16(), later.text().await.unwrap()), (202, "{\"versions\":0}".to_owned()));
    assert_problem(post("since=yesterday").await.unwrap(), 422, "invalid").await;
    assert_problem(post("until=x").await.unwrap(), 422, "invalid").await;
    let nobody = tokio::task::spawn_blocking(|| grapevine(&["republish", "ftp://127.0.0.1:1"])).await.unwrap();
    assert_eq!(nobody.0, 2);
}
