//! The bridge between a real broker and an entry peer that the test plays.

use std::net::SocketAddr;
use std::time::Duration;

use server::bridge::{self, BridgeConfig};
use server::broker::embedded::{Embedded, EmbeddedPublisher};
use server::broker::{Broker, Message, Outcome, Publisher};
use server::dial::HostPort;
use server::hub::Hub;
use server::shutdown::Tasks;
use shared::ids::PeerId;
use shared::wire::frame::{self, Decoder};
use shared::wire::peer::{Fingerprint, Hello, MAJOR, MINOR, Partner, PeerMessage};
use shared::wire::stream::{Event, PartState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::rabbit::Rabbit;

/// Far beyond what one step takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const CLUSTER: &str = "test";

#[tokio::test]
async fn a_change_is_acknowledged_only_when_the_entry_peer_has_accepted_it() {
    let entry = Entry::listen().await;
    let mut rig = Rig::start(&[&entry]).await;
    rig.send(Uuid::new_v4(), file("f1")).await;
    let mut link = entry.accept().await;
    let (request, id) = link.submitted().await;
    assert_eq!(id, "f1");
    assert!(rig.settles_within(Duration::from_millis(100)).await.is_none(), "acknowledged too early");
    let catalogue = Fingerprint::default();
    link.send(&PeerMessage::Ping { nonce: 7, catalogue, partner: Partner::You }).await;
    assert_eq!(link.receive().await, PeerMessage::Pong { nonce: 7, catalogue, partner: Partner::Open });
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    assert!(rig.hub.read(|overview| overview.log.iter().any(|entry| matches!(&entry.event,
        Event::FileForwarded { file, .. } if file.as_str() == "f1"))));
    assert_eq!(rig.hub.read(|overview| overview.bridge.clone()), Some(PartState::Up));
    rig.stop().await;
}

#[tokio::test]
async fn what_one_entry_peer_did_not_answer_goes_to_the_next() {
    let (first, second) = (Entry::listen().await, Entry::listen().await);
    let mut rig = Rig::start(&[&first, &second]).await;
    rig.send(Uuid::new_v4(), file("f1")).await;
    rig.send(Uuid::new_v4(), file("f2")).await;
    let mut link = first.accept().await;
    link.submitted().await;
    let (request, answered) = link.submitted().await;
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!((answered.as_str(), rig.settled().await), ("f2", Outcome::Taken));
    drop((link, first));
    let mut link = second.accept().await;
    let (request, unanswered) = link.submitted().await;
    assert_eq!(unanswered, "f1");
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    rig.stop().await;
}

#[tokio::test]
async fn an_entry_peer_that_does_not_answer_is_left_for_the_next() {
    let (silent, second) = (Entry::listen().await, Entry::listen().await);
    let mut rig = Rig::start(&[&silent, &second]).await;
    rig.send(Uuid::new_v4(), file("f1")).await;
    let mut held = silent.accept().await;
    held.submitted().await;
    let mut link = second.accept().await;
    let (request, _) = link.submitted().await;
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    rig.stop().await;
}

#[tokio::test]
async fn what_nobody_can_understand_is_set_aside_and_the_rest_goes_on() {
    let entry = Entry::listen().await;
    let mut rig = Rig::start(&[&entry]).await;
    let mut link = entry.accept().await;
    for poison in [&b"[1,2]"[..], b"\xff\xfe", b"{}"] {
        rig.send(Uuid::new_v4(), poison.to_vec()).await;
        assert!(matches!(rig.settled().await, Outcome::Rejected(_)));
    }
    rig.send(Uuid::new_v4(), file("refused")).await;
    let (request, _) = link.submitted().await;
    link.send(&PeerMessage::Refused { request, reason: "no".to_owned() }).await;
    assert!(matches!(rig.settled().await, Outcome::Rejected(reason) if reason.ends_with("no")));
    assert_eq!(rig.broker.dead_letters().await.unwrap(), 4);
    rig.send(Uuid::new_v4(), br#"{"event":"file.shared","file_id":"f1","target":"bob"}"#.to_vec()).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    rig.send(Uuid::new_v4(), file("good")).await;
    let (request, id) = link.submitted().await;
    assert_eq!(id, "good");
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    let told = |event: &Event| matches!(event, Event::DeadLettered { .. });
    let count = rig.hub.read(|overview| overview.log.iter().filter(|entry| told(&entry.event)).count());
    assert_eq!(count, 4);
    rig.stop().await;
}

#[tokio::test]
async fn a_repeated_message_is_submitted_once() {
    let entry = Entry::listen().await;
    let mut rig = Rig::start(&[&entry]).await;
    let mut link = entry.accept().await;
    let id = Uuid::new_v4();
    // Twice while it is under way, once after it was accepted.
    rig.send(id, file("f1")).await;
    rig.send(id, file("f1")).await;
    let (request, _) = link.submitted().await;
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!((rig.settled().await, rig.settled().await), (Outcome::Taken, Outcome::Taken));
    rig.send(id, file("f1")).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    rig.send(Uuid::new_v4(), file("f2")).await;
    assert_eq!(link.submitted().await.1, "f2");
    rig.stop().await;
}

#[tokio::test]
async fn every_change_gets_through_although_rabbitmq_is_killed_under_the_bridge() {
    const COUNT: usize = 200;
    let mut rabbit = Rabbit::start().await;
    let entry = Entry::listen().await;
    let tasks = Tasks::default();
    let (_entries, receiver) = watch::channel(vec![entry.addr.into()]);
    tasks.spawn(bridge::run(rabbit.broker(), receiver, None, config(), tasks.token().clone()));
    let mut publisher = rabbit.broker().publisher().await.unwrap();
    let all: Vec<_> = (0..COUNT).map(|number| format!("f{number}")).collect();
    let message = |id: &String| Message { id: Uuid::new_v4(), routing_key: "file.uploaded".to_owned(), body: file(id) };
    publisher.send(all.iter().map(message).collect()).await.unwrap();
    let outcomes = publisher.settled().await.unwrap();
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Taken), "{outcomes:?}");
    let mut link = entry.accept().await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < COUNT {
        let (request, id) = link.submitted().await;
        seen.insert(id);
        if seen.len() == COUNT / 4 {
            rabbit.kill();
            rabbit.restart().await;
        }
        link.send(&PeerMessage::Accepted { request }).await;
    }
    tasks.shut_down(LIMIT).await;
}

fn file(id: &str) -> Vec<u8> {
    format!(r#"{{"event":"file.uploaded","file_id":"{id}","version":1}}"#).into_bytes()
}

fn config() -> BridgeConfig {
    BridgeConfig { cluster: CLUSTER.to_owned() }
}

/// A bridge that runs between an embedded broker and some entry peers.
struct Rig {
    tasks: Tasks,
    broker: Embedded,
    publisher: EmbeddedPublisher,
    hub: Hub,
    outcomes: Vec<Outcome>,
    _entries: watch::Sender<Vec<HostPort>>,
}

impl Rig {
    async fn start(entries: &[&Entry]) -> Self {
        let (tasks, broker, hub) = (Tasks::default(), Embedded::default(), Hub::new(10, true));
        let (sender, receiver) = watch::channel(entries.iter().map(|entry| entry.addr.into()).collect());
        let bridge = bridge::run(broker.clone(), receiver, Some(hub.clone()), config(), tasks.token().clone());
        tasks.spawn(bridge);
        let publisher = broker.publisher().await.unwrap();
        Self { tasks, broker, publisher, hub, outcomes: Vec::new(), _entries: sender }
    }

    async fn send(&mut self, id: Uuid, body: Vec<u8>) {
        let message = Message { id, routing_key: "file.uploaded".to_owned(), body };
        self.publisher.send(vec![message]).await.unwrap();
    }

    /// The next final outcome.
    async fn settled(&mut self) -> Outcome {
        self.settles_within(LIMIT).await.expect("nothing was settled")
    }

    async fn settles_within(&mut self, limit: Duration) -> Option<Outcome> {
        let settling = async {
            while self.outcomes.is_empty() {
                let outcomes = self.publisher.settled().await.unwrap();
                self.outcomes
                    .extend(outcomes.into_iter().map(|(_, outcome)| outcome).filter(|it| *it != Outcome::Held));
            }
            self.outcomes.remove(0)
        };
        timeout(limit, settling).await.ok()
    }

    async fn stop(self) {
        self.tasks.shut_down(LIMIT).await;
    }
}

/// Where an entry peer listens.
struct Entry {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Entry {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    /// The bridge's connection, after both said hello.
    async fn accept(&self) -> Link {
        let (stream, _) = timeout(LIMIT, self.listener.accept()).await.expect("the bridge doesn't come").unwrap();
        let mut link = Link { stream, decoder: Decoder::default() };
        let PeerMessage::Hello(hello) = link.receive().await else { panic!("the bridge doesn't say hello") };
        assert_eq!((hello.listen, hello.cluster.as_str()), (None, CLUSTER));
        let answer = Hello { major: MAJOR, minor: MINOR, peer: PeerId([9; 32]), listen: Some(self.addr), ..hello };
        link.send(&PeerMessage::Hello(answer)).await;
        link
    }
}

struct Link {
    stream: TcpStream,
    decoder: Decoder,
}

impl Link {
    async fn send(&mut self, message: &PeerMessage) {
        self.stream.write_all(&frame::encode(message).unwrap()).await.unwrap();
    }

    async fn receive(&mut self) -> PeerMessage {
        let mut chunk = [0; 1024];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return message;
            }
            let read = timeout(LIMIT, self.stream.read(&mut chunk)).await.expect("the bridge is silent").unwrap();
            assert!(read > 0, "the bridge hung up");
            self.decoder.push(&chunk[..read]);
        }
    }

    /// The number and the file of the next submission.
    async fn submitted(&mut self) -> (u64, String) {
        match self.receive().await {
            PeerMessage::Submit { request, update } => (request, update.file.to_string()),
            other => panic!("not a submission: {other:?}"),
        }
    }
}
