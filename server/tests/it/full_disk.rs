//! A disk that is really full: uploads are refused at once, all else goes on, a start included.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use server::store::StoreConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::app::{App, assert_problem, eventually, form};
use crate::support::disk::{Full, small_disk};
use crate::support::process::{PATIENCE, Process};

const MIB: u64 = 1 << 20;
const RESERVE: StoreConfig = StoreConfig { reserve_bytes: 2 * MIB, new_catalogue: false };
/// How long closing may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs on a small disk.
fn on_small_disk<F: Future<Output = ()>>(test: &str, mib: u32, run: impl FnOnce(std::path::PathBuf) -> F) {
    if let Some(dir) = small_disk(&format!("full_disk::{test}"), mib) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(dir));
    }
}

async fn post(app: &App, bytes: usize) -> reqwest::Response {
    app.by("alice", Method::POST, "/files").multipart(form("uploaded", "a", vec![1; bytes])).send().await.unwrap()
}

async fn ready(app: &App) -> (u16, Vec<String>) {
    let ready = app.call(Method::GET, "/ready").send().await.unwrap();
    let status = ready.status().as_u16();
    let ready: Value = ready.json().await.unwrap();
    let names = ready["conditions"].as_array().unwrap().iter();
    (status, names.map(|condition| condition["name"].as_str().unwrap().to_owned()).collect())
}

async fn is_full(app: &App) -> bool {
    ready(app).await == (503, vec!["disk_full".to_owned()])
}

async fn has_room(app: &App) -> bool {
    ready(app).await == (200, vec![])
}

async fn delete(app: &App, id: &str) -> StatusCode {
    app.by("alice", Method::DELETE, &format!("/files/{id}")).header("if-match", "*").send().await.unwrap().status()
}

async fn text(app: &App, id: &str) -> String {
    app.get("alice", &format!("/files/{id}")).await.text().await.unwrap()
}

/// What is answered to an upload of which only the head has come.
async fn answer_to_head(app: &App, announced: u64) -> String {
    let mut socket = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /files HTTP/1.1\r\nhost: {}\r\nx-user-id: alice\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: {announced}\r\n\r\n",
        app.address
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = tokio::time::timeout(LIMIT, socket.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[test]
fn on_a_full_disk_uploads_are_refused_at_once_and_all_else_goes_on() {
    on_small_disk("on_a_full_disk_uploads_are_refused_at_once_and_all_else_goes_on", 16, async |dir| {
        let app = App::start_with(&dir, 1 << 30, RESERVE).await;
        let (kept, second) = (app.upload("alice", "a", "kept").await, app.upload("alice", "b", "second").await);
        // More than there is room for: refused before anything of it has come.
        let answer = answer_to_head(&app, 100 * MIB).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 507 ") && answer.contains("retry-after: "), "{answer}");
        assert!(has_room(&app).await);
        let full = Full::fill(&dir);
        eventually("it is told", async || is_full(&app).await).await;
        for _ in 0..20 {
            let answer = post(&app, 1).await;
            assert!(answer.headers().contains_key("retry-after"));
            assert_problem(answer, 507, "disk-full").await;
        }
        assert_eq!(text(&app, &kept.id).await, "kept");
        assert_eq!(app.share("alice", &kept.id, "bob").await.status(), 201);
        assert_eq!(delete(&app, &second.id).await, 204);
        // A start finds a full disk.
        app.state.store.close(LIMIT).await;
        drop(app);
        let app = App::start_with(&dir, 1 << 30, RESERVE).await;
        assert!(is_full(&app).await);
        assert_eq!(text(&app, &kept.id).await, "kept");
        assert_problem(post(&app, 1).await, 507, "disk-full").await;
        assert_eq!(delete(&app, &kept.id).await, 204);
        drop(full);
        eventually("there is room again", async || has_room(&app).await).await;
        assert_eq!(post(&app, 1000).await.status(), 201);
        assert_eq!(std::fs::metadata(dir.join("reserve")).unwrap().len(), 2 * MIB);
    });
}

#[test]
fn a_disk_that_fills_meanwhile_costs_an_upload_and_not_the_reserve() {
    on_small_disk("a_disk_that_fills_meanwhile_costs_an_upload_and_not_the_reserve", 16, async |dir| {
        let app = App::start_with(&dir, 1 << 30, RESERVE).await;
        // Of a body whose length isn't announced nobody knows before that it is too large.
        let pieces = (0..64 * 16).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[7; 16 * 1024])));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let part = reqwest::multipart::Part::stream(body).file_name("large");
        let form = reqwest::multipart::Form::new().part("uploaded", part);
        let upload = app.by("alice", Method::POST, "/files").multipart(form).send();
        // Each time the room is looked at, as it is once a second else.
        let looking = async {
            loop {
                ready(&app).await;
            }
        };
        let answer = tokio::select! { answer = upload => answer.unwrap(), () = looking => unreachable!() };
        assert_problem(answer, 507, "disk-full").await;
        app.assert_no_trace().await;
        assert_eq!(std::fs::metadata(dir.join("reserve")).unwrap().len(), 2 * MIB);
        eventually("there is room again", async || has_room(&app).await).await;
        assert_eq!(post(&app, 1000).await.status(), 201);
    });
}

#[test]
fn announced_sizes_keep_nobody_out() {
    on_small_disk("announced_sizes_keep_nobody_out", 16, async |dir| {
        let app = App::start_with(&dir, 1 << 30, RESERVE).await;
        let mut slow = Vec::new();
        for _ in 0..10 {
            let mut socket = tokio::net::TcpStream::connect(app.address).await.unwrap();
            let head = format!(
                "POST /files HTTP/1.1\r\nhost: {}\r\nx-user-id: mallory\r\ncontent-type: multipart/form-data; \
                 boundary=b\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
                app.address,
                8 * MIB
            );
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut answer = vec![0; 1024];
            let read = tokio::time::timeout(LIMIT, socket.read(&mut answer)).await.unwrap().unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
            slow.push(socket);
        }
        assert_eq!(post(&app, 1_000_000).await.status(), 201);
        assert!(has_room(&app).await);
    });
}

#[test]
fn when_the_reserve_is_used_up_too_it_is_said_and_no_fault_of_the_server() {
    on_small_disk("when_the_reserve_is_used_up_too_it_is_said_and_no_fault_of_the_server", 16, async |dir| {
        let app = App::start_with(&dir, 1 << 30, RESERVE).await;
        let _full = Full::fill(&dir);
        eventually("the reserve is given up", async || !dir.join("reserve").exists()).await;
        let more = dir.join("more");
        std::fs::create_dir(&more).unwrap();
        let _fuller = Full::fill(&more);
        assert_problem(app.call(Method::POST, "/peers").send().await.unwrap(), 507, "disk-full").await;
        eventually("it is told", async || {
            let ready: Value = app.call(Method::GET, "/ready").send().await.unwrap().json().await.unwrap();
            ready["conditions"][0]["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("the reserve is used up, too"))
        })
        .await;
    });
}

#[test]
fn a_start_without_any_room_serves_what_it_has() {
    on_small_disk("a_start_without_any_room_serves_what_it_has", 8, async |dir| {
        let app = App::start_in(&dir, 1 << 30).await;
        let kept = app.upload("alice", "a", "kept").await;
        app.state.store.close(LIMIT).await;
        drop(app);
        let full = Full::fill(&dir);
        let app = App::start_with(&dir, 1 << 30, RESERVE).await;
        assert_eq!(text(&app, &kept.id).await, "kept");
        assert!(is_full(&app).await);
        assert_problem(post(&app, 1).await, 507, "disk-full").await;
        drop(full);
        eventually("there is room again", async || has_room(&app).await).await;
        assert_eq!(delete(&app, &kept.id).await, 204);
        assert_eq!(post(&app, 1000).await.status(), 201);
    });
}

#[test]
fn a_whole_server_starts_on_a_full_disk() {
    on_small_disk("a_whole_server_starts_on_a_full_disk", 16, async |dir| {
        let data = dir.join("data").display().to_string();
        let words =
            ["serve", "--port", "0", "--peer-port", "0", "--data-dir", &data, "--disk-reserve-bytes", "2000000"];
        let start = |peers: &str| {
            let server = Process::start(&[&words[..], &["--peers", peers]].concat());
            let line = server.says(server::log_lines::Line::Ready(None));
            let url = line.split_once("open ").unwrap().1.split_once("/ui/").unwrap().0.to_owned();
            (server, url)
        };
        let (server, url) = start("2");
        let upload = reqwest::Client::new().post(format!("{url}/files")).header("x-user-id", "alice");
        let answer = upload.multipart(form("uploaded", "a", "kept")).send().await.unwrap();
        let path = answer.headers()["location"].to_str().unwrap().to_owned();
        server.says_times("event applied", 2, PATIENCE);
        // Without a reserve, with the logs of a crash, and with a peer more than have ever been.
        server.kill();
        std::fs::remove_file(dir.join("data/reserve")).unwrap();
        let _full = Full::fill(&dir);
        let (server, url) = start("3");
        server.says("disk full: ");
        let download = reqwest::Client::new().get(format!("{url}{path}")).header("x-user-id", "alice");
        assert_eq!(download.send().await.unwrap().text().await.unwrap(), "kept");
        let began = Instant::now();
        assert!(server.terminate().success());
        let took = began.elapsed();
        // Peers that can't write are given up after 2 s, what doesn't stop at all after 10 s.
        assert!(took < Duration::from_secs(9), "{took:?}");
    });
}
