//! The bridge between a real broker and an entry peer that the test plays.
//!
//! Long because the rig and the entry peer stand with all that is done to them.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use server::bridge::{self, BridgeConfig};
use server::broker::embedded::{Embedded, EmbeddedPublisher};
use server::broker::{Broker, Message, Outcome, PREFETCH, Publisher};
use server::dial::HostPort;
use server::hub::Hub;
use server::shutdown::Tasks;
use shared::ids::PeerId;
use shared::wire::condition::Condition;
use shared::wire::event::{Event, PartState};
use shared::wire::frame::{self, Decoder};
use shared::wire::peer::{Fingerprint, Hello, MAJOR, MINOR, Partner, PeerMessage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::encryption::Printed;
use crate::support::app::eventually;
use crate::support::ports::free_ports;
use crate::support::process::Process;
use crate::support::rabbit::Rabbit;

/// Far beyond what one step takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
/// What must not take the 5 s after which a silent entry peer is given up.
const SOON: Duration = Duration::from_secs(4);
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
async fn what_one_entry_peer_is_slow_with_another_gets_within_a_second_and_the_first_answer_counts() {
    let (slow, second) = (Entry::listen().await, Entry::listen().await);
    let mut rig = Rig::start(&[&slow, &second]).await;
    let begun = Instant::now();
    rig.send(Uuid::new_v4(), file("f1")).await;
    let mut held = slow.accept().await;
    let (late, _) = held.submitted().await;
    let mut link = second.accept().await;
    let (request, _) = link.submitted().await;
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // The slow one's answer comes when nobody waits for it any more; the quick one is asked first from now on.
    held.send(&PeerMessage::Accepted { request: late }).await;
    rig.send(Uuid::new_v4(), file("f2")).await;
    let (request, id) = link.submitted().await;
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!((id.as_str(), rig.settled().await), ("f2", Outcome::Taken));
    assert_eq!(rig.broker.dead_letters().await.unwrap(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn the_deadline_follows_the_answers_that_were_measured() {
    let (quick, second) = (Entry::listen().await, Entry::listen().await);
    let mut rig = Rig::start(&[&quick, &second]).await;
    let mut link = quick.accept().await;
    for number in 0..20 {
        rig.send(Uuid::new_v4(), file(&format!("f{number}"))).await;
        let (request, _) = link.submitted().await;
        link.send(&PeerMessage::Accepted { request }).await;
        assert_eq!(rig.settled().await, Outcome::Taken);
    }
    let begun = Instant::now();
    rig.send(Uuid::new_v4(), file("late")).await;
    link.submitted().await;
    let mut other = second.accept().await;
    other.submitted().await;
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    rig.stop().await;
}

#[tokio::test]
async fn a_dial_that_hangs_does_not_hold_up_the_next_entry() {
    let (hanging, second) = (Entry::listen().await, Entry::listen().await);
    let begun = Instant::now();
    let mut rig = Rig::start(&[&hanging, &second]).await;
    rig.send(Uuid::new_v4(), file("f1")).await;
    // The system accepts the connection; nobody says hello on it.
    let mut link = second.accept().await;
    let (request, _) = link.submitted().await;
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!(rig.settled().await, Outcome::Taken);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    rig.stop().await;
}

#[tokio::test]
async fn a_change_that_is_put_off_is_offered_again_and_is_no_dead_letter() {
    let (full, second) = (Entry::listen().await, Entry::listen().await);
    let mut rig = Rig::start(&[&full, &second]).await;
    rig.send(Uuid::new_v4(), file("f1")).await;
    let (mut link, full_up) = (full.accept().await, "there are too many files".to_owned());
    for _ in 0..2 {
        let (request, id) = link.submitted().await;
        assert_eq!(id, "f1");
        link.send(&PeerMessage::Deferred { request, reason: full_up.clone() }).await;
    }
    let condition = Condition::ChangesDeferred;
    eventually("it is told", async || rig.hub.read(|overview| overview.conditions.contains_key(&condition))).await;
    let mut other = second.accept().await;
    let (request, id) = other.submitted().await;
    other.send(&PeerMessage::Accepted { request }).await;
    assert_eq!((id.as_str(), rig.settled().await), ("f1", Outcome::Taken));
    assert_eq!(rig.broker.dead_letters().await.unwrap(), 0);
    assert!(!rig.hub.read(|overview| overview.conditions.contains_key(&condition)), "it is over");
    rig.stop().await;
}

#[tokio::test]
async fn changes_that_are_put_off_do_not_hold_up_the_others() {
    const PUT_OFF: usize = PREFETCH as usize + 6;
    let full = Entry::listen().await;
    let mut rig = Rig::start(&[&full]).await;
    for number in 0..PUT_OFF {
        rig.send(Uuid::new_v4(), file(&format!("new{number}"))).await;
    }
    rig.send(Uuid::new_v4(), file("known")).await;
    let mut link = full.accept().await;
    loop {
        let (request, id) = link.submitted().await;
        if id == "known" {
            link.send(&PeerMessage::Accepted { request }).await;
            break;
        }
        link.send(&PeerMessage::Deferred { request, reason: "there are too many files".to_owned() }).await;
    }
    loop {
        match rig.settled().await {
            Outcome::Taken => break,
            // It is kept, as a dead letter.
            outcome => assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}"),
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_was_asked_of_an_entry_peer_that_is_needed_no_more_goes_to_the_other_at_once() {
    let (slow, second) = (Entry::listen().await, Entry::listen().await);
    let mut rig = Rig::start(&[&slow, &second]).await;
    rig.send(Uuid::new_v4(), file("f1")).await;
    let mut held = slow.accept().await;
    held.submitted().await;
    let mut link = second.accept().await;
    let (request, _) = link.submitted().await;
    // Answers take some time, so the next is not late yet when the first entry peer isn't needed any more.
    assert!(rig.settles_within(Duration::from_millis(300)).await.is_none());
    rig.send(Uuid::new_v4(), file("f2")).await;
    assert_eq!(held.submitted().await.1, "f2");
    link.send(&PeerMessage::Accepted { request }).await;
    assert_eq!((rig.settled().await, link.accepts_one().await.as_str()), (Outcome::Taken, "f2"));
    rig.send(Uuid::new_v4(), file("f3")).await;
    assert_eq!((rig.settled().await, link.accepts_one().await.as_str()), (Outcome::Taken, "f3"));
    assert!(slow.listener.accept().now_or_never().is_none(), "it was called again, as if the other were slow");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bridge_without_an_entry_says_how_many_messages_wait() {
    const COUNT: usize = 100;
    let log = Printed::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut rig = Rig::start(&[]).await;
    for number in 0..COUNT {
        rig.send(Uuid::new_v4(), file(&format!("f{number}"))).await;
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(log.text().contains(&format!("no entry peer for 60s: {COUNT} messages wait")), "{}", log.text());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_reaches_nobody_says_why_and_says_it_once() {
    let [closed] = free_ports();
    let (original, foreign) = (Entry::listen().await, Entry::listen().await);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let words =
        ["bridge", "--peer", &at(closed), "--peer", &at(original.addr.port()), "--peer", &at(foreign.addr.port())];
    let bridge = Process::start(&words);
    for round in 0..4 {
        let (mut stream, _) = timeout(LIMIT, original.listener.accept()).await.expect("it doesn't come").unwrap();
        stream.write_all(b"{\"type\": \"hello\", \"from\": \"127.0.0.1:9001\", \"ts\": 1}\n").await.unwrap();
        let (stream, _) = timeout(LIMIT, foreign.listener.accept()).await.expect("it doesn't come").unwrap();
        let mut link = Link { stream, decoder: Decoder::default() };
        let PeerMessage::Hello(hello) = link.receive().await else { panic!("the bridge doesn't say hello") };
        let answer = Hello { cluster: format!("other-{}", round / 4), listen: Some(foreign.addr), ..hello };
        link.send(&PeerMessage::Hello(answer)).await;
    }
    let reasons = [
        format!("forward failed: {}: it can't be reached: Connection refused", at(closed)),
        format!("forward failed: {}: it speaks JSON lines", original.addr),
        format!("forward failed: {}: the peer belongs to the cluster", foreign.addr),
    ];
    bridge.says_all(&reasons);
    for reason in &reasons {
        assert_eq!(bridge.count(reason), 1, "{reason}");
    }
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
    while seen.len() < COUNT / 4 {
        seen.insert(link.accepts_one().await);
    }
    {
        let mut restarting = pin!(async {
            rabbit.kill().await;
            rabbit.restart().await;
        });
        // What the bridge holds is forwarded meanwhile.
        loop {
            tokio::select! {
                () = &mut restarting => break,
                id = link.accepts_one() => { seen.insert(id); }
            }
        }
    }
    while seen.len() < COUNT {
        seen.insert(link.accepts_one().await);
    }
    tasks.shut_down(LIMIT).await;
}

pub(crate) fn file(id: &str) -> Vec<u8> {
    format!(r#"{{"event":"file.uploaded","file_id":"{id}","version":1}}"#).into_bytes()
}

pub(crate) fn config() -> BridgeConfig {
    BridgeConfig { cluster: CLUSTER.to_owned(), alone_from: watch::Sender::new(None) }
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
pub(crate) struct Entry {
    listener: TcpListener,
    pub(crate) addr: SocketAddr,
}

impl Entry {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    /// The bridge's connection, after both said hello.
    pub(crate) async fn accept(&self) -> Link {
        let (stream, _) = timeout(LIMIT, self.listener.accept()).await.expect("the bridge doesn't come").unwrap();
        let mut link = Link { stream, decoder: Decoder::default() };
        let PeerMessage::Hello(hello) = link.receive().await else { panic!("the bridge doesn't say hello") };
        assert_eq!((hello.listen, hello.cluster.as_str()), (None, CLUSTER));
        let answer = Hello { major: MAJOR, minor: MINOR, peer: PeerId([9; 32]), listen: Some(self.addr), ..hello };
        link.send(&PeerMessage::Hello(answer)).await;
        link
    }
}

pub(crate) struct Link {
    stream: TcpStream,
    decoder: Decoder,
}

impl Link {
    pub(crate) async fn send(&mut self, message: &PeerMessage) {
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

    /// Accepts the next submission, and gives its file.
    async fn accepts_one(&mut self) -> String {
        let (request, id) = self.submitted().await;
        self.send(&PeerMessage::Accepted { request }).await;
        id
    }

    /// The number and the file of the next submission.
    pub(crate) async fn submitted(&mut self) -> (u64, String) {
        match self.receive().await {
            PeerMessage::Submit { request, update } => (request, update.file.to_string()),
            other => panic!("not a submission: {other:?}"),
        }
    }
}
