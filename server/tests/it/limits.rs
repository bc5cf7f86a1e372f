//! What is too much: files beyond the limit, bodies larger than memory, callers from elsewhere.

use std::process::Command;

use bytes::Bytes;
use futures_util::stream;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};

use crate::support::app::{App, UPLOAD_MAX, assert_problem, form};

/// A body whose length isn't announced.
fn streamed(bytes: u64) -> Form {
    const PIECE: usize = 16 * 1024;
    let pieces = (0..bytes.div_ceil(PIECE as u64)).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[7; PIECE])));
    Form::new().part("uploaded", Part::stream(Body::wrap_stream(stream::iter(pieces))).file_name("large"))
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_and_leaves_nothing() {
    let app = App::start().await;
    let post = |form| app.by("alice", Method::POST, "/files").multipart(form).send();
    let largest = usize::try_from(UPLOAD_MAX).unwrap();
    assert_problem(post(form("uploaded", "a", vec![0; largest * 3])).await.unwrap(), 413, "too-large").await;
    assert_problem(post(form("uploaded", "a", vec![0; largest + 1])).await.unwrap(), 413, "too-large").await;
    assert_problem(post(streamed(UPLOAD_MAX * 3)).await.unwrap(), 413, "too-large").await;
    app.assert_no_trace().await;
    assert_eq!(post(form("uploaded", "a", vec![0; largest])).await.unwrap().status(), 201);
}

/// The most memory that this process has held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Set in the process that has the memory to itself.
const ALONE: &str = "GRAPEVINE_TEST_ALONE";

#[test]
fn a_large_upload_is_not_held_in_memory() {
    if std::env::var_os(ALONE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(upload_a_lot());
    }
    // A process of its own, so that other tests' memory isn't counted.
    let this = ["--exact", "limits::a_large_upload_is_not_held_in_memory", "--nocapture"];
    let done = Command::new(std::env::current_exe().unwrap()).args(this).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    eprintln!("{said}");
}

async fn upload_a_lot() {
    const SIZE: u64 = 256 << 20;
    let dir = tempfile::tempdir().unwrap();
    let app = App::start_in(dir.path(), SIZE).await;
    app.upload("alice", "warm", "up").await;
    let before = peak_kib();
    let answer = app.by("alice", Method::POST, "/files").multipart(streamed(SIZE)).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let rise = peak_kib() - before;
    eprintln!("256 MiB were uploaded with {rise} KiB more, the client's included");
    // From the design: 32 MiB, whatever the size.
    assert!(rise < 32 * 1024, "{rise} KiB");
}

#[tokio::test]
async fn callers_from_elsewhere_are_refused() {
    let app = App::start().await;
    let with = |method: Method, headers: &[(&str, &str)]| {
        let call = app.by("alice", method, "/peers");
        headers.iter().fold(call, |call, (name, value)| call.header(*name, *value)).send()
    };
    let own = format!("http://{}", app.address);
    assert_problem(with(Method::GET, &[("host", "evil.example")]).await.unwrap(), 403, "foreign-caller").await;
    assert_problem(with(Method::GET, &[("host", "127.0.0.1.evil.example")]).await.unwrap(), 403, "foreign-caller")
        .await;
    for local in ["localhost:1", "127.0.0.7", "[::1]:80", "friend.example"] {
        assert_eq!(with(Method::GET, &[("host", local)]).await.unwrap().status(), 200, "{local}");
    }
    for foreign in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_problem(with(Method::POST, &[("origin", foreign)]).await.unwrap(), 403, "foreign-caller").await;
        assert_eq!(with(Method::GET, &[("origin", foreign)]).await.unwrap().status(), 200);
        let ws = app.call(Method::GET, "/ws").header("origin", foreign).send().await.unwrap();
        assert_problem(ws, 403, "foreign-caller").await;
    }
    assert_problem(app.call(Method::GET, "/ws").header("origin", &own).send().await.unwrap(), 426, "not-a-websocket")
        .await;
    for friend in [own.as_str(), "https://friend.example", "http://friend.example:8080"] {
        let form = form("uploaded", "a", "x");
        let upload = app.by("alice", Method::POST, "/files").header("origin", friend).multipart(form);
        assert_eq!(upload.send().await.unwrap().status(), 201);
    }
}
