//! The bridge's connection to an entry peer: frames in both directions, each wait with a limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shared::ids::PeerId;
use shared::wire::frame::{self, Decoder, FrameError};
use shared::wire::peer::{Hello, MAJOR, MINOR, PeerMessage, Wish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::{self, HostPort, Resolver};

/// How long an entry peer may take to accept the connection, to say hello, to take a frame or to answer a submission.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// Bytes that are read at once. A guess: some hundred answers.
const READ_BYTES: usize = 16 * 1024;

/// Why an entry peer is of no use now.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the entry peer {0} can't be reached")]
    Unreachable(HostPort, #[source] io::Error),
    #[error("the link to the entry peer broke")]
    Broken(#[source] io::Error),
    #[error("the entry peer closed the link")]
    Closed,
    #[error("the entry peer took too long to {0}")]
    Silent(&'static str),
    #[error("the entry peer said goodbye: {0}")]
    Goodbye(String),
    #[error("the entry peer sent nonsense")]
    Frame(#[from] FrameError),
    #[error("the entry peer didn't begin with a hello")]
    NoHello,
    #[error("the entry peer speaks version {0} of the protocol, not {MAJOR}")]
    Major(u16),
    #[error("the entry peer belongs to the cluster {0:?}")]
    Cluster(String),
}

/// A link over which both sides have said hello.
pub(super) struct Link {
    pub(super) addr: SocketAddr,
    /// Whether what the peer accepts is on its disk.
    pub(super) durable: bool,
    stream: TcpStream,
    decoder: Decoder,
    /// Where bytes are read into.
    chunk: Vec<u8>,
}

impl Link {
    /// Connects to `entry` as the client `me`.
    pub(super) async fn open(entry: &HostPort, me: PeerId, cluster: &str) -> Result<Self, LinkError> {
        let connected = dial::connect(entry, &Resolver::System, LIMIT).await;
        let (stream, addr) = connected.map_err(|error| LinkError::Unreachable(entry.clone(), error))?;
        stream.set_nodelay(true).map_err(LinkError::Broken)?;
        let mut link = Self { addr, durable: false, stream, decoder: Decoder::default(), chunk: vec![0; READ_BYTES] };
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: cluster.to_owned(),
            peer: me,
            listen: None,
            wish: Wish::Submit,
            durable: false,
        };
        link.send(&PeerMessage::Hello(hello)).await?;
        let first = timeout(LIMIT, link.receive()).await.map_err(|_elapsed| LinkError::Silent("say hello"))??;
        link.durable = check_hello(first, cluster)?;
        Ok(link)
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, message: &PeerMessage) -> Result<(), LinkError> {
        let frame = frame::encode(message)?;
        let written = timeout(LIMIT, self.stream.write_all(&frame)).await;
        written.map_err(|_elapsed| LinkError::Silent("take a frame"))?.map_err(LinkError::Broken)
    }

    /// The next message. May be cancelled; nothing is lost by it.
    pub(super) async fn receive(&mut self) -> Result<PeerMessage, LinkError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let read = self.stream.read(&mut self.chunk).await.map_err(LinkError::Broken)?;
            if read == 0 {
                return Err(LinkError::Closed);
            }
            self.decoder.push(self.chunk.get(..read).unwrap_or_default());
        }
    }
}

/// Whether the peer is durable, if it is one of ours.
fn check_hello(first: PeerMessage, cluster: &str) -> Result<bool, LinkError> {
    match first {
        PeerMessage::Hello(hello) if hello.major != MAJOR => Err(LinkError::Major(hello.major)),
        PeerMessage::Hello(hello) if hello.cluster != cluster => Err(LinkError::Cluster(hello.cluster)),
        PeerMessage::Hello(hello) => Ok(hello.durable),
        PeerMessage::Goodbye { reason, .. } => Err(LinkError::Goodbye(reason)),
        _ => Err(LinkError::NoHello),
    }
}
