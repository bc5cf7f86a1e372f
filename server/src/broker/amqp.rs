//! RabbitMQ, through lapin. No automatic recovery (it hangs when it gives up): any error ends the connection, and whoever
//! used it asks for a new one. Publishing and consuming have connections of their own, because a broker that is short of
//! memory stops reading from those that publish. Every wait has a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    Acker, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, Event, ExchangeKind,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;
use uuid::{Builder, Uuid};

use crate::broker::{
    Broker, BrokerError, Deliveries, Delivery, Message, Outcome, PREFETCH, Publisher, REDELIVERY_LIMIT,
};
use crate::wall;

/// The queue that the bridge reads unless it is told otherwise.
pub const DEFAULT_QUEUE: &str = "grapevine.bridge";

/// Where every change is published; a topic exchange.
const FILES: &str = "grapevine.files";
/// Takes what no queue wants: an exchange and the queue behind it.
const UNROUTED: &str = "grapevine.unrouted";
/// Takes what was set aside.
const DEAD_EXCHANGE: &str = "grapevine.dlx";
const DEAD_QUEUE: &str = "grapevine.dead";
/// Every change of a file.
const EVERY_KEY: &str = "file.#";

const CONNECTING: &str = "connecting to the broker";
/// How long connecting may take, handshake included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long one answer may take. Measured: confirmations come within 130 ms, even in full windows.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A connection that is silent for twice as long is lost. Not below five seconds, as RabbitMQ's guide advises.
const HEARTBEAT_SECONDS: u16 = 5;
/// Persistent, in AMQP's numbers.
const PERSISTENT: u8 = 2;

/// A RabbitMQ server and the queue that the bridge reads there.
#[derive(Clone)]
pub struct Amqp {
    uri: AMQPUri,
    queue: ShortString,
    /// The last attempt to connect got no answer.
    silent: Arc<AtomicBool>,
}

impl fmt::Debug for Amqp {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "Amqp({}:{}, {})", authority.host, authority.port, self.queue)
    }
}

impl Amqp {
    /// A broker at `url`; nothing is connected yet. Publisher and consumer must name the same queue.
    ///
    /// # Errors
    /// When `url` isn't an AMQP URL or `queue` can't be a queue's name.
    pub fn new(url: &str, queue: &str) -> Result<Self, BrokerError> {
        let mut uri: AMQPUri = url.parse().map_err(BrokerError::Url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        match ShortString::try_new(queue) {
            Ok(queue) if !queue.as_str().is_empty() => Ok(Self { uri, queue, silent: Arc::default() }),
            Ok(_) | Err(_) => Err(BrokerError::QueueName),
        }
    }

    /// How many messages no queue wanted.
    ///
    /// # Errors
    /// When the broker can't be asked.
    pub async fn unrouted(&self) -> Result<u64, BrokerError> {
        self.depth(UNROUTED).await
    }

    async fn depth(&self, queue: &str) -> Result<u64, BrokerError> {
        let (_connection, channel) = self.connect("grapevine inspection").await?;
        let options = QueueDeclareOptions::durable().passive();
        let asked = channel.queue_declare(queue.into(), options, FieldTable::default());
        Ok(answer("asking for a queue's depth", asked).await?.message_count().into())
    }

    /// Whether a broker that didn't answer the last time answers again. lapin keeps a thread and a socket for every
    /// handshake that was given up, so it isn't asked before.
    async fn knock(&self) -> Result<(), BrokerError> {
        let authority = &self.uri.authority;
        let knocking = async {
            let mut stream = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            stream.read_u8().await.map(drop)
        };
        match timeout(CONNECT_LIMIT, knocking).await {
            Ok(answered) => answered.map_err(|error| failed(CONNECTING, error)),
            Err(_elapsed) => Err(BrokerError::TimedOut { doing: CONNECTING }),
        }
    }

    /// A connection with one channel on which everything is declared.
    async fn connect(&self, name: &str) -> Result<(Connection, Channel), BrokerError> {
        let connecting = async {
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
            let channel = connection.create_channel().await?;
            Ok((connection, channel))
        };
        if self.silent.load(Ordering::Relaxed) {
            self.knock().await?;
        }
        let connected = within(CONNECT_LIMIT, CONNECTING, connecting).await;
        self.silent.store(matches!(connected, Err(BrokerError::TimedOut { .. })), Ordering::Relaxed);
        let (connection, channel) = connected?;
        answer("declaring exchanges and queues", declare(&channel, &self.queue)).await?;
        Ok((connection, channel))
    }
}

impl Broker for Amqp {
    type Publisher = AmqpPublisher;
    type Deliveries = AmqpDeliveries;

    async fn publisher(&self) -> Result<AmqpPublisher, BrokerError> {
        let (connection, channel) = self.connect("grapevine relay").await?;
        let confirming = channel.confirm_select(ConfirmSelectOptions::default());
        answer("asking for confirmations", confirming).await?;
        let events = Box::pin(connection.events_listener());
        Ok(AmqpPublisher { connection, channel, events, batch: Batch::default(), limit: Instant::now() })
    }

    async fn subscribe(&self) -> Result<AmqpDeliveries, BrokerError> {
        let (connection, channel) = self.connect("grapevine bridge").await?;
        let prefetching = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        answer("limiting deliveries", prefetching).await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(self.queue.clone(), "".into(), options, FieldTable::default());
        let consumer = answer("subscribing", consuming).await?;
        Ok(AmqpDeliveries { _connection: connection, consumer, unacked: BTreeMap::new() })
    }

    async fn dead_letters(&self) -> Result<u64, BrokerError> {
        self.depth(DEAD_QUEUE).await
    }
}

/// Declares what is needed; what is there already stays as it is.
async fn declare(channel: &Channel, queue: &ShortString) -> Result<(), lapin::Error> {
    let unrouted = [("alternate-exchange", UNROUTED)];
    declare_exchange(channel, UNROUTED, ExchangeKind::Fanout, &[]).await?;
    declare_exchange(channel, DEAD_EXCHANGE, ExchangeKind::Fanout, &[]).await?;
    declare_exchange(channel, FILES, ExchangeKind::Topic, &unrouted).await?;
    declare_queue(channel, &UNROUTED.into(), quorum(), (UNROUTED, "")).await?;
    declare_queue(channel, &DEAD_QUEUE.into(), quorum(), (DEAD_EXCHANGE, "")).await?;
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(REDELIVERY_LIMIT.into()));
    // At-least-once needs the other two: what can't be set aside at once stays, and a full queue refuses.
    insert(&mut arguments, "x-dead-letter-exchange", DEAD_EXCHANGE);
    insert(&mut arguments, "x-dead-letter-strategy", "at-least-once");
    insert(&mut arguments, "x-overflow", "reject-publish");
    declare_queue(channel, queue, arguments, (FILES, EVERY_KEY)).await
}

async fn declare_exchange(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
    arguments: &[(&str, &str)],
) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        insert(&mut table, key, value);
    }
    channel.exchange_declare(name.into(), kind, options, table).await
}

async fn declare_queue(
    channel: &Channel,
    name: &ShortString,
    arguments: FieldTable,
    (exchange, key): (&str, &str),
) -> Result<(), lapin::Error> {
    channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments).await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(name.clone(), exchange.into(), key.into(), options, none).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    insert(&mut arguments, "x-queue-type", "quorum");
    arguments
}

fn insert(arguments: &mut FieldTable, key: &str, value: &str) {
    arguments.insert(key.into(), AMQPValue::LongString(value.into()));
}

/// Publishes to RabbitMQ, confirmed.
pub struct AmqpPublisher {
    connection: Connection,
    channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
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

type Confirmed = (Uuid, Result<Confirmation, lapin::Error>);

impl fmt::Debug for AmqpPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpPublisher").field("under_way", &self.batch.confirming.len()).finish_non_exhaustive()
    }
}

impl Batch {
    fn take(&mut self, (id, confirmed): Confirmed) -> Result<(), BrokerError> {
        let confirmation = confirmed.map_err(|error| failed("publishing", error))?;
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
            let outcome =
                if returned.contains(&id) { Outcome::NotTaken("no queue wants it".to_owned()) } else { outcome };
            (id, outcome)
        };
        outcomes.into_iter().map(reconcile).collect()
    }
}

impl AmqpPublisher {
    async fn send_one(&mut self, message: Message) -> Result<(), BrokerError> {
        let key = ShortString::try_new(message.routing_key).map_err(|error| failed("publishing", error))?;
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(message.id.to_string().into())
            .with_type(key.clone())
            .with_app_id("grapevine".into())
            .with_content_type("application/json".into())
            .with_timestamp(wall::now_ms() / 1000);
        // Nothing comes back while the alternate exchange is there; if an operator removes it, we hear of it.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sending = self.channel.basic_publish(FILES.into(), key, options, &message.body, properties);
        let confirm = answer("publishing", sending).await?;
        let id = message.id;
        self.batch.confirming.push(Box::pin(async move { (id, confirm.await) }));
        Ok(())
    }

    fn too_late(&self) -> BrokerError {
        let blocked = self.connection.status().blocked();
        BrokerError::TimedOut {
            doing: if blocked { "publishing (the broker is short of memory or disk)" } else { "publishing" },
        }
    }
}

impl Publisher for AmqpPublisher {
    async fn send(&mut self, messages: Vec<Message>) -> Result<(), BrokerError> {
        for message in messages {
            self.send_one(message).await?;
        }
        self.limit = Instant::now() + ANSWER_LIMIT;
        Ok(())
    }

    async fn settled(&mut self) -> Result<Vec<(Uuid, Outcome)>, BrokerError> {
        while !self.batch.confirming.is_empty() {
            let confirmed = timeout_at(self.limit, self.batch.confirming.next()).await;
            let confirmed = confirmed.map_err(|_elapsed| self.too_late())?.ok_or(BrokerError::Closed)?;
            self.batch.take(confirmed)?;
            self.limit = Instant::now() + ANSWER_LIMIT;
        }
        if !self.batch.outcomes.is_empty() {
            return Ok(self.batch.finish());
        }
        loop {
            match self.events.next().await {
                Some(Event::Error(error)) => return Err(failed("keeping the connection", error)),
                Some(Event::ConnectionBlocked(reason)) => warn!(reason, "the broker is short of resources"),
                Some(_) => {}
                None => return Err(BrokerError::Closed),
            }
        }
    }
}

/// Receives from RabbitMQ.
pub struct AmqpDeliveries {
    /// Dropping it gives back what isn't acknowledged.
    _connection: Connection,
    consumer: Consumer,
    /// By tag; at most [`PREFETCH`].
    unacked: BTreeMap<u64, Acker>,
}

impl fmt::Debug for AmqpDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpDeliveries").field("unacked", &self.unacked.len()).finish_non_exhaustive()
    }
}

impl Deliveries for AmqpDeliveries {
    /// Waits without limit for a message; that the broker is there is seen by its heartbeats.
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let delivery = self.consumer.next().await.ok_or(BrokerError::Closed)?;
        let delivery = delivery.map_err(|error| failed("receiving", error))?;
        let tag = delivery.delivery_tag;
        let id = named_id(&delivery.properties).unwrap_or_else(|| id_of_body(&delivery.data));
        self.unacked.insert(tag, delivery.acker);
        Ok(Delivery { id, body: delivery.data, tag, redelivered: delivery.redelivered })
    }

    async fn ack(&mut self, tag: u64) -> Result<(), BrokerError> {
        let Some(acker) = self.unacked.remove(&tag) else { return Ok(()) };
        answer("acknowledging", acker.ack(BasicAckOptions::default())).await.map(drop)
    }

    /// AMQP has no room for the reason.
    async fn reject(&mut self, tag: u64, _reason: &str) -> Result<(), BrokerError> {
        let Some(acker) = self.unacked.remove(&tag) else { return Ok(()) };
        let set_aside = BasicNackOptions { multiple: false, requeue: false };
        answer("rejecting", acker.nack(set_aside)).await.map(drop)
    }
}

fn named_id(properties: &BasicProperties) -> Option<Uuid> {
    properties.message_id().as_ref()?.as_str().parse().ok()
}

/// The same body has the same id, so that repetitions are known as such.
fn id_of_body(body: &[u8]) -> Uuid {
    let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *blake3::hash(body).as_bytes();
    Builder::from_custom_bytes(bytes).into_uuid()
}

async fn answer<T>(doing: &'static str, work: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, BrokerError> {
    within(ANSWER_LIMIT, doing, work).await
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, BrokerError> {
    match timeout(limit, work).await {
        Ok(done) => done.map_err(|error| failed(doing, error)),
        Err(_elapsed) => Err(BrokerError::TimedOut { doing }),
    }
}

fn failed(doing: &'static str, error: impl Error + Send + Sync + 'static) -> BrokerError {
    BrokerError::Failed { doing, source: Box::new(error) }
}
