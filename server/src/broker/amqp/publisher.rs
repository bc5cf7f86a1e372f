//! Publishing to RabbitMQ: a window of messages, confirmed, each into the bridge's queue itself. Copies for others are
//! [`super::copies`]' business.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::broker::amqp::copies::Copies;
use crate::broker::amqp::{ANSWER_LIMIT, Amqp, failed, named_id};
use crate::broker::{BrokerError, Message, Outcome, Publisher};
use crate::deadline::at;
use crate::wall;

/// Persistent, in AMQP's numbers.
const PERSISTENT: u8 = 2;
const PUBLISHING: &str = "publishing";

/// Publishes to RabbitMQ, confirmed.
pub struct AmqpPublisher {
    /// Dropping it ends what is under way.
    _connection: Connection,
    channel: Channel,
    queue: ShortString,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    alarm: Arc<watch::Sender<Option<String>>>,
    batch: Batch,
    copies: Copies,
    /// Until when the next confirmation must have come.
    limit: Instant,
}

/// What was sent since the last time that everything was confirmed. A message that came back is reported by lapin with
/// the confirmation of *some* message of the batch, so nothing is known before all of it is confirmed.
#[derive(Default)]
struct Batch {
    confirming: FuturesUnordered<Pin<Box<dyn Future<Output = Confirmed> + Send>>>,
    outcomes: Vec<(Uuid, Outcome)>,
    returned: BTreeSet<Uuid>,
}

/// Which message, and what became of it.
type Confirmed = (Uuid, Result<Confirmation, lapin::Error>);

impl fmt::Debug for AmqpPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpPublisher").field("under_way", &self.batch.confirming.len()).finish_non_exhaustive()
    }
}

impl Batch {
    fn take(&mut self, (id, confirmed): Confirmed) -> Result<(), BrokerError> {
        let confirmation = confirmed.map_err(|error| failed(PUBLISHING, error))?;
        let outcome = match &confirmation {
            Confirmation::Ack(_) => Outcome::Taken,
            Confirmation::Nack(_) => Outcome::NotTaken("the queue is full or can't be written".to_owned()),
            Confirmation::NotRequested => Outcome::NotTaken("the broker doesn't confirm".to_owned()),
        };
        self.outcomes.push((id, outcome));
        let returned = confirmation.take_message();
        self.returned.extend(returned.and_then(|returned| named_id(&returned.delivery.properties)));
        Ok(())
    }

    fn finish(&mut self) -> Vec<(Uuid, Outcome)> {
        let Self { confirming: _, outcomes, returned } = std::mem::take(self);
        let reconcile = |(id, outcome)| {
            let outcome = if returned.contains(&id) {
                Outcome::NotTaken("the bridge's queue is gone; it is declared anew".to_owned())
            } else {
                outcome
            };
            (id, outcome)
        };
        outcomes.into_iter().map(reconcile).collect()
    }
}

impl AmqpPublisher {
    /// Publishes on a channel that is in confirm mode.
    pub(super) fn new(broker: Amqp, connection: Connection, channel: Channel) -> Self {
        let events = Box::pin(connection.events_listener());
        let (queue, alarm) = (broker.queue.clone(), broker.alarm.clone());
        let (batch, copies, limit) = (Batch::default(), Copies::new(broker), Instant::now());
        Self { _connection: connection, channel, queue, events, alarm, batch, copies, limit }
    }

    /// Into the bridge's queue and nowhere else: its confirm says that it is there, or it comes back. Then a copy for
    /// others, which nobody waits for.
    fn start(&mut self, message: Message) -> Result<(), BrokerError> {
        let (id, properties) = (message.id, properties(&message, key(&message)?));
        let (channel, queue, body) = (self.channel.clone(), self.queue.clone(), message.body.clone());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        self.batch.confirming.push(Box::pin(async move {
            let sent = channel.basic_publish(ShortString::default(), queue, options, &body, properties).await;
            let confirmed = match sent {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (id, confirmed)
        }));
        self.copies.add(message);
        Ok(())
    }

    fn on_event(&mut self, event: Option<Event>) -> Result<(), BrokerError> {
        match event {
            Some(Event::Error(error)) => return Err(failed("keeping the connection", error)),
            Some(Event::ConnectionBlocked(reason)) => drop(self.alarm.send_replace(Some(reason))),
            Some(Event::ConnectionUnblocked) => {
                self.alarm.send_replace(None);
                self.limit = Instant::now() + ANSWER_LIMIT;
            }
            Some(_) => {}
            None => return Err(BrokerError::Closed),
        }
        Ok(())
    }

    /// While the broker is blocked there is no limit: it takes nothing, and says so.
    fn limit(&self) -> Option<Instant> {
        (!self.batch.confirming.is_empty() && self.alarm.borrow().is_none()).then_some(self.limit)
    }
}

impl Publisher for AmqpPublisher {
    async fn send(&mut self, messages: Vec<Message>) -> Result<(), BrokerError> {
        self.limit = Instant::now() + ANSWER_LIMIT;
        messages.into_iter().try_for_each(|message| self.start(message))?;
        // Begun now, whether anybody waits for what becomes of it or not.
        while let Some(Some(confirmed)) = self.batch.confirming.next().now_or_never() {
            self.batch.take(confirmed)?;
        }
        Ok(())
    }

    async fn settled(&mut self) -> Result<Vec<(Uuid, Outcome)>, BrokerError> {
        while !self.batch.confirming.is_empty() || self.batch.outcomes.is_empty() {
            let limit = self.limit();
            tokio::select! {
                // Copies go out while confirmations are waited for.
                biased;
                never = self.copies.sent() => match never {},
                Some(confirmed) = self.batch.confirming.next() => {
                    self.batch.take(confirmed)?;
                    self.limit = Instant::now() + ANSWER_LIMIT;
                }
                event = self.events.next() => self.on_event(event)?,
                () = at(limit) => return Err(BrokerError::TimedOut { doing: PUBLISHING }),
            }
        }
        Ok(self.batch.finish())
    }
}

impl Drop for AmqpPublisher {
    fn drop(&mut self) {
        self.alarm.send_replace(None);
    }
}

/// What a message is about, as exchanges and consumers read it.
pub(super) fn key(message: &Message) -> Result<ShortString, BrokerError> {
    ShortString::try_new(message.routing_key.as_str()).map_err(|error| failed(PUBLISHING, error))
}

/// What a message, which is about `key`, says of itself.
pub(super) fn properties(message: &Message, key: ShortString) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message.id.to_string().into())
        .with_type(key)
        .with_app_id("grapevine".into())
        .with_content_type("application/json".into())
        .with_timestamp(wall::now_ms() / 1000)
}
