//! The whole way of an upload, with real processes: REST, outbox, broker, bridge, peers. What is killed is killed with
//! SIGKILL.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use server::log_lines::Line;
use shared::gossip::config::VERSION_STEP;
use shared::ids::Version;
use shared::wire::condition::Condition;
use shared::wire::rest::{FileOut, PeerOut, ReadyOut};

use crate::support::app::eventually;
use crate::support::ports::free_ports;
use crate::support::process::{PATIENCE, Process, applied, forwarded};
use crate::support::rabbit::Rabbit;

/// How many files are uploaded around a crash.
const UPLOADS: usize = 200;
/// How many uploads are under way at once.
const AT_ONCE: usize = 8;

/// A server of its own data directory; it can be killed and started again.
pub(crate) struct Server {
    process: Option<Process>,
    words: Vec<String>,
    url: String,
    client: reqwest::Client,
    dir: tempfile::TempDir,
}

impl Server {
    /// `grapevine serve` with `peers` local peers and more flags.
    pub(crate) fn start(peers: u32, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let mut words: Vec<String> = ["serve", "--port", &port.to_string(), "--peers", &peers.to_string()]
            .into_iter()
            .chain(["--peer-port", "0", "--data-dir", dir.path().to_str().unwrap()])
            .map(str::to_owned)
            .collect();
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let mut server = Self { process: None, words, url: format!("http://127.0.0.1:{port}"), client, dir };
        server.restart();
        server
    }

    fn restart(&mut self) {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let process = Process::start(&words);
        process.says(Line::Ready(None));
        self.process = Some(process);
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// As it should be.
    fn stop(&mut self) {
        assert!(self.process.take().unwrap().terminate().success());
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    pub(crate) async fn upload(&self, name: String, content: Vec<u8>) -> reqwest::Result<FileOut> {
        let form = Form::new().part("uploaded", Part::bytes(content).file_name(name));
        let request = self.client.post(format!("{}/files", self.url)).header("X-User-Id", "alice").multipart(form);
        let response = request.send().await?.error_for_status()?;
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json().await
    }

    async fn download(&self, id: &str) -> Vec<u8> {
        let request = self.client.get(format!("{}/files/{id}", self.url)).header("X-User-Id", "alice");
        request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let request = self.client.get(format!("{}{path}", self.url)).header("X-User-Id", "alice");
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Replaces a file of this version, and gives the version that comes of it.
    async fn replace(&self, id: &str, version: u64) -> u64 {
        let form = Form::new().part("uploaded", Part::bytes(b"more".as_slice()).file_name("README.md"));
        let request = self.client.put(format!("{}/files/{id}", self.url)).header("X-User-Id", "alice").multipart(form);
        let response = request.header("If-Match", format!("\"{version}\"")).send().await.unwrap();
        let response = response.error_for_status().unwrap();
        let etag = response.headers()["etag"].to_str().unwrap().to_owned();
        let file: FileOut = response.json().await.unwrap();
        assert_eq!(etag, format!("\"{}\"", file.version));
        file.version
    }

    /// What is said of peers that know later versions, if any do.
    async fn is_behind(&self) -> Option<String> {
        let ready: ReadyOut = self.get("/ready").await;
        let raised = ready.conditions.into_iter().find(|raised| raised.name == Condition::CatalogueBehind);
        raised.map(|raised| raised.detail)
    }

    /// Uploads [`UPLOADS`] files; calls `meanwhile` once a quarter of them is acknowledged. What fails is left out.
    async fn upload_many(&mut self, meanwhile: impl AsyncFnOnce(&mut Self)) -> BTreeMap<String, Vec<u8>> {
        let mut acknowledged = BTreeMap::new();
        let mut meanwhile = Some(meanwhile);
        let names: Vec<usize> = (0..UPLOADS).collect();
        for group in names.chunks(AT_ONCE) {
            let uploads = group.iter().map(|n| {
                let content = format!("content of file {n} ").repeat(n + 1).into_bytes();
                let upload = self.upload(format!("file-{n}"), content.clone());
                async move { upload.await.map(|file| (file.id, content)) }
            });
            for uploaded in futures_util::future::join_all(uploads).await {
                acknowledged.extend(uploaded.ok());
            }
            if acknowledged.len() >= UPLOADS / 4
                && let Some(meanwhile) = meanwhile.take()
            {
                meanwhile(self).await;
            }
        }
        acknowledged
    }

    /// Waits until each of these files is known by `peers` local peers.
    async fn reached_by(&self, peers: u32, ids: &BTreeMap<String, Vec<u8>>) {
        let reached = async {
            let mut missing: Vec<&String> = ids.keys().collect();
            while !missing.is_empty() {
                let mut still = Vec::new();
                for id in missing {
                    let file: FileOut = self.get(&format!("/files/{id}/meta")).await;
                    if file.peers_reached != Some(peers) {
                        still.push(id);
                    }
                }
                missing = still;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE * 2, reached).await;
        let ready: ReadyOut = self.get("/ready").await;
        assert!(reached.is_ok(), "not every acknowledged file reached {peers} peers; {ready:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_reaches_every_peer_and_says_so_in_the_originals_words() {
    let server = Server::start(5, &[]);
    let file = server.upload("README.md".to_owned(), b"hello".to_vec()).await.unwrap();
    server.process().says(forwarded(&file.id));
    server.reached_by(5, &[(file.id.clone(), Vec::new())].into()).await;
    assert_eq!(server.process().count(applied(&file.id)), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed_in_the_middle_of_200_uploads() {
    let mut server = Server::start(5, &[]);
    let acknowledged = server
        .upload_many(async |server: &mut Server| {
            // Killed while a group of uploads is under way.
            let group: Vec<_> = (0..AT_ONCE).map(|n| server.upload(format!("cut-{n}"), vec![7; 200_000])).collect();
            let uploads = futures_util::future::join_all(group);
            drop(tokio::time::timeout(Duration::from_millis(20), uploads).await);
            server.kill();
            server.restart();
        })
        .await;
    assert_eq!(acknowledged.len(), UPLOADS);
    for (id, content) in &acknowledged {
        assert_eq!(server.download(id).await, *content);
    }
    server.reached_by(5, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_rabbitmq_is_killed_in_the_middle_of_200_uploads() {
    let mut rabbit = Rabbit::prepare().await;
    // Uploads are accepted while the broker is away.
    let mut server = Server::start(5, &["--amqp-url", &rabbit.url()]);
    let early = server.upload("early".to_owned(), b"before the broker".to_vec()).await.unwrap();
    let ready: ReadyOut = server.get("/ready").await;
    assert!(ready.ready && ready.outbox >= Some(1), "{ready:?}");
    rabbit.restart().await;
    server.reached_by(5, &[(early.id.clone(), Vec::new())].into()).await;

    let acknowledged = server
        .upload_many(async |_: &mut Server| {
            rabbit.kill().await;
            rabbit.restart().await;
        })
        .await;
    assert_eq!(acknowledged.len(), UPLOADS, "every upload was accepted, with the broker or without");
    server.reached_by(5, &acknowledged).await;
    for id in acknowledged.keys() {
        let times = server.process().count(applied(id));
        assert_eq!(times, 5, "{id} was applied once by each peer, however often it was delivered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn separate_processes_follow_the_originals_instructions_and_survive_kills() {
    let rabbit = Rabbit::start().await;
    let url = rabbit.url();
    let [one, two, three] = free_ports().map(|port| port.to_string());
    let at = |port: &str| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let [entry, other] = [&one, &two].map(|port| at(port).to_string());
    let first = || Process::start(&["peer", "--port", &one, "--inject", "track_a:1"]);
    let first_peer = first();
    first_peer.says(Line::Listening(at(&one)));
    let second_peer = Process::start(&["peer", "--port", &two, "--peer", &entry]);
    second_peer.says(Line::Connected(at(&one)));
    first_peer.says(Line::Learned(at(&two)));
    let third_peer = Process::start(&["peer", "--port", &three, "--peer", &other]);
    third_peer.says_all(&[Line::Learned(at(&one)).to_string(), applied("track_a")]);

    let bridge = Process::start(&["bridge", "--peer", &entry, "--amqp-url", &url]);
    let server = Server::start(0, &["--no-bridge", "--amqp-url", &url]);
    let file = server.upload("README.md".to_owned(), b"one".to_vec()).await.unwrap();
    bridge.says(forwarded(&file.id));
    for peer in [&first_peer, &second_peer, &third_peer] {
        peer.says(applied(&file.id));
    }
    bridge.kill();

    let bridge = Process::start(&["bridge", "--peer", &entry, "--peer", &other, "--amqp-url", &url]);
    bridge.says(Line::Forwarding(at(&one)));
    first_peer.freeze();
    let file = server.upload("frozen".to_owned(), b"three".to_vec()).await.unwrap();
    let begun = Instant::now();
    bridge.says(forwarded(&file.id));
    assert!(begun.elapsed() < Duration::from_secs(4), "a stopped entry peer holds it up: {:?}", begun.elapsed());
    second_peer.says(applied(&file.id));
    first_peer.thaw();
    first_peer.kill();
    let file = server.upload("again".to_owned(), b"two".to_vec()).await.unwrap();
    bridge.says(forwarded(&file.id));
    second_peer.says(applied(&file.id));
    third_peer.says(applied(&file.id));

    let first_again = first();
    first_again.says(applied(&file.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_that_peers_are_ahead_of_says_so_and_its_next_version_goes_past_theirs() {
    let mut server = Server::start(2, &[]);
    let file = server.upload("README.md".to_owned(), b"one".to_vec()).await.unwrap();
    server.reached_by(2, &[(file.id.clone(), Vec::new())].into()).await;
    let (catalogue, copy) = (server.dir.path().join("grapevine.db"), server.dir.path().join("copy"));
    server.stop();
    std::fs::copy(&catalogue, &copy).unwrap();
    server.restart();
    assert_eq!(server.replace(&file.id, 1).await, 2);
    server.reached_by(2, &[(file.id.clone(), Vec::new())].into()).await;
    server.stop();
    std::fs::rename(&copy, &catalogue).unwrap();
    server.restart();

    let behind = format!("{} (v1 here, v2 there)", file.id);
    eventually("it is told", async || server.is_behind().await.is_some_and(|told| told.contains(&behind))).await;
    let meta = async || server.get::<FileOut>(&format!("/files/{}/meta", file.id)).await;
    assert_eq!((meta().await.version, meta().await.peers_reached), (1, Some(0)), "nobody has this version");
    assert_eq!(server.replace(&file.id, 1).await, 3);
    server.reached_by(2, &[(file.id.clone(), Vec::new())].into()).await;
    eventually("it is over", async || server.is_behind().await.is_none()).await;

    // Somebody else publishes under this id.
    let peers: Vec<PeerOut> = server.get("/peers").await;
    let (entry, injected) = (peers[0].addr.to_string(), format!("{}:9", file.id));
    let _other = Process::start(&["peer", "--port", "0", "--peer", &entry, "--inject", &injected]);
    let behind = format!("{} (v3 here, v9 there)", file.id);
    eventually("it is told", async || server.is_behind().await.is_some_and(|told| told.contains(&behind))).await;
    assert_eq!(meta().await.peers_reached, Some(0));
    let delete = server.client.delete(format!("{}/files/{}", server.url, file.id)).header("X-User-Id", "alice");
    assert_eq!(delete.header("if-match", "\"3\"").send().await.unwrap().status(), StatusCode::NO_CONTENT);
    eventually("it is over", async || server.is_behind().await.is_none()).await;
    server.process().says(Line::Forwarded(&file.id.parse().unwrap(), Version(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_version_goes_past_none_that_a_newcomer_would_not_take() {
    let server = Server::start(1, &[]);
    let file = server.upload("README.md".to_owned(), b"one".to_vec()).await.unwrap();
    server.reached_by(1, &[(file.id.clone(), Vec::new())].into()).await;
    let peers: Vec<PeerOut> = server.get("/peers").await;
    let (entry, last) = (peers[0].addr.to_string(), VERSION_STEP);
    let _other = Process::start(&["peer", "--port", "0", "--peer", &entry, "--inject", &format!("{}:{last}", file.id)]);
    let behind = format!("{} (v1 here, v{last} there)", file.id);
    eventually("it is told", async || server.is_behind().await.is_some_and(|told| told.contains(&behind))).await;
    assert_eq!(server.replace(&file.id, 1).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_local_peer_comes_back_and_catches_up() {
    let server = Server::start(3, &[]);
    let peers: Vec<PeerOut> = server.get("/peers").await;
    let act = |id: String, action: &'static str| {
        let request = server.client.post(format!("{}/peers/{id}/actions", server.url)).header("X-User-Id", "alice");
        request.json(&BTreeMap::from([("action", action)])).send()
    };
    let killed = act(peers[0].id.clone(), "kill").await.unwrap();
    assert!(killed.status().is_success(), "{}", killed.text().await.unwrap());
    let file = server.upload("meanwhile".to_owned(), b"x".to_vec()).await.unwrap();
    server.reached_by(2, &[(file.id.clone(), Vec::new())].into()).await;
    let back = act(peers[0].id.clone(), "rejoin").await.unwrap();
    assert!(back.status().is_success(), "{}", back.text().await.unwrap());
    server.reached_by(3, &[(file.id, Vec::new())].into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_with_few_words_and_stops_without_a_warning() {
    let mut server = Server::start(5, &[]);
    let file = server.upload("README.md".to_owned(), b"hello".to_vec()).await.unwrap();
    server.reached_by(5, &[(file.id, Vec::new())].into()).await;
    let (status, lines) = server.process.take().unwrap().stop();
    assert!(status.success(), "{status}");
    let said = lines.join("\n");
    let ready = lines.iter().position(|line| line.contains(&Line::Ready(None).to_string())).unwrap();
    // Each peer listens and is heard of; the disk, bridge and broker. There were 47.
    assert!(ready <= 15, "{said}");
    assert!(!lines.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{said}");
}
