//! The broker that lives in this process. It keeps nothing on disk and promises nothing beyond the outbox that feeds it:
//! a message is [`Outcome::Taken`] only once the consumer has acknowledged it, and until then the outbox has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::broker::{
    Broker, BrokerError, Deliveries, Delivery, Message, Outcome, PREFETCH, Publisher, REDELIVERY_LIMIT,
};

/// The most messages that it holds, delivered ones included; more are not taken. Four windows, so that a publisher that
/// starts again finds room beside what its forerunner left.
pub const CAPACITY: usize = 1024;

/// The broker; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Embedded {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// A lock is enough: it is held to move one message, never across an await.
    state: Mutex<State>,
    /// Something was put into `ready`.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Carried>,
    /// Delivered and not acknowledged, by tag.
    delivered: BTreeMap<u64, Out>,
    last_tag: u64,
    last_consumer: u64,
    dead_letters: u64,
}

#[derive(Debug)]
struct Carried {
    id: Uuid,
    body: Vec<u8>,
    redeliveries: u32,
    sender: oneshot::Sender<(Uuid, Outcome)>,
}

#[derive(Debug)]
struct Out {
    consumer: u64,
    carried: Carried,
}

impl Embedded {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker for Embedded {
    type Publisher = EmbeddedPublisher;
    type Deliveries = EmbeddedDeliveries;

    fn place(&self) -> String {
        "the embedded broker".to_owned()
    }

    async fn publisher(&self) -> Result<EmbeddedPublisher, BrokerError> {
        Ok(EmbeddedPublisher { broker: self.clone(), known: Vec::new(), under_way: FuturesUnordered::new() })
    }

    async fn subscribe(&self) -> Result<EmbeddedDeliveries, BrokerError> {
        let mut state = self.lock();
        state.last_consumer += 1;
        Ok(EmbeddedDeliveries { broker: self.clone(), consumer: state.last_consumer })
    }

    async fn waiting(&self) -> Result<u64, BrokerError> {
        Ok(u64::try_from(self.lock().ready.len()).unwrap_or(u64::MAX))
    }

    /// Since the process began; the outbox remembers them for longer.
    async fn dead_letters(&self) -> Result<u64, BrokerError> {
        Ok(self.lock().dead_letters)
    }
}

impl State {
    fn put(&mut self, carried: Carried) {
        if self.ready.len() + self.delivered.len() >= CAPACITY {
            carried.settle(Outcome::NotTaken(format!("the queue is full: {CAPACITY} messages")));
        } else {
            self.ready.push_back(carried);
        }
    }

    fn deliver(&mut self, consumer: u64) -> Option<Delivery> {
        let held = self.delivered.values().filter(|out| out.consumer == consumer).count();
        if held >= usize::from(PREFETCH) {
            return None;
        }
        let carried = self.ready.pop_front()?;
        self.last_tag += 1;
        let tag = self.last_tag;
        let redelivered = carried.redeliveries > 0;
        let delivery = Delivery { id: carried.id, body: carried.body.clone(), tag, redelivered };
        self.delivered.insert(tag, Out { consumer, carried });
        Some(delivery)
    }

    fn set_aside(&mut self, carried: Carried, outcome: Outcome) {
        self.dead_letters += 1;
        carried.settle(outcome);
    }

    /// The consumer is gone: what it held is delivered again, before everything else and in the order as before.
    fn give_back(&mut self, consumer: u64) {
        let (gone, kept) =
            std::mem::take(&mut self.delivered).into_iter().partition(|(_, out)| out.consumer == consumer);
        self.delivered = kept;
        let gone: BTreeMap<u64, Out> = gone;
        for mut carried in gone.into_values().rev().map(|out| out.carried) {
            carried.redeliveries += 1;
            if carried.redeliveries > REDELIVERY_LIMIT {
                let reason = format!("it was delivered {} times in vain", REDELIVERY_LIMIT + 1);
                self.set_aside(carried, Outcome::DeadLettered(reason));
            } else {
                self.ready.push_front(carried);
            }
        }
    }
}

impl Carried {
    fn settle(self, outcome: Outcome) {
        // A sender that is gone asks again, with the same message.
        drop(self.sender.send((self.id, outcome)));
    }
}

/// Hands messages to the embedded broker.
#[derive(Debug)]
pub struct EmbeddedPublisher {
    broker: Embedded,
    /// Outcomes that are due.
    known: Vec<(Uuid, Outcome)>,
    /// Outcomes to wait for; never more than [`CAPACITY`].
    under_way: FuturesUnordered<oneshot::Receiver<(Uuid, Outcome)>>,
}

impl Publisher for EmbeddedPublisher {
    async fn send(&mut self, messages: Vec<Message>) -> Result<(), BrokerError> {
        let mut state = self.broker.lock();
        for Message { id, routing_key: _, body } in messages {
            if self.under_way.len() >= CAPACITY {
                self.known.push((id, Outcome::NotTaken(format!("{CAPACITY} messages are under way"))));
                continue;
            }
            let (sender, receiver) = oneshot::channel();
            self.known.push((id, Outcome::Held));
            self.under_way.push(receiver);
            state.put(Carried { id, body, redeliveries: 0, sender });
        }
        drop(state);
        self.broker.inner.arrived.notify_waiters();
        Ok(())
    }

    async fn settled(&mut self) -> Result<Vec<(Uuid, Outcome)>, BrokerError> {
        if self.known.is_empty() {
            if self.under_way.is_empty() {
                std::future::pending::<()>().await;
            }
            self.known.extend(self.under_way.next().await.and_then(Result::ok));
        }
        while let Some(Some(outcome)) = self.under_way.next().now_or_never() {
            self.known.extend(outcome);
        }
        Ok(std::mem::take(&mut self.known))
    }
}

/// Receives messages from the embedded broker.
#[derive(Debug)]
pub struct EmbeddedDeliveries {
    broker: Embedded,
    consumer: u64,
}

impl EmbeddedDeliveries {
    fn finish(&self, tag: u64) -> Option<Carried> {
        self.broker.lock().delivered.remove(&tag).map(|out| out.carried)
    }
}

impl Deliveries for EmbeddedDeliveries {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            let arrived = self.broker.inner.arrived.notified();
            tokio::pin!(arrived);
            // From here on it hears of arrivals, so none is missed between looking and waiting.
            arrived.as_mut().enable();
            let delivery = self.broker.lock().deliver(self.consumer);
            if let Some(delivery) = delivery {
                return Ok(delivery);
            }
            arrived.await;
        }
    }

    async fn ack(&mut self, tag: u64) -> Result<(), BrokerError> {
        if let Some(carried) = self.finish(tag) {
            carried.settle(Outcome::Taken);
        }
        Ok(())
    }

    async fn reject(&mut self, tag: u64, reason: &str) -> Result<(), BrokerError> {
        if let Some(carried) = self.finish(tag) {
            self.broker.lock().set_aside(carried, Outcome::Rejected(reason.to_owned()));
        }
        Ok(())
    }
}

impl Drop for EmbeddedDeliveries {
    fn drop(&mut self) {
        self.broker.lock().give_back(self.consumer);
        self.broker.inner.arrived.notify_waiters();
    }
}
