//! One TCP connection: bytes in and out, through [`shared::wire::frame`]. Two tasks, so that a slow reader at the
//! other end never holds up what comes in.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use shared::gossip::io::LinkId;
use shared::wire::frame::Decoder;
use shared::wire::peer::PeerMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::shutdown::Tasks;

/// Frames that wait for one neighbour. When they are too many the link is closed: the neighbour gets what it missed by
/// the exchange of catalogues on its next link.
const SEND_QUEUE: usize = 1024;
/// Bytes that are put together into one write.
const WRITE_BYTES: usize = 128 * 1024;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long the other end may take to accept a write before the link counts as broken. As long as a silent link lives.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long a dial may take. The original's, doubled.
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// What connections tell their peer.
#[derive(Debug)]
pub enum ConnEvent {
    /// A dial ended.
    Dialled {
        /// The address.
        addr: SocketAddr,
        /// The connection.
        stream: io::Result<TcpStream>,
    },
    /// The other side said something.
    Message {
        /// The link.
        link: LinkId,
        /// What.
        message: PeerMessage,
    },
    /// The connection is over.
    Closed {
        /// The link.
        link: LinkId,
        /// Why.
        reason: String,
    },
}

/// What all connections of a peer share.
#[derive(Debug, Clone)]
pub struct Wires {
    /// Where they tell what happens.
    pub events: mpsc::Sender<ConnEvent>,
    /// Held by each until its last byte is out.
    pub open: mpsc::Sender<Infallible>,
}

/// The sending side of a connection. Dropping it closes the connection once everything queued is out.
#[derive(Debug)]
pub struct Conn {
    frames: mpsc::Sender<Bytes>,
    token: CancellationToken,
}

/// The other side doesn't take what it is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Conn {
    /// Starts the two tasks of a connection.
    pub fn open(link: LinkId, stream: TcpStream, wires: &Wires, tasks: &Tasks) -> Self {
        // Only latency suffers without it.
        drop(stream.set_nodelay(true));
        let (frames, queue) = mpsc::channel(SEND_QUEUE);
        let (input, output) = stream.into_split();
        let token = tasks.token().child_token();
        let open = wires.open.clone();
        let sender = write(output, queue, token.clone());
        tasks.spawn(async move {
            sender.await;
            drop(open);
        });
        tasks.spawn(read(link, input, wires.events.clone(), token.clone()));
        Self { frames, token }
    }

    /// Queues one frame.
    ///
    /// # Errors
    /// When too many wait already. A connection that is closed takes and forgets it: its end is reported anyway.
    pub fn send(&self, frame: Bytes) -> Result<(), TooSlow> {
        match self.frames.try_send(frame) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(TooSlow),
        }
    }

    /// Closes it without waiting for what is queued.
    pub fn abort(&self) {
        self.token.cancel();
    }
}

/// Opens a connection, and reports how that went.
pub async fn dial(addr: SocketAddr, events: mpsc::Sender<ConnEvent>, token: CancellationToken) {
    let stream = tokio::select! {
        () = token.cancelled() => return,
        dialled = timeout(DIAL_LIMIT, TcpStream::connect(addr)) => dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    };
    // A peer that is gone needs no answer.
    drop(events.send(ConnEvent::Dialled { addr, stream }).await);
}

async fn write(mut output: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>, token: CancellationToken) {
    let mut batch = Vec::new();
    loop {
        let next = tokio::select! {
            () = token.cancelled() => return,
            next = queue.recv() => next,
        };
        let Some(frame) = next else { break };
        batch.clear();
        batch.extend_from_slice(&frame);
        while batch.len() < WRITE_BYTES {
            let Ok(frame) = queue.try_recv() else { break };
            batch.extend_from_slice(&frame);
        }
        let written = tokio::select! {
            () = token.cancelled() => return,
            written = timeout(WRITE_LIMIT, output.write_all(&batch)) => written,
        };
        if !matches!(written, Ok(Ok(()))) {
            break;
        }
    }
    // Closing: the other end sees the end of the stream behind what was said; an error means that it is gone already.
    drop(timeout(WRITE_LIMIT, output.shutdown()).await);
    token.cancel();
}

async fn read(link: LinkId, mut input: OwnedReadHalf, events: mpsc::Sender<ConnEvent>, token: CancellationToken) {
    let reason = tokio::select! {
        () = token.cancelled() => "closed by this side".to_owned(),
        reason = read_until_end(link, &mut input, &events) => reason,
    };
    token.cancel();
    drop(events.send(ConnEvent::Closed { link, reason }).await);
}

async fn read_until_end(link: LinkId, input: &mut OwnedReadHalf, events: &mpsc::Sender<ConnEvent>) -> String {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        match input.read(&mut bytes).await {
            Ok(0) => return "closed by the other side".to_owned(),
            Ok(count) => decoder.push(bytes.get(..count).unwrap_or_default()),
            Err(error) => return error.to_string(),
        }
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    if events.send(ConnEvent::Message { link, message }).await.is_err() {
                        return "the peer has stopped".to_owned();
                    }
                }
                Ok(None) => break,
                Err(error) => return format!("bad frame: {error}"),
            }
        }
    }
}
