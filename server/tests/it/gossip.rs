//! Peers on real TCP: the few things that the simulator can't show.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use server::dial::{HostPort, Resolver};
use server::hub::Hub;
use server::peer::observer::Observers;
use server::peer::teller::Teller;
use server::peer::{self, PeerConfig, PeerHandle};
use server::shutdown::Tasks;
use shared::ids::{FileId, Version};
use shared::wire::condition::Condition;
use shared::wire::event::PeerState;
use shared::wire::overview::Overview;
use shared::wire::peer::{Fingerprint, MAJOR, Partner, PeerMessage};
use tokio::net::{TcpListener, TcpStream};

use crate::support::stranger::{Stranger, hello};

const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    hub: Hub,
    tasks: Tasks,
}

impl Cluster {
    fn new() -> Self {
        Self { hub: Hub::new(1000, false), tasks: Tasks::default() }
    }

    async fn peer(&self, contact: Option<&PeerHandle>, config: PeerConfig) -> PeerHandle {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.peer_on(listener, contact, config).await
    }

    async fn peer_on(&self, listener: TcpListener, contact: Option<&PeerHandle>, config: PeerConfig) -> PeerHandle {
        let contacts = contact.map(|contact| contact.addr().into()).into_iter().collect();
        peer::spawn(listener, PeerConfig { contacts, ..config }, self.observers(), &self.tasks).await.unwrap()
    }

    fn observers(&self) -> Observers {
        Observers::default().and(Arc::new(Teller::new(self.hub.clone())))
    }

    /// Waits until the overview is as wished.
    async fn until(&self, what: &str, holds: impl Fn(&Overview) -> bool) {
        let mut reader = self.hub.subscribe();
        let waiting = async {
            while !self.hub.read(&holds) {
                reader.next_frame().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "not {what}: {:#?}", self.hub.read(|overview| overview.recent(10).log));
    }

    async fn known_by(&self, count: u32, file: &FileId, version: u64) {
        let what = format!("{file} v{version} known by {count}");
        self.until(&what, |overview| overview.reached(file, Version(version)) == Some(count)).await;
    }
}

fn injecting(file: &str, version: u64) -> PeerConfig {
    PeerConfig { inject: vec![(file.parse().unwrap(), Version(version))], ..PeerConfig::default() }
}

fn keeping(dir: &Path) -> PeerConfig {
    PeerConfig { data_dir: Some(dir.to_owned()), ..PeerConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_killed_has_closed_what_it_keeps() {
    let (cluster, dir) = (Cluster::new(), tempfile::tempdir().unwrap());
    let inject = (0..300).map(|n| (format!("track_{n}").parse().unwrap(), Version(1))).collect();
    let peer = cluster.peer(None, PeerConfig { inject, ..keeping(dir.path()) }).await;
    cluster.known_by(1, &"track_299".parse().unwrap(), 1).await;
    peer.kill().await;
    let log = dir.path().join("peer.sqlite-wal").metadata();
    assert!(log.is_err(), "somebody still writes there: {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_coordinator_a_chain_of_joins_becomes_one_overlay_that_outlives_its_first_peer() {
    let cluster = Cluster::new();
    let first = cluster.peer(None, injecting("track_a", 1)).await;
    let second = cluster.peer(Some(&first), PeerConfig::default()).await;
    let third = cluster.peer(Some(&second), PeerConfig::default()).await;
    cluster.known_by(3, &"track_a".parse().unwrap(), 1).await;
    let (third_id, first_id) = (third.id(), first.id());
    cluster.until("third linked with first", |o| o.peers[&third_id].neighbours.contains(&first_id)).await;
    first.kill().await;
    let fourth = cluster.peer(Some(&third), injecting("track_b", 1)).await;
    cluster.known_by(3, &"track_b".parse().unwrap(), 1).await;
    for peer in [second, third, fourth] {
        peer.leave().await;
    }
    cluster.until("nobody left", |overview| overview.running() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_is_found_by_the_others_and_catches_up() {
    let (cluster, dir) = (Cluster::new(), tempfile::tempdir().unwrap());
    let returning = cluster.peer(None, keeping(dir.path())).await;
    let other = cluster.peer(Some(&returning), injecting("before", 1)).await;
    cluster.known_by(2, &"before".parse().unwrap(), 1).await;
    let (id, addr) = (returning.id(), returning.addr());
    returning.kill().await;
    let _more = cluster.peer(Some(&other), injecting("meanwhile", 1)).await;
    cluster.known_by(2, &"meanwhile".parse().unwrap(), 1).await;
    let listener = TcpListener::bind(addr).await.unwrap();
    let returned = cluster.peer_on(listener, None, keeping(dir.path())).await;
    assert_eq!(returned.id(), id, "a peer keeps its id");
    cluster.known_by(3, &"meanwhile".parse().unwrap(), 1).await;
    cluster.known_by(3, &"before".parse().unwrap(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_closes_the_link_with_a_reason_and_harms_nobody_else() {
    let cluster = Cluster::new();
    let peer = cluster.peer(None, PeerConfig::default()).await;
    let mut other_major = Stranger::connect(peer.addr()).await;
    other_major.say(&hello(MAJOR + 1, "grapevine")).await;
    assert!(other_major.hears_goodbye().await.contains("protocol version"));
    let mut other_cluster = Stranger::connect(peer.addr()).await;
    other_cluster.say(&hello(MAJOR, "elsewhere")).await;
    assert!(other_cluster.hears_goodbye().await.contains("cluster"));
    let mut rude = Stranger::connect(peer.addr()).await;
    rude.say(&PeerMessage::Ping { nonce: 1, catalogue: Fingerprint::default(), partner: Partner::You }).await;
    assert!(rude.hears_goodbye().await.contains("before hello"));
    let mut oversized = Stranger::connect(peer.addr()).await;
    oversized.write(&[0xff; 64]).await;
    assert_eq!(oversized.hear(|message| matches!(message, PeerMessage::Goodbye { .. })).await, None);
    let mut good = Stranger::connect(peer.addr()).await;
    good.say(&hello(MAJOR, "grapevine")).await;
    let (nonce, catalogue) = (42, Fingerprint::default());
    good.say(&PeerMessage::Ping { nonce, catalogue, partner: Partner::You }).await;
    let is_pong = |message: &PeerMessage| matches!(message, PeerMessage::Pong { nonce: 42, catalogue: told, .. } if *told == catalogue);
    assert!(good.hear(is_pong).await.is_some());
}

#[tokio::test]
async fn a_name_that_leads_nowhere_costs_nothing_and_one_that_moves_is_found_again() {
    let cluster = Cluster::new();
    let listen = async |host: u8, port: u16| TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), port)).await.unwrap();
    let listener = listen(1, 0).await;
    let port = listener.local_addr().unwrap().port();
    let first = cluster.peer_on(listener, None, PeerConfig::default()).await;
    let host = Arc::new(AtomicU8::new(1));
    let now_at = Arc::clone(&host);
    let find = move |name: &str| match name {
        "moves" => Ok(vec![IpAddr::from([127, 0, 0, now_at.load(Ordering::Relaxed)])]),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let contacts = ["nowhere", "moves"].map(|name| HostPort::new(name, port).unwrap()).to_vec();
    let config = PeerConfig { contacts, resolver: Resolver::Fixed(Arc::new(find)), ..PeerConfig::default() };
    let second = peer::spawn(listen(1, 0).await, config, cluster.observers(), &cluster.tasks).await.unwrap();
    let neighbours = |peer| move |overview: &Overview| overview.links().iter().any(|(a, b)| *a == peer || *b == peer);
    cluster.until("joined through the name", neighbours(first.id())).await;
    // What it had is lost with it; whoever is there now is somebody else.
    let lost = first.id();
    first.kill().await;
    host.store(2, Ordering::Relaxed);
    let third = cluster.peer_on(listen(2, port).await, None, PeerConfig::default()).await;
    cluster.until("joined at the name's new address", neighbours(third.id())).await;
    assert!(lost != third.id() && cluster.hub.read(neighbours(second.id())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_server_is_shown_with_what_it_told_of_itself() {
    let (here, there) = (Cluster::new(), Cluster::new());
    let ours = here.peer(None, PeerConfig::default()).await;
    let inject = vec![("f".parse().unwrap(), Version(1))];
    let theirs = there.peer(Some(&ours), PeerConfig { inject, ..PeerConfig::default() }).await;
    let (id, addr) = (theirs.id(), theirs.addr());
    here.until("told of with its files", |overview| {
        overview.peers.get(&id).is_some_and(|view| {
            (view.state, view.addr, view.files) == (PeerState::Remote, addr, Some(1))
                && view.neighbours.contains(&ours.id())
        })
    })
    .await;
    theirs.leave().await;
    here.until("forgotten", |overview| !overview.peers.contains_key(&id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_with_peers_of_one_identity_both_tell_it_and_the_younger_peer_stands_by() {
    let (older, younger) = (Cluster::new(), Cluster::new());
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] =
        dirs.each_ref().map(|dir| PeerConfig { data_dir: Some(dir.path().to_owned()), ..PeerConfig::default() });
    let first = older.peer(None, one.clone()).await;
    let id = first.id();
    first.leave().await;
    for entry in std::fs::read_dir(dirs[0].path()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), dirs[1].path().join(entry.file_name())).unwrap();
    }
    let first = older.peer(None, one).await;
    let second = younger.peer(Some(&first), other).await;
    assert_eq!([first.id(), second.id()], [id; 2]);
    let is_told = |overview: &Overview| overview.conditions.contains_key(&Condition::SameIdentity);
    let state = |overview: &Overview| (overview.peers[&id].state, overview.running());
    younger.until("standing by", |overview| is_told(overview) && state(overview) == (PeerState::StandsBy, 0)).await;
    older.until("told at the other, too", |overview| is_told(overview) && state(overview) == (PeerState::Up, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let cluster = Cluster::new();
    let peer = cluster.peer(None, PeerConfig::default()).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(peer.addr()).await.unwrap());
    }
    let other = cluster.peer(Some(&peer), PeerConfig::default()).await;
    let (id, other_id) = (peer.id(), other.id());
    cluster.until("linked", |overview| overview.peers[&id].neighbours.contains(&other_id)).await;
    drop(crowd);
}
