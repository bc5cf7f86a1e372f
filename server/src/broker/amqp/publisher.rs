//! Publishing to RabbitMQ: a window of messages, confirmed, each into the bridge's queue itself.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::broker::amqp::topology::FILES;
use crate::broker::amqp::{ANSWER_LIMIT, failed, named_id};
use crate::broker::{BrokerError, Message, Outcome, Publisher};
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

/// Which message, or none for a copy, and what became of it.
type Confirmed = (Option<Uuid>, Result<Confirmation, lapin::Error>);

impl fmt::Debug for AmqpPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpPublisher").field("under_way", &self.batch.confirming.len()).finish_non_exhaustive()
    }
}

impl Batch {
    fn take(&mut self, (message, confirmed): Confirmed) -> Result<(), BrokerError> {
        let confirmation = confirmed.map_err(|error| failed(PUBLISHING, error))?;
        if let Some(id) = message {
            let outcome = match &confirmation {
                Confirmation::Ack(_) => Outcome::Taken,
                Confirmation::Nack(_) => Outcome::NotTaken("the queue is full or can't be written".to_owned()),
                Confirmation::NotRequested => Outcome::NotTaken("the broker doesn't confirm".to_owned()),
            };
            self.outcomes.push((id, outcome));
        }
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
    pub(super) fn new(
        connection: Connection,
        channel: Channel,
        queue: ShortString,
        alarm: Arc<watch::Sender<Option<String>>>,
    ) -> Self {
        let events = Box::pin(connection.events_listener());
        let (batch, limit) = (Batch::default(), Instant::now());
        Self { _connection: connection, channel, queue, events, alarm, batch, limit }
    }

    /// Into the bridge's queue and nowhere else: its confirm says that it is there, or it comes back. Then a copy for
    /// others, whose confirm is waited for and says nothing: where they are, all their queues have it.
    fn start(&self, message: Message) -> Result<(), BrokerError> {
        let Message { id, routing_key, body } = message;
        let key = ShortString::try_new(routing_key).map_err(|error| failed(PUBLISHING, error))?;
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.to_string().into())
            .with_type(key.clone())
            .with_app_id("grapevine".into())
            .with_content_type("application/json".into())
            .with_timestamp(wall::now_ms() / 1000);
        let body: Arc<[u8]> = body.into();
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let ways = [
            (Some(id), ShortString::default(), self.queue.clone(), mandatory),
            (None, FILES.into(), key, BasicPublishOptions::default()),
        ];
        for (id, exchange, key, options) in ways {
            let (channel, body, properties) = (self.channel.clone(), body.clone(), properties.clone());
            self.batch.confirming.push(Box::pin(async move {
                let sent = channel.basic_publish(exchange, key, options, &body, properties).await;
                let confirmed = match sent {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                };
                (id, confirmed)
            }));
        }
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

/// Waits until `limit`; for ever when there is none.
async fn at(limit: Option<Instant>) {
    match limit {
        Some(limit) => sleep_until(limit).await,
        None => pending().await,
    }
}
