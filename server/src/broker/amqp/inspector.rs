//! What RabbitMQ says of queues when it is asked, on a connection that is kept for it.

use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};

use crate::broker::BrokerError;
use crate::broker::amqp::answer;
use crate::broker::amqp::topology::{DEAD_QUEUE, NOT_FOUND, refusal};

const ASKING: &str = "asking for a queue's depth";

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait; those that a consumer holds are not among them.
    pub messages: u64,
    /// How many read it.
    pub consumers: u32,
}

/// What lies in Grapevine's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depths {
    /// The bridge's queue.
    pub bridge: Depth,
    /// Messages that were set aside.
    pub dead_letters: u64,
}

/// Asks for the depths of queues. As with other connections: any error ends it, and another is asked for.
pub struct Inspector {
    connection: Connection,
    channel: Channel,
    queue: ShortString,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Inspector {
    /// Looks at `queue` on a channel of its own.
    pub(super) fn new(connection: Connection, channel: Channel, queue: ShortString) -> Self {
        Self { connection, channel, queue }
    }

    /// How full Grapevine's own queues are.
    ///
    /// # Errors
    /// When the broker can't be asked, or one of them is gone: the next connection declares it anew.
    pub async fn depths(&self) -> Result<Depths, BrokerError> {
        let bridge = self.ask(self.queue.clone()).await?;
        let dead_letters = self.ask(DEAD_QUEUE.into()).await?.messages;
        Ok(Depths { bridge, dead_letters })
    }

    /// How full any queue is; `None` when there is none of this name.
    ///
    /// # Errors
    /// When the broker can't be asked.
    pub async fn depth(&mut self, queue: &str) -> Result<Option<Depth>, BrokerError> {
        match self.ask(queue.into()).await {
            Ok(depth) => Ok(Some(depth)),
            Err(error) if refusal(&error).is_some_and(|(code, _)| code == NOT_FOUND) => {
                self.channel = answer(ASKING, self.connection.create_channel()).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, queue: ShortString) -> Result<Depth, BrokerError> {
        let options = QueueDeclareOptions::durable().passive();
        let there = answer(ASKING, self.channel.queue_declare(queue, options, FieldTable::default())).await?;
        Ok(Depth { messages: there.message_count().into(), consumers: there.consumer_count() })
    }
}
