//! Peers as processes of their own, which are killed, stopped and started again while changes are made. What they say
//! is what a person reads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::ports::free_ports;
use crate::support::process::{PATIENCE, Process};
use crate::support::stranger::Stranger;

/// How many peers there are.
const PEERS: usize = 6;
/// How many changes are made at once.
const CHANGES: usize = 50;
/// How soon a peer that is stopped must be seen as lost. Where changes are made its neighbours need about 4 s, and up to
/// 3 s more where these are only announced to it (`Liveness`, `Broadcast::announce`); the tests share two cores.
const LOST_WITHIN: Duration = Duration::from_secs(30);

/// `grapevine peer` with a data directory of its own; it can be killed and started again.
struct Peer {
    process: Option<Process>,
    words: Vec<String>,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Peer {
    fn start(contact: Option<&Self>, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut words = vec!["peer".to_owned(), "--port".to_owned(), port.to_string()];
        words.extend(["--data-dir".to_owned(), dir.path().to_str().unwrap().to_owned()]);
        if let Some(contact) = contact {
            words.extend(["--peer".to_owned(), contact.addr.to_string()]);
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let mut peer = Self { process: None, words, addr, _dir: dir };
        peer.restart();
        peer
    }

    /// With the same command.
    fn restart(&mut self) {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        self.process = Some(Process::start(&words));
        self.process().says(&format!("[P2P] listening {}", self.addr));
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// How the others name it.
    fn name(&self) -> String {
        let line = self.process().says("[P2P] listening");
        let (_, name) = line.split_once("peer.id=").unwrap();
        name.split_whitespace().next().unwrap().to_owned()
    }

    /// Waits until it has said that it applied all of these.
    fn applies(&self, files: &[String]) {
        let lines: Vec<String> = files.iter().map(|file| applied(file)).collect();
        self.process().says_all(&lines);
    }

    fn has_applied(&self, file: &str) -> bool {
        self.process().count(&applied(file)) > 0
    }

    /// Hands over changes to it, and waits until it has them on disk.
    async fn takes(&self, files: &[String]) {
        let mut client = Stranger::client(self.addr).await;
        client.submits(files).await;
        client.is_accepted(files.len()).await;
    }
}

fn applied(file: &str) -> String {
    format!("[P2P] event applied {file} -> v1")
}

/// Each knows the address of the first, and of nobody else.
fn overlay() -> Vec<Peer> {
    let first = Peer::start(None, &[]);
    let others: Vec<Peer> = (1..PEERS).map(|_| Peer::start(Some(&first), &[])).collect();
    for peer in &others {
        peer.process().says("[P2P] connected");
    }
    std::iter::once(first).chain(others).collect()
}

/// Names that occur in no other one.
fn files(about: &str) -> Vec<String> {
    (0..CHANGES).map(|number| format!("{about}-{number:03}")).collect()
}

/// Waits until all know the same.
async fn agree(peers: &[Peer]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut catalogues = Vec::new();
        for peer in peers {
            catalogues.push(Stranger::client(peer.addr).await.hears_the_catalogue().await);
        }
        if catalogues.windows(2).all(|pair| pair[0] == pair[1]) {
            return;
        }
        assert!(Instant::now() < end, "they don't agree: {catalogues:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_killed_peers_cost_the_others_nothing_and_miss_nothing_once_they_are_back() {
    let mut peers = overlay();
    let (before, meanwhile, after) = (files("before"), files("meanwhile"), files("after"));
    let killed = [2, 4];
    peers[0].takes(&before).await;
    for peer in &peers {
        peer.applies(&before);
    }
    for place in killed {
        // With it all that was applied before is on disk.
        peers[place].takes(&[format!("mark-{place}")]).await;
    }
    let names = killed.map(|place| peers[place].name());

    let mut client = Stranger::client(peers[0].addr).await;
    client.submits(&meanwhile).await;
    for place in killed {
        peers[place].kill();
    }
    client.is_accepted(CHANGES).await;
    peers[0].takes(&after).await;
    for place in [0, 1, 3, 5] {
        peers[place].applies(&meanwhile);
        peers[place].applies(&after);
    }

    for place in killed {
        peers[place].restart();
        peers[place].applies(&after);
    }
    agree(&peers).await;
    assert_eq!(killed.map(|place| peers[place].name()), names, "they are who they were");
    for place in killed {
        let again = before.iter().find(|file| peers[place].has_applied(file));
        assert_eq!(again, None, "it was on its disk");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_stopped_peer_which_has_everything_once_it_goes_on() {
    let peers = overlay();
    let (frozen, others) = peers.split_last().unwrap();
    let (before, meanwhile) = (files("before"), files("meanwhile"));
    others[0].takes(&before).await;
    frozen.applies(&before);
    let name = frozen.name();

    frozen.process().freeze();
    let stopped = Instant::now();
    others[0].takes(&meanwhile).await;
    for peer in others {
        peer.applies(&meanwhile);
    }
    let mut lost = 0;
    for peer in others {
        let links = peer.process().count(&format!("[P2P] connected {}", frozen.addr));
        let left = LOST_WITHIN.saturating_sub(stopped.elapsed());
        peer.process().says_times(&format!("[P2P] lost neighbour {name}"), links, left);
        lost += links;
    }
    assert!(lost > 0, "it had no neighbours");
    assert!(!frozen.has_applied(&meanwhile[0]));

    frozen.process().thaw();
    frozen.applies(&meanwhile);
    agree(&peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_peer_is_gone_for_good_and_a_newcomer_joins_through_another() {
    let mut peers = overlay();
    let (before, after) = (files("before"), files("after"));
    peers[0].takes(&before).await;
    for peer in &peers {
        peer.applies(&before);
    }
    let mut first = peers.remove(0);
    first.kill();
    let newcomer = Peer::start(Some(&peers[2]), &["--inject", "hello-world:1"]);
    newcomer.applies(&before);
    for peer in &peers {
        peer.applies(&["hello-world".to_owned()]);
    }
    newcomer.takes(&after).await;
    peers.push(newcomer);
    for peer in &peers {
        peer.applies(&after);
    }
    agree(&peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_break_the_format_close_the_link_with_a_reason_that_is_logged_and_counted() {
    let peer = Peer::start(None, &[]);
    let mut stranger = Stranger::connect(peer.addr).await;
    stranger.write(&[0xff; 64]).await;
    let line = peer.process().says(&format!("[P2P] refused {}: bad frame: ", stranger.addr()));
    assert!(line.contains("offences=1"), "{line}");
    let mut original = Stranger::connect(peer.addr).await;
    original.write(b"{\"type\": 1}\n").await;
    let line = peer.process().says(&format!("[P2P] refused {}: bad line: ", original.addr()));
    assert!(line.contains("offences=2"), "{line}");
    let mut client = Stranger::client(peer.addr).await;
    client.write(&[0xff; 64]).await;
    let line = peer.process().says(&format!("[P2P] refused {}: bad frame: ", client.addr()));
    assert!(line.contains("offences=3"), "{line}");
    peer.takes(&files("after")).await;
}
