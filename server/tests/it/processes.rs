//! Peers as processes of their own, which are killed, stopped and started again while changes are made. What they say
//! is what a person reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use server::log_lines::Line;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::ports::free_ports;
use crate::support::process::{PATIENCE, Process, applied};
use crate::support::stranger::Stranger;

/// How many peers there are.
const PEERS: usize = 6;
/// How many changes are made at once.
const CHANGES: usize = 50;
/// How soon a peer that is stopped must be seen as lost. Where changes are made its neighbours need about 4 s, and up to
/// 3 s more where these are only announced to it (`Liveness`, `Broadcast::announce`); the tests share two cores.
const LOST_WITHIN: Duration = Duration::from_secs(30);

/// How long a stop lasts in which connections wait for a peer.
const STOP: Duration = Duration::from_secs(2);

/// `grapevine peer` with a data directory of its own; it can be killed and started again.
struct Peer {
    process: Option<Process>,
    words: Vec<String>,
    addr: SocketAddr,
    dir: TempDir,
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
        let mut peer = Self { process: None, words, addr, dir };
        peer.restart();
        peer
    }

    /// With the same command.
    fn restart(&mut self) {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        self.process = Some(Process::start(&words));
        self.process().says(Line::Listening(self.addr));
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// How the others name it.
    fn name(&self) -> String {
        let line = self.process().says(Line::Listening(self.addr));
        let (_, name) = line.split_once("peer.id=").unwrap();
        name.split_whitespace().next().unwrap().to_owned()
    }

    /// Waits until it has said that it applied all of these.
    fn applies(&self, files: &[String]) {
        let lines: Vec<String> = files.iter().map(|file| applied(file)).collect();
        self.process().says_all(&lines);
    }

    fn has_applied(&self, file: &str) -> bool {
        self.process().count(applied(file)) > 0
    }

    /// Hands over changes to it, and waits until it has them on disk.
    async fn takes(&self, files: &[String]) {
        let mut client = Stranger::client(self.addr).await;
        client.submits(files).await;
        client.is_accepted(files.len()).await;
    }
}

/// Each knows the address of the first, and of nobody else.
fn overlay() -> Vec<Peer> {
    let first = Peer::start(None, &[]);
    let others: Vec<Peer> = (1..PEERS).map(|_| Peer::start(Some(&first), &[])).collect();
    for peer in &others {
        peer.process().says(Line::Connected(first.addr));
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
        let links = peer.process().count(Line::Connected(frozen.addr));
        let left = LOST_WITHIN.saturating_sub(stopped.elapsed());
        peer.process().says_times(Line::Lost(&name, frozen.addr, ""), links, left);
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
    let line = peer.process().says(Line::Refused(stranger.addr(), "bad frame: "));
    assert!(line.contains("offences=1"), "{line}");
    let mut original = Stranger::connect(peer.addr).await;
    original.write(b"{\"type\": \n").await;
    let line = peer.process().says(Line::Refused(original.addr(), "bad line: "));
    assert!(line.contains("offences=2"), "{line}");
    let mut client = Stranger::client(peer.addr).await;
    client.write(&[0; 4]).await;
    let line = peer.process().says(Line::Refused(client.addr(), "bad frame: an empty frame"));
    assert!(line.contains("offences=3"), "{line}");
    peer.takes(&files("after")).await;
}

/// Says one event and closes, from an address of its own, as the original's bridge does.
async fn bring(to: SocketAddr, file: &str) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let line = format!("{{\"type\": \"event\", \"file_id\": \"{file}\", \"version\": 1, \"ts\": 0}}\n");
    stream.write_all(line.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn short_connections_that_bring_an_event_each_are_all_heard_however_many_come() {
    let peer = Peer::start(None, &[]);
    for number in 0..500 {
        bring(peer.addr, &format!("quick-{number}")).await;
    }
    peer.process().says_times("[P2P] event applied quick-", 500, PATIENCE);
    peer.process().freeze();
    for number in 0..300 {
        bring(peer.addr, &format!("waiting-{number}")).await;
    }
    tokio::time::sleep(STOP).await;
    peer.process().thaw();
    peer.process().says_times("[P2P] event applied waiting-", 300, PATIENCE);
    assert_eq!(peer.process().count("refused"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_heard_as_an_original_hears_them_and_what_isnt_understood_is_said() {
    let peer = Peer::start(None, &[]);
    let mut stream = TcpStream::connect(peer.addr).await.unwrap();
    let said = concat!(
        "  {\"type\": \"event\", \"file_id\": \"spaces\", \"version\": 1.0}\n",
        "{\"type\": \"event\", \"file_id\": \"\", \"version\": 1}\n\n",
        "{\"type\": \"state\", \"files\": {\"state\": \"1\"}}\n",
        "{\"type\": \"event\", \"file_id\": \"no-end\", \"version\": \"1\"}",
    );
    stream.write_all(said.as_bytes()).await.unwrap();
    drop(stream);
    for file in ["spaces", "state", "no-end"] {
        peer.applies(&[file.to_owned()]);
    }
    let line = peer.process().says("[P2P] not understood: 127.0.0.1: no usable \"file_id\" in a line");
    assert!(line.contains("lines=1"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_at_a_peers_port_and_an_api_in_a_peers_place_are_called_by_their_name() {
    let peer = Peer::start(None, &[]);
    let mut browser = TcpStream::connect(peer.addr).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    peer.process().says("bad frame: this is HTTP: is this the API's address?");

    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lost = Peer::start(None, &["--peer", &api.local_addr().unwrap().to_string()]);
    let (mut stream, _) = api.accept().await.unwrap();
    stream.read_u8().await.unwrap();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let text = "[P2P] can't join through 127.0.0.1:";
    let line = lost.process().says(text);
    assert!(line.contains("this is HTTP: is this the API's address?"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_nobody_says_why_once_for_each_reason_and_who_refuses_says_so_too() {
    let strict = Peer::start(None, &[]);
    let [unused] = free_ports();
    let nowhere = format!("127.0.0.1:{unused}");
    let lost = Peer::start(Some(&strict), &["--cluster", "another", "--peer", &nowhere, "--peer", "no.such.invalid:1"]);
    let here = strict.addr;
    let reasons = [
        format!("[P2P] can't join through {here}: cluster \"grapevine\"; this peer is in \"another\""),
        format!("[P2P] can't join through {nowhere}: Connection refused"),
        "[P2P] can't join through no.such.invalid:1: no.such.invalid can't be looked up".to_owned(),
    ];
    lost.process().says_all(&reasons);
    strict.process().says("cluster \"another\"; this peer is in \"grapevine\"");
    // The condition comes after ten seconds of attempts.
    lost.process().says("peer without neighbours: peer ");
    for reason in &reasons {
        assert_eq!(lost.process().count(reason), 1, "{reason}");
    }
    assert_eq!(strict.process().count("[P2P] refused 127.0.0.1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advertised_address_is_told_beside_the_one_listened_on_and_a_lost_neighbour_with_its_address() {
    let [port] = free_ports();
    let words = ["peer", "--host", "127.0.0.3", "--port", &port.to_string(), "--advertise", "127.0.0.1:9"];
    let hidden = Process::start(&words);
    hidden.says(format!("[P2P] listening 127.0.0.3:{port}, known as 127.0.0.1:9"));
    let mut first = Peer::start(None, &[]);
    let second = Peer::start(Some(&first), &[]);
    second.process().says(format!("[P2P] connected {}", first.addr));
    let name = first.name();
    first.kill();
    second.process().says(format!("[P2P] lost neighbour {name} at {}: ", first.addr));
}

fn copy(from: &TempDir) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_data_directory_makes_no_second_peer_of_one_identity_until_it_gets_a_new_one() {
    let other = Peer::start(None, &[]);
    let mut first = Peer::start(Some(&other), &["--inject", "kept:1"]);
    other.applies(&["kept".to_owned()]);
    first.takes(&["mark".to_owned()]).await;
    first.kill();
    let dir = copy(&first.dir);
    first.restart();
    first.process().says("[P2P] connected");
    let [port] = free_ports();
    let (port, path, contact) = (port.to_string(), dir.path().to_str().unwrap(), other.addr.to_string());
    let words = ["peer", "--port", &port, "--data-dir", path, "--peer", &contact];
    let twin = Process::start(&words);
    twin.says("has the same identity: was its data directory copied? Started once with --new-identity");
    first.process().says(format!("[P2P] the peer at 127.0.0.1:{port} has this one's identity"));
    assert_eq!(first.process().count("[P2P] lost neighbour"), 0, "the older one goes on");
    twin.kill();
    let cured = Process::start(&[&words[..], &["--new-identity"]].concat());
    cured.says("[P2P] connected");
    let mut client = Stranger::client(SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))).await;
    assert_eq!(client.hears_the_catalogue().await.count, 2, "it keeps what it knew");
    assert_eq!(cured.count("same identity"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_says_when_it_stops_what_has_happened_to_it() {
    let other = Peer::start(None, &["--inject", "f:1", "--inject", "g:1"]);
    let [port] = free_ports();
    let peer = Process::start(&["peer", "--port", &port.to_string(), "--peer", &other.addr.to_string()]);
    peer.says(applied("f"));
    peer.says(applied("g"));
    let (_, said) = peer.stop();
    let counted = said.iter().find(|line| line.contains("[P2P] counted ")).unwrap();
    for part in ["applied 2, ", "received.news 2", "neighbour_up 1", "closed.leaving 1"] {
        assert!(counted.contains(part), "{counted}");
    }
}
