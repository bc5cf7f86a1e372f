//! The local peers of `serve`: start, leave, kill, rejoin. One actor owns them; commands are carried out in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::gossip::config::Config;
use shared::ids::PeerId;
use shared::wire::event::Event;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::dial::{HostPort, seen_from_here};
use crate::hub::Hub;
use crate::peer::counts::Counts;
use crate::peer::door;
use crate::peer::log::Logs;
use crate::peer::observer::Observers;
use crate::peer::pool::Pool;
use crate::peer::teller::Teller;
use crate::peer::{self, PeerConfig, PeerError, PeerHandle};
use crate::shutdown::Tasks;

/// Commands that wait; each sender waits for its answer.
const COMMAND_QUEUE: usize = 16;
/// How many ports are tried before a peer can't be started.
const PORTS_TRIED: u16 = 100;

/// How many stopped peers are kept for their return. A guess: far more than anybody looks at.
const STOPPED_LIMIT: usize = 1000;

/// Why nothing was done to a peer.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// There is no local peer of that id.
    #[error("there is no local peer {0}")]
    NotFound(PeerId),
    /// The peer isn't in the state that the action needs.
    #[error("the peer {0}")]
    WrongState(&'static str),
    /// As many peers as allowed run already.
    #[error("{0} peers run already, as many as allowed (--max-peers)")]
    Full(u32),
    /// Too many that are stopped are kept.
    #[error("{0} stopped peers are kept; have some forgotten (DELETE /peers/ID?forget=true)")]
    Crowded(usize),
    /// What it kept can't be removed; it isn't forgotten.
    #[error("can't remove what the peer kept in {dir}")]
    Forget {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its address can't be bound.
    #[error("can't listen on {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The peer couldn't be started.
    #[error("the peer could not be started")]
    Start(#[from] PeerError),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What the swarm is made of.
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    /// Where peers listen.
    pub host: IpAddr,
    /// The first peer's port; the others follow. 0: any free port.
    pub first_port: u16,
    /// The most peers that run at once.
    pub limit: u32,
    /// Where the peers keep their state, each in a directory of its own; without, they keep nothing.
    pub data_dir: Option<PathBuf>,
    /// Whether peers that are started get new ids, whatever they kept; who comes back keeps it.
    pub new_identity: bool,
    /// Peers of other machines to join through.
    pub contacts: Vec<HostPort>,
    /// The protocol's numbers.
    pub gossip: Config,
}

/// The local peers; clones are the same swarm.
#[derive(Debug, Clone)]
pub struct Swarm {
    commands: mpsc::Sender<Command>,
    entries: watch::Receiver<Vec<HostPort>>,
}

type Answer<T> = oneshot::Sender<Result<T, SwarmError>>;

#[derive(Debug)]
enum Command {
    Start(Answer<PeerId>),
    Leave(PeerId, Answer<()>),
    Forget(PeerId, Answer<()>),
    Kill(PeerId, Answer<()>),
    Rejoin(PeerId, Answer<PeerId>),
    Close(Answer<()>),
}

impl Swarm {
    /// A swarm without peers.
    pub fn new(config: SwarmConfig, hub: Hub, tasks: &Tasks) -> Self {
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let (running, entries) = watch::channel(Vec::new());
        let next_port = config.first_port;
        let (peers, pool) = (BTreeMap::new(), Pool::default());
        let (logs, teller) = (Logs::default(), Arc::new(Teller::new(hub.clone())));
        let actor = Actor { config, hub, logs, teller, tasks: tasks.clone(), peers, running, next_port, pool };
        tasks.spawn(actor.run(inbox));
        Self { commands, entries }
    }

    /// The addresses of the peers that run.
    pub fn entries(&self) -> watch::Receiver<Vec<HostPort>> {
        self.entries.clone()
    }

    /// Starts one more peer, which joins through one of those that run.
    ///
    /// # Errors
    /// When there is no room for it or it can't be started.
    pub async fn start_peer(&self) -> Result<PeerId, SwarmError> {
        self.ask(Command::Start).await
    }

    /// A peer that runs says goodbye and stops.
    ///
    /// # Errors
    /// When no such peer runs.
    pub async fn leave(&self, peer: PeerId) -> Result<(), SwarmError> {
        self.ask(|answer| Command::Leave(peer, answer)).await
    }

    /// A peer that is stopped is forgotten, with all that it kept.
    ///
    /// # Errors
    /// When there is no such peer, or it runs, or its directory can't be removed.
    pub async fn forget(&self, peer: PeerId) -> Result<(), SwarmError> {
        self.ask(|answer| Command::Forget(peer, answer)).await
    }

    /// The peer stops at once, without goodbye and without writing what it hasn't written.
    ///
    /// # Errors
    /// When no such peer runs.
    pub async fn kill(&self, peer: PeerId) -> Result<(), SwarmError> {
        self.ask(|answer| Command::Kill(peer, answer)).await
    }

    /// A peer that left or was killed starts again at its address, with what it kept. Returns its id, which is a new
    /// one where what it kept was damaged.
    ///
    /// # Errors
    /// When there is no such peer, or it runs, or it can't be started.
    pub async fn rejoin(&self, peer: PeerId) -> Result<PeerId, SwarmError> {
        self.ask(|answer| Command::Rejoin(peer, answer)).await
    }

    /// All peers say goodbye and stop; no more can be started.
    pub async fn close(&self) {
        // A swarm that is gone is closed.
        drop(self.ask(Command::Close).await);
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, SwarmError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_gone| SwarmError::ShuttingDown)?;
        answered.await.map_err(|_gone| SwarmError::ShuttingDown)?
    }
}

#[derive(Debug)]
struct Actor {
    config: SwarmConfig,
    hub: Hub,
    logs: Logs,
    teller: Arc<Teller>,
    tasks: Tasks,
    /// The peers by id; one that is stopped keeps its address and its number.
    peers: BTreeMap<PeerId, Slot>,
    running: watch::Sender<Vec<HostPort>>,
    next_port: u16,
    pool: Pool,
}

#[derive(Debug)]
struct Slot {
    number: usize,
    addr: SocketAddr,
    handle: Option<PeerHandle>,
}

impl Actor {
    /// Ends when the swarm is closed, or nobody holds it any more.
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            // Nobody waits for an answer whose asker is gone.
            match command {
                Command::Start(answer) => drop(answer.send(self.start().await)),
                Command::Leave(peer, answer) => drop(answer.send(self.leave(peer).await)),
                Command::Forget(peer, answer) => drop(answer.send(self.forget(peer).await)),
                Command::Kill(peer, answer) => drop(answer.send(self.kill(peer).await)),
                Command::Rejoin(peer, answer) => drop(answer.send(self.rejoin(peer).await)),
                Command::Close(answer) => {
                    self.close().await;
                    drop(answer.send(Ok(())));
                    return;
                }
            }
            self.announce();
        }
    }

    async fn start(&mut self) -> Result<PeerId, SwarmError> {
        self.check_room()?;
        if self.peers.len() - self.running_count() >= STOPPED_LIMIT {
            return Err(SwarmError::Crowded(STOPPED_LIMIT));
        }
        let listener = self.bind_next()?;
        let taken: BTreeSet<usize> = self.peers.values().map(|slot| slot.number).collect();
        let number = (1..=self.peers.len()).find(|number| !taken.contains(number)).unwrap_or(self.peers.len() + 1);
        self.spawn(number, listener, self.config.new_identity).await
    }

    fn check_room(&self) -> Result<(), SwarmError> {
        let limit = usize::try_from(self.config.limit).unwrap_or(usize::MAX);
        if self.running_count() >= limit { Err(SwarmError::Full(self.config.limit)) } else { Ok(()) }
    }

    fn running_count(&self) -> usize {
        self.peers.values().filter(|slot| slot.handle.is_some()).count()
    }

    /// The next free port: one that somebody else uses is passed over.
    fn bind_next(&mut self) -> Result<TcpListener, SwarmError> {
        let mut tried = 0;
        loop {
            let addr = SocketAddr::new(self.config.host, self.next_port);
            let bound = door::bind(addr);
            if self.next_port != 0 {
                self.next_port = self.next_port.checked_add(1).unwrap_or(self.config.first_port);
            }
            tried += 1;
            match bound {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < PORTS_TRIED => {
                    warn!("[P2P] {addr} is in use; trying the next port");
                }
                Err(source) => return Err(SwarmError::Bind { addr, source }),
            }
        }
    }

    /// Starts the peer in place `number`. What it keeps goes by that number, so that it finds it again at any port.
    async fn spawn(&mut self, number: usize, listener: TcpListener, new_identity: bool) -> Result<PeerId, SwarmError> {
        let addr = listener.local_addr().map_err(PeerError::Listen)?;
        let running = self.peers.values().find(|slot| slot.handle.is_some());
        let first_running = running.map(|slot| seen_from_here(slot.addr).into());
        let config = PeerConfig {
            contacts: first_running.into_iter().chain(self.config.contacts.iter().cloned()).collect(),
            data_dir: self.config.data_dir.as_ref().map(|dir| dir.join(number.to_string())),
            new_identity,
            gossip: self.config.gossip.clone(),
            pool: Some(self.pool.clone()),
            ..PeerConfig::default()
        };
        let handle = peer::spawn(listener, config, self.observers(), &self.tasks).await?;
        let id = handle.id();
        self.peers.retain(|_, slot| slot.number != number);
        self.peers.insert(id, Slot { number, addr, handle: Some(handle) });
        Ok(id)
    }

    /// Those of one more peer.
    fn observers(&self) -> Observers {
        Observers::default().and(self.logs.of_a_peer()).and(self.teller.clone()).and(Arc::new(Counts::default()))
    }

    async fn leave(&mut self, peer: PeerId) -> Result<(), SwarmError> {
        let slot = self.peers.get_mut(&peer).ok_or(SwarmError::NotFound(peer))?;
        let handle = slot.handle.take().ok_or(SwarmError::WrongState(
            "is stopped already; add ?forget=true to have it forgotten, with all that it kept",
        ))?;
        handle.leave().await;
        Ok(())
    }

    async fn forget(&mut self, peer: PeerId) -> Result<(), SwarmError> {
        let slot = self.peers.get(&peer).ok_or(SwarmError::NotFound(peer))?;
        if slot.handle.is_some() {
            return Err(SwarmError::WrongState("runs; make it leave before it is forgotten"));
        }
        if let Some(dir) = self.config.data_dir.as_deref().map(|peers| peers.join(slot.number.to_string())) {
            let removed = dir.clone();
            let gone = tokio::task::spawn_blocking(move || remove_for_good(&removed)).await;
            gone.map_err(io::Error::other).flatten().map_err(|source| SwarmError::Forget { dir, source })?;
        }
        self.peers.remove(&peer);
        self.hub.emit(Event::PeerForgotten { peer });
        Ok(())
    }

    async fn kill(&mut self, peer: PeerId) -> Result<(), SwarmError> {
        self.take(peer)?.kill().await;
        Ok(())
    }

    async fn rejoin(&mut self, peer: PeerId) -> Result<PeerId, SwarmError> {
        let slot = self.peers.get(&peer).ok_or(SwarmError::NotFound(peer))?;
        if slot.handle.is_some() {
            return Err(SwarmError::WrongState("runs already"));
        }
        self.check_room()?;
        let (number, addr) = (slot.number, slot.addr);
        let listener = door::bind(addr).map_err(|source| SwarmError::Bind { addr, source })?;
        self.spawn(number, listener, false).await
    }

    async fn close(&mut self) {
        let handles: Vec<PeerHandle> = self.peers.values_mut().filter_map(|slot| slot.handle.take()).collect();
        let leaving: Vec<_> = handles.into_iter().map(|handle| self.tasks.spawn(handle.leave())).collect();
        for left in leaving {
            // A panic has been reported by the runtime; the others leave all the same.
            drop(left.await);
        }
    }

    fn take(&mut self, peer: PeerId) -> Result<PeerHandle, SwarmError> {
        let slot = self.peers.get_mut(&peer).ok_or(SwarmError::NotFound(peer))?;
        slot.handle.take().ok_or(SwarmError::WrongState("doesn't run"))
    }

    fn announce(&self) {
        let running = self.peers.values().filter(|slot| slot.handle.is_some());
        let running = running.map(|slot| seen_from_here(slot.addr).into()).collect();
        self.running.send_replace(running);
    }
}

/// What is removed is gone at once, whatever happens meanwhile: its name goes first.
fn remove_for_good(dir: &Path) -> io::Result<()> {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".forgotten");
    let away = dir.with_file_name(name);
    // Of an earlier attempt that was cut short.
    if away.try_exists()? {
        fs::remove_dir_all(&away)?;
    }
    match fs::rename(dir, &away) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    if let Some(parent) = dir.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    fs::remove_dir_all(&away)
}
