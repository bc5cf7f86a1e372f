//! `grapevine serve`: store, hub, peers, broker, bridge, lab and API, joined in one process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use shared::wire::condition::Condition;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::app::{BadInput, OVERVIEW_FILES, SHUTDOWN_LIMIT, amqp, check_exposure, gossip, listen, lock};
use crate::bridge::{self, BridgeConfig};
use crate::broker::Broker;
use crate::broker::amqp::Amqp;
use crate::broker::amqp::inspector::Depths;
use crate::broker::embedded::Embedded;
use crate::cli::serve::Serve;
use crate::concurrency::Lab;
use crate::contact::{self, Contact};
use crate::gauge;
use crate::http::idempotency::KeysAtWork;
use crate::http::limits::Limits;
use crate::http::{self, AppState, HttpConfig, door};
use crate::hub::Hub;
use crate::log_lines::Line;
use crate::lookout::{self, LookoutConfig};
use crate::open_files;
use crate::relay;
use crate::shutdown::{StopSignals, Tasks};
use crate::store::error::StoreError;
use crate::store::{Store, StoreConfig};
use crate::swarm::{Swarm, SwarmConfig, SwarmError};

/// How long the bridge may take to end. It has nothing to end but waits.
const BRIDGE_LIMIT: Duration = Duration::from_secs(2);
/// How long closing the catalogue may take: its log is a few MiB.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Runs `grapevine serve` until it is asked to stop.
pub(super) async fn run(flags: Serve, mut signals: StopSignals, open_files: u64) -> anyhow::Result<()> {
    check_exposure(flags.host, &flags.overlay)?;
    if let Some(path) = http::path_like(&flags.base_path) {
        return Err(BadInput::BasePath(flags.base_path, path).into());
    }
    let broker = flags.amqp_url.as_deref().map(|url| amqp(url, &flags.queue, &flags.authorities)).transpose()?;
    // First of all, so that who comes early waits instead of being refused.
    let listener = listen(SocketAddr::new(flags.host, flags.port)).await?;
    let tasks = Tasks::default();
    let _lock = lock(&flags.data_dir)?;
    let hub = Hub::new(OVERVIEW_FILES, !flags.no_bridge);
    // What a check of a large catalogue has read by then is of no use to anybody.
    let Some(store) = unless_stopped(&mut signals, open_store(&flags, &hub)).await.transpose()? else { return Ok(()) };
    store.start_upkeep(&tasks);
    let limits = limits(&flags, open_files, &hub);
    let swarm = Swarm::new(swarm_config(&flags), hub.clone(), &tasks);
    if unless_stopped(&mut signals, start_peers(&swarm, flags.peers)).await.transpose()?.is_none() {
        Ending { bridge: None, swarm, tasks, store }.end().await;
        return Ok(());
    }
    let bridging = tasks.child();
    let alone_from = watch::Sender::new(None);
    let parts = Parts { store: &store, hub: &hub, swarm: &swarm, tasks: &tasks, bridging: &bridging, alone_from };
    let (bridge, depths) = if let Some(broker) = broker {
        (parts.join(&flags, broker.clone()), Some(parts.look_after(broker)))
    } else {
        (parts.join(&flags, Embedded::default()), None)
    };
    let contact = contact(&flags, &hub, &tasks)?;
    let lab = Lab::new(hub.clone());
    let state = AppState {
        lab: lab.clone(),
        depths,
        contact,
        keys: KeysAtWork::default(),
        config: HttpConfig::new(flags.max_upload_bytes, flags.host, flags.allowed_host)
            .under(flags.base_path)
            .with_limits(limits),
        store: store.clone(),
        hub,
        swarm: swarm.clone(),
        tasks: tasks.clone(),
    };
    let bound = listener.local_addr().context("can't tell the listening address")?;
    tasks.spawn(door::serve(listener, http::router(state), limits, tasks.clone()));
    info!("{}", Line::Ready(Some(bound)));
    signals.asked_to_stop().await;
    info!("stopping");
    bridging.cancel();
    // Joins its threads, which stop within milliseconds.
    drop(tokio::task::spawn_blocking(move || lab.stop()).await);
    Ending { bridge, swarm, tasks, store }.end().await;
    Ok(())
}

/// What `work` gives; `None`, and it is dropped, where the process is asked to stop before.
async fn unless_stopped<T>(signals: &mut StopSignals, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = signals.asked_to_stop() => {
            info!("stopping");
            None
        }
    }
}

/// What has to be ended, in this order.
struct Ending {
    /// Told to stop already.
    bridge: Option<JoinHandle<()>>,
    swarm: Swarm,
    tasks: Tasks,
    store: Store,
}

impl Ending {
    async fn end(self) {
        if let Some(bridge) = self.bridge {
            // Before its entry peers leave, which would be a failure for it. Its panic has been reported by the runtime.
            drop(timeout(BRIDGE_LIMIT, bridge).await);
        }
        self.swarm.close().await;
        self.tasks.shut_down(SHUTDOWN_LIMIT).await;
        self.store.close(CLOSE_LIMIT).await;
    }
}

async fn open_store(flags: &Serve, hub: &Hub) -> anyhow::Result<Store> {
    let config = StoreConfig { reserve_bytes: flags.disk_reserve_bytes, new_catalogue: flags.new_catalogue };
    match Store::open(&flags.data_dir, config, hub.clone()).await {
        Err(
            error @ (StoreError::NoCatalogue { .. }
            | StoreError::EmptyCatalogue { .. }
            | StoreError::DamagedCatalogue { .. }
            | StoreError::NewerCatalogue { .. }),
        ) => Err(BadInput::Catalogue(error).into()),
        opened => opened.context("can't open the store"),
    }
}

async fn start_peers(swarm: &Swarm, count: u32) -> anyhow::Result<()> {
    for _ in 0..count {
        start_peer(swarm).await?;
    }
    Ok(())
}

/// Without room for its state a peer can't start; files can be downloaded all the same.
async fn start_peer(swarm: &Swarm) -> anyhow::Result<()> {
    match swarm.start_peer().await {
        Err(SwarmError::Start(error)) if error.is_disk_full() => {
            warn!("a local peer has no room on the disk for its state; it isn't started");
            Ok(())
        }
        started => started.map(drop).context("can't start the local peers"),
    }
}

/// What callers may use: what the flags say, and no more connections than there are files to be had for.
fn limits(flags: &Serve, open_files: u64, hub: &Hub) -> Limits {
    let limits = Limits::of(&flags.limits);
    let room = open_files::connections_within(open_files, flags.peers);
    let connections = limits.connections.min(usize::try_from(room).unwrap_or(usize::MAX));
    if connections < limits.connections {
        hub.raise(
            Condition::FewOpenFiles,
            format!(
                "the process may have {open_files} files open, which is enough for {connections} connections instead \
                 of {}; raise it (ulimit -n, LimitNOFILE=) or lower --max-connections",
                limits.connections
            ),
        );
    }
    Limits { connections, ..limits }
}

fn swarm_config(flags: &Serve) -> SwarmConfig {
    SwarmConfig {
        host: flags.host,
        first_port: flags.peer_port,
        limit: flags.max_peers,
        data_dir: Some(flags.data_dir.join("peers")),
        new_identity: flags.new_identity,
        contacts: flags.contacts.clone(),
        gossip: gossip(&flags.overlay),
    }
}

/// Whom a server without peers of its own asks for the overlay.
fn contact(flags: &Serve, hub: &Hub, tasks: &Tasks) -> anyhow::Result<Option<Contact>> {
    if flags.peers > 0 || flags.contacts.is_empty() {
        return Ok(None);
    }
    let contact = Contact::new(flags.contacts.clone(), flags.overlay.cluster.as_str())?;
    tasks.spawn(contact::watch(contact.clone(), hub.clone(), tasks.token().clone()));
    Ok(Some(contact))
}

/// What the broker is put between.
struct Parts<'a> {
    store: &'a Store,
    hub: &'a Hub,
    swarm: &'a Swarm,
    tasks: &'a Tasks,
    /// The bridge's own.
    bridging: &'a Tasks,
    /// Gets from when on nobody but the bridge should read its queue.
    alone_from: watch::Sender<Option<Instant>>,
}

impl Parts<'_> {
    /// Has RabbitMQ looked after; gives what is known of its queues.
    fn look_after(&self, broker: Amqp) -> watch::Receiver<Option<Depths>> {
        let (found, depths) = watch::channel(None);
        let (store, hub, alone_from) = (self.store.clone(), self.hub.clone(), self.alone_from.subscribe());
        let parts = lookout::Parts { broker, store, hub, depths: found, alone_from };
        self.tasks.spawn(lookout::run(parts, LookoutConfig::default(), self.tasks.token().clone()));
        depths
    }

    /// Joins outbox, broker, bridge and peers; gives the bridge, if one runs here.
    fn join<B: Broker>(&self, flags: &Serve, broker: B) -> Option<JoinHandle<()>> {
        let token = self.tasks.token();
        let bridge = (!flags.no_bridge).then(|| {
            let (cluster, alone_from) = (flags.overlay.cluster.to_string(), self.alone_from.clone());
            let config = BridgeConfig { cluster, alone_from };
            let (broker, entries, hub) = (broker.clone(), self.swarm.entries(), self.hub.clone());
            self.bridging.spawn(bridge::run(broker, entries, Some(hub), config, self.bridging.token().clone()))
        });
        self.tasks.spawn(relay::run(self.store.clone(), broker, self.hub.clone(), token.clone()));
        self.tasks.spawn(gauge::run(self.store.clone(), self.hub.clone(), token.clone()));
        bridge
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn limits_of(words: &[&str], open_files: u64) -> (Limits, Hub) {
        let words = ["grapevine", "serve"].iter().chain(words);
        let Command::Serve(flags) = Cli::parse_from(words).command else { panic!("not serve") };
        let hub = Hub::new(1, true);
        (limits(&flags, open_files, &hub), hub)
    }

    #[test]
    fn the_flags_defaults_are_the_limits() {
        assert_eq!(limits_of(&[], u64::MAX).0, Limits::default());
    }

    #[test]
    fn few_open_files_are_few_connections_and_it_is_said() {
        let (limits, hub) = limits_of(&["--peers", "0"], 256);
        assert_eq!(limits.connections, 96);
        assert!(hub.read(|overview| overview.conditions.contains_key(&Condition::FewOpenFiles)));
        let (limits, hub) = limits_of(&["--peers", "0", "--max-connections", "50"], 256);
        assert_eq!(limits.connections, 50);
        assert!(hub.read(|overview| overview.conditions.is_empty()));
    }
}
