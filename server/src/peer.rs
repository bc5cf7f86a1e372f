//! A gossiping peer on real TCP: the face of [`actor`], which drives the protocol core.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::gossip::config::Config;
use shared::gossip::io::JournalSeq;
use shared::ids::{FileId, PeerId, Version};
use shared::wire::update::FileUpdate;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::db::DbError;
use crate::dial::{HostPort, Resolver};
use crate::peer::actor::{Actor, Command};
use crate::peer::conn::Traffic;
use crate::peer::observer::{Observer as _, Observers, Place};
use crate::peer::pool::Pool;
use crate::peer::state::Kept;
use crate::shutdown::Tasks;

pub mod actor;
pub mod conn;
pub mod counts;
mod dialling;
pub mod door;
mod fault;
pub mod log;
pub mod observer;
pub mod pool;
pub mod send_buffers;
pub mod state;
pub mod teller;

/// How long a peer that leaves may take to say its goodbyes and write what it knows.
pub const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// Commands that wait for a busy peer. A full queue holds up who publishes.
const COMMAND_QUEUE: usize = 64;

/// What a peer starts with.
#[derive(Debug, Clone, Default)]
pub struct PeerConfig {
    /// How others reach it, where that differs from what it is bound to.
    pub advertise: Option<SocketAddr>,
    /// Peers to join through.
    pub contacts: Vec<HostPort>,
    /// How the names among them are looked up.
    pub resolver: Resolver,
    /// Versions to announce by hand.
    pub inject: Vec<(FileId, Version)>,
    /// Where it keeps its id and its catalogue; without, it keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Whether it takes a new id, although its directory has one.
    pub new_identity: bool,
    /// The protocol's numbers.
    pub gossip: Config,
    /// Where it counts what it writes.
    pub traffic: Arc<Traffic>,
    /// What it shares with other peers of its process.
    pub pool: Option<Pool>,
}

/// Why a peer can't start.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its address is of no use.
    #[error("can't tell the listening address")]
    Listen(#[source] std::io::Error),
    /// Its directory can't be made.
    #[error("can't make the data directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What it kept can't be read.
    #[error("can't read the peer's state")]
    State(#[from] DbError),
    /// What it kept isn't what it wrote.
    #[error("the peer's state is damaged: {0}")]
    Damaged(String),
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random(#[from] getrandom::Error),
}

impl PeerError {
    /// Whether what it kept is of no use any more.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::State(error) => error.is_damaged(),
            Self::Damaged(_) => true,
            Self::Listen(_) | Self::Directory { .. } | Self::Random(_) => false,
        }
    }

    /// Whether there is no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::State(error) => error.is_disk_full(),
            Self::Directory { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Self::Listen(_) | Self::Damaged(_) | Self::Random(_) => false,
        }
    }
}

/// A running peer.
#[derive(Debug)]
pub struct PeerHandle {
    id: PeerId,
    addr: SocketAddr,
    commands: mpsc::Sender<Command>,
    tasks: Tasks,
    actor: JoinHandle<()>,
    /// What is on disk; it ends when the journal is closed.
    stored: Option<watch::Receiver<JournalSeq>>,
}

impl PeerHandle {
    /// Who it is.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// It publishes a change. A peer that has stopped doesn't.
    pub async fn publish(&self, update: FileUpdate) {
        drop(self.commands.send(Command::Publish(update.into())).await);
    }

    /// It says goodbye, writes what it knows, and stops, within [`LEAVE_LIMIT`].
    pub async fn leave(mut self) {
        // An actor that is gone has stopped already.
        if let Err(SendError(_)) = self.commands.send(Command::Leave).await {
            return self.kill().await;
        }
        let ended = tokio::time::timeout(LEAVE_LIMIT, &mut self.actor).await;
        if ended.is_err() {
            self.kill().await;
        }
    }

    /// It stops at once: no goodbye, and what isn't on disk is lost. Returns when its journal is closed, so that it can be
    /// opened again; a disk that takes nothing doesn't hold that up for longer than [`LEAVE_LIMIT`].
    pub async fn kill(self) {
        self.tasks.cancel();
        // A panic of the actor has been reported by the runtime; the peer is stopped either way.
        drop(self.actor.await);
        if let Some(stored) = self.stored {
            drop(tokio::time::timeout(LEAVE_LIMIT, actor::flushed(stored)).await);
        }
    }
}

/// Starts a peer that accepts links on `listener`, and tells `observers` what happens at it.
///
/// # Errors
/// When what it kept can't be read; what is damaged is set aside.
pub async fn spawn(
    listener: TcpListener,
    config: PeerConfig,
    observers: Observers,
    tasks: &Tasks,
) -> Result<PeerHandle, PeerError> {
    let tasks = tasks.child();
    let kept = state::load(config.data_dir.as_deref(), config.new_identity, &tasks).await?;
    if let Some((aside, why)) = &kept.set_aside {
        observers.state_was_damaged(aside, why);
    }
    start(listener, config, kept, observers, tasks)
}

/// Starts a peer that knows what it is given, whatever its directory holds. It ends with `tasks`.
///
/// # Errors
/// When the system has no random numbers, or the listener no address.
pub fn start(
    listener: TcpListener,
    config: PeerConfig,
    kept: Kept,
    observers: Observers,
    tasks: Tasks,
) -> Result<PeerHandle, PeerError> {
    let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
    let stored = kept.journal.as_ref().map(|journal| journal.stored.clone());
    // A future has room for each place that what it is given is moved to: unboxed, four times 4 KiB.
    let actor = Box::new(Actor::new(listener, config, kept, observers, tasks.clone())?);
    let Place { peer: id, addr, bound: _ } = actor.place();
    let actor = tasks.spawn(actor.run(inbox));
    Ok(PeerHandle { id, addr, commands, tasks, actor, stored })
}
