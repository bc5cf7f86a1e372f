//! What a broker promises, whichever it is. [`embedded`] lives in this process, [`amqp`] speaks to RabbitMQ; one suite
//! of tests holds both to what is written here.
//!
//! A message that was [`Outcome::Taken`] is delivered at least once, also after a crash of either side. Each delivery
//! is acknowledged, rejected, or delivered again after its consumer is gone. Order is not promised, repetition is to be
//! expected: consumers know messages by their id.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use shared::backoff::Backoff;
use uuid::Uuid;

pub mod amqp;
pub mod embedded;

/// How soon a broker that was lost is dialled again, by the relay and by the bridge. From the design.
pub const RECONNECT: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
/// How many messages a publisher should have under way at once. Measured: with RabbitMQ a window of 256 reaches the
/// rate of publishing without confirmation.
pub const WINDOW: usize = 256;
/// The most deliveries that one consumer holds without having acknowledged them. Measured: the rate of RabbitMQ hardly
/// grows beyond it.
pub const PREFETCH: u16 = 64;
/// How often a message is delivered again before it is set aside. `RabbitMQ` counts consumers that went away too, so it
/// must be far above the number of restarts that one message may see.
pub const REDELIVERY_LIMIT: u32 = 20;

/// What is to be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name for ever: repetitions have the same.
    pub id: Uuid,
    /// What it is about: `file.uploaded` and so on.
    pub routing_key: String,
    /// The JSON of a [`FileEvent`](shared::wire::queue::FileEvent).
    pub body: Vec<u8>,
}

/// What became of a message that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker will deliver it, as long as this process lives; the sender must keep it until it is taken.
    Held,
    /// It is out of the sender's care: the broker has it on disk, or the consumer has acknowledged it.
    Taken,
    /// A consumer rejected it (and has told of it), and why; it will not be delivered any more.
    Rejected(String),
    /// It was delivered too often in vain; it will not be delivered any more.
    DeadLettered(String),
    /// The broker doesn't have it, and why; the sender should try again later.
    NotTaken(String),
}

/// A message as it arrives at a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id. One that came without (or with a strange one) has an id that follows from its body.
    pub id: Uuid,
    /// The message's body: not checked by anybody yet.
    pub body: Vec<u8>,
    /// Names this delivery to [`Deliveries::ack`] and [`Deliveries::reject`].
    pub tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
}

/// Why a broker couldn't do what it was asked. The publisher or consumer that returned it is of no use any more: drop
/// it and ask the broker for another one.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The broker's URL can't be used. It may contain a password, so it isn't repeated here.
    #[error("not a usable AMQP URL: {0}")]
    Url(String),
    /// A queue's name is empty or too long.
    #[error("a queue's name must have 1 to 255 bytes")]
    QueueName,
    /// What is to be declared is there already and is something else: somebody else made it.
    #[error(
        "{what} is there already, declared otherwise ({reason}); once nothing in it is needed remove it with \
         {removed_by}, or choose another queue with --queue"
    )]
    Taken {
        /// Which queue or exchange.
        what: String,
        /// What RabbitMQ says.
        reason: String,
        /// What removes it.
        removed_by: String,
    },
    /// The connection failed, or the broker refused something on it.
    #[error("{doing} failed")]
    Failed {
        /// What was going on.
        doing: &'static str,
        /// What the connection said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The broker didn't answer within the limit.
    #[error("{doing} took too long")]
    TimedOut {
        /// What was going on.
        doing: &'static str,
    },
    /// The subscription ended although the connection lives: the queue was deleted.
    #[error("the broker ended the subscription: its queue was deleted")]
    Cancelled,
    /// The connection ended without a reason.
    #[error("the broker closed the connection")]
    Closed,
}

/// Carries messages from publishers to consumers; clones are the same broker. It doesn't reconnect: whoever holds a
/// publisher or a consumer that failed asks for another one.
pub trait Broker: Clone + Send + Sync + 'static {
    /// What publishes.
    type Publisher: Publisher + 'static;
    /// What consumes.
    type Deliveries: Deliveries + 'static;

    /// Which one it is, for people.
    fn place(&self) -> String;

    /// Connects for publishing.
    fn publisher(&self) -> impl Future<Output = Result<Self::Publisher, BrokerError>> + Send;

    /// Connects for consuming, at most [`PREFETCH`] messages at a time. Dropping it gives back what isn't acknowledged.
    fn subscribe(&self) -> impl Future<Output = Result<Self::Deliveries, BrokerError>> + Send;

    /// How many messages wait for a consumer.
    fn waiting(&self) -> impl Future<Output = Result<u64, BrokerError>> + Send;

    /// How many messages were set aside and are still there.
    fn dead_letters(&self) -> impl Future<Output = Result<u64, BrokerError>> + Send;
}

/// Hands messages over and hears what became of them.
pub trait Publisher: Send {
    /// Hands `messages` over, at most [`WINDOW`] with those that aren't settled yet.
    fn send(&mut self, messages: Vec<Message>) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// What became of some messages: maybe [`Outcome::Held`] first, in the end one of the others. With nothing under way it
    /// waits until the broker is lost. May be cancelled; no outcome is lost by it.
    fn settled(&mut self) -> impl Future<Output = Result<Vec<(Uuid, Outcome)>, BrokerError>> + Send;
}

/// Receives messages.
pub trait Deliveries: Send {
    /// The next message; waits while [`PREFETCH`] are unacknowledged. May be cancelled; no delivery is lost by it.
    fn next(&mut self) -> impl Future<Output = Result<Delivery, BrokerError>> + Send;

    /// The consumer is responsible for the message now.
    fn ack(&mut self, tag: u64) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Nobody can make sense of the message: it is set aside as a dead letter.
    fn reject(&mut self, tag: u64, reason: &str) -> impl Future<Output = Result<(), BrokerError>> + Send;
}

/// What went wrong and what caused it, in one line.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
