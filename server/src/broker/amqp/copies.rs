//! Copies of what was published, for whoever else wants them. They have a connection of their own and aren't confirmed: a
//! queue of somebody else's that takes nothing, or is slow, holds up no one but the other copies. What there is no room
//! for then is left out, and told in the log.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;

use lapin::options::BasicPublishOptions;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::broker::amqp::publisher::{key, properties};
use crate::broker::amqp::topology::FILES;
use crate::broker::amqp::{Amqp, answer};
use crate::broker::{BrokerError, Message, RECONNECT, WINDOW, explain};
use crate::outage::Outage;

/// Copies that wait to be sent: four windows of the relay, so that a short pause loses none.
const WAITING: usize = 4 * WINDOW;

/// Sends copies while somebody waits for [`Copies::sent`].
pub(super) struct Copies {
    waiting: mpsc::Sender<Message>,
    sending: Pin<Box<dyn Future<Output = Infallible> + Send>>,
    outage: Outage,
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copies").field("room", &self.waiting.capacity()).finish_non_exhaustive()
    }
}

impl Copies {
    /// Reads the copies that `broker` keeps.
    pub(super) fn new(broker: Amqp) -> Self {
        let (waiting, messages) = mpsc::channel(WAITING);
        Self { waiting, sending: Box::pin(send(broker, messages)), outage: Outage::default() }
    }

    /// A copy of `message` is to be sent, if there is room.
    pub(super) fn add(&mut self, message: Message) {
        if self.waiting.try_send(message).is_ok() {
            if let Some(line) = self.outage.over(Instant::now()) {
                info!("[Broker] copies go to {FILES} again, {line}");
            }
        } else if let Some(line) = self.outage.failed(&format!("{WAITING} copies wait"), Instant::now()) {
            warn!("[Broker] copies for queues at {FILES} are left out, a queue there takes none: {line}");
        }
    }

    /// Never is all sent, for more may come. May be cancelled; nothing is lost by it.
    pub(super) async fn sent(&mut self) -> Infallible {
        (&mut self.sending).await
    }
}

async fn send(broker: Amqp, mut messages: mpsc::Receiver<Message>) -> Infallible {
    let mut outage = Outage::default();
    loop {
        let Err(error) = send_on_one_connection(&broker, &mut messages).await;
        if let Some(line) = outage.failed(&explain(&error), Instant::now()) {
            warn!("[Broker] copies can't be sent to {FILES}: {line}");
        }
        sleep(RECONNECT.longest).await;
    }
}

async fn send_on_one_connection(
    broker: &Amqp,
    messages: &mut mpsc::Receiver<Message>,
) -> Result<Infallible, BrokerError> {
    let (_connection, channel) = broker.connect("grapevine copies").await?;
    loop {
        // Whoever adds some is gone with this future.
        let Some(message) = messages.recv().await else { pending().await };
        let key = key(&message)?;
        let properties = properties(&message, key.clone());
        let sending =
            channel.basic_publish(FILES.into(), key, BasicPublishOptions::default(), &message.body, properties);
        // Not confirmed: there is nothing to wait for.
        drop(answer("publishing a copy", sending).await?);
    }
}
