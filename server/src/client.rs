//! A client's connection to a peer: frames in both directions, each wait with a limit. The bridge submits over it, and a
//! server without peers of its own asks for the overlay.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shared::ids::PeerId;
use shared::wire::frame::{self, Decoder, FrameError};
use shared::wire::lines;
use shared::wire::peer::{Hello, MAJOR, MINOR, PeerMessage, Wish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::{self, HostPort, Resolver};

/// How long a peer may take to accept the connection, to say hello, to take a frame or to answer a submission.
pub const LIMIT: Duration = Duration::from_secs(5);
/// Bytes that are read at once. A guess: some hundred answers.
const READ_BYTES: usize = 16 * 1024;

/// Why a peer is of no use now.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody accepts the connection.
    #[error("it can't be reached")]
    Unreachable(#[source] io::Error),
    /// It broke.
    #[error("the link to the peer broke")]
    Broken(#[source] io::Error),
    /// The peer closed it.
    #[error("the peer closed the link")]
    Closed,
    /// The peer took too long for this.
    #[error("the peer took too long to {0}")]
    Silent(&'static str),
    /// The peer said goodbye, and why.
    #[error("the peer said goodbye: {0}")]
    Goodbye(String),
    /// What was said breaks the format.
    #[error("the peer sent nonsense")]
    Frame(#[from] FrameError),
    /// The peer began with something else.
    #[error("the peer didn't begin with a hello")]
    NoHello,
    /// A peer of the original system.
    #[error("it speaks JSON lines: a peer of the original system can't be the bridge's entry")]
    Original,
    /// An HTTP server.
    #[error("it speaks HTTP: is this the API's address? The bridge's entry is a peer")]
    Http,
    /// Another major version of the protocol.
    #[error("the peer speaks version {0} of the protocol, not {MAJOR}")]
    Major(u16),
    /// Another overlay.
    #[error("the peer belongs to the cluster {0:?}")]
    Cluster(String),
}

/// A link over which both sides have said hello.
#[derive(Debug)]
pub struct Link {
    /// Whose it is, as a person named it.
    pub entry: HostPort,
    /// The address that answered.
    pub addr: SocketAddr,
    /// Whether what the peer accepts is on its disk.
    pub durable: bool,
    stream: TcpStream,
    decoder: Decoder,
    /// Where bytes are read into.
    chunk: Vec<u8>,
}

impl Link {
    /// Connects to `entry` as the client `me`.
    ///
    /// # Errors
    /// When nobody accepts the connection, or who does is no peer of this overlay.
    pub async fn open(entry: HostPort, me: PeerId, cluster: &str) -> Result<Self, LinkError> {
        let connected = dial::connect(&entry, &Resolver::System, LIMIT).await;
        let (stream, addr) = connected.map_err(LinkError::Unreachable)?;
        stream.set_nodelay(true).map_err(LinkError::Broken)?;
        let (decoder, chunk) = (Decoder::default(), vec![0; READ_BYTES]);
        let mut link = Self { entry, addr, durable: false, stream, decoder, chunk };
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: cluster.to_owned(),
            peer: me,
            listen: None,
            wish: Wish::Submit,
            durable: false,
            presence: None,
        };
        link.send(&PeerMessage::Hello(hello)).await?;
        let first = timeout(LIMIT, link.greeting()).await.map_err(|_elapsed| LinkError::Silent("say hello"))??;
        link.durable = check_hello(first, cluster)?;
        Ok(link)
    }

    /// The first message, or what speaks there if it isn't a peer of ours.
    async fn greeting(&mut self) -> Result<PeerMessage, LinkError> {
        let read = self.stream.read(&mut self.chunk).await.map_err(LinkError::Broken)?;
        match self.chunk.get(..read).unwrap_or_default() {
            [] => Err(LinkError::Closed),
            [lines::OPENING, ..] => Err(LinkError::Original),
            [b'H', b'T', b'T', b'P', ..] => Err(LinkError::Http),
            bytes => {
                self.decoder.push(bytes);
                self.receive().await
            }
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When it can't be written; the link is of no use any more, unless it is [`LinkError::Frame`].
    pub async fn send(&mut self, message: &PeerMessage) -> Result<(), LinkError> {
        let frame = frame::encode(message)?;
        let written = timeout(LIMIT, self.stream.write_all(&frame)).await;
        written.map_err(|_elapsed| LinkError::Silent("take a frame"))?.map_err(LinkError::Broken)
    }

    /// The next message. May be cancelled; nothing is lost by it.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn receive(&mut self) -> Result<PeerMessage, LinkError> {
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
