//! Broker -> entry peer. Hands each change to one peer of the overlay and acknowledges it to the broker only when that
//! peer has accepted it. A peer that is slow means: hand it to a second one, too, and the first answer counts. A peer
//! that is down means: hold what is there and try the next one; a message that nobody can understand is set aside at
//! once.
//!
//! ```text
//! bridge -> peer   Hello{listen: None}, Submit{1}, Submit{2}, Submit{3}, Pong
//! peer -> bridge   Hello, Accepted{1}, Refused{2}, Deferred{3}, Ping, Goodbye
//! ```
//!
//! Long because it is one loop over the broker, the links and the deadlines, each of whose events may touch the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::gossip::estimate::Estimate;
use shared::ids::PeerId;
use shared::rng::Rng;
use shared::wire::condition::Condition;
use shared::wire::event::{Event, PartState};
use shared::wire::peer::{Fingerprint, Partner, PeerMessage};
use shared::wire::queue::FileEvent;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::bridge::links::{HURRY, LinkEvent, LinkId, Links};
use crate::bridge::pending::{Forwarded, Pending};
use crate::bridge::source::{Source, SourceEvent};
use crate::broker::{Broker, BrokerError, Delivery, PREFETCH, explain};
use crate::client::LinkError;
use crate::deadline::at;
use crate::dial::HostPort;
use crate::hub::Hub;
use crate::log_lines::Line;
use crate::outage::Outage;

mod links;
mod pending;
mod source;

/// How long deliveries are held without any entry peer, before they are given back. Far below the half hour after which
/// RabbitMQ takes them away, far above a restart of the peers, so that an outage costs one redelivery.
const HOLD: Duration = Duration::from_mins(1);
/// An answer is never late before this. A guess: a few times what a disk takes to write.
const SOONEST: Duration = Duration::from_millis(50);
/// Changes that may be put off before others need their places: half of what a subscription delivers.
const DEFERRED: usize = PREFETCH as usize / 2;
/// How many times [`PREFETCH`] changes are held at most: what a subscription delivers, and as much of one that was
/// lost.
const HELD: usize = 2;
/// How long RabbitMQ may still count a subscription of ours that is lost: two heartbeats and some.
const GHOST: Duration = Duration::from_secs(20);
/// How long the broker is asked how much waits, for the log.
const ASKING: Duration = Duration::from_secs(2);

/// What the bridge needs to know besides its broker and its entry peers.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// The overlay's name; entry peers of another one are not used.
    pub cluster: String,
    /// Gets from when on whoever else reads the queue isn't a former subscription of this bridge; nothing while it has none.
    pub alone_from: watch::Sender<Option<Instant>>,
}

/// Forwards what comes from `broker` to one of `entries`, which may change, until `token` is cancelled.
pub async fn run<B: Broker>(
    broker: B,
    entries: watch::Receiver<Vec<HostPort>>,
    hub: Option<Hub>,
    config: BridgeConfig,
    token: CancellationToken,
) {
    let mut chance = [0; 32];
    if let Err(error) = getrandom::fill(&mut chance) {
        warn!(%error, "no randomness for the bridge's name and back-off");
    }
    let mut rng = Rng::from_seed(chance.iter().fold(0, |seed, byte| (seed << 8) ^ (seed >> 56) ^ u64::from(*byte)));
    let bridge = Bridge {
        links: Links::new(PeerId(chance), config.cluster, entries, Rng::from_seed(rng.any())),
        alone_from: config.alone_from,
        has_read: false,
        alone_since: Some(Instant::now()),
        hub,
        source: Source::new(broker.clone(), Rng::from_seed(rng.any())),
        rng,
        broker,
        pending: BTreeMap::new(),
        last_request: 0,
        answers: Estimate::default(),
        forwarded: Forwarded::default(),
        state: None,
        entry_outage: Outage::default(),
        unsteady: false,
        broker_outage: Outage::default(),
        deferrals: Outage::default(),
    };
    token.run_until_cancelled_owned(bridge.supervise()).await;
}

struct Bridge<B: Broker> {
    links: Links,
    alone_from: watch::Sender<Option<Instant>>,
    /// Whether there was a subscription before.
    has_read: bool,
    /// Since when there is no link; absent also when that was said.
    alone_since: Option<Instant>,
    hub: Option<Hub>,
    rng: Rng,
    broker: B,
    source: Source<B>,
    /// Delivered and not answered by an entry peer, by request. Bounded by [`HELD`].
    pending: BTreeMap<u64, Pending>,
    last_request: u64,
    /// How long answers take.
    answers: Estimate,
    forwarded: Forwarded,
    /// What was told last.
    state: Option<PartState>,
    entry_outage: Outage,
    /// A link was lost, and nothing was accepted since.
    unsteady: bool,
    broker_outage: Outage,
    deferrals: Outage,
}

impl<B: Broker> Bridge<B> {
    async fn supervise(mut self) {
        loop {
            self.submit_due().await;
            let takes_more = self.links.is_open() && self.pending.len() < HELD * usize::from(PREFETCH);
            let wake_at = self.wake_at();
            tokio::select! {
                event = self.source.next(), if takes_more => self.on_source(event).await,
                event = self.links.next() => self.on_links(event).await,
                () = at(wake_at) => self.on_time().await,
            }
        }
    }

    async fn on_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Opened => {
                if let Some(line) = self.broker_outage.over(Instant::now()) {
                    info!("[Bridge] the broker is back {line}");
                }
                let ghost = if std::mem::replace(&mut self.has_read, true) { GHOST } else { Duration::ZERO };
                self.alone_from.send_replace(Some(Instant::now() + ghost));
                self.report_up();
            }
            SourceEvent::Lost(error) => self.lose_broker(&error),
            SourceEvent::Delivery(delivery) => self.on_delivery(delivery).await,
        }
    }

    async fn on_delivery(&mut self, delivery: Delivery) {
        let Delivery { id, body, tag, redelivered: _ } = delivery;
        if self.forwarded.has(id) {
            return self.ack(vec![tag]).await;
        }
        if let Some(pending) = self.pending.values_mut().find(|pending| pending.message == id) {
            return pending.tags.push(tag);
        }
        match FileEvent::read(&body).map(|event| event.to_update()) {
            Ok(Some(update)) => {
                self.last_request += 1;
                self.pending.insert(self.last_request, Pending::new(id, tag, update.into()));
            }
            Ok(None) => {
                debug!(message.id = %id, "nothing to forward");
                self.ack(vec![tag]).await;
            }
            Err(error) => self.set_aside(id, vec![tag], explain(&error)).await,
        }
    }

    /// Submits what isn't submitted yet, and to a second entry peer what the first is slow with.
    async fn submit_due(&mut self) {
        let (links, now) = (self.links.all(), Instant::now());
        let due: Vec<(u64, LinkId)> = self
            .pending
            .iter()
            .flat_map(|(request, pending)| pending.due_on(&links, now).into_iter().map(|link| (*request, link)))
            .collect();
        for (request, link) in due {
            self.submit(request, link).await;
        }
    }

    async fn submit(&mut self, request: u64, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        let Some(pending) = self.pending.get_mut(&request) else { return };
        pending.asked(id, Instant::now());
        let update = pending.update.clone();
        match link.send(&PeerMessage::Submit { request, update }).await {
            Ok(()) => {}
            // No link can carry it.
            Err(LinkError::Frame(error)) => self.give_up(request, explain(&error)).await,
            Err(error) => self.lose_link(id, &error),
        }
    }

    async fn on_links(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Opened(id) => self.on_opened(id),
            LinkEvent::Received(id, message) => self.on_message(id, message).await,
            LinkEvent::Lost(id, entry, error) => self.on_lost(id, &entry, &error),
            LinkEvent::Unreached(entry, error) => self.entry_failed(&entry, &error),
            LinkEvent::NoEntries => self.report_down("there is no entry peer".to_owned()),
        }
    }

    fn on_opened(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        let (addr, durable) = (link.addr, link.durable);
        // The second one helps out; who is first counts.
        if !self.unsteady && self.links.all() == [id] {
            let again = self.entry_outage.over(Instant::now()).map(|line| format!(" again, {line}"));
            info!("{}{}", Line::Forwarding(addr), again.unwrap_or_default());
            if !durable {
                warn!(peer.addr = %addr, "[Bridge] the entry peer keeps nothing on disk: what it accepts is lost with it");
            }
        }
        self.alone_since = None;
        self.report_up();
    }

    fn lose_link(&mut self, id: LinkId, error: &LinkError) {
        if let Some(entry) = self.links.lose(id) {
            self.on_lost(id, &entry, error);
        }
    }

    fn on_lost(&mut self, id: LinkId, entry: &HostPort, error: &LinkError) {
        self.forget_link(id);
        self.unsteady = true;
        self.entry_failed(entry, error);
    }

    fn forget_link(&mut self, id: LinkId) {
        self.pending.values_mut().for_each(|pending| pending.forget(id));
    }

    fn entry_failed(&mut self, entry: &HostPort, error: &LinkError) {
        let reason = format!("{entry}: {}", explain(error));
        if let Some(line) = self.entry_outage.failed(&reason, Instant::now()) {
            warn!("[Bridge] forward failed: {line}");
        }
        if !self.links.is_open() {
            self.alone_since.get_or_insert_with(Instant::now);
            self.report_down(reason);
        }
    }

    async fn on_message(&mut self, id: LinkId, message: PeerMessage) {
        match message {
            PeerMessage::Accepted { request } => self.accepted(id, request).await,
            PeerMessage::Refused { request, reason } => {
                self.give_up(request, format!("refused by the entry peer: {reason}")).await;
            }
            PeerMessage::Deferred { request, reason } => self.deferred(id, request, &reason),
            PeerMessage::Ping { nonce, catalogue: _, partner: _ } => {
                let (catalogue, partner) = (Fingerprint::default(), Partner::default());
                let Some(link) = self.links.get(id) else { return };
                if let Err(error) = link.send(&PeerMessage::Pong { nonce, catalogue, partner }).await {
                    self.lose_link(id, &error);
                }
            }
            PeerMessage::Goodbye { reason, .. } => self.lose_link(id, &LinkError::Goodbye(reason)),
            // What peers say to each other is not meant for a client.
            _ => {}
        }
    }

    async fn accepted(&mut self, id: LinkId, request: u64) {
        self.steady();
        // An answer to what another entry peer was quicker to accept.
        let Some(pending) = self.pending.remove(&request) else { return };
        if let Some(asked_at) = pending.asked_at(id) {
            self.answers.sample(asked_at.elapsed());
        }
        if pending.is_hurried() {
            self.links.prefer(id);
        }
        if !self.pending.values().any(Pending::is_hurried) {
            for closed in self.links.one_is_enough() {
                self.forget_link(closed);
            }
        }
        self.tell_if_deferrals_are_over();
        let Pending { message, tags, update, .. } = pending;
        self.forwarded.remember(message);
        info!("{}", Line::Forwarded(&update.file, update.version));
        if let Some(entry) = self.links.get(id).map(|link| link.addr) {
            let (file, owner) = (update.file.clone(), update.owner.clone());
            self.emit(Event::FileForwarded { file, version: update.version, entry, owner });
        }
        self.ack(tags).await;
    }

    /// An entry peer does its work.
    fn steady(&mut self) {
        self.links.works();
        self.unsteady = false;
        if let Some(line) = self.entry_outage.over(Instant::now()) {
            info!("[Bridge] forwarding again, {line}");
        }
    }

    fn tell_if_deferrals_are_over(&mut self) {
        if self.pending.values().any(Pending::is_deferred) {
            return;
        }
        if let Some(line) = self.deferrals.over(Instant::now()) {
            info!("[Bridge] no change is put off any more, {line}");
            if let Some(hub) = &self.hub {
                hub.clear(Condition::ChangesDeferred);
            }
        }
    }

    /// Another entry peer may take it, or this one later.
    fn deferred(&mut self, id: LinkId, request: u64, reason: &str) {
        let Some(addr) = self.links.get(id).map(|link| link.addr) else { return };
        let Some(pending) = self.pending.get_mut(&request) else { return };
        pending.defer(id, Instant::now(), &mut self.rng);
        self.links.want_second();
        if let Some(line) = self.deferrals.failed(&format!("{addr}: {reason}"), Instant::now()) {
            warn!("[Bridge] an entry peer can't take changes now: {line}");
        }
        if let Some(hub) = &self.hub {
            hub.raise(Condition::ChangesDeferred, format!("an entry peer can't take changes now: {reason}"));
        }
    }

    /// No entry peer will ever take it.
    async fn give_up(&mut self, request: u64, reason: String) {
        let Some(Pending { message, tags, .. }) = self.pending.remove(&request) else { return };
        self.tell_if_deferrals_are_over();
        self.set_aside(message, tags, reason).await;
    }

    async fn set_aside(&mut self, message: Uuid, mut tags: Vec<u64>, reason: String) {
        warn!("[Bridge] Unrecognized message: {message}: {reason}");
        // Without a tag it is the broker's no more, and this is all that is ever told of it.
        if let Some(tag) = tags.pop()
            && let Err(error) = self.source.reject(tag, &reason).await
        {
            self.lose_broker(&error);
            self.source.lost(error);
            return;
        }
        self.emit(Event::DeadLettered { message_id: message.to_string(), reason });
        // One dead letter is enough.
        self.ack(tags).await;
    }

    async fn ack(&mut self, tags: Vec<u64>) {
        for tag in tags {
            if let Err(error) = self.source.ack(tag).await {
                self.lose_broker(&error);
                self.source.lost(error);
                return;
            }
        }
    }

    /// The broker delivers again what it hasn't been told about, unless its queue was deleted. So what was delivered is
    /// forwarded all the same.
    fn lose_broker(&mut self, error: &BrokerError) {
        let reason = explain(error);
        if let Some(line) = self.broker_outage.failed(&reason, Instant::now()) {
            warn!("[Bridge] broker unavailable: {line}");
        }
        self.alone_from.send_replace(None);
        self.pending.values_mut().for_each(|pending| pending.tags.clear());
        self.report_down(format!("no broker: {reason}"));
    }

    /// An answer that takes longer than this is late.
    fn patience(&self) -> Duration {
        self.answers.longest().unwrap_or(HURRY).clamp(SOONEST, HURRY)
    }

    fn wake_at(&self) -> Option<Instant> {
        let patience = self.patience();
        let pending = self.pending.values().filter(|_| self.links.is_open());
        let due = pending.filter_map(|pending| pending.wake_at(patience)).min();
        let hold = self.alone_since.map(|since| since + HOLD);
        due.into_iter().chain(hold).min()
    }

    async fn on_time(&mut self) {
        let (now, patience) = (Instant::now(), self.patience());
        let silent: BTreeSet<LinkId> = self.pending.values().flat_map(|pending| pending.silent(now)).collect();
        for id in silent {
            self.lose_link(id, &LinkError::Silent("answer"));
        }
        let late = self.pending.values_mut().map(|pending| pending.becomes_late(patience, now));
        if late.fold(false, |any, late| any | late) {
            self.links.want_second();
        }
        let crowded = self.pending.values().filter(|pending| pending.is_deferred()).count() > DEFERRED;
        let hopeless = self.pending.iter().filter(|(_, pending)| pending.is_hopeless(crowded, now));
        let hopeless: Vec<u64> = hopeless.map(|(request, _)| *request).collect();
        for request in hopeless {
            self.give_up(request, "no entry peer could take it for too long".to_owned()).await;
        }
        if self.alone_since.is_some_and(|since| now >= since + HOLD) {
            self.alone_since = None;
            self.give_back().await;
        }
    }

    /// Nobody takes anything: others may read the queue meanwhile. What was delivered by a subscription that is lost
    /// may be nowhere else, and is kept.
    async fn give_back(&mut self) {
        self.source.close();
        self.alone_from.send_replace(None);
        self.pending.retain(|_, pending| pending.tags.is_empty());
        self.tell_if_deferrals_are_over();
        let waiting = match timeout(ASKING, self.broker.waiting()).await {
            Ok(Ok(waiting)) => waiting.to_string(),
            Ok(Err(_)) | Err(_) => "an unknown number of".to_owned(),
        };
        warn!("[Bridge] no entry peer for {HOLD:?}: {waiting} messages wait at the broker");
    }

    fn report_up(&mut self) {
        if self.links.is_open() && self.source.is_open() {
            self.report(PartState::Up);
        }
    }

    fn report_down(&mut self, reason: String) {
        // One report for each outage, whatever fails next.
        if !matches!(self.state, Some(PartState::Down { .. })) {
            self.report(PartState::Down { reason });
        }
    }

    fn report(&mut self, state: PartState) {
        if self.state.as_ref() != Some(&state) {
            self.emit(Event::Bridge { state: state.clone() });
            self.state = Some(state);
        }
    }

    fn emit(&self, event: Event) {
        if let Some(hub) = &self.hub {
            hub.emit(event);
        }
    }
}
