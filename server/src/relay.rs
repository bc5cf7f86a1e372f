//! Outbox -> broker. Rows go out in order, a window at a time, and leave the outbox once the broker (or the consumer
//! behind it) is responsible for them. While the broker is away they wait here, on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::rng::Rng;
use shared::wire::event::{Event, PartState};
use shared::wire::queue::ChangeKind;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::broker::{Broker, BrokerError, Message, Outcome, Publisher, RECONNECT, WINDOW, explain};
use crate::hub::Hub;
use crate::outage::Outage;
use crate::store::error::StoreError;
use crate::store::{OutboxRow, Store};

/// The outbox is looked at this often, even if nobody says that it has changed.
const POLL: Duration = Duration::from_secs(1);

/// Publishes what is and what comes in the outbox, until `token` is cancelled.
pub async fn run<B: Broker>(store: Store, broker: B, hub: Hub, token: CancellationToken) {
    let changes = store.outbox_changes();
    let mut seed = [0; 8];
    if let Err(error) = getrandom::fill(&mut seed) {
        warn!(%error, "no randomness for the back-off");
    }
    let rng = Rng::from_seed(u64::from_le_bytes(seed));
    let relay = Relay {
        place: broker.place(),
        store,
        hub,
        changes,
        rng,
        failures: 0,
        refused: false,
        outage: Outage::default(),
        state: None,
        under_way: BTreeMap::new(),
        cursor: 0,
    };
    token.run_until_cancelled_owned(relay.supervise(broker)).await;
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the outbox can't be used")]
    Store(#[from] StoreError),
    #[error("the broker takes nothing: {0}")]
    NotTaken(String),
}

struct Relay {
    /// Which broker it is, for people.
    place: String,
    store: Store,
    hub: Hub,
    changes: watch::Receiver<u64>,
    rng: Rng,
    /// Failures since a message was taken for the last time.
    failures: u32,
    /// The broker is there and took nothing the last time.
    refused: bool,
    outage: Outage,
    /// What was told last.
    state: Option<PartState>,
    /// Handed over and not settled: at most [`WINDOW`].
    under_way: BTreeMap<Uuid, UnderWay>,
    /// The last row that was handed over.
    cursor: i64,
}

struct UnderWay {
    row: OutboxRow,
    /// Whether the dashboard knows that the broker has it.
    told: bool,
}

impl Relay {
    async fn supervise<B: Broker>(mut self, broker: B) {
        loop {
            // Whatever was under way goes out again; its consumer knows it by its id.
            self.under_way.clear();
            self.cursor = 0;
            let Err(error) = self.connect_and_pump(&broker).await;
            self.refused = matches!(error, RelayError::NotTaken(_));
            self.report(PartState::Down { reason: explain(&error) });
            let delay = RECONNECT.delay(self.failures, &mut self.rng);
            self.failures = self.failures.saturating_add(1);
            sleep(delay).await;
        }
    }

    async fn connect_and_pump<B: Broker>(&mut self, broker: &B) -> Result<std::convert::Infallible, RelayError> {
        let mut publisher = broker.publisher().await?;
        if !self.refused {
            self.report(PartState::Up);
        }
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.fill(&mut publisher).await?;
            tokio::select! {
                outcomes = publisher.settled() => self.settle(outcomes?).await?,
                () = changed(&mut self.changes) => {}
                _ = poll.tick() => {}
            }
        }
    }

    /// Hands over as many rows as the window has room for.
    async fn fill(&mut self, publisher: &mut impl Publisher) -> Result<(), RelayError> {
        let room = WINDOW.saturating_sub(self.under_way.len());
        if room == 0 {
            return Ok(());
        }
        if self.under_way.is_empty() {
            // Nothing can be handed over twice now: look at everything, should a row have been missed.
            self.cursor = 0;
        }
        let rows = self.store.outbox_pending(self.cursor, u32::try_from(room).unwrap_or(u32::MAX)).await?;
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            self.cursor = row.seq;
            match message(&row) {
                Ok(message) => {
                    messages.push(message);
                    self.under_way.insert(row.message_id, UnderWay { row, told: false });
                }
                Err(error) => {
                    let reason = format!("it can't be written as JSON: {error}");
                    self.tell_dead(row.message_id, &reason);
                    self.set_aside(row.message_id, reason).await?;
                }
            }
        }
        if !messages.is_empty() {
            publisher.send(messages).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, outcomes: Vec<(Uuid, Outcome)>) -> Result<(), RelayError> {
        let mut taken = BTreeSet::new();
        let mut not_taken = None;
        for (id, outcome) in outcomes {
            match outcome {
                Outcome::Held => self.tell_published(id),
                Outcome::Taken => {
                    self.tell_published(id);
                    taken.insert(id);
                }
                Outcome::Rejected(reason) => self.set_aside(id, reason).await?,
                Outcome::DeadLettered(reason) => {
                    self.tell_dead(id, &reason);
                    self.set_aside(id, reason).await?;
                }
                Outcome::NotTaken(reason) => not_taken = Some(reason),
            }
        }
        if !taken.is_empty() {
            self.failures = 0;
            self.report(PartState::Up);
            self.store.outbox_sent(taken.iter().copied().collect()).await?;
            self.under_way.retain(|id, _| !taken.contains(id));
        }
        not_taken.map_or(Ok(()), |reason| Err(RelayError::NotTaken(reason)))
    }

    /// The outbox remembers it, and doesn't offer it again.
    async fn set_aside(&mut self, id: Uuid, reason: String) -> Result<(), StoreError> {
        self.failures = 0;
        self.under_way.remove(&id);
        self.store.outbox_dead(id, reason).await
    }

    fn tell_dead(&self, id: Uuid, reason: &str) {
        warn!(message.id = %id, reason, "an event was set aside");
        self.hub.emit(Event::DeadLettered { message_id: id.to_string(), reason: reason.to_owned() });
    }

    fn tell_published(&mut self, id: Uuid) {
        let Some(under_way) = self.under_way.get_mut(&id).filter(|under_way| !under_way.told) else { return };
        under_way.told = true;
        let event = &under_way.row.event;
        if event.event != ChangeKind::Shared {
            let (file, owner) = (event.file_id.clone(), event.owner.clone());
            self.hub.emit(Event::FilePublished { file, version: event.version, owner });
        }
    }

    fn report(&mut self, state: PartState) {
        if let PartState::Down { reason } = &state
            && let Some(line) = self.outage.failed(reason, Instant::now())
        {
            warn!("[Broker] unavailable: {line}");
        }
        if self.state.as_ref() == Some(&state) {
            return;
        }
        if state == PartState::Up {
            let again = self.outage.over(Instant::now()).map(|line| format!(" again, {line}"));
            info!("[Broker] connected{} to {}", again.unwrap_or_default(), self.place);
        }
        self.hub.emit(Event::Broker { state: state.clone() });
        self.state = Some(state);
    }
}

fn message(row: &OutboxRow) -> Result<Message, serde_json::Error> {
    let body = serde_json::to_vec(&row.event)?;
    Ok(Message { id: row.message_id, routing_key: row.event.event.routing_key().to_owned(), body })
}

/// Waits for a change; for ever when the store is gone, which ends the process anyway.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
