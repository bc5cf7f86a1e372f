//! One function a command: starts the parts and joins them by handles and channels. Knows all, decides nothing.

use std::fs::{File, TryLockError};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shared::gossip::config::Config;
use shared::wire::rest::LabConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::bench;
use crate::bridge::{self, BridgeConfig};
use crate::broker::Broker;
use crate::broker::amqp::Amqp;
use crate::broker::embedded::Embedded;
use crate::cli::bench::Bench;
use crate::cli::{Bridge, Command, Overlay, Peer, Serve, Simulate, Watch};
use crate::concurrency::{self, Lab};
use crate::http::{self, AppState, HttpConfig};
use crate::hub::Hub;
use crate::peer::{self, PeerConfig};
use crate::relay;
use crate::shutdown::{self, Tasks};
use crate::simulate::{self, Order, SimulateError};
use crate::store::Store;
use crate::swarm::{Swarm, SwarmConfig};
use crate::watch::{self as watcher, WatchError};

/// How many files the hub counts the peers of. A file and its holders take about 1 KiB: 100 MiB at most.
const OVERVIEW_FILES: u32 = 100_000;
/// How long shutting down may take once the peers have left.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// What was asked for can't be meant.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// An address for other machines, without the flag that says so.
    #[error(
        "{0} can be reached by other machines and there is no authentication; add --allow-unauthenticated if you mean it"
    )]
    Exposed(IpAddr),
    /// The data directory is in use.
    #[error("the data directory {0} is in use by another process")]
    InUse(String),
    /// The server's address is none.
    #[error("not an http, https, ws or wss address: {0}")]
    Url(String),
}

/// Runs a command to its end.
///
/// # Errors
/// Whatever ends it before its time.
pub fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Concurrency = command {
        concurrency::run_in_terminal(LabConfig::default(), &mut std::io::stdout())?;
        return Ok(());
    }
    if let Command::Simulate(flags) = command {
        return Ok(run_simulation(&flags)?);
    }
    let mut runtime = match command {
        // Everything that a peer does is done by one task: handing it from thread to thread only costs.
        Command::Peer(_) => tokio::runtime::Builder::new_current_thread(),
        Command::Bench(Bench::Child(ref child)) if !child.has_several() => {
            tokio::runtime::Builder::new_current_thread()
        }
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().context("can't start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Serve(flags) => serve(*flags).await,
            Command::Peer(flags) => run_peer(flags).await,
            Command::Bridge(flags) => run_bridge(flags).await,
            Command::Watch(flags) => run_watch(flags).await,
            Command::Bench(flags) => run_bench(flags).await,
            Command::Concurrency | Command::Simulate(_) => Ok(()),
        }
    })
}

async fn serve(flags: Serve) -> anyhow::Result<()> {
    check_exposure(flags.host, &flags.overlay)?;
    let tasks = Tasks::default();
    let _lock = lock(&flags.data_dir)?;
    let store = Store::open(&flags.data_dir).await.context("can't open the store")?;
    let hub = Hub::new(OVERVIEW_FILES, !flags.no_bridge);
    let address = SocketAddr::new(flags.host, flags.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let swarm = Swarm::new(swarm_config(&flags), hub.clone(), &tasks);
    for _ in 0..flags.peers {
        swarm.start_peer().await.context("can't start the local peers")?;
    }
    let parts = Parts { store: &store, hub: &hub, swarm: &swarm, tasks: &tasks };
    match &flags.amqp_url {
        Some(url) => parts.join(&flags, Amqp::new(url, &flags.queue)?),
        None => parts.join(&flags, Embedded::default()),
    }
    let lab = Lab::new(hub.clone());
    let state = AppState {
        lab: lab.clone(),
        config: HttpConfig::new(flags.max_upload_bytes, flags.host, flags.allowed_host),
        store,
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
    Ok(())
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

async fn run_peer(flags: Peer) -> anyhow::Result<()> {
    check_exposure(flags.host, &flags.overlay)?;
    let tasks = Tasks::default();
    let _lock = flags.data_dir.as_deref().map(lock).transpose()?;
    let address = SocketAddr::new(flags.host, flags.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let config = PeerConfig {
        advertise: flags.advertise,
        contacts: flags.contacts,
        inject: flags.inject,
        data_dir: flags.data_dir,
        gossip: gossip(&flags.overlay),
        ..PeerConfig::default()
    };
    let peer = peer::spawn(listener, config, Arc::new(Hub::new(OVERVIEW_FILES, false)), &tasks).await?;
    shutdown::asked_to_stop().await;
    peer.leave().await;
    tasks.shut_down(SHUTDOWN_LIMIT).await;
    Ok(())
}

async fn run_bridge(flags: Bridge) -> anyhow::Result<()> {
    let tasks = Tasks::default();
    let broker = Amqp::new(&flags.amqp_url, &flags.queue)?;
    let config = BridgeConfig { cluster: flags.cluster };
    // Held to the end: the bridge's peers don't change.
    let (_entries, entries) = watch::channel(flags.entries);
    tasks.spawn(bridge::run(broker, entries, None, config, tasks.token().clone()));
    shutdown::asked_to_stop().await;
    tasks.shut_down(SHUTDOWN_LIMIT).await;
    Ok(())
}

async fn run_watch(flags: Watch) -> anyhow::Result<()> {
    let tasks = Tasks::default();
    let token = tasks.token().clone();
    tasks.spawn(async move {
        shutdown::asked_to_stop().await;
        token.cancel();
    });
    let watched = watcher::run(&flags.url, flags.json, &mut std::io::stdout(), tasks.token()).await;
    match watched {
        Err(WatchError::Url(url)) => Err(BadInput::Url(url).into()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

async fn run_bench(flags: Bench) -> anyhow::Result<()> {
    match flags {
        Bench::Gossip(order) => bench::run(&order, &mut std::io::stdout()).await?,
        Bench::Child(charge) => bench::child::run(charge).await?,
    }
    Ok(())
}

fn run_simulation(flags: &Simulate) -> Result<(), SimulateError> {
    let &Simulate { scenario, peers, seed, runs, json } = flags;
    simulate::run(Order { scenario, peers, seed, runs, json }, &mut std::io::stdout())
}

fn gossip(overlay: &Overlay) -> Config {
    Config { cluster: overlay.cluster.clone(), original: !overlay.no_json_lines, ..Config::default() }
}

fn check_exposure(host: IpAddr, overlay: &Overlay) -> Result<(), BadInput> {
    if host.is_loopback() || overlay.allow_unauthenticated { Ok(()) } else { Err(BadInput::Exposed(host)) }
}

/// Two processes in one data directory would ruin each other's work. The lock ends with the process.
fn lock(dir: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(dir).with_context(|| format!("can't make the data directory {}", dir.display()))?;
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BadInput::InUse(dir.display().to_string()).into()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("can't lock {}", path.display())),
    }
}
