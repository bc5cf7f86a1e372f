//! Looks after what RabbitMQ could lose or leave lying: whether it takes anything, how full the queues are, whether
//! somebody reads them, what vanished from them, and what earlier runs left. Each is a condition for as long as it lasts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use shared::wire::condition::Condition;
use shared::wire::event::PartState;
use shared::wire::overview::Overview;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::broker::amqp::inspector::{Depth, Depths, Inspector};
use crate::broker::amqp::{Amqp, FORMER_UNROUTED};
use crate::broker::{BrokerError, explain};
use crate::hub::Hub;
use crate::store::Store;
use crate::wall;

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
}

impl Default for LookoutConfig {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(2),
            search_every: Duration::from_secs(10),
            // A bridge that connects again takes up to 2 s, and holds what it has for a minute.
            unread_after: Duration::from_secs(10),
            vanished_after: Duration::from_mins(1),
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
}

/// Looks until `token` is cancelled.
pub async fn run(parts: Parts, config: LookoutConfig, token: CancellationToken) {
    let Parts { broker, store, hub, depths } = parts;
    let alarms = watch_alarms(broker.alarm(), hub.clone());
    let lookout = Lookout { broker, store, hub, depths, config, unread_since: None };
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
    config: LookoutConfig,
    unread_since: Option<Instant>,
}

impl Lookout {
    async fn watch_queues(mut self) -> Infallible {
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
            if Instant::now() >= search_at {
                search_at = Instant::now() + self.config.search_every;
                self.search_for_what_vanished(depths.bridge);
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

    /// What was confirmed, hasn't been forwarded, and lies in the queue no more. A bridge of this process tells what it
    /// forwards; what another one does is seen where peers of this process hear of it. What it holds because the entry
    /// peers put it off isn't lost.
    fn search_for_what_vanished(&self, queue: Depth) {
        let patience_ms = u64::try_from(self.config.vanished_after.as_millis()).unwrap_or(u64::MAX);
        let before_ms = wall::now_ms().saturating_sub(patience_ms);
        let vanished = self.hub.read(|overview| {
            let works = tells_what_is_forwarded(overview);
            let held = overview.conditions.contains_key(&Condition::ChangesDeferred);
            if works && !held && queue.messages == 0 { unforwarded(overview, before_ms) } else { 0 }
        });
        match vanished {
            0 => self.hub.clear(Condition::ChangesVanished),
            count => self.hub.raise(
                Condition::ChangesVanished,
                format!(
                    "{count} changes were confirmed by RabbitMQ, haven't come to the bridge or a peer since, and are in the \
                     queue no more: it was purged or deleted, or they are dead letters. `grapevine republish` sends them \
                     again"
                ),
            ),
        }
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

/// Whether it would be seen that a change is forwarded: by a bridge of this process, or by its peers.
fn tells_what_is_forwarded(overview: &Overview) -> bool {
    match &overview.bridge {
        Some(state) => *state == PartState::Up,
        None => overview.running() > 0,
    }
}

/// How many files' latest versions were confirmed before that time and are neither forwarded nor known by a local peer.
fn unforwarded(overview: &Overview, before_ms: u64) -> usize {
    let files = overview.files.values();
    let due = files.filter(|view| view.published_ms.is_some_and(|at| at < before_ms));
    due.filter(|view| {
        view.forwarded_ms.is_none() && view.holders.values().all(|holding| holding.version < view.version)
    })
    .count()
}

#[cfg(test)]
mod tests {
    use shared::ids::{PeerId, Version};
    use shared::wire::event::{Entry, Event};

    use super::*;

    #[test]
    fn a_change_that_was_confirmed_long_ago_and_not_forwarded_has_vanished() {
        let mut overview = Overview::new(10, true);
        let (file, version) = ("f".parse().unwrap(), Version::FIRST);
        let mut tell = |at_ms, event| overview.apply(&Entry { seq: at_ms, at_ms, event });
        tell(1, Event::FilePublished { file: "f".parse().unwrap(), version });
        let entry = ([127, 0, 0, 1], 9001).into();
        tell(2, Event::FilePublished { file: "g".parse().unwrap(), version });
        tell(3, Event::FileForwarded { file: "g".parse().unwrap(), version, entry });
        assert_eq!(unforwarded(&overview, 1), 0, "it may be on its way");
        assert_eq!(unforwarded(&overview, 10), 1);
        overview.apply(&Entry { seq: 4, at_ms: 4, event: Event::FileForwarded { file, version, entry } });
        assert_eq!(unforwarded(&overview, 10), 0);
    }

    #[test]
    fn what_is_forwarded_is_seen_by_a_bridge_of_this_process_or_by_its_peers() {
        let mut overview = Overview::new(10, false);
        let tell = |overview: &mut Overview, event| overview.apply(&Entry { seq: overview.seq + 1, at_ms: 1, event });
        assert!(!tells_what_is_forwarded(&overview), "neither is there");
        let (peer, addr) = (PeerId([1; 32]), ([127, 0, 0, 1], 9001).into());
        tell(&mut overview, Event::PeerStarted { peer, addr, files: 0 });
        assert!(tells_what_is_forwarded(&overview));
        let (file, version) = ("f".parse().unwrap(), Version::FIRST);
        tell(&mut overview, Event::FilePublished { file, version });
        assert_eq!(unforwarded(&overview, 10), 1);
        let file = "f".parse().unwrap();
        tell(&mut overview, Event::UpdateApplied { peer, file, version, files: 1 });
        assert_eq!(unforwarded(&overview, 10), 0, "a peer of this process has it");
        tell(&mut overview, Event::Bridge { state: PartState::Down { reason: "no broker".to_owned() } });
        assert!(!tells_what_is_forwarded(&overview), "the bridge knows better, and can't tell");
    }
}
