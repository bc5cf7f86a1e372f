//! Every way in which RabbitMQ can confirm a message and then lose it, and what else it can do to a queue that Grapevine
//! relies on. One node serves all of them, each with a queue of its own.
//!
//! Long because a node takes ten seconds to start, so all that is done to one stands together.

use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use server::bridge;
use server::broker::amqp::inspector::Depths;
use server::broker::amqp::publisher::AmqpPublisher;
use server::broker::amqp::{Amqp, FORMER_UNROUTED};
use server::broker::{Broker as _, BrokerError, Deliveries as _, Message, Outcome, Publisher as _};
use server::hub::Hub;
use server::lookout::{self, LookoutConfig};
use server::shutdown::Tasks;
use server::store::{NewContent, Store, StoreConfig};
use shared::ids::{FileId, PeerId, Version};
use shared::wire::condition::Condition;
use shared::wire::event::{Event, PartState};
use shared::wire::peer::PeerMessage;
use shared::wire::rest::{ReadyOut, TopologyOut};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::bridge::{Entry, config, file};
use crate::pipeline::Server;
use crate::support::app::eventually;
use crate::support::rabbit::Rabbit;

/// Far beyond what one step takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_rabbitmq_confirms_and_can_lose_is_published_again_or_told() {
    let rabbit = Rabbit::start().await;
    an_earlier_versions_exchange_is_replaced_and_what_went_astray_is_told(&rabbit).await;
    an_earlier_versions_exchange_that_others_use_stays(&rabbit).await;
    a_message_for_a_deleted_queue_is_not_taken(&rabbit).await;
    a_message_that_only_another_queue_got_is_not_taken(&rabbit).await;
    a_deleted_queue_ends_its_subscription(&rabbit).await;
    what_a_bridge_holds_of_a_deleted_queue_is_forwarded(&rabbit).await;
    an_expired_message_is_a_dead_letter(&rabbit).await;
    a_full_queue_takes_nothing(&rabbit).await;
    a_dead_letter_waits_for_its_queue(&rabbit).await;
    a_queue_of_somebody_elses_is_told_with_its_remedy(&rabbit).await;
    a_purge_is_told(&rabbit).await;
    a_purge_before_a_restart_is_told(&rabbit).await;
    what_another_reader_takes_is_told_and_bridges_that_stand_in_for_each_other_are_no_fault(&rabbit).await;
    two_servers_of_one_queue_say_so(&rabbit).await;
    a_former_queue_is_told_until_it_is_gone(&rabbit).await;
    an_alarm_is_named_while_it_lasts(&rabbit).await;
    what_a_server_can_ask_is_said_and_the_rest_is_null(&rabbit).await;
    what_nobody_can_forward_and_the_broker_has_lost_is_told(&rabbit).await;
    others_queue_that_takes_nothing_holds_up_no_change(&rabbit).await;
}

async fn others_queue_that_takes_nothing_holds_up_no_change(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("beside_stuck"));
    drop(broker.publisher().await.unwrap());
    hand.declares_a_quorum_queue_for_copies("stuck").await;
    // As without a majority: it confirms nothing.
    rabbit.ctl(&["eval", "ok = ra:stop_server(quorum_queues, {'%2F_stuck', node()})."]).await;
    let mut publisher = broker.publisher().await.unwrap();
    for _ in 0..3 {
        publisher.send(vec![message()]).await.unwrap();
        let outcomes = timeout(LIMIT, publisher.settled()).await.expect("nothing is settled").unwrap();
        assert!(matches!(&outcomes[..], [(_, Outcome::Taken)]), "{outcomes:?}");
    }
    assert_eq!(hand.depth("beside_stuck").await, 3);
}

async fn an_earlier_versions_exchange_is_replaced_and_what_went_astray_is_told(rabbit: &Rabbit) {
    let hand = Hand::on(rabbit).await;
    hand.deletes_exchange("grapevine.files").await;
    hand.declares_as_an_earlier_version().await;
    hand.publishes("grapevine.files", "file.uploaded").await;
    let broker = rabbit.broker_on("upgraded");
    publishes_one(&broker).await;
    assert_eq!(broker.waiting().await.unwrap(), 1);
    let lookout = Lookout::on(broker.clone()).await;
    lookout.raises(Condition::UnroutedMessages, &["1 messages", "grapevine republish", "delete_queue"]).await;
    hand.deletes(FORMER_UNROUTED).await;
    lookout.clears(Condition::UnroutedMessages).await;
    lookout.stop().await;
    hand.deletes("upgraded").await;
}

async fn an_earlier_versions_exchange_that_others_use_stays(rabbit: &Rabbit) {
    let hand = Hand::on(rabbit).await;
    hand.deletes_exchange("grapevine.files").await;
    hand.declares_as_an_earlier_version().await;
    hand.declares_a_queue_for_copies("others").await;
    let broker = rabbit.broker_on("beside");
    publishes_one_with_a_copy(&broker, &hand, "others").await;
    assert_eq!(hand.depth(FORMER_UNROUTED).await, 0, "nothing goes astray");
    assert_eq!(hand.depth("beside").await, 2, "it comes twice, which the bridge knows by its id");
    for queue in ["others", "beside", FORMER_UNROUTED] {
        hand.deletes(queue).await;
    }
    hand.deletes_exchange("grapevine.files").await;
}

async fn a_message_for_a_deleted_queue_is_not_taken(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("deleted"));
    let mut publisher = broker.publisher().await.unwrap();
    hand.deletes("deleted").await;
    let sent = message();
    publisher.send(vec![sent.clone()]).await.unwrap();
    let outcomes = publisher.settled().await.unwrap();
    assert!(matches!(&outcomes[..], [(id, Outcome::NotTaken(_))] if *id == sent.id), "{outcomes:?}");
    // As the relay does it: another publisher declares the queue anew.
    publishes_one(&broker).await;
    assert_eq!(hand.depth("deleted").await, 1);
}

async fn a_message_that_only_another_queue_got_is_not_taken(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("alone"));
    let mut publisher = broker.publisher().await.unwrap();
    hand.declares_a_queue_for_copies("listener").await;
    hand.deletes("alone").await;
    publisher.send(vec![message()]).await.unwrap();
    let outcomes = publisher.settled().await.unwrap();
    assert!(matches!(&outcomes[..], [(_, Outcome::NotTaken(_))]), "{outcomes:?}");
    sends_a_copy(&mut publisher, &hand, "listener").await;
    hand.deletes("listener").await;
}

async fn a_deleted_queue_ends_its_subscription(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("read"));
    let mut deliveries = broker.subscribe().await.unwrap();
    hand.deletes("read").await;
    let ended = timeout(LIMIT, deliveries.next()).await.expect("nobody says that the queue is gone");
    assert!(matches!(ended, Err(BrokerError::Cancelled)), "{ended:?}");
    drop(broker.subscribe().await.unwrap());
    assert_eq!(hand.depth("read").await, 0, "it was declared anew");
}

async fn what_a_bridge_holds_of_a_deleted_queue_is_forwarded(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("held"));
    let (entry, tasks, hub) = (Entry::listen().await, Tasks::default(), Hub::new(10, true));
    let (_entries, receiver) = watch::channel(vec![entry.addr.into()]);
    tasks.spawn(bridge::run(broker.clone(), receiver, Some(hub.clone()), config(), tasks.token().clone()));
    let mut publisher = broker.publisher().await.unwrap();
    publisher.send(vec![Message { body: file("held"), ..message() }]).await.unwrap();
    publisher.settled().await.unwrap();
    let mut link = entry.accept().await;
    let (request, id) = link.submitted().await;
    hand.deletes("held").await;
    let is_told = |hub: &Hub| {
        let down = |event: &Event| matches!(event, Event::Bridge { state: PartState::Down { .. } });
        hub.read(|overview| overview.log.iter().any(|entry| down(&entry.event)))
    };
    eventually("the bridge sees it", async || is_told(&hub)).await;
    link.send(&PeerMessage::Accepted { request }).await;
    let forwarded = |event: &Event| matches!(event, Event::FileForwarded { file, .. } if file.as_str() == id);
    let is_forwarded = || hub.read(|overview| overview.log.iter().any(|entry| forwarded(&entry.event)));
    eventually("it is forwarded", async || is_forwarded()).await;
    eventually("the queue is there again", async || broker.waiting().await.is_ok()).await;
    publishes_one(&broker).await;
    link.submitted().await;
    tasks.shut_down(LIMIT).await;
}

async fn what_nobody_can_forward_and_the_broker_has_lost_is_told(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("lost"));
    let (entry, tasks, hub) = (Entry::listen().await, Tasks::default(), Hub::new(10, true));
    let (_entries, receiver) = watch::channel(vec![entry.addr.into()]);
    tasks.spawn(bridge::run(broker.clone(), receiver, Some(hub.clone()), config(), tasks.token().clone()));
    let mut publisher = broker.publisher().await.unwrap();
    let sent = Message { body: file("lost"), ..message() };
    publisher.send(vec![sent.clone()]).await.unwrap();
    publisher.settled().await.unwrap();
    let mut link = entry.accept().await;
    let (request, _) = link.submitted().await;
    hand.deletes("lost").await;
    let is_told =
        |wanted: &dyn Fn(&Event) -> bool| hub.read(|overview| overview.log.iter().any(|entry| wanted(&entry.event)));
    let down = |event: &Event| matches!(event, Event::Bridge { state: PartState::Down { .. } });
    eventually("the bridge sees it", async || is_told(&down)).await;
    link.send(&PeerMessage::Refused { request, reason: "no".to_owned() }).await;
    let dead =
        |event: &Event| matches!(event, Event::DeadLettered { message_id, .. } if *message_id == sent.id.to_string());
    eventually("it is told", async || is_told(&dead)).await;
    tasks.shut_down(LIMIT).await;
}

async fn an_expired_message_is_a_dead_letter(rabbit: &Rabbit) {
    let broker = rabbit.broker_on("expiring");
    let before = broker.dead_letters().await.unwrap();
    rabbit.ctl(&["set_policy", "--apply-to", "queues", "ttl", "^expiring$", r#"{"message-ttl":1}"#]).await;
    publishes_one(&broker).await;
    let lookout = Lookout::on(broker).await;
    lookout.finds(|depths| depths.dead_letters == before + 1).await;
    lookout.raises(Condition::DeadLetters, &["grapevine.dead", "grapevine republish"]).await;
    lookout.stop().await;
}

async fn a_full_queue_takes_nothing(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("full"));
    rabbit.ctl(&["set_policy", "--apply-to", "queues", "length", "^full$", r#"{"max-length":1}"#]).await;
    let mut publisher = broker.publisher().await.unwrap();
    let mut taken = 0;
    let refused = loop {
        publisher.send(vec![message()]).await.unwrap();
        match &publisher.settled().await.unwrap()[..] {
            [(_, Outcome::Taken)] => taken += 1,
            [(_, Outcome::NotTaken(reason))] => break reason.clone(),
            other => panic!("{other:?}"),
        }
        assert!(taken < 100, "it takes everything");
    };
    assert!(refused.contains("full"), "{refused}");
    assert_eq!(hand.depth("full").await, taken, "what was taken is there");
}

async fn a_dead_letter_waits_for_its_queue(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("poisoned"));
    // It tries again after 3 minutes else.
    let sooner = "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 500).";
    rabbit.ctl(&["eval", sooner]).await;
    publishes_one(&broker).await;
    let mut deliveries = broker.subscribe().await.unwrap();
    hand.deletes("grapevine.dead").await;
    let poison = timeout(LIMIT, deliveries.next()).await.unwrap().unwrap();
    deliveries.reject(poison.tag, "poison").await.unwrap();
    // Which declares the queue anew.
    let lookout = Lookout::on(broker).await;
    lookout.finds(|depths| depths.dead_letters == 1).await;
    lookout.stop().await;
}

async fn a_queue_of_somebody_elses_is_told_with_its_remedy(rabbit: &Rabbit) {
    let hand = Hand::on(rabbit).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    hand.channel.queue_declare("foreign".into(), options, FieldTable::default()).await.unwrap();
    for _ in 0..2 {
        let error = rabbit.broker_on("foreign").publisher().await.unwrap_err();
        assert!(matches!(error, BrokerError::Taken { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("rabbitmqctl delete_queue foreign") && text.contains("inequivalent arg"), "{text}");
    }
}

async fn a_purge_is_told(rabbit: &Rabbit) {
    let (hand, broker) = (Hand::on(rabbit).await, rabbit.broker_on("purged"));
    publishes_one(&broker).await;
    let lookout = Lookout::on(broker.clone()).await;
    lookout.hub.emit(Event::FilePublished { file: "f".parse().unwrap(), version: Version::FIRST, owner: None });
    lookout.hub.emit(Event::Bridge { state: PartState::Up });
    lookout.raises(Condition::QueueUnread, &["purged"]).await;
    lookout.finds(|depths| depths.bridge.messages == 1).await;
    assert!(!lookout.has(Condition::ChangesVanished), "it waits in the queue");
    hand.channel.queue_purge("purged".into(), QueuePurgeOptions::default()).await.unwrap();
    lookout.raises(Condition::ChangesVanished, &["1 changes", "grapevine republish"]).await;
    let deliveries = broker.subscribe().await.unwrap();
    lookout.clears(Condition::QueueUnread).await;
    drop(deliveries);
    let entry = ([127, 0, 0, 1], 9001).into();
    lookout.hub.emit(Event::FileForwarded { file: "f".parse().unwrap(), version: Version::FIRST, entry, owner: None });
    lookout.clears(Condition::ChangesVanished).await;
    lookout.stop().await;
}

async fn a_purge_before_a_restart_is_told(rabbit: &Rabbit) {
    let broker = rabbit.broker_on("purged_before");
    drop(broker.publisher().await.unwrap());
    let (dir, hub) = (tempfile::tempdir().unwrap(), Hub::new(10, true));
    let store = Store::open(dir.path(), StoreConfig::default(), hub).await.unwrap();
    let gone = stores_one(&store).await;
    let sent = store.outbox_pending(0, 10).await.unwrap();
    store.outbox_sent(sent.iter().map(|row| row.message_id).collect()).await.unwrap();
    // This one is still here.
    stores_one(&store).await;
    let lookout = Lookout::with(broker, store, dir);
    lookout.hub.emit(Event::Bridge { state: PartState::Up });
    lookout.raises(Condition::ChangesVanished, &["1 changes", "purged", "grapevine republish"]).await;
    let peer = PeerId([1; 32]);
    lookout.hub.emit(Event::UpdateApplied { peer, file: gone, version: Version::FIRST, files: 1, owner: None });
    lookout.clears(Condition::ChangesVanished).await;
    lookout.stop().await;
}

async fn what_another_reader_takes_is_told_and_bridges_that_stand_in_for_each_other_are_no_fault(rabbit: &Rabbit) {
    let broker = rabbit.broker_on("taken");
    let mut readers = [broker.subscribe().await.unwrap(), broker.subscribe().await.unwrap()];
    let lookout = Lookout::on(broker.clone()).await;
    lookout.hub.emit(Event::Bridge { state: PartState::Up });
    publishes_one(&broker).await;
    let [one, other] = &mut readers;
    let taken = timeout(LIMIT, async {
        tokio::select! { taken = one.next() => taken, taken = other.next() => taken }
    });
    taken.await.expect("nobody gets it").unwrap();
    // That one of them is this server's own bridge isn't known: both may be others', which lead to its peers.
    let peer = PeerId([1; 32]);
    lookout.hub.emit(Event::FilePublished { file: "came".parse().unwrap(), version: Version::FIRST, owner: None });
    lookout.hub.emit(Event::UpdateApplied {
        peer,
        file: "came".parse().unwrap(),
        version: Version::FIRST,
        files: 1,
        owner: None,
    });
    lookout.finds(|depths| depths.bridge.messages == 0 && depths.bridge.consumers == 2).await;
    assert!(!lookout.has(Condition::QueueShared) && !lookout.has(Condition::ChangesVanished));
    lookout.alone_from.send_replace(Some(Instant::now()));
    lookout.finds(|_| true).await;
    assert!(!lookout.has(Condition::QueueShared), "nothing is missing");
    lookout.hub.emit(Event::FilePublished { file: "gone".parse().unwrap(), version: Version::FIRST, owner: None });
    lookout.raises(Condition::QueueShared, &["1 changes", "taken", "--queue", "grapevine republish"]).await;
    assert!(!lookout.has(Condition::ChangesVanished), "the cause is known");
    lookout.hub.emit(Event::UpdateApplied {
        peer,
        file: "gone".parse().unwrap(),
        version: Version::FIRST,
        files: 1,
        owner: None,
    });
    lookout.clears(Condition::QueueShared).await;
    lookout.stop().await;
}

async fn two_servers_of_one_queue_say_so(rabbit: &Rabbit) {
    let url = rabbit.url();
    let words = ["--amqp-url", &url, "--queue", "shared"];
    let (server, other) = (Server::start(1, &words), Server::start(1, &words));
    for server in [&server, &other] {
        server.process().says("1 more read RabbitMQ's queue shared");
    }
    // Each gets some of them.
    for n in 0..6 {
        server.upload(format!("file {n}"), vec![n]).await.unwrap();
    }
    let has = async |server: &Server, condition| {
        let ready: ReadyOut = server.get("/ready").await;
        ready.conditions.iter().any(|raised| raised.name == condition)
    };
    let begun = std::time::Instant::now();
    eventually("it says that changes are taken", async || has(&server, Condition::QueueShared).await).await;
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert!(!has(&server, Condition::ChangesVanished).await);
}

async fn a_former_queue_is_told_until_it_is_gone(rabbit: &Rabbit) {
    let hand = Hand::on(rabbit).await;
    let lookout = Lookout::on(rabbit.broker_on("one")).await;
    lookout.finds(|_| true).await;
    let (store, dir) = lookout.stop().await;
    let lookout = Lookout::with(rabbit.broker_on("two"), store, dir);
    lookout.raises(Condition::FormerQueue, &["one (0 messages)", "`rabbitmqctl delete_queue one`"]).await;
    hand.deletes("one").await;
    lookout.clears(Condition::FormerQueue).await;
    lookout.stop().await;
}

async fn an_alarm_is_named_while_it_lasts(rabbit: &Rabbit) {
    let broker = rabbit.broker_on("alarmed");
    let lookout = Lookout::on(broker.clone()).await;
    let mut publisher = broker.publisher().await.unwrap();
    rabbit.ctl(&["set_vm_memory_high_watermark", "0"]).await;
    publisher.send(vec![message()]).await.unwrap();
    let settling = async {
        let outcomes = publisher.settled().await.unwrap();
        assert!(matches!(&outcomes[..], [(_, Outcome::Taken)]), "{outcomes:?}");
    };
    let watching = async {
        lookout.raises(Condition::BrokerAlarm, &["low on memory"]).await;
        rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        lookout.clears(Condition::BrokerAlarm).await;
    };
    timeout(2 * LIMIT, async { tokio::join!(settling, watching) }).await.expect("it takes nothing after the alarm");
    lookout.stop().await;
}

async fn what_a_server_can_ask_is_said_and_the_rest_is_null(rabbit: &Rabbit) {
    let dead_letters = rabbit.broker().dead_letters().await.unwrap();
    assert!(dead_letters > 0, "the tests before left some");
    let server = Server::start(0, &["--no-bridge", "--amqp-url", &rabbit.url(), "--queue", "ready"]);
    let file = server.upload("README.md".to_owned(), b"one".to_vec()).await.unwrap();
    assert_eq!(file.peers_reached, None);
    let ready = async || server.get::<ReadyOut>("/ready").await;
    eventually("it knows of the message", async || ready().await.queue == Some(1)).await;
    assert_eq!(ready().await.dead_letters, Some(dead_letters));
    let topology: TopologyOut = server.get("/topology").await;
    assert_eq!((topology.peers, topology.links), (None, None));
    let unread = |ready: &ReadyOut| ready.conditions.iter().any(|raised| raised.name == Condition::QueueUnread);
    eventually("it says that nobody reads the queue", async || unread(&ready().await)).await;
    rabbit.freeze();
    let begun = std::time::Instant::now();
    ready().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    eventually("it knows no more", async || ready().await.queue.is_none()).await;
    assert_eq!(ready().await.dead_letters, None);
    rabbit.thaw();
    eventually("it knows again", async || ready().await.queue == Some(1)).await;
}

fn message() -> Message {
    let body = br#"{"event":"file.uploaded","file_id":"f","version":1}"#.to_vec();
    Message { id: Uuid::new_v4(), routing_key: "file.uploaded".to_owned(), body }
}

/// Stores a file, and gives its id.
async fn stores_one(store: &Store) -> FileId {
    let mut content = store.receive(10).await.unwrap();
    content.write(b"content".as_slice().into()).await.unwrap();
    let (name, content_type) = ("a".to_owned(), "text/plain".to_owned());
    let new = NewContent { name, content_type, received: content.finish().await.unwrap() };
    store.create("alice".parse().unwrap(), new, None).await.unwrap().file.id
}

/// Publishes one message, which is taken.
async fn publishes_one(broker: &Amqp) {
    let mut publisher = broker.publisher().await.unwrap();
    publisher.send(vec![message()]).await.unwrap();
    let outcomes = timeout(LIMIT, publisher.settled()).await.expect("nothing is settled").unwrap();
    assert!(matches!(&outcomes[..], [(_, Outcome::Taken)]), "{outcomes:?}");
}

/// The same, which has a copy in `queue` then.
async fn publishes_one_with_a_copy(broker: &Amqp, hand: &Hand, queue: &str) {
    let mut publisher = broker.publisher().await.unwrap();
    publisher.send(vec![message()]).await.unwrap();
    let outcomes = timeout(LIMIT, publisher.settled()).await.expect("nothing is settled").unwrap();
    assert!(matches!(&outcomes[..], [(_, Outcome::Taken)]), "{outcomes:?}");
    sends_a_copy(&mut publisher, hand, queue).await;
}

async fn sends_a_copy(publisher: &mut AmqpPublisher, hand: &Hand, queue: &str) {
    tokio::select! {
        settled = publisher.settled() => panic!("nothing is under way: {settled:?}"),
        () = eventually("others get their copy", async || hand.depth(queue).await == 1) => {}
    }
}

/// Somebody who does to the broker what Grapevine doesn't.
struct Hand {
    _connection: Connection,
    channel: Channel,
}

impl Hand {
    async fn on(rabbit: &Rabbit) -> Self {
        let connection = Connection::connect(&rabbit.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    async fn deletes(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    async fn deletes_exchange(&self, exchange: &str) {
        self.channel.exchange_delete(exchange.into(), lapin::options::ExchangeDeleteOptions::default()).await.unwrap();
    }

    async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions::durable().passive();
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
    }

    async fn publishes(&self, exchange: &str, key: &str) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let sent = self.channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties).await.unwrap();
        sent.await.unwrap();
    }

    /// What version 0.1 declared, but for the bridge's queue.
    async fn declares_as_an_earlier_version(&self) {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let mut alternate = FieldTable::default();
        alternate.insert("alternate-exchange".into(), AMQPValue::LongString(FORMER_UNROUTED.into()));
        let (unrouted, none): (ShortString, _) = (FORMER_UNROUTED.into(), FieldTable::default());
        self.channel.exchange_declare(unrouted.clone(), ExchangeKind::Fanout, durable, none.clone()).await.unwrap();
        self.channel.exchange_declare("grapevine.files".into(), ExchangeKind::Topic, durable, alternate).await.unwrap();
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        self.channel.queue_declare(unrouted.clone(), QueueDeclareOptions::durable(), quorum).await.unwrap();
        let binding = self.channel.queue_bind(unrouted.clone(), unrouted, "".into(), QueueBindOptions::default(), none);
        binding.await.unwrap();
    }

    /// A queue that wants every change, as anybody may have one.
    async fn declares_a_queue_for_copies(&self, queue: &str) {
        self.declares_for_copies(queue, FieldTable::default()).await;
    }

    async fn declares_a_quorum_queue_for_copies(&self, queue: &str) {
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        self.declares_for_copies(queue, quorum).await;
    }

    async fn declares_for_copies(&self, queue: &str, arguments: FieldTable) {
        let none = FieldTable::default();
        self.channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
        let (exchange, key): (ShortString, ShortString) = ("grapevine.files".into(), "file.#".into());
        self.channel.queue_bind(queue.into(), exchange, key, QueueBindOptions::default(), none).await.unwrap();
    }
}

/// A lookout that is quick, with a store of its own.
struct Lookout {
    hub: Hub,
    depths: watch::Receiver<Option<Depths>>,
    alone_from: watch::Sender<Option<Instant>>,
    tasks: Tasks,
    store: Store,
    dir: tempfile::TempDir,
}

impl Lookout {
    async fn on(broker: Amqp) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreConfig::default(), Hub::new(10, true)).await.unwrap();
        Self::with(broker, store, dir)
    }

    fn with(broker: Amqp, store: Store, dir: tempfile::TempDir) -> Self {
        let (hub, tasks) = (Hub::new(10, true), Tasks::default());
        let (found, depths) = watch::channel(None);
        let config = LookoutConfig {
            look_every: Duration::from_millis(50),
            search_every: Duration::from_millis(50),
            unread_after: Duration::from_millis(50),
            vanished_after: Duration::from_millis(50),
            taken_after: Duration::from_millis(50),
        };
        let (alone_from, from) = watch::channel(None);
        let parts = lookout::Parts { broker, store: store.clone(), hub: hub.clone(), depths: found, alone_from: from };
        tasks.spawn(lookout::run(parts, config, tasks.token().clone()));
        Self { hub, depths, alone_from, tasks, store, dir }
    }

    fn detail(&self, condition: Condition) -> Option<String> {
        self.hub.read(|overview| overview.conditions.get(&condition).map(|standing| standing.detail.clone()))
    }

    fn has(&self, condition: Condition) -> bool {
        self.detail(condition).is_some()
    }

    async fn raises(&self, condition: Condition, words: &[&str]) {
        eventually(&format!("{condition} is raised"), async || self.has(condition)).await;
        let detail = self.detail(condition).unwrap();
        assert!(words.iter().all(|word| detail.contains(word)), "{detail}");
    }

    async fn clears(&self, condition: Condition) {
        eventually(&format!("{condition} is over"), async || !self.has(condition)).await;
    }

    async fn finds(&self, wanted: impl Fn(&Depths) -> bool) {
        eventually("the depths are known", async || self.depths.borrow().is_some_and(|depths| wanted(&depths))).await;
    }

    async fn stop(self) -> (Store, tempfile::TempDir) {
        self.tasks.shut_down(LIMIT).await;
        (self.store, self.dir)
    }
}
