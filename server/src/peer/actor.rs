//! The loop of a peer: next event -> [`Node::handle`] -> carry out the outputs. Everything that needs deciding is
//! decided by the node.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;

use bytes::Bytes;
use shared::gossip::io::{Input, LinkId, NodeEvent, Output, Ticket};
use shared::gossip::node::{Identity, Node};
use shared::ids::PeerId;
use shared::stamp::Clock;
use shared::time::Instant;
use shared::wire::frame;
use shared::wire::peer::PeerMessage;
use shared::wire::stream::{Event, PeerState};
use shared::wire::update::FileUpdate;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::hub::Hub;
use crate::peer::conn::{self, Conn, ConnEvent, Wires};
use crate::peer::state::{Journal, Kept};
use crate::peer::{PeerConfig, PeerError};
use crate::shutdown::Tasks;
use crate::wall;

/// Events of all links that wait for the peer. A full queue holds up the readers, and so the other ends.
const EVENT_QUEUE: usize = 1024;

/// What a peer can be told.
#[derive(Debug)]
pub enum Command {
    /// Say goodbye and stop.
    Leave,
}

/// A peer's state and everything that it owns.
#[derive(Debug)]
pub struct Actor {
    id: PeerId,
    addr: SocketAddr,
    config: PeerConfig,
    node: Node,
    began: tokio::time::Instant,
    listener: TcpListener,
    links: BTreeMap<LinkId, Conn>,
    opened: u64,
    wires: Wires,
    inbox: mpsc::Receiver<ConnEvent>,
    /// Closed when no connection has anything left to say.
    all_said: mpsc::Receiver<Infallible>,
    journal: Option<Journal>,
    hub: Hub,
    tasks: Tasks,
}

enum Next {
    Accepted(TcpStream, SocketAddr),
    Conn(ConnEvent),
    Command(Option<Command>),
    Stored(Ticket),
    Wake,
    Killed,
}

impl Actor {
    /// A peer that hasn't begun to run.
    ///
    /// # Errors
    /// When the system has no random numbers, or the listener no address.
    pub fn new(
        listener: TcpListener,
        config: PeerConfig,
        kept: Kept,
        hub: Hub,
        tasks: Tasks,
    ) -> Result<Self, PeerError> {
        let bound = listener.local_addr().map_err(PeerError::Listen)?;
        let addr = config.advertise.unwrap_or(bound);
        let me = Identity { peer: kept.peer, listen: addr, durable: kept.journal.is_some() };
        let node = Node::new(me, config.gossip.clone(), kept.catalogue, getrandom::u64()?, Instant::START);
        let (events, inbox) = mpsc::channel(EVENT_QUEUE);
        let (open, all_said) = mpsc::channel(1);
        Ok(Self {
            id: kept.peer,
            addr,
            config,
            node,
            began: tokio::time::Instant::now(),
            listener,
            links: BTreeMap::new(),
            opened: 0,
            wires: Wires { events, open },
            inbox,
            all_said,
            journal: kept.journal,
            hub,
            tasks,
        })
    }

    /// Where others reach it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Runs until it is told to leave, or its token is cancelled (then it stops at once).
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.begin().await;
        loop {
            match self.next(&mut commands).await {
                Next::Accepted(stream, remote) => self.link_up(stream, remote, None).await,
                Next::Conn(ConnEvent::Dialled { addr, stream: Ok(stream) }) => {
                    self.link_up(stream, addr, Some(addr)).await;
                }
                Next::Conn(ConnEvent::Dialled { addr, stream: Err(_) }) => self.feed(Input::DialFailed { addr }).await,
                Next::Conn(ConnEvent::Message { link, message }) => self.feed(Input::Message { link, message }).await,
                Next::Conn(ConnEvent::Closed { link, reason }) => {
                    self.links.remove(&link);
                    self.feed(Input::LinkDown { link, reason }).await;
                }
                Next::Stored(ticket) => self.feed(Input::Stored { ticket }).await,
                Next::Wake => self.feed(Input::Wake).await,
                Next::Command(Some(Command::Leave)) => return self.leave().await,
                Next::Command(None) | Next::Killed => return self.stopped(PeerState::Killed),
            }
        }
    }

    async fn begin(&mut self) {
        for addr in std::mem::take(&mut self.config.contacts) {
            self.feed(Input::Contact { addr }).await;
        }
        let mut clock = Clock::default();
        for (file, version) in std::mem::take(&mut self.config.inject) {
            if self.node.catalogue().get(&file).is_none_or(|known| known.version < version) {
                let update = FileUpdate::injected(file, version, clock.tick(wall::now_ms()), self.id);
                self.feed(Input::Publish { update }).await;
            }
        }
    }

    async fn next(&mut self, commands: &mut mpsc::Receiver<Command>) -> Next {
        let wake_at = self.began + (self.node.next_wake() - Instant::START);
        let stored = self.journal.as_mut().map(|journal| &mut journal.stored);
        tokio::select! {
            () = self.tasks.token().cancelled() => Next::Killed,
            command = commands.recv() => Next::Command(command),
            ticket = next_stored(stored) => Next::Stored(ticket),
            Some(event) = self.inbox.recv() => Next::Conn(event),
            () = tokio::time::sleep_until(wake_at) => Next::Wake,
            accepted = self.listener.accept() => match accepted {
                Ok((stream, remote)) => Next::Accepted(stream, remote),
                Err(error) => {
                    warn!(%error, "[P2P] can't accept a connection");
                    Next::Wake
                }
            },
        }
    }

    async fn link_up(&mut self, stream: TcpStream, remote: SocketAddr, dialled: Option<SocketAddr>) {
        self.opened += 1;
        let link = LinkId(self.opened);
        self.links.insert(link, Conn::open(link, stream, &self.wires, &self.tasks));
        self.feed(Input::LinkUp { link, remote, dialled }).await;
    }

    /// Hands one input to the node and does what it wants; what that leads to at once, too.
    async fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.node.handle(Instant::START + self.began.elapsed(), input);
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Dial { addr } => self.dial(addr),
                    Output::Send { to, message } => inputs.extend(self.send(&to, &message)),
                    Output::Close { link } => drop(self.links.remove(&link)),
                    Output::Store { ticket, update } => inputs.extend(self.store(ticket, update).await),
                    Output::Event(event) => self.tell(event),
                }
            }
        }
    }

    fn dial(&self, addr: SocketAddr) {
        self.tasks.spawn(conn::dial(addr, self.wires.events.clone(), self.tasks.token().clone()));
    }

    /// Sends one message on several links; it is encoded once. A neighbour that doesn't keep up is cut off: it gets
    /// what it missed with the catalogue on its next link.
    fn send(&mut self, to: &[LinkId], message: &PeerMessage) -> Vec<Input> {
        let frame = match frame::encode(message) {
            Ok(frame) => Bytes::from(frame),
            Err(error) => {
                error!(%error, peer.addr = %self.addr, "[P2P] a message can't be sent");
                return Vec::new();
            }
        };
        let mut cut = Vec::new();
        for link in to {
            if let Some(conn) = self.links.get(link).filter(|conn| conn.send(frame.clone()).is_err()) {
                conn.abort();
                self.links.remove(link);
                cut.push(Input::LinkDown { link: *link, reason: "too slow".to_owned() });
            }
        }
        cut
    }

    /// Queues a change for the disk; a peer that keeps nothing has it stored at once.
    async fn store(&self, ticket: Ticket, update: FileUpdate) -> Option<Input> {
        let Some(journal) = &self.journal else { return Some(Input::Stored { ticket }) };
        // The journal only ends with the peer.
        drop(journal.changes.send((ticket, update)).await);
        None
    }

    fn tell(&self, event: NodeEvent) {
        let (peer, me) = (self.id, self.addr);
        let event = match event {
            NodeEvent::Applied { file, version } => {
                info!(peer.addr = %me, "[P2P] event applied {file} -> v{version}");
                Event::UpdateApplied { peer, file, version }
            }
            NodeEvent::Learned { addr } => {
                info!(peer.addr = %me, "[P2P] learned peer {addr}");
                Event::PeerLearned { peer, addr }
            }
            NodeEvent::NeighbourUp { peer: neighbour, addr } => {
                info!(peer.addr = %me, "[P2P] connected {addr}");
                Event::LinkUp { peer, neighbour, addr }
            }
            NodeEvent::NeighbourDown { peer: neighbour, reason } => {
                info!(peer.addr = %me, "[P2P] lost neighbour {}: {reason}", neighbour.short());
                Event::LinkDown { peer, neighbour, reason }
            }
            NodeEvent::Received { from, file, version, hops, fresh } => {
                Event::UpdateReceived { peer, from, file, version, hops, fresh }
            }
            NodeEvent::Misbehaved { remote, reason } => {
                warn!(peer.addr = %me, "[P2P] refused {remote}: {reason}");
                return;
            }
        };
        self.hub.emit(event);
    }

    async fn leave(mut self) {
        self.feed(Input::Leave).await;
        let Self { links, wires, journal, all_said, .. } = &mut self;
        links.clear();
        drop(std::mem::replace(&mut wires.open, mpsc::channel(1).0));
        while all_said.recv().await.is_some() {}
        if let Some(Journal { changes, stored }) = journal.take() {
            drop(changes);
            flushed(stored).await;
        }
        self.stopped(PeerState::Left);
    }

    fn stopped(&self, state: PeerState) {
        info!(peer.addr = %self.addr, "[P2P] stopped");
        self.hub.emit(Event::PeerStopped { peer: self.id, state });
    }
}

/// The journal's task ends, and with it the channel, when everything is written.
async fn flushed(mut stored: watch::Receiver<Ticket>) {
    while stored.changed().await.is_ok() {}
}

async fn next_stored(stored: Option<&mut watch::Receiver<Ticket>>) -> Ticket {
    let Some(stored) = stored else { return pending().await };
    match stored.changed().await {
        Ok(()) => *stored.borrow_and_update(),
        Err(_journal_ended) => pending().await,
    }
}
