//! A hand-made other end of a peer's link.

use std::net::SocketAddr;

use server::wall;
use shared::ids::{PeerId, Version};
use shared::stamp::Clock;
use shared::wire::frame::{self, Decoder};
use shared::wire::peer::{Fingerprint, Hello, MAJOR, MINOR, Partner, PeerMessage, Purpose};
use shared::wire::update::FileUpdate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::PATIENCE;

const ID: PeerId = PeerId([7; 32]);

/// Somebody who dialled a peer.
pub(crate) struct Stranger {
    stream: TcpStream,
    decoder: Decoder,
}

impl Stranger {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), decoder: Decoder::default() }
    }

    /// One that has introduced itself as a client.
    pub(crate) async fn client(addr: SocketAddr) -> Self {
        let mut client = Self::connect(addr).await;
        client.say(&hello(MAJOR, "grapevine")).await;
        client
    }

    /// Where the peer sees it.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, message: &PeerMessage) {
        self.write(&frame::encode(message).unwrap()).await;
    }

    /// What the peer says until it closes the link, at most until `enough`.
    pub(crate) async fn hear(&mut self, enough: impl Fn(&PeerMessage) -> bool) -> Option<PeerMessage> {
        let hearing = async {
            let mut bytes = [0; 4096];
            loop {
                while let Some(message) = self.decoder.next_message().unwrap() {
                    if enough(&message) {
                        return Some(message);
                    }
                }
                match self.stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.decoder.push(&bytes[..count]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.expect("the peer answers or closes the link")
    }

    pub(crate) async fn hears_goodbye(&mut self) -> String {
        match self.hear(|message| matches!(message, PeerMessage::Goodbye { .. })).await {
            Some(PeerMessage::Goodbye { reason, .. }) => reason,
            _ => panic!("closed without a reason"),
        }
    }

    /// Hands over the first version of each of these files, and doesn't wait.
    pub(crate) async fn submits(&mut self, files: &[String]) {
        let mut clock = Clock::default();
        for (request, file) in (0..).zip(files) {
            let stamp = clock.tick(wall::now_ms());
            let update = FileUpdate::injected(file.parse().unwrap(), Version::FIRST, stamp, ID);
            self.say(&PeerMessage::Submit { request, update: update.into() }).await;
        }
    }

    /// Waits until so many are accepted: the peer has them on disk, and all that it learned before.
    pub(crate) async fn is_accepted(&mut self, count: usize) {
        for _ in 0..count {
            let is_answer =
                |said: &PeerMessage| matches!(said, PeerMessage::Accepted { .. } | PeerMessage::Refused { .. });
            let answer = self.hear(is_answer).await;
            assert!(matches!(answer, Some(PeerMessage::Accepted { .. })), "{answer:?}");
        }
    }

    /// The sum of all that the peer knows.
    pub(crate) async fn hears_the_catalogue(&mut self) -> Fingerprint {
        self.say(&PeerMessage::Ping { nonce: 1, catalogue: Fingerprint::default(), partner: Partner::You }).await;
        match self.hear(|message| matches!(message, PeerMessage::Pong { .. })).await {
            Some(PeerMessage::Pong { catalogue, .. }) => catalogue,
            _ => panic!("closed without an answer"),
        }
    }
}

/// A client's hello.
pub(crate) fn hello(major: u16, cluster: &str) -> PeerMessage {
    PeerMessage::Hello(Hello {
        major,
        minor: MINOR,
        cluster: cluster.to_owned(),
        peer: ID,
        listen: None,
        purpose: Purpose::Submit,
        presence: None,
        features: Vec::new(),
    })
}
