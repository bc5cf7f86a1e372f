//! A TCP connection between two who speak the peers' protocol: the one way out, [`Connection::dial`], and the one way
//! in, [`Connection::accept`]. Peers, the bridge and a server's look at a contact have no other. What is done to a
//! connection before anybody says a word on it, and to its bytes before they are words, is done here for all of them.
//!
//! ```text
//! a peer's node ─┐                         ┌─ 0             frames: a link of the node
//! bridge ────────┼─ dial ═══════ accept ── peer/door.rs ──┼─ { or blank    lines of the original
//! contact ───────┘                         └─ other         turned away
//! ```

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connection::codec::Codec;
use crate::dial::{self, HostPort, Resolver};

pub mod codec;

/// How long a dial of an address may take. The original's, doubled.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// How long a dial of a name may take, all its addresses included.
const NAME_LIMIT: Duration = Duration::from_secs(5);
/// How long the other end may take to say what it is and who it is.
pub const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long the other end may take to accept a write before the connection counts as broken: a little more than what a
/// silent link has.
pub const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection, both ways of it. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    remote: SocketAddr,
    input: Input,
    output: Output,
}

/// What comes.
#[derive(Debug)]
pub struct Input(OwnedReadHalf);

/// What goes. Dropping it says that no more will.
#[derive(Debug)]
pub struct Output(OwnedWriteHalf);

impl Connection {
    /// Connects to `to`, all of whose addresses are tried. May be cancelled.
    ///
    /// # Errors
    /// When nobody answers there in time.
    pub async fn dial(to: &HostPort, resolver: &Resolver) -> io::Result<Self> {
        let limit = if to.addr().is_some() { DIAL_LIMIT } else { NAME_LIMIT };
        let (stream, addr) = dial::connect(to, resolver, limit).await?;
        Ok(Self::new(stream, addr))
    }

    /// The next one that comes in at `listener`. May be cancelled.
    ///
    /// # Errors
    /// When the system can't accept a connection now.
    pub async fn accept(listener: &TcpListener) -> io::Result<Self> {
        let (stream, mut remote) = listener.accept().await?;
        // One that listens on both families sees IPv4 addresses as IPv6 ones.
        remote.set_ip(remote.ip().to_canonical());
        Ok(Self::new(stream, remote))
    }

    fn new(stream: TcpStream, remote: SocketAddr) -> Self {
        // Only latency suffers without it.
        drop(stream.set_nodelay(true));
        let (input, output) = stream.into_split();
        Self { remote, input: Input(input), output: Output(output) }
    }

    /// The address that answered, or that it comes from.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Moves what has come to its decoder. Returns how much that was: nothing at the end. May be cancelled; nothing is
    /// lost by it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn hear(&mut self, codec: &mut Codec) -> io::Result<usize> {
        self.input.hear(codec).await
    }

    /// Writes `bytes`. Not to be used again when the future was dropped.
    ///
    /// # Errors
    /// When the other end takes nothing for [`WRITE_LIMIT`], or the connection is broken.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.output.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Its two ways, for two who don't wait for each other.
    pub fn split(self) -> (Input, Output) {
        (self.input, self.output)
    }
}

impl Input {
    /// As [`Connection::hear`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn hear(&mut self, codec: &mut Codec) -> io::Result<usize> {
        poll_fn(|context| self.poll_hear(codec, context)).await
    }

    fn poll_hear(&mut self, codec: &mut Codec, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        CHUNK.with_borrow_mut(|chunk| {
            let mut buffer = ReadBuf::new(chunk);
            ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
            codec.push(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Takes what comes and forgets it, to the end.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn ignore(&mut self) -> io::Result<()> {
        tokio::io::copy(&mut self.0, &mut tokio::io::sink()).await.map(drop)
    }
}

impl Output {
    /// Writes as much of `bytes` as the system takes now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when that is nothing, or when the connection is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Writes some of `bytes`, as soon as the other end takes any. Returns how much. May be cancelled.
    ///
    /// # Errors
    /// When it takes nothing for [`WRITE_LIMIT`], or the connection is broken.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            timeout(WRITE_LIMIT, self.0.writable()).await??;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }
}

thread_local! {
    /// Where bytes are read into: one buffer for all connections, since none needs it for longer than a read.
    static CHUNK: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection over loopback.
    async fn pair() -> (Connection, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().into();
        let (dialled, accepted) =
            tokio::join!(Connection::dial(&place, &Resolver::System), Connection::accept(&listener));
        (dialled.unwrap(), accepted.unwrap())
    }

    #[tokio::test]
    async fn what_one_end_writes_the_other_hears_to_its_end() {
        let (mut near, mut far) = pair().await;
        near.write_all(b"{\"type\": \"hello\", \"from\": \"127.0.0.1:9\", \"ts\": 1}\n").await.unwrap();
        let mut codec = Codec::Unknown { original: true };
        assert!(far.hear(&mut codec).await.unwrap() > 0);
        assert!(matches!(codec, Codec::Lines(_)) && codec.take().0.count() == 1);
        drop(near);
        assert_eq!(far.hear(&mut codec).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_is_waited_for_only_so_long() {
        let (near, _far) = pair().await;
        let (_input, output) = near.split();
        while output.try_write(&[0; 16_384]).is_ok() {}
        let begun = tokio::time::Instant::now();
        let refused = output.write(&[0]).await.unwrap_err();
        assert_eq!((refused.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, WRITE_LIMIT));
    }
}
