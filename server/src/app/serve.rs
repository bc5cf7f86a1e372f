//! `grapevine serve`: store, hub, peers, broker, bridge, lab and API, joined in one process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::app::{BadInput, OVERVIEW_FILES, SHUTDOWN_LIMIT, check_exposure, gossip, lock};
use crate::bridge::{self, BridgeConfig};
use crate::broker::Broker;
use crate::broker::amqp::Amqp;
use crate::broker::embedded::Embedded;
use crate::cli::serve::Serve;
use crate::concurrency::Lab;
use crate::http::{self, AppState, HttpConfig};
use crate::hub::Hub;
use crate::relay;
use crate::shutdown::{self, Tasks};
use crate::store::error::StoreError;
use crate::store::{Store, StoreConfig};
use crate::swarm::{Swarm, SwarmConfig, SwarmError};

/// How long closing the catalogue may take: its log is a few MiB.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Runs `grapevine serve` until it is asked to stop.
pub(super) async fn run(flags: Serve) -> anyhow::Result<()> {
    check_exposure(flags.host, &flags.overlay)?;
    if let Some(path) = http::path_like(&flags.base_path) {
        return Err(BadInput::BasePath(flags.base_path, path).into());
    }
    let tasks = Tasks::default();
    let _lock = lock(&flags.data_dir)?;
    let hub = Hub::new(OVERVIEW_FILES, !flags.no_bridge);
    let store = open_store(&flags, &hub).await?;
    store.start_upkeep(&tasks);
    let address = SocketAddr::new(flags.host, flags.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let swarm = Swarm::new(swarm_config(&flags), hub.clone(), &tasks);
    for _ in 0..flags.peers {
        start_peer(&swarm).await?;
    }
    let parts = Parts { store: &store, hub: &hub, swarm: &swarm, tasks: &tasks };
    match &flags.amqp_url {
        Some(url) => parts.join(&flags, Amqp::new(url, &flags.queue)?),
        None => parts.join(&flags, Embedded::default()),
    }
    let lab = Lab::new(hub.clone());
    let state = AppState {
        lab: lab.clone(),
        config: HttpConfig::new(flags.max_upload_bytes, flags.host, flags.allowed_host).under(flags.base_path),
        store: store.clone(),
        hub,
        swarm: swarm.clone(),
        tasks: tasks.clone(),
    };
    let bound = listener.local_addr().context("can't tell the listening address")?;
    let server =
        axum::serve(listener, http::router(state)).with_graceful_shutdown(tasks.token().clone().cancelled_owned());
    tasks.spawn(async move { server.await });
    info!("Grapevine is ready: open http://{bound}/ui/");
    shutdown::asked_to_stop().await;
    info!("stopping");
    swarm.close().await;
    // Joins its threads, which stop within milliseconds.
    drop(tokio::task::spawn_blocking(move || lab.stop()).await);
    tasks.shut_down(SHUTDOWN_LIMIT).await;
    store.close(CLOSE_LIMIT).await;
    Ok(())
}

async fn open_store(flags: &Serve, hub: &Hub) -> anyhow::Result<Store> {
    let config = StoreConfig { reserve_bytes: flags.disk_reserve_bytes, new_catalogue: flags.new_catalogue };
    match Store::open(&flags.data_dir, config, hub.clone()).await {
        Err(missing @ StoreError::NoCatalogue { .. }) => Err(BadInput::NoCatalogue(missing).into()),
        opened => opened.context("can't open the store"),
    }
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

fn swarm_config(flags: &Serve) -> SwarmConfig {
    SwarmConfig {
        host: flags.host,
        first_port: flags.peer_port,
        limit: flags.max_peers,
        data_dir: Some(flags.data_dir.join("peers")),
        contacts: flags.contacts.clone(),
        gossip: gossip(&flags.overlay),
    }
}

/// What the broker is put between.
struct Parts<'a> {
    store: &'a Store,
    hub: &'a Hub,
    swarm: &'a Swarm,
    tasks: &'a Tasks,
}

impl Parts<'_> {
    /// Joins outbox, broker, bridge and peers.
    fn join<B: Broker>(&self, flags: &Serve, broker: B) {
        let token = self.tasks.token();
        if !flags.no_bridge {
            let config = BridgeConfig { cluster: flags.overlay.cluster.clone() };
            let (broker, entries, hub) = (broker.clone(), self.swarm.entries(), self.hub.clone());
            self.tasks.spawn(bridge::run(broker, entries, Some(hub), config, token.clone()));
        }
        self.tasks.spawn(relay::run(self.store.clone(), broker, self.hub.clone(), token.clone()));
    }
}
