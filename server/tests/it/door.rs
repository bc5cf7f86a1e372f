//! The door holds against a crowd: time and number are limited, and who asks after the server's health is answered.

use std::time::Duration;

use rustix::process::Signal;
use server::http::limits::Limits;
use server::open_files;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::app::{App, PATIENCE, UPLOAD_MAX, eventually, form};
use crate::support::ports::free_ports;
use crate::support::process::Process;
use crate::support::raw::{Answer, Raw};

/// A time that is over soon.
const SOON: Duration = Duration::from_millis(200);

fn head(app: &App, line: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: {}\r\nx-user-id: alice\r\n", app.address)
}

async fn health(app: &App) -> Answer {
    let mut client = Raw::connect(app.address).await;
    client.write(format!("{}\r\n", head(app, "GET /health"))).await;
    client.answer().await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_beside_two_thousand_sockets() {
    const SOCKETS: usize = 2_000;
    if open_files::raise_limit() < 3 * SOCKETS as u64 {
        eprintln!("SKIPPED health_is_answered_beside_two_thousand_sockets: this process may not have so many open");
        return;
    }
    let app =
        App::start_limited(UPLOAD_MAX, Limits { connections: 500, connections_per_address: 500, ..Limits::default() })
            .await;
    let mut sockets = Vec::new();
    for n in 0..SOCKETS {
        let mut socket = Raw::connect(app.address).await;
        // Half of them have begun a head.
        if n % 2 == 0 {
            socket.write("GET / HTTP/1.1\r\nhost:").await;
        }
        sockets.push(socket);
    }
    assert_eq!(health(&app).await.status, 200);
    // The first that came made room for the last.
    for socket in sockets.iter_mut().take(SOCKETS - 500) {
        socket.closed(PATIENCE).await;
    }
    let newest = sockets.last_mut().unwrap();
    newest.write(format!("{}\r\n", head(&app, "GET /health"))).await;
    assert_eq!(newest.answer().await.status, 200, "the last that came is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_when_all_connections_are_at_work() {
    let app =
        App::start_limited(UPLOAD_MAX, Limits { connections: 4, connections_per_address: 4, ..Limits::default() })
            .await;
    let upload = format!(
        "{}content-type: multipart/form-data; boundary=b\r\ncontent-length: 1000\r\n\r\n\
         --b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\n",
        head(&app, "POST /files")
    );
    let mut uploads = Vec::new();
    for _ in 0..4 {
        let mut client = Raw::connect(app.address).await;
        client.write(&upload).await;
        uploads.push(client);
    }
    eventually("the uploads have begun", async || app.contents().1 == 4).await;
    for _ in 0..40 {
        assert_eq!(health(&app).await.status, 200);
    }
    let mut other = Raw::connect(app.address).await;
    other.write(format!("{}\r\n", head(&app, "GET /files"))).await;
    let refused = other.answer().await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "crowded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    for upload in &mut uploads {
        upload.0.shutdown().await.unwrap();
    }
    drop(uploads);
    eventually("there is room again", async || app.get("alice", "/files").await.status() == 200).await;
}

#[tokio::test]
async fn heads_that_do_not_finish_and_kept_connections_that_stay_idle_are_closed() {
    let limits = Limits { head_time: SOON, idle_time: SOON * 4, ..Limits::default() };
    let app = App::start_limited(UPLOAD_MAX, limits).await;
    let mut silent = Raw::connect(app.address).await;
    let mut half = Raw::connect(app.address).await;
    half.write("GET /health HT").await;
    assert!(silent.closed(PATIENCE).await.is_empty() && half.closed(PATIENCE).await.is_empty());
    let mut dripping = Raw::connect(app.address).await;
    let drip = async {
        // Fails once it is closed.
        while dripping.0.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SOON / 10).await;
        }
    };
    timeout(PATIENCE, drip).await.expect("a dripping head goes on for ever");
    let mut kept = Raw::connect(app.address).await;
    for _ in 0..2 {
        kept.write(format!("{}\r\n", head(&app, "GET /health"))).await;
        assert_eq!(kept.answer().await.status, 200);
    }
    assert!(kept.closed(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused_and_hear_it() {
    let app = App::start().await;
    let status = async |more: String| {
        let mut client = Raw::connect(app.address).await;
        client.write(format!("{}{more}\r\n", head(&app, "GET /health"))).await;
        let answer = client.answer().await;
        if answer.status != 200 {
            assert_eq!(answer.problem(), "rejected");
        }
        answer.status
    };
    assert_eq!(status(String::new()).await, 200);
    // Two are in the head already.
    assert_eq!(status("x: y\r\n".repeat(97)).await, 200);
    assert_eq!(status("x: y\r\n".repeat(99)).await, 431);
    assert_eq!(status(format!("x: {}\r\n", "y".repeat(60 * 1024))).await, 200);
    assert_eq!(status(format!("x: {}\r\n", "y".repeat(65 * 1024))).await, 431);
    assert_eq!(status(format!("x: {}\r\n", "y".repeat(5 << 20))).await, 431);
    assert_eq!(status("what isn't a header\r\n".to_owned()).await, 400);
}

#[tokio::test]
async fn bodies_that_drip_come_to_an_end() {
    let limits = Limits { body_time: SOON, stall_time: SOON, bytes_per_s: 1_000_000, ..Limits::default() };
    let app = App::start_limited(UPLOAD_MAX, limits).await;
    let file = app.upload("alice", "a", "x").await;
    let share = format!("{}content-type: application/json\r\n", head(&app, &format!("POST /shares/{}", file.id)));
    let upload = format!("{}content-type: multipart/form-data; boundary=b\r\n", head(&app, "POST /files"));
    for (head, body) in [
        (share, "{\"target_user_id\":"),
        (upload, "--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\nx"),
    ] {
        let client = Raw::connect(app.address).await;
        let (mut read, mut write) = client.0.into_split();
        let drip = app.state.tasks.spawn(async move {
            write.write_all(format!("{head}content-length: 30000\r\n\r\n{body}").as_bytes()).await.unwrap();
            while write.write_all(b" ").await.is_ok() {
                tokio::time::sleep(SOON / 20).await;
            }
        });
        let mut answer = [0; 12];
        timeout(PATIENCE, read.read_exact(&mut answer)).await.expect("it goes on for ever").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        drip.abort();
    }
    assert_eq!(app.contents().1, 0);
}

#[tokio::test]
async fn a_download_that_nobody_reads_is_closed() {
    let limits = Limits { stall_time: SOON, ..Limits::default() };
    let app = App::start_limited(64 << 20, limits).await;
    // More than both ends' buffers hold.
    let file = app.upload("alice", "a", vec![7; 32 << 20]).await;
    let mut reader = Raw::connect(app.address).await;
    reader.write(format!("{}\r\n", head(&app, &format!("GET /files/{}", file.id)))).await;
    tokio::time::sleep(SOON * 5).await;
    let got = reader.closed(PATIENCE).await;
    assert!(got.starts_with(b"HTTP/1.1 200") && got.len() < 32 << 20, "{} bytes came", got.len());
    let whole = app.get("alice", &format!("/files/{}", file.id)).await.bytes().await.unwrap();
    assert_eq!(whole.len(), 32 << 20, "who reads gets it all");
}

#[tokio::test]
async fn a_small_answer_comes_in_one_piece_on_a_socket_that_does_not_wait() {
    let app = App::start().await;
    let file = app.upload("alice", "a", vec![b'x'; 2_000]).await;
    let mut client = Raw::connect(app.address).await;
    for path in [format!("/files/{}", file.id), format!("/files/{}/meta", file.id)] {
        for _ in 0..20 {
            client.write(format!("{}\r\n", head(&app, &format!("GET {path}")))).await;
            let mut piece = vec![0; 16 * 1024];
            let length = timeout(PATIENCE, client.0.read(&mut piece)).await.unwrap().unwrap();
            let text = String::from_utf8_lossy(&piece[..length]);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            assert_eq!(announced, body.len().to_string(), "the rest of the body comes later");
        }
    }
}

#[tokio::test]
async fn who_is_still_sending_when_the_answer_comes_hears_it() {
    let app = App::start().await;
    let multipart = "content-type: multipart/form-data; boundary=b\r\n";
    let file = "--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\n";
    let post = head(&app, "POST /files");
    let length = 40 * UPLOAD_MAX;
    let nobody = post.replace("x-user-id: alice\r\n", "");
    for (head, status, problem) in [
        (format!("{post}{multipart}content-length: {length}\r\n\r\n{file}"), 413, "too-large"),
        (format!("{post}{multipart}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{file}"), 413, "too-large"),
        (format!("{nobody}{multipart}content-length: {length}\r\n\r\n{file}"), 401, "missing-user"),
        (
            format!("{post}{multipart}origin: http://evil.example\r\ncontent-length: {length}\r\n\r\n"),
            403,
            "foreign-caller",
        ),
        (format!("{}content-length: {length}\r\n\r\n", head_of(&app, "POST /lab/runs")), 413, "too-large"),
    ] {
        let mut client = Raw::connect(app.address).await;
        client.write(&head).await;
        // Writes all of it before it looks at the answer, as simple clients do.
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..38 {
            client.write(&piece).await;
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{head}");
    }
    app.assert_no_trace().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_answered_and_stay_open_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let (port_word, data) = (port.to_string(), dir.path().to_str().unwrap());
    let words = ["serve", "--port", &port_word, "--peers", "0", "--data-dir", data];
    let server = Process::start(&[&words[..], &["--max-connections-per-address", "8"]].concat());
    server.says("Grapevine is ready");
    let before = server.sockets();
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut client = Raw::connect(([127, 0, 0, 1], port).into()).await;
        client.write("GET /health HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        open.push(client);
        // Those within the limit, and some on their way out, however slow this machine is.
        let more = server.sockets() - before;
        assert!(more <= 8 + 50, "{more} sockets are open");
    }
}

fn head_of(app: &App, line: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: {}\r\n", app.address)
}

#[tokio::test]
async fn http_1_0_without_a_host_is_enough_to_ask_after_health() {
    let app = App::start().await;
    let ask = async |path: &str| {
        let mut client = Raw::connect(app.address).await;
        client.write(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        client.answer().await.status
    };
    assert_eq!([ask("/health").await, ask("/ready").await, ask("/peers").await], [200, 200, 403]);
}

/// RFC 9110, section 7.2; RFC 9112, section 3.2.
#[tokio::test]
async fn a_request_names_one_host_and_one_user() {
    let app = App::start().await;
    let host = format!("host: {}\r\n", app.address);
    let (user, twice) = ("x-user-id: alice\r\n", "x-user-id: alice\r\nx-user-id: bob\r\n");
    let local = format!("GET http://{}/files HTTP/1.1\r\n", app.address);
    let foreign = "GET http://evil.example/files HTTP/1.1\r\n";
    let origin = |other: &str| format!("POST /peers HTTP/1.1\r\n{host}origin: http://{}\r\n{other}", app.address);
    for (head, status, problem) in [
        (format!("GET /files HTTP/1.1\r\n{user}"), 400, "bad-request"),
        ("GET /health HTTP/1.1\r\n".to_owned(), 400, "bad-request"),
        (format!("GET /files HTTP/1.1\r\n{user}{host}{host}"), 400, "bad-request"),
        (format!("GET /files HTTP/1.1\r\n{user}{host}host: evil.example\r\n"), 400, "bad-request"),
        (format!("GET /health HTTP/1.0\r\n{host}{host}"), 400, "bad-request"),
        (format!("GET /files HTTP/1.1\r\n{user}host: a b\r\n"), 400, "bad-request"),
        (format!("{foreign}{user}{host}"), 403, "foreign-caller"),
        (format!("{local}{user}host: evil.example\r\n"), 200, ""),
        (format!("GET /files HTTP/1.1\r\n{host}{twice}"), 400, "bad-request"),
        (format!("GET /files HTTP/1.1\r\n{host}"), 401, "missing-user"),
        (origin("origin: http://evil.example\r\n"), 400, "bad-request"),
        (format!("GET /ws HTTP/1.1\r\n{host}"), 426, "not-a-websocket"),
    ] {
        let mut client = Raw::connect(app.address).await;
        client.write(format!("{head}\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{head}");
        if status != 200 {
            assert_eq!(answer.problem(), problem, "{head}");
        }
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{head}");
        assert_eq!(answer.header("connection") == Some("upgrade"), status == 426, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_open_files_are_shared_out_and_health_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let command = format!(
        "ulimit -n 256; exec {} serve --port {port} --peer-port 0 --data-dir {}",
        env!("CARGO_BIN_EXE_grapevine"),
        dir.path().display()
    );
    let server = Process::shell(&command);
    server.says_all(&["few open files: the process may have 256 files open", "Grapevine is ready"]);
    let address = ([127, 0, 0, 1], port).into();
    let mut halves = Vec::new();
    for _ in 0..250 {
        let mut half = Raw::connect(address).await;
        half.write(format!("GET /health HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n")).await;
        halves.push(half);
    }
    for _ in 0..10 {
        let mut client = Raw::connect(address).await;
        client.write(format!("GET /ready HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8_lossy(&answer.body).contains("few_open_files"));
    }
    let client = reqwest::Client::new();
    let upload = client.post(format!("http://127.0.0.1:{port}/files")).header("x-user-id", "alice");
    assert_eq!(upload.multipart(form("file", "a", "x")).send().await.unwrap().status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_right_after_the_start_is_a_clean_one() {
    for _ in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let words = ["serve", "--port", "0", "--peer-port", "0", "--peers", "3", "--data-dir"];
        let server = Process::start(&[&words[..], &[dir.path().to_str().unwrap()]].concat());
        server.says("");
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_start_of_linked_peers_warn_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [port, first, second, third] = free_ports();
    let peer_port = [first, second, third].into_iter().min().unwrap();
    let (port, peer_port) = (port.to_string(), peer_port.to_string());
    let words = ["serve", "--port", &port, "--peer-port", &peer_port, "--peers", "3", "--data-dir"];
    for _ in 0..10 {
        let server = Process::start(&[&words[..], &[dir.path().to_str().unwrap()]].concat());
        server.says_all(&["[Bridge] forwarding to", "Grapevine is ready"]);
        let (status, said) = server.stop();
        let warnings: Vec<String> = said.into_iter().filter(|line| line.contains("WARN")).collect();
        assert!(status.success());
        assert!(warnings.iter().all(|line| line.contains("trying the next port")), "{warnings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_catalogue_is_opened_is_a_clean_one() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = rusqlite::Connection::open(dir.path().join("grapevine.db")).unwrap();
    // Opening it takes as long as somebody else has it.
    catalogue.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE t (x)").unwrap();
    let words = ["serve", "--port", "0", "--peer-port", "0", "--data-dir", dir.path().to_str().unwrap()];
    let server = Process::start(&words);
    eventually("its data directory is locked", async || dir.path().join("lock").exists()).await;
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_stops_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["serve", "--port", "0", "--peer-port", "0", "--peers", "1", "--data-dir"];
    let server = Process::start(&[&words[..], &[dir.path().to_str().unwrap()]].concat());
    let ready = server.says("Grapevine is ready: open ");
    server.signal(Signal::HUP);
    let url = ready.split("open ").nth(1).unwrap().replace("/ui/", "/health");
    assert_eq!(reqwest::get(url.trim()).await.unwrap().status(), 200);
    server.signal(Signal::INT);
    assert!(server.ends().success());
}
