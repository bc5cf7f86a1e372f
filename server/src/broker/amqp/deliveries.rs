//! Receiving from RabbitMQ, each message acknowledged by itself.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::stream::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::{Acker, Connection, Consumer};

use crate::broker::amqp::{answer, failed, id_of_body, named_id};
use crate::broker::{BrokerError, Deliveries, Delivery};

/// Receives from RabbitMQ.
pub struct AmqpDeliveries {
    /// Dropping it gives back what isn't acknowledged.
    _connection: Connection,
    consumer: Consumer,
    /// By tag; at most [`PREFETCH`](crate::broker::PREFETCH).
    unacked: BTreeMap<u64, Acker>,
}

impl fmt::Debug for AmqpDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpDeliveries").field("unacked", &self.unacked.len()).finish_non_exhaustive()
    }
}

impl AmqpDeliveries {
    /// What comes to a consumer; they end with the connection.
    pub(super) fn new(connection: Connection, consumer: Consumer) -> Self {
        Self { _connection: connection, consumer, unacked: BTreeMap::new() }
    }
}

impl Deliveries for AmqpDeliveries {
    /// Waits without limit for a message; that the broker is there is seen by its heartbeats. A queue that is deleted
    /// ends it: RabbitMQ cancels its consumers.
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let delivery = self.consumer.next().await.ok_or(BrokerError::Cancelled)?;
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
