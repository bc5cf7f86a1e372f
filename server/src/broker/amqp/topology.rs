//! What Grapevine declares in RabbitMQ, and how an earlier version's topology becomes this one.
//!
//! ```text
//! relay ──▶ "" (the default exchange), key = the bridge's queue, mandatory ──▶ grapevine.bridge ──▶ bridge
//!   │                                                                               │ rejected, expired, delivered in vain
//!   └─ copy ▶ grapevine.files (topic) ──▶ queues of others, if there are any        ▼
//!                                                              grapevine.dlx ──▶ grapevine.dead
//! ```
//!
//! A confirm says only that *some* queue has a message. Through the default exchange that is the queue of this name and no
//! other; what it can't be put into comes back. `grapevine.files` is for queues of others: were the bridge's queue bound
//! there among them, a message that only they got would count as delivered.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tracing::{info, warn};

use crate::broker::amqp::answer;
use crate::broker::{BrokerError, REDELIVERY_LIMIT};

/// Where copies are published for whoever else wants them; a topic exchange.
pub(super) const FILES: &str = "grapevine.files";
/// Every change of a file.
const EVERY_KEY: &str = "file.#";
/// Where an earlier version kept what no queue wanted: an exchange and the queue behind it.
pub(super) const FORMER_UNROUTED: &str = "grapevine.unrouted";
/// Takes what was set aside.
const DEAD_EXCHANGE: &str = "grapevine.dlx";
/// Where it lies then.
pub(super) const DEAD_QUEUE: &str = "grapevine.dead";

/// RabbitMQ's codes (AMQP 0-9-1, section 1.2, "constants").
pub(super) const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;

const DECLARING: &str = "declaring exchanges and queues";

/// Declares what is needed; what is there already stays as it is.
///
/// # Errors
/// [`BrokerError::Taken`] when somebody else has declared a queue of this name otherwise.
pub(super) async fn declare(connection: &Connection, queue: &ShortString, vhost: &str) -> Result<(), BrokerError> {
    let channel = answer(DECLARING, connection.create_channel()).await?;
    declare_exchange(&channel, DEAD_EXCHANGE, ExchangeKind::Fanout).await?;
    let dead_letters = declare_queue(&channel, &DEAD_QUEUE.into(), quorum()).await;
    dead_letters.map_err(|error| taken(error, format!("the queue {DEAD_QUEUE}"), removal(DEAD_QUEUE, vhost)))?;
    bind(&channel, &DEAD_QUEUE.into(), (DEAD_EXCHANGE, "")).await?;
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(REDELIVERY_LIMIT.into()));
    // At-least-once needs the other two: what can't be set aside at once stays, and a full queue refuses.
    insert(&mut arguments, "x-dead-letter-exchange", DEAD_EXCHANGE);
    insert(&mut arguments, "x-dead-letter-strategy", "at-least-once");
    insert(&mut arguments, "x-overflow", "reject-publish");
    let declared = declare_queue(&channel, queue, arguments).await;
    declared.map_err(|error| taken(error, format!("the queue {queue}"), removal(queue.as_str(), vhost)))?;
    match declare_exchange(&channel, FILES, ExchangeKind::Topic).await {
        // An earlier version bound the queue: each change would come twice.
        Ok(()) => unbind(&channel, queue, (FILES, EVERY_KEY)).await,
        Err(BrokerError::Taken { reason, .. }) if reason.contains("alternate-exchange") => {
            replace_files(connection, queue).await
        }
        Err(error) => Err(error),
    }
}

/// An earlier version gave `grapevine.files` an alternate exchange, which an exchange keeps for as long as it lives. It is
/// made anew if nobody else's queue is bound to it. Meanwhile whatever would go astray comes to the bridge's queue.
async fn replace_files(connection: &Connection, queue: &ShortString) -> Result<(), BrokerError> {
    let channel = answer(DECLARING, connection.create_channel()).await?;
    declare_exchange(&channel, FORMER_UNROUTED, ExchangeKind::Fanout).await?;
    bind(&channel, queue, (FORMER_UNROUTED, "")).await?;
    unbind(&channel, queue, (FILES, EVERY_KEY)).await?;
    let unused = ExchangeDeleteOptions { if_unused: true, ..ExchangeDeleteOptions::default() };
    let deleting = answer(DECLARING, channel.exchange_delete(FILES.into(), unused)).await;
    let channel = answer(DECLARING, connection.create_channel()).await?;
    if deleting.is_err() {
        // Bound, so that its alternate exchange takes nothing. Each change comes twice, and counts once.
        bind(&channel, queue, (FILES, EVERY_KEY)).await?;
        warn!(
            "[Broker] the exchange {FILES} of an earlier version is used by others' queues and stays as it is: \
             each change comes to the bridge twice until somebody deletes it"
        );
        return Ok(());
    }
    declare_exchange(&channel, FILES, ExchangeKind::Topic).await?;
    answer(DECLARING, channel.exchange_delete(FORMER_UNROUTED.into(), ExchangeDeleteOptions::default())).await?;
    info!("[Broker] the exchange {FILES} of an earlier version was made anew, without an alternate exchange");
    remove_empty(&channel, FORMER_UNROUTED).await
}

/// Nothing comes to the queue any more; what lies in it is kept, and said by the lookout.
async fn remove_empty(channel: &Channel, queue: &str) -> Result<(), BrokerError> {
    let asked = channel.queue_declare(queue.into(), QueueDeclareOptions::durable().passive(), FieldTable::default());
    match answer(DECLARING, asked).await {
        Ok(there) if there.message_count() == 0 => {
            let deleting = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            answer(DECLARING, deleting).await.map(drop)
        }
        // With messages, or gone already.
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = answer(DECLARING, channel.exchange_declare(name.into(), kind, options, FieldTable::default())).await;
    declared.map_err(|error| taken(error, format!("the exchange {name}"), "RabbitMQ's management page".to_owned()))
}

async fn declare_queue(channel: &Channel, name: &ShortString, arguments: FieldTable) -> Result<(), BrokerError> {
    let declaring = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments);
    answer(DECLARING, declaring).await.map(drop)
}

/// The command that removes a queue.
pub(super) fn removal(queue: &str, vhost: &str) -> String {
    let elsewhere = if vhost == "/" { String::new() } else { format!(" --vhost {vhost}") };
    format!("`rabbitmqctl delete_queue {queue}{elsewhere}`")
}

/// Tells a name that is somebody else's from other failures.
fn taken(error: BrokerError, what: String, removed_by: String) -> BrokerError {
    match refusal(&error) {
        Some((PRECONDITION_FAILED | RESOURCE_LOCKED, reason)) => BrokerError::Taken { what, reason, removed_by },
        Some(_) | None => error,
    }
}

/// With which code and why RabbitMQ refused, if that is what failed. Only the channel is lost by it.
pub(super) fn refusal(error: &BrokerError) -> Option<(u16, String)> {
    let BrokerError::Failed { source, .. } = error else { return None };
    match source.downcast_ref::<lapin::Error>()?.kind() {
        ErrorKind::ProtocolError(refused) => Some((refused.get_id(), refused.get_message().to_string())),
        _ => None,
    }
}

async fn bind(channel: &Channel, queue: &ShortString, (exchange, key): (&str, &str)) -> Result<(), BrokerError> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    answer(DECLARING, channel.queue_bind(queue.clone(), exchange.into(), key.into(), options, none)).await
}

async fn unbind(channel: &Channel, queue: &ShortString, (exchange, key): (&str, &str)) -> Result<(), BrokerError> {
    let none = FieldTable::default();
    answer(DECLARING, channel.queue_unbind(queue.clone(), exchange.into(), key.into(), none)).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    insert(&mut arguments, "x-queue-type", "quorum");
    arguments
}

fn insert(arguments: &mut FieldTable, key: &str, value: &str) {
    arguments.insert(key.into(), AMQPValue::LongString(value.into()));
}
