//! Behind a proxy: a real nginx, with the configuration that docs/PROXY.md gives, in front of the real server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use server::log_lines::Line;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::app::{App, PATIENCE, eventually, form};
use crate::support::browser::Browser;
use crate::support::nginx::Nginx;
use crate::support::ports::free_ports;
use crate::support::process::Process;

/// The name and the path that docs/PROXY.md uses.
const NAME: &str = "grape.example";
const PATH: &str = "/grapevine";
/// nginx's `proxy_read_timeout` here, instead of a minute: longer than the stream is silent on a busy machine.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A server with two fronts: one passes the path on, one cuts it off.
struct Front {
    client: Client,
    passes: String,
    cuts: String,
    dir: TempDir,
    _nginx: Nginx,
    _server: Process,
}

impl Front {
    async fn start() -> Self {
        let (dir, [port, passes, cuts]) = (tempfile::tempdir().unwrap(), free_ports());
        let data = dir.path().join("data").display().to_string();
        let place = ["serve", "--port", &port.to_string(), "--peers", "1", "--peer-port", "0", "--data-dir", &data];
        let server = Process::start(&[&place[..], &["--allowed-host", NAME, "--base-path", PATH]].concat());
        server.says(Line::Ready(None));
        let (map, site) = documented();
        let read_timeout = format!("proxy_read_timeout {}s;", READ_TIMEOUT.as_secs());
        let site = |listen: u16, end: &str| {
            site.replace("listen 8080;", &format!("listen 127.0.0.1:{listen};"))
                .replace("http://127.0.0.1:8000;", &format!("http://127.0.0.1:{port}{end};"))
                .replace("proxy_read_timeout 60s;", &read_timeout)
        };
        let nginx = Nginx::start(&format!("{map}{}{}", site(passes, ""), site(cuts, "/")), cuts).await;
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .resolve(NAME, SocketAddr::from(([127, 0, 0, 1], 0))) // the port is the address's
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let [passes, cuts] = [passes, cuts].map(|port| format!("{NAME}:{port}"));
        Self { client, passes, cuts, dir, _nginx: nginx, _server: server }
    }

    /// A call as the page at `site` makes it.
    fn call(&self, site: &str, method: Method, path: &str) -> RequestBuilder {
        let call = self.client.request(method, format!("http://{site}{path}"));
        call.header("origin", format!("http://{site}")).header("x-user-id", "alice")
    }

    async fn get(&self, site: &str, path: &str) -> Response {
        self.call(site, Method::GET, path).send().await.unwrap()
    }

    /// How many uploads are under way at the server, with the bytes that it has of them.
    fn arriving(&self) -> Vec<u64> {
        let folder = std::fs::read_dir(self.dir.path().join("data/contents/tmp")).unwrap();
        folder.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).collect()
    }
}

/// What docs/PROXY.md gives for nginx: the map, which stands once, and the server.
fn documented() -> (String, String) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROXY.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```nginx\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let (map, server) = block.split_once("\nserver {").unwrap();
    (map.to_owned(), format!("\nserver {{{server}"))
}

fn location(answer: &Response) -> &str {
    answer.headers()["location"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_cut_the_path_off_or_pass_it_on_on_any_port() {
    let front = Front::start().await;
    for site in [&front.passes, &front.cuts] {
        assert_eq!(location(&front.get(site, PATH).await), "/grapevine/");
        assert_eq!(location(&front.get(site, "/grapevine/").await), "/grapevine/ui/");
        assert_eq!(front.get(site, "/grapevine/ui/").await.status(), 200);
        let upload = front.call(site, Method::POST, "/grapevine/files").multipart(form("uploaded", "a.txt", "heard"));
        let upload = upload.send().await.unwrap();
        assert_eq!(upload.status(), 201, "{site}: a page of the proxy's name, on its port, may do this");
        let file = location(&upload).to_owned();
        assert!(file.starts_with("/grapevine/files/"), "{file}");
        assert_eq!(front.get(site, &file).await.text().await.unwrap(), "heard");
        let mut stream = format!("ws://{site}/grapevine/ws").into_client_request().unwrap();
        stream.headers_mut().insert("origin", format!("http://{site}").parse().unwrap());
        let address = site.replace(NAME, "127.0.0.1");
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = tokio_tungstenite::client_async(stream, socket).await.unwrap();
        let snapshot = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
        assert!(snapshot.to_text().unwrap().contains("snapshot"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_through_a_proxy_arrives_while_it_is_sent_and_may_be_large() {
    const PIECE: usize = 1 << 20;
    let front = Front::start().await;
    let (pieces, mut feed) = mpsc::channel::<Vec<u8>>(1);
    let body = Body::wrap_stream(stream::poll_fn(move |context| {
        feed.poll_recv(context).map(|piece| piece.map(Ok::<_, std::io::Error>))
    }));
    let form = Form::new().part("uploaded", Part::stream(body).file_name("large"));
    let upload = front.call(&front.passes, Method::POST, "/grapevine/files").multipart(form);
    let arriving = || front.arriving();
    let send = async move {
        // nginx refuses a body of more than 1 MiB unless it is told otherwise.
        for _ in 0..4 {
            pieces.send(vec![7; PIECE]).await.unwrap();
        }
        eventually("the server has a part of what isn't sent yet", async || {
            arriving().iter().any(|bytes| *bytes >= PIECE as u64)
        })
        .await;
    };
    let (answer, ()) = tokio::join!(upload.send(), send);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.json::<Value>().await.unwrap()["size_bytes"], 4 * PIECE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_outlives_the_proxys_time_out() {
    let front = Front::start().await;
    let address = front.passes.replace(NAME, "127.0.0.1");
    let (mut stream, _) = connect_async(format!("ws://{address}/grapevine/ws")).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < READ_TIMEOUT * 2 {
        let message = timeout(PATIENCE, stream.next()).await.unwrap();
        assert!(matches!(message, Some(Ok(ref message)) if !message.is_close()), "it ended: {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_description_work_under_a_sub_path() {
    let front = Front::start().await;
    let site = front.cuts.replace(NAME, "127.0.0.1");
    let browser = Browser::open(&format!("http://{site}/grapevine/")).await;
    browser.sees("connection", "Connected").await;
    browser.counts("[data-testid='peer-row'][data-state='up']", 1).await;

    let (sent, saved) = (front.dir.path().join("song.txt"), front.dir.path().join("saved"));
    std::fs::write(&sent, "heard it through the grapevine").unwrap();
    browser.chooses("[data-testid='upload-input']", &sent).await;
    browser.sees("file-row", "song.txt").await;
    browser.commands("Browser.setDownloadBehavior", json!({"behavior": "allow", "downloadPath": saved})).await;
    browser.clicks("[data-testid='file-row'] button[aria-label^='Download']").await;
    eventually("the file is downloaded", async || {
        std::fs::read_to_string(saved.join("song.txt")).is_ok_and(|text| text == "heard it through the grapevine")
    })
    .await;

    browser.runs("setTimeout(() => location.assign('../docs/')); return true").await.unwrap();
    browser.finds("#operations-files-files_upload").await;
    browser.is_so(&format!("return document.querySelector('.servers select').value === '{PATH}'")).await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_server_writes_begins_with_the_base_path() {
    let app = App::start_under(PATH).await;
    let by_alice = |method, path: &str| app.by("alice", method, path);
    for prefix in ["", PATH] {
        for (path, to) in [("/", "/grapevine/ui/"), ("/ui", "/grapevine/ui/"), ("/docs", "/grapevine/docs/")] {
            let answer = by_alice(Method::GET, &format!("{prefix}{path}")).send().await.unwrap();
            assert_eq!(location(&answer), to, "{prefix}{path}");
        }
        let upload = by_alice(Method::POST, &format!("{prefix}/files")).multipart(form("uploaded", "a", "x"));
        assert!(location(&upload.send().await.unwrap()).starts_with("/grapevine/files/"));
        let api: Value = app.get("alice", &format!("{prefix}/openapi.json")).await.json().await.unwrap();
        assert_eq!(api["servers"], json!([{ "url": PATH }]));
        assert_eq!(by_alice(Method::GET, &format!("{prefix}/ws")).send().await.unwrap().status(), 426);
    }
    let page = app.get("alice", "/grapevine/files?limit=1").await;
    let next = page.headers()["link"].to_str().unwrap();
    assert!(next.starts_with("</grapevine/files?limit=1&after="), "{next}");
    assert_eq!(app.get("alice", PATH).await.headers()["location"], "/grapevine/ui/");
    assert_eq!(app.get("alice", "/grapevines/files").await.status(), 404);
    let docs = app.get("alice", "/docs/swagger-initializer.js").await.text().await.unwrap();
    assert!(docs.contains("\"../openapi.json\""), "{docs}");
}

#[tokio::test]
async fn what_a_request_says_of_its_proxy_changes_nothing() {
    let app = App::start().await;
    let forwarded = |call: RequestBuilder| {
        call.header("forwarded", "host=evil.example;proto=https;for=10.0.0.1")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-prefix", "/elsewhere")
    };
    let upload = app.by("alice", Method::POST, "/files").multipart(form("uploaded", "a", "x"));
    let upload = forwarded(upload).send().await.unwrap();
    assert!(location(&upload).starts_with("/files/"), "{}", location(&upload));
    let foreign = app.by("alice", Method::POST, "/peers").header("origin", "https://evil.example");
    assert_eq!(forwarded(foreign).send().await.unwrap().status(), 403);
}

#[test]
fn a_base_path_that_is_also_one_of_the_apis_own_is_refused() {
    for path in ["/files", "/files/x", "/ui", "/docs/", "/lab", "/openapi.json"] {
        assert!(server::http::path_like(&path.parse().unwrap()).is_some(), "{path}");
    }
    assert_eq!(server::http::path_like(&"/grapevine/files".parse().unwrap()), None);
    let refused = Command::new(env!("CARGO_BIN_EXE_grapevine")).args(["serve", "--base-path", "/files"]).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.lines().count() == 1 && said.contains("can't be told from the server's own /files"), "{said}");
}
