//! Peers and bridges of the original system among ours, on real TCP. The original is played by a stand-in that does
//! what its source does: it dials every address that it knows and never reads there, says hello to whoever dials it,
//! tells all that it knows every two seconds, reads lines of at most 64 KiB, and closes on anything that it can't read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use server::hub::Hub;
use server::peer::observer::Observers;
use server::peer::teller::Teller;
use server::peer::{self, PeerConfig, PeerHandle};
use server::shutdown::Tasks;
use shared::gossip::config::Config;
use shared::ids::{FileId, Version};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::support::app::{PATIENCE, eventually};

/// What asyncio's `StreamReader` takes.
const LINE_LIMIT: u64 = 64 * 1024;
const DIAL_EVERY: Duration = Duration::from_millis(500);
const GOSSIP_EVERY: Duration = Duration::from_secs(2);
/// More than fit into one line that the original reads.
const MANY: usize = 2500;

#[derive(Default)]
struct Known {
    files: BTreeMap<String, u64>,
    peers: BTreeSet<String>,
    /// Connections that were closed because of what came.
    refused: usize,
}

#[derive(Clone)]
struct Original {
    addr: SocketAddr,
    known: Arc<Mutex<Known>>,
}

impl Original {
    async fn start(tasks: &Tasks, peers: &[SocketAddr], files: &[(&str, u64)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let known = Known {
            files: files.iter().map(|(file, version)| ((*file).to_owned(), *version)).collect(),
            peers: peers.iter().map(SocketAddr::to_string).collect(),
            refused: 0,
        };
        let original = Self { addr: listener.local_addr().unwrap(), known: Arc::new(Mutex::new(known)) };
        let token = tasks.token().clone();
        tasks.spawn(token.clone().run_until_cancelled_owned(original.clone().accept(listener, tasks.clone())));
        tasks.spawn(token.run_until_cancelled_owned(original.clone().gossip()));
        original
    }

    fn read<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.lock().unwrap())
    }

    fn version(&self, file: &str) -> Option<u64> {
        self.read(|known| known.files.get(file).copied())
    }

    fn knows_peer(&self, addr: SocketAddr) -> bool {
        self.read(|known| known.peers.contains(&addr.to_string()))
    }

    async fn accept(self, listener: TcpListener, tasks: Tasks) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let serve = tasks.token().clone().run_until_cancelled_owned(self.clone().serve(stream));
            tasks.spawn(serve);
        }
    }

    async fn serve(self, stream: TcpStream) {
        let (input, mut output) = stream.into_split();
        if !say(&mut output, &self.hello()).await {
            return;
        }
        let mut input = BufReader::new(input);
        loop {
            let mut line = Vec::new();
            match (&mut input).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) if line.last() == Some(&b'\n') && self.take(&line).is_some() => {}
                Ok(_) => return self.known.lock().unwrap().refused += 1,
            }
        }
    }

    /// `None`: the original would have raised an exception.
    fn take(&self, line: &[u8]) -> Option<()> {
        let message: Value = serde_json::from_slice(line).ok()?;
        let known = &mut *self.known.lock().unwrap();
        match message.as_object()?.get("type")?.as_str()? {
            "hello" => self.learn(known, message["from"].as_str()?),
            "state" => {
                for (file, version) in message["files"].as_object()? {
                    merge(known, file, version.as_u64()?);
                }
                message["peers"].as_array()?.iter().try_for_each(|addr| self.learn(known, addr.as_str()?))
            }
            "event" => {
                merge(known, message["file_id"].as_str()?, message["version"].as_u64()?);
                Some(())
            }
            _ => Some(()),
        }
    }

    fn learn(&self, known: &mut Known, addr: &str) -> Option<()> {
        // `host, port = addr.split(":")` fails with more than one colon.
        let (host, port) = addr.split_once(':')?;
        let usable = !host.is_empty() && port.parse::<u16>().is_ok();
        if usable && addr != self.addr.to_string() {
            known.peers.insert(addr.to_owned());
        }
        usable.then_some(())
    }

    fn hello(&self) -> Value {
        json!({"type": "hello", "from": self.addr.to_string(), "ts": 1})
    }

    async fn gossip(self) {
        let mut dialled: BTreeMap<String, TcpStream> = BTreeMap::new();
        let mut dial = tokio::time::interval(DIAL_EVERY);
        let mut tell = tokio::time::interval(GOSSIP_EVERY);
        loop {
            let told = tokio::select! {
                _ = dial.tick() => false,
                _ = tell.tick() => true,
            };
            let peers: Vec<String> = self.read(|known| known.peers.iter().cloned().collect());
            for addr in peers.into_iter().filter(|_| !told) {
                if !dialled.contains_key(&addr)
                    && let Ok(mut stream) = TcpStream::connect(&addr).await
                    && say(&mut stream, &self.hello()).await
                {
                    dialled.insert(addr, stream);
                }
            }
            let state = self.read(|known| {
                let from = self.addr.to_string();
                json!({"type": "state", "from": from, "files": known.files, "peers": known.peers, "ts": 3})
            });
            let all: Vec<String> = dialled.keys().filter(|_| told).cloned().collect();
            for addr in all {
                let Some(stream) = dialled.get_mut(&addr) else { continue };
                if !say(stream, &state).await {
                    dialled.remove(&addr);
                }
            }
        }
    }
}

fn merge(known: &mut Known, file: &str, version: u64) {
    let mine = known.files.entry(file.to_owned()).or_default();
    *mine = version.max(*mine);
}

trait Outlet: AsyncWriteExt + Unpin {}
impl Outlet for OwnedWriteHalf {}
impl Outlet for TcpStream {}

async fn say(output: &mut impl Outlet, message: &Value) -> bool {
    output.write_all(format!("{message}\n").as_bytes()).await.is_ok()
}

struct Cluster {
    hub: Hub,
    tasks: Tasks,
}

impl Cluster {
    fn new() -> Self {
        Self { hub: Hub::new(10_000, false), tasks: Tasks::default() }
    }

    async fn peer(&self, contacts: &[SocketAddr], config: PeerConfig) -> PeerHandle {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = PeerConfig { contacts: contacts.iter().map(|contact| (*contact).into()).collect(), ..config };
        let observers = Observers::default().and(Arc::new(Teller::new(self.hub.clone())));
        peer::spawn(listener, config, observers, &self.tasks).await.unwrap()
    }

    async fn known_by(&self, count: u32, file: &str, version: u64) {
        let id: FileId = file.parse().unwrap();
        let reached = async || self.hub.read(|overview| overview.reached(&id, Version(version))) == Some(count);
        eventually(&format!("{file} v{version} known by {count}"), reached).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn injecting(files: impl IntoIterator<Item = String>) -> PeerConfig {
    let inject = files.into_iter().map(|file| (file.parse().unwrap(), Version(1))).collect();
    PeerConfig { inject, ..PeerConfig::default() }
}

fn uuid(number: usize) -> String {
    format!("0193a5c0-7b1e-7000-8000-{number:012}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_that_joins_through_ours_learns_all_files_and_peers_and_is_heard_by_all() {
    let cluster = Cluster::new();
    let first = cluster.peer(&[], injecting((0..MANY).map(uuid))).await;
    let second = cluster.peer(&[first.addr()], PeerConfig::default()).await;
    let original = Original::start(&cluster.tasks, &[second.addr()], &[("theirs", 4)]).await;
    cluster.known_by(2, "theirs", 4).await;
    let all = (0..MANY).map(uuid).collect::<Vec<_>>();
    eventually("the original knows our files", async || all.iter().all(|file| original.version(file) == Some(1))).await;
    eventually("the original knows our peers", async || {
        [&first, &second].iter().all(|o| original.knows_peer(o.addr()))
    })
    .await;
    // By now its state is more than 64 KiB, which we read although no original would.
    original.known.lock().unwrap().files.insert("late".to_owned(), 2);
    cluster.known_by(2, "late", 2).await;
    assert_eq!(original.read(|known| known.refused), 0, "we say nothing that an original can't read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_joins_through_an_original_finds_its_peers_and_files() {
    let cluster = Cluster::new();
    let far = cluster.peer(&[], injecting(["ours".to_owned()])).await;
    let original = Original::start(&cluster.tasks, &[far.addr()], &[("theirs", 4)]).await;
    let near = cluster.peer(&[original.addr], PeerConfig::default()).await;
    cluster.known_by(2, "theirs", 4).await;
    cluster.known_by(2, "ours", 1).await;
    let linked = |o: &shared::wire::overview::Overview| o.peers[&near.id()].neighbours.contains(&far.id());
    eventually("both of ours are neighbours", async || cluster.hub.read(linked)).await;
    eventually("the original has ours", async || original.version("ours") == Some(1)).await;
    assert_eq!(original.read(|known| known.refused), 1, "only the hello that an original can't read");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_bridge_is_heard_by_all_although_it_closes_at_once() {
    let cluster = Cluster::new();
    let first = cluster.peer(&[], PeerConfig::default()).await;
    let _second = cluster.peer(&[first.addr()], PeerConfig::default()).await;
    for number in 1..=20 {
        let mut bridge = TcpStream::connect(first.addr()).await.unwrap();
        let line = format!("{{\"type\": \"event\", \"file_id\": \"f\", \"version\": {number}, \"ts\": 0}}\n");
        bridge.write_all(line.as_bytes()).await.unwrap();
        drop(bridge);
        cluster.known_by(2, "f", number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_lines_closes_the_link_and_harms_nobody() {
    let cluster = Cluster::new();
    let first = cluster.peer(&[], injecting(["before".to_owned()])).await;
    let original = Original::start(&cluster.tasks, &[first.addr()], &[]).await;
    eventually("the original has a file", async || original.version("before") == Some(1)).await;
    for junk in ["{]\n", "{\"type\":\n", &"{".repeat(2 << 20)] {
        assert!(is_closed_after(first.addr(), junk.as_bytes()).await);
    }
    let _second = cluster.peer(&[first.addr()], injecting(["after".to_owned()])).await;
    cluster.known_by(2, "after", 1).await;
    eventually("the original goes on", async || original.version("after") == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_turned_off_close_the_link_like_any_bad_frame() {
    let cluster = Cluster::new();
    let gossip = Config { original: false, ..Config::default() };
    let peer = cluster.peer(&[], PeerConfig { gossip, ..PeerConfig::default() }).await;
    let line = b"{\"type\": \"event\", \"file_id\": \"f\", \"version\": 1, \"ts\": 0}\n";
    assert!(is_closed_after(peer.addr(), line).await);
    assert_eq!(cluster.hub.read(|overview| overview.reached(&"f".parse().unwrap(), Version(1))), None);
}

/// Whether a peer closes a connection once these bytes came. (A reset is as good as an end: not all of them were read.)
async fn is_closed_after(addr: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // It may have been closed before all are written.
    drop(stream.write_all(bytes).await);
    let mut ignored = tokio::io::sink();
    tokio::time::timeout(PATIENCE, tokio::io::copy(&mut stream, &mut ignored)).await.is_ok()
}
