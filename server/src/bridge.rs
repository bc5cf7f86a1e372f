//! Broker -> entry peer. Hands each change to one peer of the overlay and acknowledges it to the broker only when that
//! peer has accepted it. A peer that is down means: hold what is there and try the next one; a message that nobody can
//! understand is set aside at once.
//!
//! ```text
//! bridge -> peer   Hello{listen: None}, Submit{1}, Submit{2}, Pong
//! peer -> bridge   Hello, Accepted{1}, Refused{2}, Ping, Goodbye
//! ```

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::ids::PeerId;
use shared::rng::Rng;
use shared::wire::peer::{Fingerprint, Partner, PeerMessage};
use shared::wire::queue::FileEvent;
use shared::wire::stream::{Event, PartState};
use shared::wire::update::FileUpdate;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::bridge::link::{LIMIT, Link, LinkError};
use crate::bridge::source::{BACKOFF, Source, SourceEvent};
use crate::broker::{Broker, BrokerError, Delivery, explain};
use crate::dial::HostPort;
use crate::hub::Hub;

mod link;
mod source;

/// How long deliveries are held without any entry peer, before they are given back. Far below the half hour after which
/// RabbitMQ takes them away, far above a restart of the peers, so that an outage costs one redelivery.
const HOLD: Duration = Duration::from_mins(1);
/// How many forwarded messages are remembered, to know repetitions. 256 windows of the relay.
const REMEMBERED: usize = 65_536;

/// What the bridge needs to know besides its broker and its entry peers.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// The overlay's name; entry peers of another one are not used.
    pub cluster: String,
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
    let source = Source::new(broker, Rng::from_seed(rng.any()));
    let bridge = Bridge {
        entries,
        next_entry: 0,
        hub,
        config,
        me: PeerId(chance),
        rng,
        source,
        pending: BTreeMap::new(),
        last_request: 0,
        forwarded: Forwarded::default(),
        state: None,
    };
    token.run_until_cancelled_owned(bridge.supervise()).await;
}

struct Bridge<B: Broker> {
    entries: watch::Receiver<Vec<HostPort>>,
    /// Counts on, over the ends of `entries`.
    next_entry: usize,
    hub: Option<Hub>,
    config: BridgeConfig,
    me: PeerId,
    rng: Rng,
    source: Source<B>,
    /// Delivered and not answered by the entry peer, by request. As many as the broker's prefetch allows.
    pending: BTreeMap<u64, Pending>,
    last_request: u64,
    forwarded: Forwarded,
    /// What was told last.
    state: Option<PartState>,
}

struct Pending {
    message: Uuid,
    /// The deliveries of this message: more than one when it was published twice.
    tags: Vec<u64>,
    update: Arc<FileUpdate>,
    /// Until when the entry peer must have answered.
    deadline: Instant,
}

impl<B: Broker> Bridge<B> {
    async fn supervise(mut self) {
        loop {
            let mut link = self.reach().await;
            let Err(error) = self.serve(&mut link).await;
            self.next_entry = self.next_entry.wrapping_add(1);
            warn!(peer.addr = %link.addr, "[Bridge] forward failed: {}", explain(&error));
            self.report_down(explain(&error));
        }
    }

    /// Tries the entry peers one after the other until one answers.
    async fn reach(&mut self) -> Link {
        let give_back = Instant::now() + HOLD;
        let mut round = 0_u32;
        loop {
            let entries = self.entries.borrow_and_update().clone();
            if entries.is_empty() {
                self.report_down("there is no entry peer".to_owned());
            }
            for _ in 0..entries.len() {
                match self.open_next(&entries).await {
                    Ok(link) => return link,
                    Err(error) => self.report_down(explain(&error)),
                }
                self.next_entry = self.next_entry.wrapping_add(1);
            }
            if self.source.is_open() && Instant::now() >= give_back {
                warn!("[Bridge] no entry peer for {HOLD:?}: giving {} messages back", self.pending.len());
                self.source.close();
                self.pending.clear();
            }
            let pause = BACKOFF.delay(round, &mut self.rng);
            tokio::select! {
                () = sleep(pause) => {}
                () = changed(&mut self.entries) => {}
            }
            round = round.saturating_add(1);
        }
    }

    async fn open_next(&mut self, entries: &[HostPort]) -> Result<Link, LinkError> {
        match self.next_entry.checked_rem(entries.len()).and_then(|index| entries.get(index)) {
            Some(entry) => Link::open(entry, self.me, &self.config.cluster).await,
            None => Err(LinkError::Closed),
        }
    }

    /// Forwards over `link` until it breaks.
    async fn serve(&mut self, link: &mut Link) -> Result<Infallible, LinkError> {
        info!("[Bridge] forwarding to {}", link.addr);
        if !link.durable {
            warn!(peer.addr = %link.addr, "[Bridge] the entry peer keeps nothing on disk: what it accepts is lost with it");
        }
        for pending in self.pending.values_mut() {
            pending.deadline = Instant::now() + LIMIT;
        }
        for (request, pending) in &self.pending {
            link.send(&PeerMessage::Submit { request: *request, update: pending.update.clone() }).await?;
        }
        if self.source.is_open() {
            self.report(PartState::Up);
        }
        loop {
            let deadline = self.pending.values().next().map(|oldest| oldest.deadline);
            tokio::select! {
                event = self.source.next() => self.on_source(link, event).await?,
                message = link.receive() => self.on_message(link, message?).await?,
                () = at(deadline) => return Err(LinkError::Silent("answer")),
            }
        }
    }

    async fn on_source(&mut self, link: &mut Link, event: SourceEvent) -> Result<(), LinkError> {
        match event {
            SourceEvent::Opened => self.report(PartState::Up),
            SourceEvent::Lost(error) => self.lose_broker(&error),
            SourceEvent::Delivery(delivery) => self.on_delivery(link, delivery).await?,
        }
        Ok(())
    }

    async fn on_delivery(&mut self, link: &mut Link, delivery: Delivery) -> Result<(), LinkError> {
        let Delivery { id, body, tag, redelivered: _ } = delivery;
        if self.forwarded.has(id) {
            self.ack(vec![tag]).await;
            return Ok(());
        }
        if let Some(pending) = self.pending.values_mut().find(|pending| pending.message == id) {
            pending.tags.push(tag);
            return Ok(());
        }
        match FileEvent::from_json(&body).map(|event| event.to_update()) {
            Ok(Some(update)) => self.submit(link, id, tag, update.into()).await,
            Ok(None) => {
                debug!(message.id = %id, "nothing to forward");
                self.ack(vec![tag]).await;
                Ok(())
            }
            Err(error) => {
                self.set_aside(id, tag, explain(&error)).await;
                Ok(())
            }
        }
    }

    async fn submit(&mut self, link: &mut Link, id: Uuid, tag: u64, update: Arc<FileUpdate>) -> Result<(), LinkError> {
        self.last_request += 1;
        let request = self.last_request;
        let pending =
            Pending { message: id, tags: vec![tag], update: update.clone(), deadline: Instant::now() + LIMIT };
        self.pending.insert(request, pending);
        match link.send(&PeerMessage::Submit { request, update }).await {
            // No link can carry it.
            Err(LinkError::Frame(error)) => {
                self.pending.remove(&request);
                self.set_aside(id, tag, explain(&error)).await;
                Ok(())
            }
            sent => sent,
        }
    }

    async fn on_message(&mut self, link: &mut Link, message: PeerMessage) -> Result<(), LinkError> {
        match message {
            PeerMessage::Accepted { request } => self.accepted(link.addr, request).await,
            PeerMessage::Refused { request, reason } => self.refused(request, &reason).await,
            PeerMessage::Ping { nonce, catalogue: _, partner: _ } => {
                let (catalogue, partner) = (Fingerprint::default(), Partner::default());
                link.send(&PeerMessage::Pong { nonce, catalogue, partner }).await?;
            }
            PeerMessage::Goodbye { reason, .. } => return Err(LinkError::Goodbye(reason)),
            // What peers say to each other is not meant for a client.
            _ => {}
        }
        Ok(())
    }

    async fn accepted(&mut self, entry: SocketAddr, request: u64) {
        // An answer to what the broker has taken back in the meantime: it comes again.
        let Some(Pending { message, tags, update, deadline: _ }) = self.pending.remove(&request) else { return };
        self.forwarded.remember(message);
        info!("[Bridge] forwarded event: {} -> v{}", update.file, update.version);
        self.emit(Event::FileForwarded { file: update.file.clone(), version: update.version, entry });
        self.ack(tags).await;
    }

    async fn refused(&mut self, request: u64, reason: &str) {
        let Some(Pending { message, mut tags, .. }) = self.pending.remove(&request) else { return };
        if let Some(tag) = tags.pop() {
            self.set_aside(message, tag, format!("refused by the entry peer: {reason}")).await;
        }
        // One dead letter is enough.
        self.ack(tags).await;
    }

    async fn set_aside(&mut self, message: Uuid, tag: u64, reason: String) {
        warn!("[Bridge] Unrecognized message: {message}: {reason}");
        if let Err(error) = self.source.reject(tag, &reason).await {
            self.lose_broker(&error);
            self.source.lost(error);
            return;
        }
        self.emit(Event::DeadLettered { message_id: message.to_string(), reason });
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

    /// The broker delivers again what it hasn't been told about.
    fn lose_broker(&mut self, error: &BrokerError) {
        warn!("[Bridge] broker unavailable: {}", explain(error));
        self.pending.clear();
        self.report_down(format!("no broker: {}", explain(error)));
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

/// The ids of the last [`REMEMBERED`] messages that were forwarded.
#[derive(Default)]
struct Forwarded {
    order: VecDeque<Uuid>,
    ids: HashSet<Uuid>,
}

impl Forwarded {
    fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    fn remember(&mut self, id: Uuid) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.ids.remove(&oldest));
        }
    }
}

/// Waits for other entry peers; for ever when they can't change any more.
async fn changed(entries: &mut watch::Receiver<Vec<HostPort>>) {
    if entries.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until `deadline`; for ever when there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_forwarded_message_is_forgotten_first() {
        let mut forwarded = Forwarded::default();
        let id = |number: usize| Uuid::from_u128(number.try_into().unwrap());
        (0..=REMEMBERED).for_each(|number| forwarded.remember(id(number)));
        assert!(!forwarded.has(id(0)));
        assert!(forwarded.has(id(1)) && forwarded.has(id(REMEMBERED)));
        assert_eq!(forwarded.ids.len(), REMEMBERED);
    }
}
