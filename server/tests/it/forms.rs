//! Uploads as bytes: what must be whole, which names are names, which reasons are told, and what a key makes of a retry.

use reqwest::{Method, Response};
use serde_json::Value;
use shared::wire::rest::FileOut;

use crate::support::app::{App, assert_problem, form};
use crate::support::raw::{Answer, Raw};

const FIELD: &str = "content-disposition: form-data; name=file; filename=a.txt\r\n\r\n";

fn post_head(app: &App, length: usize) -> String {
    format!(
        "POST /files HTTP/1.1\r\nhost: {}\r\nx-user-id: alice\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: {length}\r\n\r\n",
        app.address
    )
}

/// Uploads a body as it is, of which `announced` more bytes are promised than come.
async fn post(app: &App, body: &[u8], missing: usize) -> Answer {
    use tokio::io::AsyncWriteExt as _;
    let mut client = Raw::connect(app.address).await;
    client.write(post_head(app, body.len() + missing)).await;
    client.write(body).await;
    if missing > 0 {
        client.0.shutdown().await.unwrap();
    }
    client.answer().await
}

#[tokio::test]
async fn a_body_that_is_not_whole_makes_no_file() {
    let app = App::start().await;
    for (body, missing, reason) in [
        (format!("--b\r\n{FIELD}hello\r\n--b\r\ngarbage\r\n"), 0, "incomplete"),
        (format!("--b\r\n{FIELD}hello\r\n--bgarbage"), 0, "incomplete"),
        (format!("--b\r\n{FIELD}hello\r\n--b\r\nno head\r\n\r\nx\r\n--b--\r\n"), 0, "header"),
        (format!("--b\r\n{FIELD}hello\r\n"), 0, "incomplete data"),
        (format!("--b\r\n{FIELD}hello"), 0, "incomplete data"),
        (format!("--b\r\n{FIELD}hello\r\n--b--\r\n"), 1_000, ""),
        (format!("--b\r\n{FIELD}hello\r\n"), 1_000, ""),
        (format!("--b\r\n{FIELD}hello\r\n--b--\r\n{}", "x".repeat(200_000)), 0, "more than 65536 bytes"),
        (format!("--b\r\nx: {}\r\nhello\r\n--b--\r\n", "y".repeat(200_000)), 0, "more than 65536 bytes"),
        (String::new(), 0, "incomplete"),
        (format!("--b\r\n{FIELD}hello\r\n--b--\r\n--b\r\n{FIELD}two\r\n--b--\r\n"), 0, "after its last boundary"),
        (format!("--b\r\n{FIELD}hello\r\n--b--\r\nan epilogue"), 0, "after its last boundary"),
    ] {
        let answer = post(&app, body.as_bytes(), missing).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "broken-body"), "{body:.100}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{detail}");
    }
    app.assert_no_trace().await;
    // What comes before the first boundary says nothing, and so does white space after the last.
    let whole = format!("a preamble\r\n--b\r\n{FIELD}hello\r\n--b--\r\n \r\n");
    assert_eq!(post(&app, whole.as_bytes(), 0).await.status, 201);
}

#[tokio::test]
async fn a_second_file_is_refused_and_not_dropped_in_silence() {
    let app = App::start().await;
    let other = "content-disposition: form-data; name=other; filename=b.txt\r\n\r\n";
    for body in [
        format!("--b\r\n{FIELD}one\r\n--b\r\n{FIELD}two\r\n--b--\r\n"),
        format!("--b\r\n{FIELD}one\r\n--b\r\n{other}two\r\n--b--\r\n"),
        format!("--b\r\n{other}two\r\n--b\r\n{FIELD}one\r\n--b--\r\n"),
    ] {
        let answer = post(&app, body.as_bytes(), 0).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid"));
    }
    app.assert_no_trace().await;
}

#[tokio::test]
async fn names_are_taken_as_clients_write_them() {
    let app = App::start().await;
    for (name, expected) in [
        (&b"filename=\"\xe4.txt\""[..], "ä.txt"),
        ("filename=\"ä.txt\"".as_bytes(), "ä.txt"),
        (b"filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
        (b"filename=\"EUR rates.txt\"; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
    ] {
        let head =
            [b"--b\r\ncontent-disposition: form-data; name=\"file\"; ", name, b"\r\n\r\nx\r\n--b--\r\n"].concat();
        let answer = post(&app, &head, 0).await;
        assert_eq!(answer.status, 201, "{}", name.escape_ascii());
        assert_eq!(serde_json::from_slice::<FileOut>(&answer.body).unwrap().filename, expected);
    }
}

#[tokio::test]
async fn a_compressed_upload_is_refused_and_not_stored_as_it_is() {
    let app = App::start().await;
    let post = |coding| {
        let form = form("file", "a", "x");
        app.by("alice", Method::POST, "/files").header("content-encoding", coding).multipart(form).send()
    };
    let refused = post("gzip").await.unwrap();
    assert_eq!(refused.headers()["accept-encoding"], "identity");
    assert_problem(refused, 415, "encoded-body").await;
    app.assert_no_trace().await;
    assert_eq!(post("identity").await.unwrap().status(), 201);
}

/// RFC 9457 for what our own code never sees, too.
#[tokio::test]
async fn every_refusal_is_a_problem_with_its_reason() {
    const JSON: &str = "application/json";
    let app = App::start().await;
    let send = async |method: Method, path: &str, body: Option<(&str, String)>| {
        let call = app.by("alice", method, path);
        let call = match body {
            Some((content_type, body)) => call.header("content-type", content_type).body(body),
            None => call,
        };
        call.send().await.unwrap()
    };
    let large = format!("{{\"producers\": {}1}}", " ".repeat(70_000));
    let actions = format!("/peers/{}/actions", "0".repeat(64));
    for (method, path, body, status) in [
        (Method::GET, "/files/%ff", None, 400),
        (Method::GET, "/files/%ff/meta", None, 400),
        (Method::DELETE, "/shares/x/%ff", None, 400),
        (Method::GET, "/lab/runs/%ff", None, 400),
        (Method::POST, "/lab/runs", Some((JSON, large.clone())), 413),
        (Method::POST, &actions, Some((JSON, large)), 413),
        (Method::POST, "/lab/runs", Some(("text/plain", "{}".to_owned())), 415),
        (Method::POST, "/lab/runs", Some((JSON, "{\"producer\": 1}".to_owned())), 422),
        (Method::POST, "/lab/runs", Some((JSON, "{".to_owned())), 422),
        (Method::POST, "/lab/runs", Some((JSON, "[3, 2]".to_owned())), 422),
        (Method::POST, &actions, Some((JSON, "[\"kill\"]".to_owned())), 422),
        (Method::POST, "/republish", Some((JSON, "{\"since\": \"2026-11-28T06:00:00Z\"}".to_owned())), 422),
        (Method::POST, "/republish", Some(("text/plain", "now".to_owned())), 415),
        (Method::POST, "/peers", Some((JSON, "{\"count\": 2}".to_owned())), 422),
        (Method::POST, "/shares/x", Some((JSON, "{\"target_user_id\": \"bob\", \"x\": 1}".to_owned())), 404),
        (Method::GET, "/files?limit=ten", None, 422),
        (Method::GET, "/docs/missing.js", None, 404),
        (Method::GET, "/nowhere", None, 404),
        (Method::PATCH, "/files", None, 405),
        (Method::POST, "/ui/", None, 405),
        (Method::GET, "/ws", None, 426),
    ] {
        let answer = send(method.clone(), path, body).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{method} {path}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{method} {path}: {problem}");
    }
}

#[tokio::test]
async fn unknown_members_and_lists_of_members_are_refused_everywhere_alike() {
    let app = App::start().await;
    let file = app.upload("alice", "a", "x").await;
    let id = "0".repeat(64);
    for (path, body) in [
        (format!("/shares/{}", file.id), serde_json::json!({ "target_user_id": "bob", "x": 1 })),
        (format!("/shares/{}", file.id), serde_json::json!(["bob"])),
        (format!("/peers/{id}/actions"), serde_json::json!({ "action": "kill", "x": 1 })),
        ("/lab/runs".to_owned(), serde_json::json!({ "producers": 1, "x": 1 })),
    ] {
        let answer = app.by("alice", Method::POST, &path).json(&body).send().await.unwrap();
        assert_problem(answer, 422, "invalid").await;
    }
}

async fn upload(app: &App, user: &str, key: &str, bytes: &str) -> Response {
    let post = app.by(user, Method::POST, "/files").header("idempotency-key", key);
    post.multipart(form("file", "a.txt", bytes)).send().await.unwrap()
}

#[tokio::test]
async fn a_retry_under_the_same_key_makes_no_second_file() {
    let app = App::start().await;
    let first = upload(&app, "alice", "\"k-1\"", "hello").await;
    assert_eq!((first.status().as_u16(), first.headers().get("idempotency-replayed")), (201, None));
    let location = first.headers()["location"].clone();
    let first: FileOut = first.json().await.unwrap();
    let again = upload(&app, "alice", "\"k-1\"", "hello").await;
    assert_eq!((again.status().as_u16(), &again.headers()["location"]), (201, &location));
    let said = ["etag", "idempotency-replayed"].map(|name| again.headers()[name].to_str().unwrap().to_owned());
    assert_eq!(said, ["\"1\"", "true"]);
    assert_eq!(again.json::<FileOut>().await.unwrap(), first);
    assert_problem(upload(&app, "alice", "\"k-1\"", "other").await, 422, "key-reused").await;
    // Others' keys are others'.
    let other: FileOut = upload(&app, "bob", "\"k-1\"", "hello").await.json().await.unwrap();
    assert_ne!(other.id, first.id);
    assert_eq!(app.state.store.outbox_counts().await.unwrap().0, 2, "each file was told of once");
    // The answer is the first one as long as there is the file.
    assert_eq!(app.put("alice", &first.id, "*", "new").send().await.unwrap().status(), 200);
    let late: FileOut = upload(&app, "alice", "k-1", "hello").await.json().await.unwrap();
    assert_eq!((late.id, late.content_hash), (first.id.clone(), first.content_hash));
    let delete = app.by("alice", Method::DELETE, &format!("/files/{}", first.id)).header("if-match", "*");
    assert_eq!(delete.send().await.unwrap().status(), 204);
    assert_problem(upload(&app, "alice", "k-1", "hello").await, 410, "key-spent").await;
    assert_problem(upload(&app, "alice", "\"\"", "x").await, 400, "bad-request").await;
}

#[tokio::test]
async fn a_key_outlives_the_server_and_works_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::start_in(dir.path(), 1000).await;
    let first: FileOut = upload(&app, "alice", "k", "hello").await.json().await.unwrap();
    let mut slow = Raw::connect(app.address).await;
    let body = format!("--b\r\n{FIELD}hello\r\n--b--\r\n");
    let head = post_head(&app, body.len()).replace("\r\n\r\n", "\r\nidempotency-key: \"slow\"\r\n\r\n");
    let (begin, rest) = body.split_at(70);
    slow.write(format!("{head}{begin}")).await;
    crate::support::app::eventually("the key is taken", async || {
        upload(&app, "alice", "\"slow\"", "hello").await.status() == 409
    })
    .await;
    slow.write(rest).await;
    assert_eq!(slow.answer().await.status, 201);
    drop(app);
    let app = App::start_in(dir.path(), 1000).await;
    let again: FileOut = upload(&app, "alice", "k", "hello").await.json().await.unwrap();
    assert_eq!(again.id, first.id);
}

/// A field that is added or gone is a change that callers notice.
#[tokio::test]
async fn the_answer_of_an_upload_looks_as_yesterday() {
    let app = App::start().await;
    let answer =
        app.by("alice", Method::POST, "/files").multipart(form("file", "a.txt", "hello")).send().await.unwrap();
    let mut heads: Vec<&str> = answer.headers().keys().map(reqwest::header::HeaderName::as_str).collect();
    heads.sort_unstable();
    let heads = heads.join(" ");
    let mut file: Value = answer.json().await.unwrap();
    for (member, length) in [("id", 36), ("created_at", 24), ("updated_at", 24)] {
        let value = file[member].take();
        assert_eq!(value.as_str().unwrap().len(), length, "{member}: {value}");
        file[member] = format!("<{length} characters>").into();
    }
    // In the same order whatever else is built along.
    insta::with_settings!({ sort_maps => true }, {
        insta::assert_json_snapshot!(serde_json::json!({ "headers": heads, "body": file }));
    });
}
