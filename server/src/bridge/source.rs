//! The bridge's subscription to the broker: opened, lost and opened again, as one stream of events.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use shared::backoff::Backoff;
use shared::rng::Rng;
use tokio::time::sleep;

use crate::broker::{Broker, BrokerError, Deliveries, Delivery, RECONNECT};

/// Between attempts at the entry peers. From the design.
pub(super) const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };

/// What the subscription has to tell.
pub(super) enum SourceEvent {
    /// It is open.
    Opened,
    /// A message came.
    Delivery(Delivery),
    /// It is lost, and with it every delivery that isn't acknowledged. It is opened again by and by.
    Lost(BrokerError),
}

type Opening<B> = Pin<Box<dyn Future<Output = Result<<B as Broker>::Deliveries, BrokerError>> + Send>>;

enum State<B: Broker> {
    Closed,
    Opening(Opening<B>),
    Open(B::Deliveries),
}

/// A subscription that is opened when somebody waits for it.
pub(super) struct Source<B: Broker> {
    broker: B,
    state: State<B>,
    failures: u32,
    rng: Rng,
}

impl<B: Broker> Source<B> {
    /// A subscription to `broker`, not open yet.
    pub(super) fn new(broker: B, rng: Rng) -> Self {
        Self { broker, state: State::Closed, failures: 0, rng }
    }

    /// Gives back what isn't acknowledged.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Whether deliveries can come.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// What happens next. May be cancelled; nothing is lost by it.
    pub(super) async fn next(&mut self) -> SourceEvent {
        loop {
            match &mut self.state {
                State::Closed => self.state = State::Opening(self.open()),
                State::Opening(opening) => match opening.await {
                    Ok(deliveries) => {
                        self.failures = 0;
                        self.state = State::Open(deliveries);
                        return SourceEvent::Opened;
                    }
                    Err(error) => return self.lost(error),
                },
                State::Open(deliveries) => match deliveries.next().await {
                    Ok(delivery) => return SourceEvent::Delivery(delivery),
                    Err(error) => return self.lost(error),
                },
            }
        }
    }

    /// Tells the broker that a delivery is done with.
    pub(super) async fn ack(&mut self, tag: u64) -> Result<(), BrokerError> {
        match &mut self.state {
            State::Open(deliveries) => deliveries.ack(tag).await,
            State::Closed | State::Opening(_) => Ok(()),
        }
    }

    /// Sends a delivery to the dead letters, because of `reason`.
    pub(super) async fn reject(&mut self, tag: u64, reason: &str) -> Result<(), BrokerError> {
        match &mut self.state {
            State::Open(deliveries) => deliveries.reject(tag, reason).await,
            State::Closed | State::Opening(_) => Ok(()),
        }
    }

    /// Ends the subscription because of `error`; the next one is opened after a while.
    pub(super) fn lost(&mut self, error: BrokerError) -> SourceEvent {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Closed;
        SourceEvent::Lost(error)
    }

    fn open(&mut self) -> Opening<B> {
        let broker = self.broker.clone();
        let pause = match self.failures.checked_sub(1) {
            Some(earlier) => RECONNECT.delay(earlier, &mut self.rng),
            None => Duration::ZERO,
        };
        Box::pin(async move {
            sleep(pause).await;
            broker.subscribe().await
        })
    }
}
