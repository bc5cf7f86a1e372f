//! Looks after what RabbitMQ could lose or leave lying: whether it takes anything, how full the queues are, whether
//! somebody reads them, what vanished from them, and what earlier runs left. Each is a condition for as long as it lasts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use shared::wire::condition::Condition;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::broker::amqp::inspector::{Depth, Depths, Inspector};
use crate::broker::amqp::{Amqp, FORMER_UNROUTED};
use crate::broker::{BrokerError, explain};
use crate::hub::Hub;
use crate::lookout::missing::{Missing, Search, tells_what_is_forwarded};
use crate::store::Store;
use crate::wall;

mod missing;

/// How many files' latest versions of an earlier run are looked for at the peers: half of what the hub keeps.
const INHERITED: u32 = 50_000;

/// How patient the lookout is.
#[derive(Debug, Clone)]
pub struct LookoutConfig {
    /// How often the queues are looked at; `/ready` is as old as that.
    pub look_every: Duration,
    /// How often it is looked for what vanished and what earlier runs left.
    pub search_every: Duration,
    /// How long a queue may have no reader.
    pub unread_after: Duration,
    /// How long a confirmed change may take to the other end of the bridge's queue.
    pub vanished_after: Duration,
    /// The same while somebody else reads the queue besides this process's bridge.
    pub taken_after: Duration,
}

impl Default for LookoutConfig {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(2),
            search_every: Duration::from_secs(10),
            // A bridge that connects again takes up to 2 s, and holds what it has for a minute.
            unread_after: Duration::from_secs(10),
            vanished_after: Duration::from_mins(1),
            // What this process's bridge gets it forwards within milliseconds, or says that it can't. A guess.
            taken_after: Duration::from_secs(5),
        }
    }
}

/// What the lookout joins.
#[derive(Debug)]
pub struct Parts {
    /// What is looked after.
    pub broker: Amqp,
    /// Remembers which queues were used.
    pub store: Store,
    /// Where conditions are told.
    pub hub: Hub,
    /// Gets what lies in the queues: nothing while the broker can't be asked.
    pub depths: watch::Sender<Option<Depths>>,
    /// From when on whoever else reads the queue isn't a bridge of this process; nothing while none reads it.
    pub alone_from: watch::Receiver<Option<Instant>>,
}

/// Looks until `token` is cancelled.
pub async fn run(parts: Parts, config: LookoutConfig, token: CancellationToken) {
    let Parts { broker, store, hub, depths, alone_from } = parts;
    let alarms = watch_alarms(broker.alarm(), hub.clone());
    let search = Search::new(config.taken_after, config.vanished_after, wall::now_ms());
    let lookout = Lookout { broker, store, hub, depths, alone_from, config, unread_since: None, others: 0, search };
    let both = async { tokio::join!(alarms, lookout.watch_queues()) };
    token.run_until_cancelled_owned(both).await;
}

/// Names an alarm while it lasts.
async fn watch_alarms(mut alarm: watch::Receiver<Option<String>>, hub: Hub) -> Infallible {
    loop {
        let reason = alarm.borrow_and_update().clone();
        match reason {
            Some(reason) => hub.raise(
                Condition::BrokerAlarm,
                format!("RabbitMQ takes nothing, it says: {reason}. Uploads are accepted; their events wait here"),
            ),
            None => hub.clear(Condition::BrokerAlarm),
        }
        if alarm.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

struct Lookout {
    broker: Amqp,
    store: Store,
    hub: Hub,
    depths: watch::Sender<Option<Depths>>,
    alone_from: watch::Receiver<Option<Instant>>,
    config: LookoutConfig,
    unread_since: Option<Instant>,
    /// How many read the queue besides this process's bridge, as last told.
    others: u32,
    search: Search,
}

impl Lookout {
    async fn watch_queues(mut self) -> Infallible {
        self.inherit().await;
        loop {
            let Err(error) = self.look().await;
            // That the broker is away is told by the relay.
            debug!("can't look at the queues: {}", explain(&error));
            self.depths.send_replace(None);
            self.unread_since = None;
            sleep(self.config.look_every).await;
        }
    }

    async fn look(&mut self) -> Result<Infallible, BrokerError> {
        let mut inspector = self.broker.inspector().await?;
        let mut left = self.what_others_may_have_left().await;
        let mut search_at = Instant::now();
        loop {
            let depths = inspector.depths().await?;
            self.depths.send_replace(Some(depths));
            self.judge(depths);
            self.look_for_others(depths.bridge);
            let is_due = Instant::now() >= search_at;
            if is_due || self.search.has_seen_others(wall::now_ms()) {
                self.search_for_what_vanished(depths.bridge);
            }
            if is_due {
                search_at = Instant::now() + self.config.search_every;
                self.search_for_what_was_left(&mut inspector, &mut left).await?;
            }
            sleep(self.config.look_every).await;
        }
    }

    fn judge(&mut self, depths: Depths) {
        if depths.dead_letters > 0 {
            let detail = "messages that couldn't be forwarded lie in RabbitMQ's queue grapevine.dead; their header x-death says \
                          why, and `grapevine republish` sends what they tell again";
            self.hub.raise(Condition::DeadLetters, detail);
        } else {
            self.hub.clear(Condition::DeadLetters);
        }
        if depths.bridge.consumers > 0 {
            self.unread_since = None;
            return self.hub.clear(Condition::QueueUnread);
        }
        let since = *self.unread_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.config.unread_after {
            let queue = self.broker.queue();
            let detail = format!("no bridge reads RabbitMQ's queue {queue}: what is uploaded waits there");
            self.hub.raise(Condition::QueueUnread, detail);
        }
    }

    /// What was handed over before this run and never came to a peer would else be forgotten with the last run.
    async fn inherit(&mut self) {
        match self.store.handed_over(INHERITED).await {
            Ok(versions) => self.search.inherit(versions),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "can't tell what was published before");
            }
        }
    }

    /// Whoever reads the queue besides this process's bridge takes changes from it. That is as it should be where all
    /// bridges lead to the same overlay, which can't be seen: so it is logged, and no fault before something is missing.
    /// Without a bridge here any number of readers is as it should be.
    fn look_for_others(&mut self, queue: Depth) {
        if !self.alone_from.borrow().is_some_and(|from| from <= Instant::now()) {
            return;
        }
        let others = queue.consumers.saturating_sub(1);
        if others > 0 {
            self.search.saw_others(wall::now_ms());
        }
        if others == self.others {
            return;
        }
        self.others = others;
        let queue = self.broker.queue();
        if others > 0 {
            warn!(
                "[Broker] besides this server's bridge {others} more read RabbitMQ's queue {queue}: as it should be if they \
                 are bridges to the same peers; another server needs a --queue of its own"
            );
        } else {
            info!("[Broker] nobody but this server's bridge reads RabbitMQ's queue {queue} any more");
        }
    }

    /// What was confirmed, hasn't been forwarded, and lies in the queue no more. A bridge of this process tells what it
    /// forwards; what another one does is seen where peers of this process hear of it. While something waits, or is held
    /// because the entry peers put it off, nothing new is known.
    fn search_for_what_vanished(&mut self, queue: Depth) {
        let (now_ms, search) = (wall::now_ms(), &mut self.search);
        let missing = self.hub.read(|overview| {
            let works = tells_what_is_forwarded(overview);
            let held = overview.conditions.contains_key(&Condition::ChangesDeferred);
            (works && !held && queue.messages == 0).then(|| search.missing(overview, now_ms))
        });
        let Some(Missing { taken, vanished }) = missing else { return };
        let queue = self.broker.queue();
        self.tell(
            Condition::QueueShared,
            (taken > 0).then(|| {
                format!(
                    "{taken} changes don't wait in RabbitMQ's queue {queue} any more and haven't come to this server's \
                     bridge or a peer: somebody else who reads that queue has taken them, or holds them. Where that is \
                     another server, or a bridge to other peers, give each a queue of its own (--queue); then \
                     `grapevine republish` sends them again"
                )
            }),
        );
        self.tell(
            Condition::ChangesVanished,
            (vanished > 0).then(|| {
                format!(
                    "{vanished} changes were confirmed by RabbitMQ, haven't come to the bridge or a peer since, and are in \
                     its queue {queue} no more: it was purged or deleted, a bridge to other peers has taken them, or they \
                     are dead letters. `grapevine republish` sends them again"
                )
            }),
        );
    }

    /// Queues that earlier runs used, and that of an earlier version.
    async fn what_others_may_have_left(&self) -> BTreeSet<String> {
        let former = match self.store.use_queue(self.broker.queue().to_owned()).await {
            Ok(former) => former,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "can't tell which queues were used before");
                Vec::new()
            }
        };
        former.into_iter().chain([FORMER_UNROUTED.to_owned()]).collect()
    }

    async fn search_for_what_was_left(
        &self,
        inspector: &mut Inspector,
        left: &mut BTreeSet<String>,
    ) -> Result<(), BrokerError> {
        let (mut former, mut unrouted) = (Vec::new(), None);
        for queue in left.clone() {
            match inspector.depth(&queue).await? {
                None => {
                    left.remove(&queue);
                    self.forget(queue).await;
                }
                Some(depth) if queue == FORMER_UNROUTED => unrouted = Some(depth.messages),
                // Somebody else may use it.
                Some(depth) if depth.consumers > 0 => {}
                Some(depth) => former.push(format!(
                    "{queue} ({} messages), to be removed with {}",
                    depth.messages,
                    self.broker.removal(&queue)
                )),
            }
        }
        self.tell(
            Condition::FormerQueue,
            (!former.is_empty()).then(|| {
                format!(
                    "queues that --queue named before are still there, and nobody reads them: {}",
                    former.join("; ")
                )
            }),
        );
        self.tell(
            Condition::UnroutedMessages,
            unrouted.filter(|messages| *messages > 0).map(|messages| {
                let removal = self.broker.removal(FORMER_UNROUTED);
                format!(
                    "{messages} messages that an earlier version published while no queue wanted them lie in \
                 {FORMER_UNROUTED}: `grapevine republish` sends what they tell again; then remove it with {removal}"
                )
            }),
        );
        Ok(())
    }

    async fn forget(&self, queue: String) {
        if let Err(error) = self.store.forget_queue(queue).await {
            warn!(error = &error as &dyn std::error::Error, "can't forget a queue that is gone");
        }
    }

    fn tell(&self, condition: Condition, detail: Option<String>) {
        match detail {
            Some(detail) => self.hub.raise(condition, detail),
            None => self.hub.clear(condition),
        }
    }
}
