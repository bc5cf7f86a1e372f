//! What every broker promises, held against both; and what RabbitMQ does when it is treated badly.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use server::broker::embedded::{CAPACITY, Embedded};
use server::broker::{
    Broker, BrokerError, Deliveries, Delivery, Message, Outcome, PREFETCH, Publisher, REDELIVERY_LIMIT, WINDOW,
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::rabbit::Rabbit;

/// Far beyond what one step takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_embedded_broker_keeps_what_a_broker_promises() {
    check_promises(&Embedded::default()).await;
}

#[tokio::test]
async fn rabbitmq_keeps_what_a_broker_promises() {
    let rabbit = Rabbit::start().await;
    check_promises(&rabbit.broker()).await;
}

async fn check_promises(broker: &impl Broker) {
    every_message_is_settled_and_delivered(broker).await;
    unacknowledged_messages_are_delivered_again(broker).await;
    no_more_than_the_prefetch_is_delivered(broker).await;
    a_rejected_message_is_a_dead_letter(broker).await;
    a_message_that_is_never_acknowledged_is_a_dead_letter(broker).await;
}

async fn every_message_is_settled_and_delivered(broker: &impl Broker) {
    let mut publisher = soon(broker.publisher()).await;
    let mut deliveries = soon(broker.subscribe()).await;
    let waited = timeout(Duration::from_millis(50), deliveries.next()).await;
    assert!(waited.is_err(), "nothing was published yet");
    let messages: Vec<_> = (0..WINDOW).map(message).collect();
    soon(publisher.send(messages.clone())).await;
    for sent in &messages {
        let delivery = soon(deliveries.next()).await;
        assert_eq!((delivery.id, &delivery.body), (sent.id, &sent.body));
        soon(deliveries.ack(delivery.tag)).await;
    }
    assert_eq!(taken(&mut publisher, messages.len()).await, ids(&messages));
}

async fn unacknowledged_messages_are_delivered_again(broker: &impl Broker) {
    let mut publisher = soon(broker.publisher()).await;
    let messages: Vec<_> = (0..3).map(message).collect();
    soon(publisher.send(messages.clone())).await;
    let mut deliveries = soon(broker.subscribe()).await;
    let first = receive(&mut deliveries, 3).await;
    soon(deliveries.ack(first[0].tag)).await;
    drop(deliveries);
    let mut deliveries = soon(broker.subscribe()).await;
    let again = receive(&mut deliveries, 2).await;
    assert!(again.iter().all(|delivery| delivery.redelivered));
    assert_eq!(again.iter().map(|delivery| delivery.id).collect::<BTreeSet<_>>(), ids(&messages[1..]));
    for delivery in again {
        soon(deliveries.ack(delivery.tag)).await;
    }
    assert_eq!(taken(&mut publisher, 3).await, ids(&messages));
}

async fn no_more_than_the_prefetch_is_delivered(broker: &impl Broker) {
    let mut publisher = soon(broker.publisher()).await;
    let prefetch = usize::from(PREFETCH);
    soon(publisher.send((0..=prefetch).map(message).collect())).await;
    let mut deliveries = soon(broker.subscribe()).await;
    let held = receive(&mut deliveries, prefetch).await;
    let more = timeout(Duration::from_millis(100), deliveries.next()).await;
    assert!(more.is_err(), "more than {PREFETCH} are held");
    for delivery in held {
        soon(deliveries.ack(delivery.tag)).await;
    }
    let last = soon(deliveries.next()).await;
    soon(deliveries.ack(last.tag)).await;
    taken(&mut publisher, prefetch + 1).await;
}

async fn a_rejected_message_is_a_dead_letter(broker: &impl Broker) {
    let before = soon(broker.dead_letters()).await;
    let mut publisher = soon(broker.publisher()).await;
    soon(publisher.send(vec![message(0)])).await;
    let mut deliveries = soon(broker.subscribe()).await;
    let poison = soon(deliveries.next()).await;
    soon(deliveries.reject(poison.tag, "poison")).await;
    dead_letters_become(broker, before + 1).await;
    let more = timeout(Duration::from_millis(50), deliveries.next()).await;
    assert!(more.is_err(), "a rejected message came again");
    let settled = settle(&mut publisher, 1).await;
    assert!(matches!(&settled[..], [(_, Outcome::Taken | Outcome::Rejected(_))]), "{settled:?}");
}

async fn a_message_that_is_never_acknowledged_is_a_dead_letter(broker: &impl Broker) {
    let before = soon(broker.dead_letters()).await;
    let mut publisher = soon(broker.publisher()).await;
    soon(publisher.send(vec![message(0)])).await;
    for _ in 0..=REDELIVERY_LIMIT {
        let mut deliveries = soon(broker.subscribe()).await;
        soon(deliveries.next()).await;
    }
    dead_letters_become(broker, before + 1).await;
    let settled = settle(&mut publisher, 1).await;
    assert!(matches!(&settled[..], [(_, Outcome::Taken | Outcome::DeadLettered(_))]), "{settled:?}");
}

#[tokio::test]
async fn the_embedded_broker_takes_no_more_than_it_has_room_for() {
    let broker = Embedded::default();
    let mut publisher = soon(broker.publisher()).await;
    soon(publisher.send((0..CAPACITY + 10).map(message).collect())).await;
    let outcomes = soon(publisher.settled()).await;
    let refused = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::NotTaken(_))).count();
    assert_eq!((outcomes.len(), refused), (CAPACITY + 10, 10));
}

#[tokio::test]
async fn rabbitmq_loses_nothing_when_it_is_killed_and_errs_in_time_when_it_hangs() {
    const COUNT: usize = 2000;
    let mut rabbit = Rabbit::start().await;
    let broker = rabbit.broker();
    let messages: Vec<_> = (0..COUNT).map(message).collect();
    let mut publisher = soon(broker.publisher()).await;
    let mut confirmed = BTreeSet::new();
    for window in messages[..COUNT / 2].chunks(WINDOW) {
        soon(publisher.send(window.to_vec())).await;
        confirmed.append(&mut taken(&mut publisher, window.len()).await);
    }
    soon(publisher.send(messages[COUNT / 2..][..WINDOW].to_vec())).await;
    rabbit.kill().await;
    // What of the last window was confirmed before the end isn't known: it is published again.
    while soon_or_not(publisher.settled()).await.is_ok() {}
    rabbit.restart().await;
    let mut publisher = soon(broker.publisher()).await;
    for window in messages[COUNT / 2..].chunks(WINDOW) {
        soon(publisher.send(window.to_vec())).await;
        confirmed.append(&mut taken(&mut publisher, window.len()).await);
    }
    let mut deliveries = soon(broker.subscribe()).await;
    while !confirmed.is_empty() {
        let delivery = soon(deliveries.next()).await;
        confirmed.remove(&delivery.id);
        soon(deliveries.ack(delivery.tag)).await;
    }

    rabbit.freeze();
    let begun = Instant::now();
    soon(publisher.send(vec![message(0)])).await;
    let error = soon_or_not(publisher.settled()).await.unwrap_err();
    assert!(matches!(error, BrokerError::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for _ in 0..2 {
        let error = soon_or_not(broker.publisher()).await.unwrap_err();
        assert!(matches!(error, BrokerError::TimedOut { .. }), "{error}");
    }
    rabbit.thaw();
    let deadline = Instant::now() + LIMIT;
    while soon_or_not(broker.publisher()).await.is_err() {
        assert!(Instant::now() < deadline, "the broker didn't come back");
    }
}

fn message(number: usize) -> Message {
    let body = format!(r#"{{"event":"file.uploaded","file_id":"f{number}"}}"#).into_bytes();
    Message { id: Uuid::new_v4(), routing_key: "file.uploaded".to_owned(), body }
}

fn ids(messages: &[Message]) -> BTreeSet<Uuid> {
    messages.iter().map(|message| message.id).collect()
}

async fn receive(deliveries: &mut impl Deliveries, count: usize) -> Vec<Delivery> {
    let mut received = Vec::new();
    while received.len() < count {
        received.push(soon(deliveries.next()).await);
    }
    received
}

/// The final outcomes of the next `count` messages.
async fn settle(publisher: &mut impl Publisher, count: usize) -> Vec<(Uuid, Outcome)> {
    let mut settled = Vec::new();
    while settled.len() < count {
        let outcomes = soon(publisher.settled()).await;
        settled.extend(outcomes.into_iter().filter(|(_, outcome)| *outcome != Outcome::Held));
    }
    settled
}

/// The next `count` messages, all of which must be taken.
async fn taken(publisher: &mut impl Publisher, count: usize) -> BTreeSet<Uuid> {
    let settled = settle(publisher, count).await;
    assert!(settled.iter().all(|(_, outcome)| *outcome == Outcome::Taken), "{settled:?}");
    settled.into_iter().map(|(id, _)| id).collect()
}

async fn dead_letters_become(broker: &impl Broker, count: u64) {
    let deadline = Instant::now() + LIMIT;
    while soon(broker.dead_letters()).await != count {
        assert!(Instant::now() < deadline, "there aren't {count} dead letters");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn soon<T>(work: impl Future<Output = Result<T, BrokerError>>) -> T {
    soon_or_not(work).await.unwrap()
}

async fn soon_or_not<T>(work: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    timeout(LIMIT, work).await.expect("it takes too long")
}
