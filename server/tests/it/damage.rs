//! What others do to the data directory: under a running server, and between two runs. Nothing that was acknowledged is
//! lost by what the server does about it, and it says what it can't do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::Value;
use server::hub::Hub;
use server::log_lines::Line;
use server::store::error::StoreError;
use server::store::{Store, StoreConfig};
use tempfile::TempDir;

use crate::support::app::{App, UPLOAD_MAX, assert_problem, eventually, form};
use crate::support::process::{PATIENCE, Process};

/// More than one block of a download.
const LARGE: usize = 700_000;

/// What stands in a content's place.
type Obstacle = fn(&Path);

fn content(dir: &Path, bytes: impl AsRef<[u8]>) -> PathBuf {
    dir.join("contents").join(blake3::hash(bytes.as_ref()).to_hex().as_str())
}

async fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, StoreConfig::default(), Hub::new(10, true)).await
}

async fn upload_many(app: &App, range: std::ops::Range<u32>) {
    for n in range {
        app.upload("alice", &"y".repeat(90), n.to_string()).await;
    }
}

/// The conditions that `/ready` lists, and whether it says ready.
async fn conditions(app: &App) -> (bool, Vec<String>) {
    let ready: Value = app.call(Method::GET, "/ready").send().await.unwrap().json().await.unwrap();
    let names = ready["conditions"].as_array().unwrap().iter();
    (ready["ready"] == true, names.map(|condition| condition["name"].as_str().unwrap().to_owned()).collect())
}

/// `grapevine` with these words: its exit code, and what it said on both outputs.
fn grapevine(words: &[&str]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_grapevine")).args(words).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// A data directory as a crash leaves it, whose last uploads are in the log only; and an older copy of its catalogue.
async fn crashed() -> (TempDir, Vec<u8>) {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stop = async |app: App| app.state.store.close(PATIENCE).await;
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    upload_many(&app, 0..20).await;
    stop(app).await;
    let old = fs::read(dir.path().join("grapevine.db")).unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    upload_many(&app, 20..100).await;
    stop(app).await;
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    upload_many(&app, 100..103).await;
    for file in ["grapevine.db", "grapevine.db-wal"] {
        fs::copy(dir.path().join(file), crashed.path().join(file)).unwrap();
    }
    fs::rename(dir.path().join("contents"), crashed.path().join("contents")).unwrap();
    (crashed, old)
}

#[tokio::test]
async fn a_refused_start_leaves_the_log_of_another_catalogue_alone() {
    let (dir, old) = crashed().await;
    let (catalogue, log) = (dir.path().join("grapevine.db"), dir.path().join("grapevine.db-wal"));
    let (right, written) = (fs::read(&catalogue).unwrap(), fs::read(&log).unwrap());
    fs::write(&catalogue, &old).unwrap();
    for _ in 0..2 {
        let opened = open(dir.path()).await;
        assert!(matches!(opened, Err(StoreError::DamagedCatalogue { .. })), "{opened:?}");
        let (code, said) = grapevine(&["fsck", "--data-dir", dir.path().to_str().unwrap()]);
        assert_eq!(code, 1, "{said}");
        assert!(fs::read(&catalogue).unwrap() == old && fs::read(&log).unwrap() == written);
    }
    // Nor is it lost to one without a byte, of which SQLite removes the log.
    fs::write(&catalogue, "").unwrap();
    let opened = open(dir.path()).await;
    assert!(matches!(opened, Err(StoreError::EmptyCatalogue { .. })), "{opened:?}");
    let (code, said) = grapevine(&["fsck", "--data-dir", dir.path().to_str().unwrap()]);
    assert!(code == 1 && said.contains("there is its log"), "{said}");
    assert!(fs::read(&log).unwrap() == written);
    fs::write(&catalogue, right).unwrap();
    let store = open(dir.path()).await.unwrap();
    assert_eq!(store.list("alice".parse().unwrap(), None, 500).await.unwrap().len(), 103);
}

#[tokio::test]
async fn a_log_beside_another_state_of_its_catalogue_is_refused_though_every_page_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, log) = (dir.path().join("grapevine.db"), dir.path().join("grapevine.db-wal"));
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    upload_many(&app, 0..20).await;
    let path = format!("/files/{}", app.upload("alice", "a", "one").await.id);
    app.state.store.close(PATIENCE).await;
    let old = fs::read(&catalogue).unwrap();
    let rename = async |app: &App, version: u32| {
        let replaced = app.put("alice", &path[7..], &format!("\"{version}\""), "one").send().await.unwrap();
        assert_eq!(replaced.status(), 200);
    };
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    rename(&app, 1).await;
    app.state.store.close(PATIENCE).await;
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    rename(&app, 2).await;
    let (crashed, its_log) = (fs::read(&catalogue).unwrap(), fs::read(&log).unwrap());
    app.state.store.close(PATIENCE).await;
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    rename(&app, 3).await;
    app.state.store.close(PATIENCE).await;
    let new = fs::read(&catalogue).unwrap();
    drop(app);

    for (bytes, why) in [(&old, "it is older than its log"), (&new, "it is newer than its log")] {
        fs::write(&catalogue, bytes).unwrap();
        fs::write(&log, &its_log).unwrap();
        let (code, said) = grapevine(&["fsck", "--data-dir", dir.path().to_str().unwrap()]);
        assert!(code == 1 && said.contains(why), "{code}: {said}");
        let words = ["serve", "--port", "0", "--peers", "0", "--data-dir", dir.path().to_str().unwrap()];
        let (code, said) = grapevine(&words);
        assert!(code == 2 && said.lines().count() == 1 && said.contains(why), "{code}: {said}");
        assert!(fs::read(&catalogue).unwrap() == *bytes && fs::read(&log).unwrap() == its_log, "something was changed");
    }
    // With the file that it belongs to it counts, and without a log any copy does.
    fs::write(&catalogue, crashed).unwrap();
    let newest = async || {
        let app = App::start_in(dir.path(), UPLOAD_MAX).await;
        let meta: Value = app.get("alice", &format!("{path}/meta")).await.json().await.unwrap();
        app.state.store.close(PATIENCE).await;
        meta["version"].as_u64().unwrap()
    };
    assert_eq!(newest().await, 3);
    for (bytes, version) in [(old, 1), (new, 4)] {
        fs::write(&catalogue, bytes).unwrap();
        assert_eq!(newest().await, version);
    }
}

#[tokio::test]
async fn while_the_catalogue_is_displaced_nothing_is_acknowledged_and_it_is_told() {
    let app = App::start().await;
    let kept = app.upload("alice", "a", "kept").await;
    for name in ["grapevine.db", "grapevine.db-wal"] {
        let (file, away) = (app.dir.join(name), app.dir.join("away"));
        fs::rename(&file, &away).unwrap();
        for replace in [false, true] {
            if replace {
                fs::copy(&away, &file).unwrap();
            }
            let upload = app.by("alice", Method::POST, "/files").multipart(form("uploaded", "a", "late"));
            assert_problem(upload.send().await.unwrap(), 503, "catalogue-displaced").await;
            eventually("it is told", async || {
                conditions(&app).await == (false, vec!["catalogue_displaced".to_owned()])
            })
            .await;
            let path = format!("/files/{}", kept.id);
            assert_eq!(app.get("alice", &path).await.text().await.unwrap(), "kept");
        }
        // What was there is put back: nothing was lost.
        fs::rename(&away, &file).unwrap();
        eventually("all is well", async || conditions(&app).await == (true, vec![])).await;
        app.upload("alice", name, name).await;
    }
    app.state.store.close(PATIENCE).await;
    let store = open(&app.dir).await.unwrap();
    assert_eq!(store.list("alice".parse().unwrap(), None, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_directory_whose_lock_was_removed_has_one_server_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["serve", "--port", "0", "--peers", "0", "--data-dir", dir.path().to_str().unwrap()];
    let server = Process::start(&words);
    server.says(Line::Ready(None));
    fs::remove_file(dir.path().join("lock")).unwrap();
    server.says("displaced lock: ");
    let (code, said) = grapevine(&words);
    assert!(code == 2 && said.contains("in use"), "{code}: {said}");
    assert!(server.terminate().success());
}

#[tokio::test]
async fn an_upload_that_is_repeated_mends_the_content_of_the_first() {
    let app = App::start().await;
    let upload = async || {
        let upload = app.by("alice", Method::POST, "/files").header("idempotency-key", "k");
        upload.multipart(form("uploaded", "a", "precious")).send().await.unwrap()
    };
    let uploaded = async || {
        let answer = upload().await;
        assert_eq!(answer.status(), 201);
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let harms: [Obstacle; 3] = [
        |path| fs::remove_file(path).unwrap(),
        // Nobody has noticed.
        |path| fs::write(path, "PRECIOUS").unwrap(),
        |path| fs::write(path, "p").unwrap(),
    ];
    let path = uploaded().await;
    for harm in harms {
        harm(&content(&app.dir, "precious"));
        assert_eq!(uploaded().await, path);
        assert_eq!(app.get("alice", &path).await.text().await.unwrap(), "precious");
    }
    // Of a file that was deleted nothing comes back.
    app.by("alice", Method::DELETE, &path).header("if-match", "*").send().await.unwrap();
    assert_problem(upload().await, 410, "key-spent").await;
    assert_eq!(app.contents().0, Vec::<String>::new());
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

const OBSTACLES: [Obstacle; 4] = [
    |path| fs::create_dir(path).unwrap(),
    make_pipe,
    |path| std::os::unix::fs::symlink(path, path).unwrap(),
    |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
];

#[tokio::test]
async fn what_is_not_a_file_is_a_bad_content_and_is_kept_when_the_bytes_come_again() {
    let app = App::start().await;
    for (n, obstacle) in (1..).zip(OBSTACLES) {
        let bytes = format!("content {n}");
        let file = app.upload("alice", "a", bytes.clone()).await;
        let (path, place) = (format!("/files/{}", file.id), content(&app.dir, &bytes));
        fs::remove_file(&place).unwrap();
        obstacle(&place);
        assert_problem(app.get("alice", &path).await, 500, "bad-content").await;
        app.upload("bob", "b", bytes.clone()).await;
        assert_eq!(app.get("alice", &path).await.text().await.unwrap(), bytes);
        assert_eq!(fs::read_dir(app.dir.join("contents/lost")).unwrap().count(), n);
    }
}

#[tokio::test]
async fn fsck_names_what_is_in_the_way_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    for n in 0..OBSTACLES.len() {
        app.upload("alice", "name of a file", n.to_string()).await;
    }
    app.state.store.close(PATIENCE).await;
    for (n, obstacle) in OBSTACLES.iter().enumerate() {
        let place = content(dir.path(), n.to_string());
        fs::remove_file(&place).unwrap();
        obstacle(&place);
    }
    fs::create_dir_all(dir.path().join("peers/1/peer.sqlite")).unwrap();
    fs::write(dir.path().join("peers/2"), "").unwrap();
    fs::create_dir(dir.path().join("contents/tmp/x")).unwrap();
    fs::write(dir.path().join("contents/lost"), "").unwrap();
    let data = dir.path().to_str().unwrap();
    let named = ["peers/1/peer.sqlite: ", "peers/2: ", "contents/tmp/x: ", "contents/lost: "];
    let places = (0..OBSTACLES.len()).map(|n| content(dir.path(), n.to_string()).display().to_string());
    let places: Vec<String> = places.chain(named.map(|name| dir.path().join(name).display().to_string())).collect();
    let (code, said) = grapevine(&["fsck", "--data-dir", data]);
    for place in &places {
        assert!(said.lines().any(|line| line.starts_with(place)), "{place}: {said}");
    }
    assert!(code == 1 && said.contains("8 faults, 0 of them") && said.contains("name of a file"), "{said}");
    assert!(said.ends_with("--repair puts right what can be\n"), "{said}");
    let (code, said) = grapevine(&["fsck", "--repair", "--data-dir", data]);
    assert!(code == 1 && said.contains("8 faults, 3 of them mended"), "{said}");
    // Of what is left nothing can be put right.
    let (code, said) = grapevine(&["fsck", "--data-dir", data]);
    assert!(code == 1 && said.ends_with("grapevine: error: 5 faults\n"), "{said}");
}

#[tokio::test]
async fn small_obstacles_are_moved_aside_or_passed_over_by_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    let kept = app.upload("alice", "a", "kept").await;
    app.state.store.close(PATIENCE).await;
    fs::create_dir(dir.path().join("contents/tmp/x")).unwrap();
    fs::write(dir.path().join("contents/lost"), "a note").unwrap();
    let app = App::start_in(dir.path(), UPLOAD_MAX).await;
    assert_eq!(app.get("alice", &format!("/files/{}", kept.id)).await.text().await.unwrap(), "kept");
    assert_eq!(fs::read(dir.path().join("contents/lost.1")).unwrap(), b"a note");
    assert_eq!(
        app.by("alice", Method::DELETE, &format!("/files/{}", kept.id))
            .header("if-match", "*")
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
}

#[tokio::test]
async fn a_slow_reader_of_damaged_bytes_says_nothing_of_those_that_came_since() {
    let app = App::start().await;
    let bytes: Vec<u8> = (0..LARGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let file = app.upload("alice", "a", bytes.clone()).await;
    let store = app.state.store.clone();
    let record = store.file(file.id.parse().unwrap(), "alice".parse().unwrap(), None).await.unwrap();
    let mut harmed = bytes.clone();
    harmed[LARGE / 2] ^= 1;
    fs::write(content(&app.dir, &bytes), harmed).unwrap();
    let slow = store.open_content(&record, 0..record.size_bytes).await.unwrap();
    app.upload("bob", "b", bytes.clone()).await;
    let (reporting, reported) = (store.clone(), record.clone());
    let blocks: Vec<_> = slow.into_blocks(move |error| reporting.report_content(&reported, error)).collect().await;
    assert!(blocks.last().unwrap().is_err());
    assert_eq!(conditions(&app).await, (true, vec![]));
    assert_eq!(app.get("alice", &format!("/files/{}", file.id)).await.bytes().await.unwrap(), bytes);
}
