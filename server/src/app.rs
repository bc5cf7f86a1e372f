//! One function a command: starts the parts and joins them by handles and channels. Knows all, decides nothing.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shared::gossip::config::Config;
use shared::wire::lab::LabConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::bench;
use crate::bridge::{self, BridgeConfig};
use crate::broker::BrokerError;
use crate::broker::amqp::Amqp;
use crate::cli::bench::Bench;
use crate::cli::bridge::Bridge;
use crate::cli::concurrency::Concurrency;
use crate::cli::fsck::Fsck;
use crate::cli::peer::Peer;
use crate::cli::republish::Republish;
use crate::cli::simulate::Simulate;
use crate::cli::watch::Watch;
use crate::cli::{Authorities, Command, Overlay};
use crate::concurrency;
use crate::front::BasePath;
use crate::fsck::{self, FsckError};
use crate::open_files;
use crate::output::Output;
use crate::peer::counts::Counts;
use crate::peer::door;
use crate::peer::log::Logs;
use crate::peer::observer::Observers;
use crate::peer::{self, PeerConfig};
use crate::republish;
use crate::shutdown::{StopSignals, Tasks};
use crate::simulate::{self, Order, SimulateError};
use crate::store::LOCK;
use crate::store::error::StoreError;
use crate::telemetry::LogOutput;
use crate::tls::{Trust, TrustError};
use crate::watch as watcher;

mod serve;

/// How many files the hub counts the peers of. A file and its holders take about 1 KiB: 100 MiB at most.
const OVERVIEW_FILES: u32 = 100_000;
/// How long shutting down may take once the peers have left.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// How long calls of the file system that don't come back are waited for in the end. A guess: they won't.
const HANGING_LIMIT: Duration = Duration::from_secs(2);

/// What was asked for can't be meant.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// An address for other machines, without the flag that says so.
    #[error(
        "{0} can be reached by other machines and there is no authentication; add --allow-unauthenticated if you mean it"
    )]
    Exposed(IpAddr),
    /// The base path means something else, too.
    #[error("the base path {0} can't be told from the server's own {1}")]
    BasePath(BasePath, String),
    /// An address can't be listened on.
    #[error("can't listen on {0}{hint}", hint = another_port(.1))]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The data directory is in use.
    #[error("the data directory {0} is in use by another process")]
    InUse(String),
    /// There is no such directory.
    #[error("there is no data directory {0}")]
    NoDirectory(String),
    /// The catalogue is gone, damaged, or of a version that isn't known yet.
    #[error("{0}")]
    Catalogue(StoreError),
    /// The broker can't be used as it was named.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Encryption was asked for and can't be had.
    #[error("can't encrypt")]
    Trust(#[from] TrustError),
}

/// What helps where a port is in use.
fn another_port(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => " (--port names another port, as in make run ARGS=\"--port 8080\")",
        _ => "",
    }
}

/// Where a command's log goes.
pub fn log_output(command: &Command) -> LogOutput {
    match command {
        Command::Bench(Bench::Child(_)) => LogOutput::Nowhere,
        _ => LogOutput::Terminal,
    }
}

/// Runs a command to its end.
///
/// # Errors
/// Whatever ends it before its time.
pub fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Concurrency(flags) = command {
        return run_lab(&flags);
    }
    if let Command::Simulate(flags) = command {
        return Ok(run_simulation(&flags)?);
    }
    if let Command::Fsck(flags) = command {
        return run_fsck(&flags);
    }
    let open_files = open_files::raise_limit();
    let mut runtime = match command {
        // Everything that a peer does is done by one task: handing it from thread to thread only costs.
        Command::Peer(_) => tokio::runtime::Builder::new_current_thread(),
        Command::Bench(Bench::Child(ref child)) if !child.has_several() => {
            tokio::runtime::Builder::new_current_thread()
        }
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().context("can't start the runtime")?;
    let done = runtime.block_on(async {
        // Before anything is begun: from here on a signal ends the command in order.
        let outlives_its_terminal = matches!(command, Command::Serve(_) | Command::Peer(_) | Command::Bridge(_));
        let signals = || StopSignals::take(outlives_its_terminal).context("can't listen for signals");
        match command {
            Command::Serve(flags) => serve::run(*flags, signals()?, open_files).await,
            Command::Peer(flags) => run_peer(flags, signals()?).await,
            Command::Bridge(flags) => run_bridge(flags, signals()?).await,
            Command::Watch(flags) => run_watch(flags, signals()?).await,
            Command::Bench(flags) => run_bench(flags).await,
            Command::Republish(flags) => run_republish(flags).await,
            Command::Concurrency(_) | Command::Simulate(_) | Command::Fsck(_) => Ok(()),
        }
    });
    // A file system that hangs, or a long read at the start, mustn't keep the process from ending.
    runtime.shutdown_timeout(HANGING_LIMIT);
    done
}

async fn run_peer(flags: Peer, mut signals: StopSignals) -> anyhow::Result<()> {
    check_exposure(flags.host, &flags.overlay)?;
    let tasks = Tasks::default();
    let _lock = flags.data_dir.as_deref().map(lock).transpose()?;
    let address = SocketAddr::new(flags.host, flags.port);
    let listener = door::bind(address).map_err(|source| BadInput::Listen(address, source))?;
    let config = PeerConfig {
        advertise: flags.advertise,
        contacts: flags.contacts,
        inject: flags.inject,
        data_dir: flags.data_dir,
        new_identity: flags.new_identity,
        gossip: gossip(&flags.overlay),
        ..PeerConfig::default()
    };
    let observers = Observers::default().and(Logs::default().of_a_peer()).and(Arc::new(Counts::default()));
    let peer = peer::spawn(listener, config, observers, &tasks).await?;
    signals.asked_to_stop().await;
    peer.leave().await;
    tasks.shut_down(SHUTDOWN_LIMIT).await;
    Ok(())
}

async fn run_bridge(flags: Bridge, mut signals: StopSignals) -> anyhow::Result<()> {
    let tasks = Tasks::default();
    let broker = amqp(&flags.amqp_url, &flags.queue, &flags.authorities)?;
    // Who else reads the queue is nobody's question here: several bridges may stand in for each other.
    let config = BridgeConfig { cluster: flags.cluster.to_string(), alone_from: watch::Sender::new(None) };
    // Held to the end: the bridge's peers don't change.
    let (_entries, entries) = watch::channel(flags.entries);
    tasks.spawn(bridge::run(broker, entries, None, config, tasks.token().clone()));
    signals.asked_to_stop().await;
    tasks.shut_down(SHUTDOWN_LIMIT).await;
    Ok(())
}

async fn run_watch(flags: Watch, mut signals: StopSignals) -> anyhow::Result<()> {
    let tasks = Tasks::default();
    let token = tasks.token().clone();
    tasks.spawn(async move {
        signals.asked_to_stop().await;
        token.cancel();
    });
    let trust = trust(flags.url.encrypted, &flags.authorities)?;
    Ok(watcher::run(&flags.url, trust, flags.json, &mut Output::default(), tasks.token()).await?)
}

fn run_fsck(flags: &Fsck) -> anyhow::Result<()> {
    if !flags.data_dir.is_dir() {
        return Err(BadInput::NoDirectory(flags.data_dir.display().to_string()).into());
    }
    let _lock = lock(&flags.data_dir)?;
    match fsck::run(&flags.data_dir, flags.repair, &mut Output::default()) {
        Err(FsckError::Newer(error)) => Err(BadInput::Catalogue(error).into()),
        checked => Ok(checked?),
    }
}

async fn run_republish(flags: Republish) -> anyhow::Result<()> {
    let trust = trust(flags.url.encrypted, &flags.authorities)?;
    Ok(republish::run(flags.url, trust, flags.since, &mut Output::default()).await?)
}

async fn run_bench(flags: Bench) -> anyhow::Result<()> {
    match flags {
        Bench::Gossip(order) => bench::run(&order, &mut Output::default()).await?,
        Bench::Child(charge) => bench::child::run(charge).await?,
    }
    Ok(())
}

fn run_simulation(flags: &Simulate) -> Result<(), SimulateError> {
    let &Simulate { scenario, peers, seed, runs, json } = flags;
    simulate::run(Order { scenario, peers, seed, runs, json }, &mut Output::default())
}

fn run_lab(flags: &Concurrency) -> anyhow::Result<()> {
    let config = LabConfig {
        producers: flags.producers,
        consumers: flags.consumers,
        packets: flags.items,
        permits: flags.permits,
        queue_capacity: flags.queue,
        work_ms: flags.pace,
        race_threads: flags.race_threads,
        race_ms: flags.race_ms,
        seed: flags.seed,
    };
    let mut out = Output::default();
    if flags.json {
        let run = concurrency::run_in_terminal(config, &mut std::io::sink())?;
        writeln!(out, "{}", serde_json::to_string(&run)?)?;
    } else {
        concurrency::run_in_terminal(config, &mut out)?;
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BadInput> {
    TcpListener::bind(address).await.map_err(|source| BadInput::Listen(address, source))
}

/// The broker that flags name. What they ask for is given, or refused before anything starts.
fn amqp(url: &str, queue: &str, authorities: &Authorities) -> Result<Amqp, BadInput> {
    let broker = Amqp::new(url, queue)?;
    Ok(match trust(broker.is_encrypted(), authorities)? {
        Some(trust) => broker.with_trust(trust),
        None => broker,
    })
}

/// Whom to trust, if that is `needed`. A file that is named is checked either way.
fn trust(needed: bool, authorities: &Authorities) -> Result<Option<Trust>, BadInput> {
    let ca_file = authorities.ca_file.as_deref();
    Ok(if needed || ca_file.is_some() { Some(Trust::new(ca_file)?) } else { None })
}

fn gossip(overlay: &Overlay) -> Config {
    Config { cluster: overlay.cluster.clone(), original: !overlay.no_json_lines, ..Config::default() }
}

fn check_exposure(host: IpAddr, overlay: &Overlay) -> Result<(), BadInput> {
    if host.is_loopback() || overlay.allow_unauthenticated { Ok(()) } else { Err(BadInput::Exposed(host)) }
}

/// Two processes in one data directory would ruin each other's work.
fn lock(dir: &Path) -> anyhow::Result<Locked> {
    std::fs::create_dir_all(dir).with_context(|| format!("can't make the data directory {}", dir.display()))?;
    let path = dir.join(LOCK);
    let file = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    let folder = File::open(dir).with_context(|| format!("can't open {}", dir.display()))?;
    let in_use = || BadInput::InUse(dir.display().to_string());
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use().into()),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("can't lock {}", path.display()));
        }
    }
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(in_use().into()),
        // Some file systems can't lock a folder: there the file must do.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Locked { _file: file, _folder: folder }),
    }
}

/// A data directory that nobody else may use, until this is dropped or the process ends.
#[derive(Debug)]
struct Locked {
    /// What earlier versions lock, too.
    _file: File,
    /// The directory itself: unlike the file it can't be removed and made again without anybody noticing.
    _folder: File,
}
