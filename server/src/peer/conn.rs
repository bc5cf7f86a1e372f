//! One TCP connection: bytes in and out; what they mean is in [`super::codec`]. One task reads; what is said is
//! written by the peer itself, without a detour, and by a task of its own only while the other end doesn't keep up.
//!
//! ```text
//! queued bytes   0 ──────────── BUSY ──────────────── CONGESTED ──────────── FULL
//!                written as     if the last update    told to the node,      cut off: it didn't take even
//!                it comes       went to such links    which says no more     what the node can't hold back
//!                               only: publishers wait
//! ```
//!
//! Long because reading, queueing and writing of one socket are told together.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::gossip::io::{HostName, LinkId};
use shared::wire::lines::Line;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connection::codec::{Codec, Decoded};
use crate::connection::{Connection, Input, Output};
use crate::peer::pool::Pool;
use crate::shutdown::Tasks;

/// Bytes that wait for one neighbour before its link counts as busy.
const BUSY_BYTES: usize = 128 * 1024;
/// Bytes that wait for one neighbour before its link counts as congested. A stopped neighbour
/// may cost the others 8 MiB each (docs/BENCHMARKS.md).
const CONGESTED_BYTES: usize = 4 << 20;
/// Bytes that may wait for one neighbour at most: what was congested, and the largest answers to what it asked for.
const FULL_BYTES: usize = 8 << 20;
/// How long what still comes is taken off a link that this side closed. Closing a socket with unread bytes resets the
/// connection, and the reset may overtake the goodbye.
const LINGER: Duration = Duration::from_millis(500);

/// What was written to sockets, for measurements.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Writes.
    pub writes: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Messages that carry no update.
    pub control: AtomicU64,
}

impl Traffic {
    /// One write happened.
    pub fn wrote(&self, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }
}

/// What connections tell their peer.
#[derive(Debug)]
pub enum ConnEvent {
    /// A dial ended.
    Dialled {
        /// The address.
        addr: SocketAddr,
        /// The connection.
        connection: io::Result<Connection>,
    },
    /// A dial of a name ended.
    Named {
        /// The name.
        name: HostName,
        /// The connection.
        connection: io::Result<Connection>,
    },
    /// Somebody dialled this peer, and speaks frames, or lines for longer than for some news.
    Came {
        /// The connection.
        connection: Connection,
        /// What was read of it and not told yet.
        codec: Codec,
    },
    /// Lines came on a connection that isn't a link.
    Brought {
        /// Where it comes from.
        remote: SocketAddr,
        /// What came with one read.
        lines: Vec<Line>,
    },
    /// A connection was closed before it was a link.
    TurnedAway {
        /// Where it came from.
        remote: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The other side said something.
    Received {
        /// The link.
        link: LinkId,
        /// What came with one read.
        decoded: Decoded,
    },
    /// Everything that waited on a link is written.
    Drained {
        /// The link.
        link: LinkId,
    },
    /// The connection is over.
    Closed {
        /// The link.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// The connection is over because what came breaks the format.
    Unreadable {
        /// The link.
        link: LinkId,
        /// What is wrong.
        reason: String,
    },
}

/// What all connections of a peer share.
#[derive(Debug, Clone)]
pub struct ConnContext {
    /// Where they tell what happens.
    pub events: mpsc::Sender<ConnEvent>,
    /// Held by each until its last byte is out.
    pub open: mpsc::Sender<Infallible>,
    /// Where their tasks run.
    pub tasks: Tasks,
    /// Where they count.
    pub traffic: Arc<Traffic>,
    /// Whether the other side may speak the original's lines.
    pub original: bool,
    /// What the peer shares with others of its process.
    pub pool: Option<Pool>,
}

/// The sending side of a connection. Dropping it closes the connection once everything queued is out.
#[derive(Debug)]
pub struct Conn {
    sink: Arc<Sink>,
    tasks: Tasks,
}

/// How much waits for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Little or nothing.
    Low,
    /// So much that nothing more should be said; told once until it is [`ConnEvent::Drained`].
    Congested,
    /// More than there is room for. What was said last is lost: the connection is of no use any more.
    Full,
}

#[derive(Debug)]
struct Sink {
    link: LinkId,
    output: Output,
    queue: Mutex<Queue>,
    events: mpsc::Sender<ConnEvent>,
    /// Ends everything at once.
    cut: CancellationToken,
    /// Cancelled when everything is said.
    finished: CancellationToken,
    traffic: Arc<Traffic>,
    _open: mpsc::Sender<Infallible>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// How much of what was taken out isn't written yet.
    writing: usize,
    /// Whether a task writes; only this side starts one, and only the task ends itself.
    draining: bool,
    congested: bool,
}

impl Queue {
    fn waiting(&self) -> usize {
        self.bytes.len() + self.writing
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.finished.cancel();
    }
}

impl Conn {
    /// Starts the reading task of a connection, of which `codec` was read already.
    pub fn open(link: LinkId, connection: Connection, codec: Codec, context: &ConnContext) -> Self {
        let (input, output) = connection.split();
        let sink = Sink {
            link,
            output,
            queue: Mutex::default(),
            events: context.events.clone(),
            cut: context.tasks.token().child_token(),
            finished: CancellationToken::new(),
            traffic: context.traffic.clone(),
            _open: context.open.clone(),
        };
        let reader = Reader { link, input, codec, events: context.events.clone(), pool: context.pool.clone() };
        let (cut, finished, open) = (sink.cut.clone(), sink.finished.clone(), context.open.clone());
        context.tasks.spawn(async move {
            reader.run(cut, finished).await;
            drop(open);
        });
        Self { sink: Arc::new(sink), tasks: context.tasks.clone() }
    }

    /// Writes `bytes`, or queues them behind what waits already. A connection that is over takes and forgets them: its
    /// end is reported anyway.
    pub fn send(&self, bytes: &[u8]) -> Backlog {
        let waiting = self.sink.lock().draining;
        let written = if waiting { 0 } else { self.write(bytes) };
        let rest = bytes.get(written..).unwrap_or_default();
        if rest.is_empty() {
            return Backlog::Low;
        }
        let mut queue = self.sink.lock();
        if queue.waiting() + rest.len() > FULL_BYTES {
            return Backlog::Full;
        }
        queue.bytes.extend_from_slice(rest);
        if !queue.draining {
            queue.draining = true;
            self.tasks.spawn(drain(self.sink.clone()));
        }
        if queue.waiting() <= CONGESTED_BYTES || queue.congested {
            return Backlog::Low;
        }
        queue.congested = true;
        Backlog::Congested
    }

    fn write(&self, bytes: &[u8]) -> usize {
        match self.sink.output.try_write(bytes) {
            Ok(written) => {
                self.sink.traffic.wrote(written);
                written
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_broken) => bytes.len(),
        }
    }

    /// Whether much waits for the other side, which takes it.
    pub fn is_busy(&self) -> bool {
        let queue = self.sink.lock();
        queue.waiting() > BUSY_BYTES && !queue.congested
    }

    /// Closes it without waiting for what is queued.
    pub fn cut(&self) {
        self.sink.cut.cancel();
    }
}

impl Sink {
    /// A lock is enough: it is held to add to the queue or to take it, never across an await or a write.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits; if nothing does, the task that asks has ended its work. Returns also whether the queue was
    /// congested.
    fn take(&self) -> (Vec<u8>, bool) {
        let mut queue = self.lock();
        let bytes = std::mem::take(&mut queue.bytes);
        queue.writing = bytes.len();
        queue.draining = !bytes.is_empty();
        let congested = queue.congested && bytes.is_empty();
        queue.congested &= !congested;
        (bytes, congested)
    }
}

/// Writes what waits until nothing does.
async fn drain(sink: Arc<Sink>) {
    loop {
        let (bytes, was_congested) = sink.take();
        if was_congested {
            // A peer that is gone needs no word.
            drop(sink.events.send(ConnEvent::Drained { link: sink.link }).await);
        }
        if bytes.is_empty() {
            return;
        }
        let written = tokio::select! {
            () = sink.cut.cancelled() => return,
            written = write_all(&sink, &bytes) => written,
        };
        if written.is_err() {
            return sink.cut.cancel();
        }
    }
}

async fn write_all(sink: &Sink, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = sink.output.write(bytes).await?;
        sink.traffic.wrote(written);
        bytes = bytes.get(written..).unwrap_or_default();
        sink.lock().writing = bytes.len();
    }
    Ok(())
}

struct Reader {
    link: LinkId,
    input: Input,
    codec: Codec,
    events: mpsc::Sender<ConnEvent>,
    pool: Option<Pool>,
}

impl Reader {
    async fn run(mut self, cut: CancellationToken, finished: CancellationToken) {
        let over = tokio::select! {
            () = cut.cancelled() => self.closed(&"cut off"),
            // Nobody waits for a report on a link that was closed from here.
            () = finished.cancelled() => return self.linger(cut).await,
            over = self.read() => over,
        };
        cut.cancel();
        drop(self.events.send(over).await);
    }

    fn closed(&self, reason: &impl ToString) -> ConnEvent {
        ConnEvent::Closed { link: self.link, reason: reason.to_string() }
    }

    async fn linger(&mut self, cut: CancellationToken) {
        // Both ways the socket is closed next.
        drop(timeout(LINGER, cut.run_until_cancelled(self.input.ignore())).await);
    }

    /// Returns how it ended.
    async fn read(&mut self) -> ConnEvent {
        let link = self.link;
        let mut ended = None;
        loop {
            let (mut decoded, failure) = if ended.is_some() { self.codec.end() } else { self.codec.take() };
            if let Some(pool) = &self.pool {
                pool.share(&mut decoded);
            }
            if decoded.count() > 0 && self.events.send(ConnEvent::Received { link, decoded }).await.is_err() {
                return self.closed(&"the peer has stopped");
            }
            if let Some(reason) = failure {
                return ConnEvent::Unreadable { link, reason };
            }
            if let Some(ended) = ended {
                return ended;
            }
            match self.input.hear(&mut self.codec).await {
                Ok(0) => ended = Some(self.closed(&"closed by the other side")),
                Ok(_) => {}
                Err(error) => ended = Some(self.closed(&error)),
            }
        }
    }
}
