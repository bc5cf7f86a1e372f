//! The loop of a peer: next event -> [`Node::handle`] -> carry out the outputs. Everything that needs deciding is
//! decided by the node.
//!
//! Long because every kind of event has its arm here.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shared::gossip::io::{HostName, Identity, Input, JournalSeq, LinkId, NodeEvent, Output};
use shared::gossip::node::Node;
use shared::stamp::Clock;
use shared::time::Instant;
use shared::wire::event::PeerState;
use shared::wire::lines::Line;
use shared::wire::peer::PeerMessage;
use shared::wire::update::FileUpdate;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use crate::connection::Connection;
use crate::connection::codec::Codec;
use crate::dial::{HostPort, seen_from_here};
use crate::peer::conn::{Conn, ConnContext, ConnEvent};
use crate::peer::dialling;
use crate::peer::door::{Door, Guest};
use crate::peer::observer::{Observer as _, Observers, Place};
use crate::peer::send_buffers::SendBuffers;
use crate::peer::state::{Change, Journal, Kept};
use crate::peer::{PeerConfig, PeerError};
use crate::shutdown::Tasks;
use crate::wall;

/// Events of all links that wait for the peer, each at most one read of 16 KiB. A full queue holds up the readers, and
/// so the other ends.
const EVENT_QUEUE: usize = 128;
/// How many messages may be handled before what they lead to is written: one write for many where much comes, and no
/// wait where little does.
const TURN_MESSAGES: usize = 256;
/// How soon after a change the known addresses are written.
const KEEP_KNOWN_AFTER: Duration = Duration::from_secs(1);
/// How soon it is seen that links aren't busy any more. What a link takes in that time is far below what is queued.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);
/// How old what was read of wall time may be. A guess: far below what clocks differ by before it is said.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// The pause after a connection couldn't be accepted: no file descriptor is free, and none will be at once.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a peer can be told.
#[derive(Debug)]
pub enum Command {
    /// Publish a change.
    Publish(Arc<FileUpdate>),
    /// Say goodbye and stop.
    Leave,
}

/// A peer's state and everything that it owns.
#[derive(Debug)]
pub struct Actor {
    place: Place,
    config: PeerConfig,
    node: Node,
    began: tokio::time::Instant,
    listener: TcpListener,
    door: Door,
    /// When connections may be accepted again, where that had failed.
    accept_after: Option<tokio::time::Instant>,
    /// The names among the contacts.
    names: BTreeMap<HostName, HostPort>,
    links: SendBuffers,
    opened: u64,
    context: ConnContext,
    inbox: mpsc::Receiver<ConnEvent>,
    /// Closed when no connection has anything left to say.
    drained: mpsc::Receiver<Infallible>,
    journal: Option<Journal>,
    /// What the journal gets at the end of the turn.
    changes: Vec<(JournalSeq, Arc<FileUpdate>)>,
    /// The last change of the turn, where there is no journal.
    unkept: Option<JournalSeq>,
    /// The addresses that were written last, and when to look whether they are others.
    known: Vec<SocketAddr>,
    keep_known_at: Option<tokio::time::Instant>,
    /// When wall time was read.
    clock_read: tokio::time::Instant,
    observers: Observers,
    tasks: Tasks,
}

enum Next {
    Accepted(Guest),
    Conn(ConnEvent),
    Command(Option<Command>),
    Stored(JournalSeq),
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
        observers: Observers,
        tasks: Tasks,
    ) -> Result<Self, PeerError> {
        let bound = listener.local_addr().map_err(PeerError::Listen)?;
        let listen = config.advertise.unwrap_or(bound);
        let place = Place { peer: kept.peer, addr: seen_from_here(listen), bound };
        observers.started(place, &kept.catalogue);
        let me = Identity {
            peer: place.peer,
            listen,
            durable: kept.journal.is_some(),
            began_ms: wall::now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let node = Node::new(me, config.gossip.clone(), kept.catalogue, getrandom::u64()?, Instant::START);
        let (events, inbox) = mpsc::channel(EVENT_QUEUE);
        let (open, drained) = mpsc::channel(1);
        let began = tokio::time::Instant::now();
        let links = SendBuffers::new(config.traffic.clone());
        let (traffic, original) = (config.traffic.clone(), config.gossip.original);
        let pool = config.pool.clone();
        let context = ConnContext { events, open, tasks: tasks.clone(), traffic, original, pool };
        Ok(Self {
            place,
            config,
            node,
            began,
            listener,
            door: Door::default(),
            accept_after: None,
            names: BTreeMap::new(),
            links,
            opened: 0,
            context,
            inbox,
            drained,
            journal: kept.journal,
            changes: Vec::new(),
            unkept: None,
            known: kept.known,
            keep_known_at: None,
            clock_read: began,
            observers,
            tasks,
        })
    }

    /// Who it is, and where others reach it.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Runs until it is told to leave, or its token is cancelled (then it stops at once).
    pub async fn run(mut self: Box<Self>, mut commands: mpsc::Receiver<Command>) {
        self.begin();
        let mut timer = pin!(tokio::time::sleep_until(self.began));
        let token = self.tasks.token().clone();
        let mut killed = pin!(token.cancelled());
        loop {
            self.look_at_the_clock();
            self.end_turn().await;
            let wake_at = self.wake_at();
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
            let next = tokio::select! {
                biased;
                () = &mut killed => Next::Killed,
                next = self.next(&mut commands) => next,
                () = &mut timer => Next::Wake,
            };
            match next {
                Next::Accepted(guest) => self.door.look_at(guest, &self.context),
                Next::Conn(event) => self.take_turn(event),
                Next::Stored(seq) => self.feed(Input::Persisted { seq }),
                Next::Wake => self.feed(Input::Wake),
                Next::Command(Some(command)) => {
                    if self.obey(command, &mut commands) {
                        return self.leave().await;
                    }
                }
                Next::Command(None) | Next::Killed => return self.stopped(PeerState::Killed),
            }
        }
    }

    /// It may have been set, as at a machine's start when it hears from others what time it is.
    fn look_at_the_clock(&mut self) {
        if self.clock_read.elapsed() >= CLOCK_EVERY {
            self.clock_read = tokio::time::Instant::now();
            self.feed(Input::Clock { wall_ms: wall::now_ms() });
        }
    }

    fn begin(&mut self) {
        if !self.known.is_empty() {
            self.feed(Input::Recall { addrs: self.known.clone() });
        }
        for place in std::mem::take(&mut self.config.contacts) {
            if let Some(addr) = place.addr() {
                self.feed(Input::Contact { addr });
                continue;
            }
            let name = HostName(place.to_string().into());
            self.names.insert(name.clone(), place);
            self.feed(Input::Name { name });
        }
        let mut clock = Clock::default();
        for (file, version) in std::mem::take(&mut self.config.inject) {
            if self.node.catalogue().of_file(&file).is_none_or(|known| known.version < version) {
                let update = FileUpdate::injected(file, version, clock.tick(wall::now_ms()), self.place.peer);
                self.feed(Input::Publish { update: update.into() });
            }
        }
    }

    fn wake_at(&self) -> tokio::time::Instant {
        let wake_at = self.began + (self.node.next_wake() - Instant::START);
        self.keep_known_at.map_or(wake_at, |keep_at| wake_at.min(keep_at))
    }

    async fn next(&mut self, commands: &mut mpsc::Receiver<Command>) -> Next {
        let busy = self.links.are_busy();
        let stored = self.journal.as_mut().map(|journal| &mut journal.stored);
        tokio::select! {
            Some(event) = self.inbox.recv() => Next::Conn(event),
            command = commands.recv(), if !busy => Next::Command(command),
            () = tokio::time::sleep(LOOK_AGAIN_AFTER), if busy => Next::Wake,
            seq = next_stored(stored) => Next::Stored(seq),
            accepted = accept(&self.door, &self.listener, self.accept_after) => match accepted {
                Ok(guest) => {
                    self.accept_after = None;
                    Next::Accepted(guest)
                }
                Err(error) => {
                    warn!(%error, "[P2P] can't accept a connection; trying again in {ACCEPT_AGAIN_AFTER:?}");
                    self.accept_after = Some(tokio::time::Instant::now() + ACCEPT_AGAIN_AFTER);
                    Next::Wake
                }
            },
        }
    }

    /// Publishes, and what else is to be published already. Returns whether the peer is to leave.
    fn obey(&mut self, command: Command, commands: &mut mpsc::Receiver<Command>) -> bool {
        let (mut command, mut handled) = (Some(command), 0);
        while let Some(Command::Publish(update)) = command {
            self.feed(Input::Publish { update });
            handled += 1;
            command = if handled < TURN_MESSAGES { commands.try_recv().ok() } else { None };
        }
        command.is_some()
    }

    /// Handles an event, and others that have come already.
    fn take_turn(&mut self, event: ConnEvent) {
        let mut handled = self.conn_event(event);
        while handled < TURN_MESSAGES
            && let Ok(event) = self.inbox.try_recv()
        {
            handled += self.conn_event(event);
        }
    }

    /// Returns how much there was to do.
    fn conn_event(&mut self, event: ConnEvent) -> usize {
        match event {
            ConnEvent::Dialled { addr, connection: Ok(connection) } => {
                let link = self.open(connection, self.unheard());
                self.feed(Input::LinkUp { link, remote: addr, dialled: Some(addr) });
            }
            ConnEvent::Dialled { addr, connection: Err(error) } => {
                self.feed(Input::DialFailed { addr, reason: error.to_string() });
            }
            ConnEvent::Named { name, connection: Ok(connection) } => {
                let addr = connection.remote();
                let link = self.open(connection, self.unheard());
                self.feed(Input::NameReached { name, link, addr });
            }
            ConnEvent::Named { name, connection: Err(error) } => {
                self.feed(Input::NameFailed { name, reason: error.to_string() });
            }
            ConnEvent::Came { connection, codec } => {
                let (remote, speaks_lines) = (connection.remote(), matches!(codec, Codec::Lines(_)));
                let link = self.open(connection, codec);
                self.feed(if speaks_lines {
                    Input::OriginalUp { link, remote }
                } else {
                    Input::LinkUp { link, remote, dialled: None }
                });
            }
            ConnEvent::Brought { remote, lines } => {
                let count = lines.len();
                self.feed(Input::Brought { remote, lines });
                return count;
            }
            ConnEvent::TurnedAway { remote, reason } => self.feed(Input::TurnedAway { remote, reason }),
            ConnEvent::Received { link, decoded } => {
                let count = decoded.count();
                self.feed(decoded.on(link));
                return count;
            }
            ConnEvent::Drained { link } => self.feed(Input::Drained { link }),
            ConnEvent::Closed { link, reason } => {
                self.links.close(link);
                self.feed(Input::LinkDown { link, reason });
            }
            ConnEvent::Unreadable { link, reason } => {
                self.links.close(link);
                self.feed(Input::Unreadable { link, reason });
            }
        }
        1
    }

    fn open(&mut self, connection: Connection, codec: Codec) -> LinkId {
        self.opened += 1;
        let link = LinkId(self.opened);
        self.links.open(link, Conn::open(link, connection, codec, &self.context));
        link
    }

    /// A connection on which nothing has been said yet.
    fn unheard(&self) -> Codec {
        Codec::Unknown { original: self.context.original }
    }

    /// Hands one input to the node and does what it wants; what that leads to at once, too.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.node.handle(Instant::START + self.began.elapsed(), input);
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Dial { addr } => self.dial(addr),
                    Output::DialName { name } => self.dial_name(name),
                    Output::Send { to, message } => inputs.extend(self.say(&to, &message)),
                    Output::SendLines { to, lines } => inputs.extend(self.say_lines(&to, &lines)),
                    Output::Close { link } => {
                        inputs.extend(self.links.write(link));
                        self.links.close(link);
                    }
                    Output::Persist { seq, update } => self.store(seq, update),
                    Output::Event(event) => self.tell(&event),
                }
            }
        }
    }

    fn say(&mut self, to: &[LinkId], message: &PeerMessage) -> Vec<Input> {
        let said = self.links.append(to, message);
        said.unwrap_or_else(|error| {
            error!(%error, peer.addr = %self.place.addr, "[P2P] a message can't be sent");
            Vec::new()
        })
    }

    fn say_lines(&mut self, to: &[LinkId], lines: &[Line]) -> Vec<Input> {
        let said = self.links.append_lines(to, lines);
        said.unwrap_or_else(|error| {
            error!(%error, peer.addr = %self.place.addr, "[P2P] a line can't be sent");
            Vec::new()
        })
    }

    fn dial(&self, addr: SocketAddr) {
        self.tasks.spawn(dialling::dial(addr, self.context.events.clone(), self.tasks.token().clone()));
    }

    fn dial_name(&self, name: HostName) {
        if let Some(place) = self.names.get(&name) {
            let (named, resolver) = ((name, place.clone()), self.config.resolver.clone());
            self.tasks.spawn(dialling::dial_name(
                named,
                resolver,
                self.context.events.clone(),
                self.tasks.token().clone(),
            ));
        }
    }

    /// Has a change put on disk at the end of the turn; a peer that keeps nothing says then that it is stored.
    fn store(&mut self, seq: JournalSeq, update: Arc<FileUpdate>) {
        if self.journal.is_some() {
            self.changes.push((seq, update));
        } else {
            self.unkept = Some(seq);
        }
    }

    fn tell(&mut self, event: &NodeEvent) {
        if self.journal.is_some() && matches!(event, NodeEvent::Learned { .. } | NodeEvent::NeighbourDown { .. }) {
            self.keep_known_at.get_or_insert_with(|| tokio::time::Instant::now() + KEEP_KNOWN_AFTER);
        }
        self.observers.observe(self.place, event);
    }

    /// Writes what the turn has brought: to the links first, then to the disk, which may hold the peer up.
    async fn end_turn(&mut self) {
        if let Some(seq) = self.unkept.take() {
            self.feed(Input::Persisted { seq });
        }
        while let Some(consequence) = self.links.write_all() {
            self.feed(consequence);
        }
        if self.journal.is_some() {
            self.journal_all().await;
        }
    }

    async fn journal_all(&mut self) {
        let Some(journal) = &self.journal else { return };
        // The journal only ends with the peer.
        if !self.changes.is_empty() {
            drop(journal.changes.send(Change::Updates(std::mem::take(&mut self.changes))).await);
        }
        let now = tokio::time::Instant::now();
        if self.keep_known_at.take_if(|keep_at| *keep_at <= now).is_none() {
            return;
        }
        let known: Vec<SocketAddr> = self.node.known().collect();
        if known != self.known {
            self.known.clone_from(&known);
            drop(journal.changes.send(Change::Known(known)).await);
        }
    }

    async fn leave(mut self: Box<Self>) {
        self.feed(Input::Leave);
        self.keep_known_at = Some(tokio::time::Instant::now());
        self.end_turn().await;
        let Self { links, context, journal, drained, tasks, .. } = &mut *self;
        links.clear();
        drop(std::mem::replace(&mut context.open, mpsc::channel(1).0));
        while drained.recv().await.is_some() {}
        if let Some(Journal { changes, stored }) = journal.take() {
            drop(changes);
            // A disk that takes nothing doesn't hold up the end: then the journal gives up, too.
            tasks.token().run_until_cancelled(flushed(stored)).await;
        }
        self.stopped(PeerState::Left);
    }

    fn stopped(&self, state: PeerState) {
        self.observers.stopped(self.place, state, &self.node.stats());
    }
}

async fn accept(door: &Door, listener: &TcpListener, after: Option<tokio::time::Instant>) -> std::io::Result<Guest> {
    if let Some(after) = after {
        tokio::time::sleep_until(after).await;
    }
    door.accept(listener).await
}

/// Returns when the journal's task has ended, and with it the channel: everything is written then.
pub(super) async fn flushed(mut stored: watch::Receiver<JournalSeq>) {
    while stored.changed().await.is_ok() {}
}

async fn next_stored(stored: Option<&mut watch::Receiver<JournalSeq>>) -> JournalSeq {
    let Some(stored) = stored else { return pending().await };
    match stored.changed().await {
        Ok(()) => *stored.borrow_and_update(),
        Err(_journal_ended) => pending().await,
    }
}
