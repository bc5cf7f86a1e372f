//! Upload, download, list, replace, delete: what the API answers, and what is left behind when it refuses.

use reqwest::{Method, Response};
use serde_json::Value;
use server::contents::error::ContentsError;
use server::store::Store;
use server::store::error::StoreError;
use shared::wire::queue::ChangeKind;
use shared::wire::rest::FileOut;
use tokio::io::AsyncWriteExt as _;

use crate::support::app::{App, assert_problem, eventually, form};

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_upload_is_answered_with_what_was_stored() {
    let app = App::start().await;
    let upload = app.by("alice", Method::POST, "/files").multipart(form("uploaded", "ä.txt", "hello"));
    let answer = upload.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(header(&answer, "etag"), "\"1\"");
    let location = header(&answer, "location").to_owned();
    let file: FileOut = answer.json().await.unwrap();
    assert_eq!(location, format!("/files/{}", file.id));
    assert_eq!(
        (file.filename.as_str(), file.owner_id.as_str(), file.version, file.size_bytes),
        ("ä.txt", "alice", 1, 5)
    );
    assert_eq!(file.content_hash, blake3::hash(b"hello").to_hex().as_str());
    assert_eq!(file.content_type, "text/plain");
    assert_eq!(app.contents(), (vec![file.content_hash.clone()], 0));
    let event = app.state.store.outbox_pending(0, 10).await.unwrap().remove(0).event;
    assert_eq!((event.event, event.file_id.as_str(), event.version.0), (ChangeKind::Uploaded, file.id.as_str(), 1));
    assert!(app.state.hub.read(|overview| overview.files.contains_key(&event.file_id)));
}

#[tokio::test]
async fn the_field_may_be_called_file_and_others_are_passed_over() {
    let app = App::start().await;
    let form = form("file", "a.txt", "hello").text("later", "x");
    let answer = app.by("alice", Method::POST, "/files").multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let form = reqwest::multipart::Form::new()
        .text("note", "x")
        .part("uploaded", reqwest::multipart::Part::bytes(&b"bytes"[..]).file_name("b"));
    let answer = app.by("alice", Method::POST, "/files").multipart(form).send().await.unwrap();
    assert_eq!(answer.json::<FileOut>().await.unwrap().content_type, "application/octet-stream");
}

#[tokio::test]
async fn a_download_gives_the_bytes_and_says_what_they_are() {
    let app = App::start().await;
    let file = app.upload("alice", "a \"b\".txt", "0123456789").await;
    let path = format!("/files/{}", file.id);
    let answer = app.get("alice", &path).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "etag"), "\"1\"");
    assert_eq!(header(&answer, "content-type"), "text/plain");
    assert_eq!(header(&answer, "content-length"), "10");
    assert_eq!(header(&answer, "accept-ranges"), "bytes");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    // `printf 0123456789 | openssl dgst -sha256 -binary | base64`
    assert_eq!(header(&answer, "repr-digest"), "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:");
    let disposition = "attachment; filename=\"a _b_.txt\"; filename*=UTF-8''a%20%22b%22.txt";
    assert_eq!(header(&answer, "content-disposition"), disposition);
    assert!(header(&answer, "last-modified").ends_with(" GMT"));
    assert_eq!(answer.text().await.unwrap(), "0123456789");
    let head = app.by("alice", Method::HEAD, &path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "10"));
}

#[tokio::test]
async fn a_page_is_never_served_as_one() {
    let app = App::start().await;
    let page = reqwest::multipart::Part::bytes(&b"<script>"[..]).file_name("x.html").mime_str("text/html").unwrap();
    let form = reqwest::multipart::Form::new().part("uploaded", page);
    let file: FileOut =
        app.by("alice", Method::POST, "/files").multipart(form).send().await.unwrap().json().await.unwrap();
    assert_eq!(file.content_type, "text/html");
    let answer = app.get("alice", &format!("/files/{}", file.id)).await;
    assert_eq!(header(&answer, "content-type"), "application/octet-stream");
    assert!(header(&answer, "content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn parts_and_conditions_are_answered_as_http_says() {
    let app = App::start().await;
    let file = app.upload("alice", "a", "0123456789").await;
    let path = format!("/files/{}", file.id);
    let with = async |headers: &[(&str, &str)]| {
        let get =
            headers.iter().fold(app.by("alice", Method::GET, &path), |get, (name, value)| get.header(*name, *value));
        get.send().await.unwrap()
    };
    let part = with(&[("range", "bytes=2-4")]).await;
    assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 2-4/10"));
    assert_eq!(part.text().await.unwrap(), "234");
    assert_eq!(with(&[("range", "bytes=-3")]).await.text().await.unwrap(), "789");
    assert_eq!(with(&[("range", "bytes=2-4"), ("if-range", "\"1\"")]).await.status(), 206);
    assert_eq!(with(&[("range", "bytes=2-4"), ("if-range", "\"2\"")]).await.status(), 200);
    assert_eq!(with(&[("range", "bytes=0-1,4-5")]).await.status(), 200);
    let outside = with(&[("range", "bytes=10-")]).await;
    assert_eq!(header(&outside, "content-range"), "bytes */10");
    assert_problem(outside, 416, "range-not-satisfiable").await;
    assert_eq!(with(&[("if-none-match", "\"1\"")]).await.status(), 304);
    assert_eq!(with(&[("if-none-match", "W/\"7\", W/\"1\"")]).await.status(), 304);
    assert_eq!(with(&[("if-none-match", "\"2\"")]).await.status(), 200);
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let app = App::start().await;
    let file = app.upload("alice", "empty", "").await;
    assert_eq!(app.get("alice", &format!("/files/{}", file.id)).await.text().await.unwrap(), "");
}

#[tokio::test]
async fn versions_are_kept_until_the_file_is_deleted() {
    let app = App::start().await;
    let file = app.upload("alice", "a", "one").await;
    let answer = app.put("alice", &file.id, "\"1\"", "two").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (200, "\"2\""));
    let second: FileOut = answer.json().await.unwrap();
    assert_eq!((second.version, second.filename.as_str(), &second.created_at), (2, "new.txt", &file.created_at));
    let path = format!("/files/{}", file.id);
    assert_eq!(app.get("alice", &path).await.text().await.unwrap(), "two");
    assert_eq!(app.get("alice", &format!("{path}?version=1")).await.text().await.unwrap(), "one");
    assert_problem(app.get("alice", &format!("{path}?version=3")).await, 404, "not-found").await;
    assert_problem(app.get("alice", &format!("{path}?version=0")).await, 422, "invalid").await;
    assert_problem(app.get("alice", &format!("{path}?wersion=1")).await, 422, "invalid").await;
    let history: Vec<FileOut> = app.get("alice", &format!("{path}/history")).await.json().await.unwrap();
    assert_eq!(history.iter().map(|file| file.version).collect::<Vec<_>>(), [2, 1]);
    let meta = app.get("alice", &format!("{path}/meta")).await;
    assert!(header(&meta, "etag").starts_with("W/"), "it changes with how far the version has come");
    let delete = app.by("alice", Method::DELETE, &path).header("if-match", "\"2\"").send().await.unwrap();
    assert_eq!(delete.status(), 204);
    for gone in [path.clone(), format!("{path}?version=1"), format!("{path}/meta"), format!("{path}/history")] {
        assert_problem(app.get("alice", &gone).await, 404, "not-found").await;
    }
    assert_problem(app.put("alice", &file.id, "*", "x").send().await.unwrap(), 404, "not-found").await;
    assert_eq!(app.contents(), (vec![], 0));
    let events = app.state.store.outbox_pending(0, 10).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|row| (row.event.event, row.event.version.0)).collect();
    assert_eq!(kinds, [(ChangeKind::Uploaded, 1), (ChangeKind::Updated, 2), (ChangeKind::Deleted, 3)]);
    assert!(events.is_sorted_by(|a, b| a.event.ts < b.event.ts));
}

#[tokio::test]
async fn a_content_stays_as_long_as_another_file_uses_it() {
    let app = App::start().await;
    let (first, second) = (app.upload("alice", "a", "same").await, app.upload("bob", "b", "same").await);
    assert_eq!(app.contents(), (vec![first.content_hash.clone()], 0));
    let delete =
        |user, id: String| app.by(user, Method::DELETE, &format!("/files/{id}")).header("if-match", "*").send();
    assert_eq!(delete("alice", first.id).await.unwrap().status(), 204);
    assert_eq!(app.get("bob", &format!("/files/{}", second.id)).await.text().await.unwrap(), "same");
    assert_eq!(delete("bob", second.id).await.unwrap().status(), 204);
    assert_eq!(app.contents(), (vec![], 0));
}

#[tokio::test]
async fn the_list_is_paged_from_the_newest() {
    let app = App::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.insert(0, app.upload("alice", &n.to_string(), "x").await.id);
    }
    let mut seen = Vec::new();
    let mut path = "/files?limit=2".to_owned();
    loop {
        let answer = app.get("alice", &path).await;
        let next = header(&answer, "link").strip_prefix('<').and_then(|link| link.split_once('>'));
        let next = next.map(|(next, _)| next.to_owned());
        let page: Vec<FileOut> = answer.json().await.unwrap();
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|file| file.id));
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for invalid in ["limit=0", "limit=501", "limit=x", "after=x"] {
        assert_problem(app.get("alice", &format!("/files?{invalid}")).await, 422, "invalid").await;
    }
}

#[tokio::test]
async fn bad_input_is_told_apart_and_leaves_nothing() {
    let app = App::start().await;
    let post = || app.by("alice", Method::POST, "/files");
    let nobody = app.call(Method::POST, "/files").multipart(form("uploaded", "a", "x")).send().await.unwrap();
    assert_problem(nobody, 401, "missing-user").await;
    assert_problem(app.get(" ", "/files").await, 401, "missing-user").await;
    assert_problem(app.get(&"x".repeat(129), "/files").await, 422, "invalid").await;
    assert_problem(post().multipart(form("other", "a", "x")).send().await.unwrap(), 422, "invalid").await;
    assert_problem(post().multipart(form("uploaded", "", "x")).send().await.unwrap(), 422, "invalid").await;
    let long = "x".repeat(1025);
    assert_problem(post().multipart(form("uploaded", &long, "x")).send().await.unwrap(), 422, "invalid").await;
    assert_problem(post().body("x").send().await.unwrap(), 415, "unsupported-media-type").await;
    let broken = post().header("content-type", "multipart/form-data; boundary=b").body("--b\r\nnonsense");
    assert_problem(broken.send().await.unwrap(), 400, "broken-body").await;
    let endless = format!("--b\r\nx: {}", "y".repeat(500_000));
    let endless = post().header("content-type", "multipart/form-data; boundary=b").body(endless);
    assert_problem(endless.send().await.unwrap(), 400, "broken-body").await;
    assert_problem(app.get("alice", "/files/nonsense").await, 404, "not-found").await;
    assert_problem(app.get("alice", "/files/..%2f..%2fetc%2fpasswd").await, 404, "not-found").await;
    let unknown = "/files/00000000-0000-7000-8000-000000000000";
    assert_problem(app.get("alice", unknown).await, 404, "not-found").await;
    assert_problem(app.get("alice", "/nowhere").await, 404, "no-such-page").await;
    let patch = app.by("alice", Method::PATCH, "/files").send().await.unwrap();
    assert_eq!(header(&patch, "allow"), "POST,GET,HEAD");
    assert_problem(patch, 405, "method-not-allowed").await;
    app.assert_no_trace().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_nothing() {
    let app = App::start().await;
    let mut socket = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /files HTTP/1.1\r\nhost: {}\r\nx-user-id: alice\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: 900000\r\n\r\n--b\r\ncontent-disposition: form-data; name=uploaded; filename=a\r\n\r\n",
        app.address
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 600_000]).await.unwrap();
    eventually("the upload has begun", async || app.contents().1 == 1).await;
    drop(socket);
    app.assert_no_trace().await;
}

#[tokio::test]
async fn opening_the_store_removes_temporary_files_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start_in(dir.path(), 100).await;
    let file = app.upload("alice", "a", "kept").await;
    let node = app.state.store.node();
    drop(app);
    let contents = dir.path().join("contents");
    std::fs::write(contents.join("tmp/.tmpAbc"), "half").unwrap();
    std::fs::write(contents.join("ab".repeat(32)), "whole, but its row was never committed").unwrap();
    std::fs::write(contents.join("notes.txt"), "somebody's").unwrap();
    let app = App::start_in(dir.path(), 100).await;
    let mut left = app.contents();
    left.0.sort();
    assert_eq!(left, (vec![file.content_hash, "notes.txt".to_owned()], 0));
    assert!(contents.join("lost").join("ab".repeat(32)).exists());
    assert_eq!(app.get("alice", &format!("/files/{}", file.id)).await.text().await.unwrap(), "kept");
    assert_eq!(app.state.store.node(), node);
    assert_eq!(app.state.store.outbox_counts().await.unwrap(), (1, 0));
}

#[tokio::test]
async fn the_outbox_forgets_nothing_and_repeats_nothing() {
    let app = App::start().await;
    let store: &Store = &app.state.store;
    let mut changes = store.outbox_changes();
    for n in 0..3 {
        app.upload("alice", &n.to_string(), "x").await;
    }
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let rows = store.outbox_pending(0, 2).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(store.outbox_pending(rows[1].seq, 10).await.unwrap().len(), 1);
    store.outbox_sent(vec![rows[0].message_id]).await.unwrap();
    store.outbox_dead(rows[1].message_id, "too large".to_owned()).await.unwrap();
    assert_eq!(store.outbox_pending(0, 10).await.unwrap().len(), 1);
    assert_eq!(store.outbox_counts().await.unwrap(), (1, 1));
}

#[tokio::test]
async fn health_and_readiness_tell_the_state() {
    let app = App::start().await;
    let health: Value = app.call(Method::GET, "/health").send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "ok");
    let ready = app.call(Method::GET, "/ready").send().await.unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.json::<Value>().await.unwrap()["store"]["state"], "up");
    std::fs::remove_dir_all(app.dir.join("contents")).unwrap();
    let ready = app.call(Method::GET, "/ready").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap()["store"]["state"], "down");
    assert!(matches!(app.state.store.check().await, Err(StoreError::Contents(ContentsError::Io { .. }))));
}
