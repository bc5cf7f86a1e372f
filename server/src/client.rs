//! A client's connection to a peer: frames in both directions, each wait with a limit. The bridge submits over it, and
//! a server without peers of its own asks for the overlay.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use shared::ids::PeerId;
use shared::wire::frame::{self, FrameError};
use shared::wire::peer::{DURABLE, Hello, MAJOR, MINOR, Mismatch, PeerMessage, Purpose};
use tokio::time::timeout;

use crate::connection::codec::{Codec, Decoded};
use crate::connection::{Connection, HELLO_LIMIT, WRITE_LIMIT};
use crate::dial::{HostPort, Resolver};

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
    /// What is to be said breaks the format.
    #[error("it can't be said")]
    Frame(#[from] FrameError),
    /// What was said breaks it.
    #[error("the peer sent nonsense: {0}")]
    Unreadable(String),
    /// The peer began with something else.
    #[error("the peer didn't begin with a hello")]
    NoHello,
    /// A peer of the original system.
    #[error("it speaks JSON lines: a peer of the original system can't be the bridge's entry")]
    Original,
    /// Something that speaks otherwise, such as an HTTP server.
    #[error("it is no peer: {0}")]
    NoPeer(String),
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
    connection: Connection,
    codec: Codec,
    /// What was heard and not received yet.
    heard: VecDeque<PeerMessage>,
    /// Why nothing can be heard behind that.
    failure: Option<LinkError>,
}

impl Link {
    /// Connects to `entry` as the client `me`.
    ///
    /// # Errors
    /// When nobody accepts the connection, or who does is no peer of this overlay.
    pub async fn open(entry: HostPort, me: PeerId, cluster: &str) -> Result<Self, LinkError> {
        let connection = Connection::dial(&entry, &Resolver::System).await.map_err(LinkError::Unreachable)?;
        let mut link = Self {
            entry,
            addr: connection.remote(),
            durable: false,
            connection,
            codec: Codec::Unknown { original: true },
            heard: VecDeque::new(),
            failure: None,
        };
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            cluster: cluster.to_owned(),
            peer: me,
            listen: None,
            purpose: Purpose::Submit,
            presence: None,
            features: Vec::new(),
        };
        link.send(&PeerMessage::Hello(hello)).await?;
        let first = timeout(HELLO_LIMIT, link.receive()).await.map_err(|_elapsed| LinkError::Silent("say hello"))??;
        link.durable = check_hello(first, cluster)?;
        Ok(link)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When it can't be written; the link is of no use any more, unless it is [`LinkError::Frame`].
    pub async fn send(&mut self, message: &PeerMessage) -> Result<(), LinkError> {
        let frame = frame::encode(message)?;
        let written = timeout(WRITE_LIMIT, self.connection.write_all(&frame)).await;
        written.map_err(|_elapsed| LinkError::Silent("take a frame"))?.map_err(LinkError::Broken)
    }

    /// The next message. May be cancelled; nothing is lost by it.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn receive(&mut self) -> Result<PeerMessage, LinkError> {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return Ok(message);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.connection.hear(&mut self.codec).await.map_err(LinkError::Broken)? == 0 {
                return Err(LinkError::Closed);
            }
            let (decoded, failure) = self.codec.take();
            match decoded {
                Decoded::Messages(messages) => self.heard.extend(messages),
                Decoded::Lines(_) => return Err(LinkError::Original),
            }
            self.failure = failure.map(|reason| match &self.codec {
                Codec::Neither(_) => LinkError::NoPeer(reason),
                Codec::Unknown { .. } | Codec::Frames(_) | Codec::Lines(_) => LinkError::Unreadable(reason),
            });
        }
    }
}

/// Whether the peer is durable, if it is one of ours.
fn check_hello(first: PeerMessage, cluster: &str) -> Result<bool, LinkError> {
    match first {
        PeerMessage::Hello(hello) => match hello.check(cluster) {
            Ok(()) => Ok(hello.offers(DURABLE).is_some()),
            Err(Mismatch::Major(theirs)) => Err(LinkError::Major(theirs)),
            Err(Mismatch::Cluster(theirs)) => Err(LinkError::Cluster(theirs)),
        },
        PeerMessage::Goodbye { reason, .. } => Err(LinkError::Goodbye(reason)),
        _ => Err(LinkError::NoHello),
    }
}
