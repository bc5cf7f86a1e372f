//! RabbitMQ, through lapin. No automatic recovery (it hangs when it gives up): any error ends the connection, and whoever
//! used it asks for a new one. Publishing and consuming have connections of their own, because a broker that is short of
//! memory stops reading from those that publish. Every wait has a limit.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;
use url::{Host, Url};
use uuid::{Builder, Uuid};

use crate::broker::amqp::deliveries::AmqpDeliveries;
use crate::broker::amqp::inspector::Inspector;
use crate::broker::amqp::publisher::AmqpPublisher;
use crate::broker::{Broker, BrokerError, PREFETCH};
use crate::tls::Trust;

mod copies;
pub mod deliveries;
pub mod inspector;
pub mod publisher;
mod topology;
mod transport;

/// The queue that the bridge reads unless it is told otherwise.
pub const DEFAULT_QUEUE: &str = "grapevine.bridge";
/// Where an earlier version kept what no queue wanted.
pub const FORMER_UNROUTED: &str = topology::FORMER_UNROUTED;

const CONNECTING: &str = "connecting to the broker";
/// How long connecting may take, handshake included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long one answer may take. Measured: confirmations come within 130 ms, even in full windows.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A connection that is silent for twice as long is lost. Not below five seconds, as RabbitMQ's guide advises.
const HEARTBEAT_SECONDS: u16 = 5;

/// A RabbitMQ server and the queue that the bridge reads there.
#[derive(Clone)]
pub struct Amqp {
    uri: AMQPUri,
    queue: ShortString,
    /// Whose certificates are believed; needed for `amqps`.
    trust: Option<Trust>,
    /// The last attempt to connect got no answer.
    silent: Arc<AtomicBool>,
    /// Why the broker takes nothing from the publisher, while that is so.
    alarm: Arc<watch::Sender<Option<String>>>,
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
        let mut uri = read_url(url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        match ShortString::try_new(queue) {
            Ok(queue) if !queue.as_str().is_empty() => {
                let alarm = Arc::new(watch::Sender::new(None));
                Ok(Self { uri, queue, trust: None, silent: Arc::default(), alarm })
            }
            Ok(_) | Err(_) => Err(BrokerError::QueueName),
        }
    }

    /// The same, which believes these authorities. Without, an `amqps` URL leads nowhere.
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Whether the URL asks for encryption.
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// Why RabbitMQ takes nothing although it is connected (it is short of memory or disk), while that is so.
    pub fn alarm(&self) -> watch::Receiver<Option<String>> {
        self.alarm.subscribe()
    }

    /// The queue that the bridge reads.
    pub fn queue(&self) -> &str {
        self.queue.as_str()
    }

    /// The command that removes a queue there.
    pub fn removal(&self, queue: &str) -> String {
        topology::removal(queue, &self.uri.vhost)
    }

    /// Connects for asking.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn inspector(&self) -> Result<Inspector, BrokerError> {
        let (connection, channel) = self.connect("grapevine inspection").await?;
        Ok(Inspector::new(connection, channel, self.queue.clone()))
    }

    /// Whether a broker that didn't answer the last time answers again. lapin keeps a thread and a socket for every
    /// handshake that was given up, so it isn't asked before.
    async fn knock(&self) -> Result<(), BrokerError> {
        let knocking = async {
            let mut stream = transport::dial(&self.uri).await?;
            if self.is_encrypted() {
                // What answers a handshake is seen by the handshake; that somebody listens must do.
                return Ok(());
            }
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            stream.read_u8().await.map(drop)
        };
        match timeout(CONNECT_LIMIT, knocking).await {
            Ok(answered) => answered.map_err(|error| failed(CONNECTING, error)),
            Err(_elapsed) => Err(BrokerError::TimedOut { doing: CONNECTING }),
        }
    }

    /// A connection on which everything is declared, with one channel.
    async fn connect(&self, name: &str) -> Result<(Connection, Channel), BrokerError> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        // Boxed, as is declaring: the two are large, and much is built around them.
        let connecting = Box::pin(transport::connect(self.uri.clone(), self.trust.as_ref(), properties));
        if self.silent.load(Ordering::Relaxed) {
            self.knock().await?;
        }
        let connected = within(CONNECT_LIMIT, CONNECTING, connecting).await;
        self.silent.store(matches!(connected, Err(BrokerError::TimedOut { .. })), Ordering::Relaxed);
        let connection = connected?;
        Box::pin(topology::declare(&connection, &self.queue, &self.uri.vhost)).await?;
        let channel = answer(CONNECTING, connection.create_channel()).await?;
        Ok((connection, channel))
    }
}

impl Broker for Amqp {
    type Publisher = AmqpPublisher;
    type Deliveries = AmqpDeliveries;

    fn place(&self) -> String {
        let authority = &self.uri.authority;
        format!("RabbitMQ at {}:{}", authority.host, authority.port)
    }

    async fn publisher(&self) -> Result<AmqpPublisher, BrokerError> {
        let (connection, channel) = self.connect("grapevine relay").await?;
        let confirming = channel.confirm_select(ConfirmSelectOptions::default());
        answer("asking for confirmations", confirming).await?;
        Ok(AmqpPublisher::new(self.clone(), connection, channel))
    }

    async fn subscribe(&self) -> Result<AmqpDeliveries, BrokerError> {
        let (connection, channel) = self.connect("grapevine bridge").await?;
        let prefetching = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        answer("limiting deliveries", prefetching).await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(self.queue.clone(), "".into(), options, FieldTable::default());
        let consumer = answer("subscribing", consuming).await?;
        Ok(AmqpDeliveries::new(connection, consumer))
    }

    async fn waiting(&self) -> Result<u64, BrokerError> {
        Ok(self.inspector().await?.depths().await?.bridge.messages)
    }

    async fn dead_letters(&self) -> Result<u64, BrokerError> {
        Ok(self.inspector().await?.depths().await?.dead_letters)
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

/// Reads an AMQP URL. Its own parser takes an IPv6 address for no host, and so for localhost.
fn read_url(text: &str) -> Result<AMQPUri, BrokerError> {
    let mut uri: AMQPUri = text.parse().map_err(BrokerError::Url)?;
    let url = Url::parse(text).map_err(|error| BrokerError::Url(error.to_string()))?;
    if let Some(Host::Ipv6(ip)) = url.host() {
        uri.authority.host = ip.to_string();
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_not_taken_for_localhost() {
        for (url, host) in [
            ("amqp://me:secret@[2001:db8::7]:5673/v", "2001:db8::7"),
            ("amqps://[::1]/", "::1"),
            ("amqp://10.0.0.7", "10.0.0.7"),
            ("amqp://rabbit.example/", "rabbit.example"),
            ("amqp://", "localhost"),
        ] {
            assert_eq!(read_url(url).unwrap().authority.host, host, "{url}");
        }
    }
}
