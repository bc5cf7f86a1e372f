//! The baseline: a fixed tree over plain TCP. No membership, no check for duplicates, no repair: what a node reads it notes
//! and writes on, in one piece, to its other neighbours. Nothing that gossips on this machine can be much faster.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::bench::arrivals::Arrivals;
use crate::peer::conn::Traffic;
use crate::shutdown::Tasks;

/// Children of a node.
pub(super) const FAN_OUT: usize = 4;
/// Bytes of a frame's header: its length and the update's number.
const HEADER: usize = 12;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

type Links = Arc<Mutex<BTreeMap<SocketAddr, Arc<Mutex<OwnedWriteHalf>>>>>;

/// One node of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    links: Links,
    arrivals: Arc<Arrivals>,
    traffic: Arc<Traffic>,
    tasks: Tasks,
}

impl Node {
    /// A node that accepts its children on `listener`.
    pub(super) fn start(listener: TcpListener, arrivals: Arc<Arrivals>, traffic: Arc<Traffic>, tasks: &Tasks) -> Self {
        let node = Self { links: Links::default(), arrivals, traffic, tasks: tasks.clone() };
        let accepting = node.clone();
        tasks.spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                accepting.attach(stream, remote).await;
            }
        });
        node
    }

    /// Connects to the parent.
    pub(super) async fn join(&self, parent: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(parent).await?;
        self.attach(stream, parent).await;
        Ok(())
    }

    /// How many neighbours it has.
    pub(super) async fn neighbours(&self) -> usize {
        self.links.lock().await.len()
    }

    /// Sends an update to all.
    pub(super) async fn publish(&self, update: usize, payload: usize) {
        self.arrivals.delivered(update);
        let mut frame = vec![0xa5; HEADER + payload];
        let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX).to_le_bytes();
        let number = u64::try_from(update).unwrap_or(u64::MAX).to_le_bytes();
        for (byte, value) in frame.iter_mut().zip(length.into_iter().chain(number)) {
            *byte = value;
        }
        self.write(&frame, None).await;
    }

    async fn attach(&self, stream: TcpStream, remote: SocketAddr) {
        drop(stream.set_nodelay(true));
        let (input, output) = stream.into_split();
        self.links.lock().await.insert(remote, Arc::new(Mutex::new(output)));
        let node = self.clone();
        self.tasks.spawn(async move { node.read(input, remote).await });
    }

    async fn read(self, mut input: OwnedReadHalf, from: SocketAddr) -> io::Result<()> {
        let (mut chunk, mut buffer) = (vec![0; READ_BYTES], Vec::new());
        loop {
            let count = input.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let whole = self.note(&buffer);
            if whole > 0 {
                self.write(buffer.get(..whole).unwrap_or_default(), Some(from)).await;
                buffer.drain(..whole);
            }
        }
    }

    /// Notes the updates of all whole frames, and says how many bytes these are.
    fn note(&self, buffer: &[u8]) -> usize {
        let mut rest = buffer;
        while let Some((update, frame)) = first_frame(rest) {
            self.arrivals.delivered(update);
            rest = rest.get(frame..).unwrap_or_default();
        }
        buffer.len() - rest.len()
    }

    async fn write(&self, bytes: &[u8], except: Option<SocketAddr>) {
        let outputs: Vec<_> =
            self.links.lock().await.iter().filter(|(to, _)| Some(**to) != except).map(|(_, out)| out.clone()).collect();
        for output in outputs {
            // A neighbour that is gone gets nothing more; the tree has no repair.
            drop(output.lock().await.write_all(bytes).await);
            self.traffic.wrote(bytes.len());
        }
    }
}

/// The number of the first frame's update, and the frame's size.
fn first_frame(buffer: &[u8]) -> Option<(usize, usize)> {
    let (length, rest) = buffer.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (update, _) = rest.get(..length)?.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_le_bytes(*update)).ok()?, 4 + length))
}
