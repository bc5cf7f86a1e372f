//! What is said on the links of a peer: encoded once, gathered for a turn, written at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared::gossip::io::{Input, LinkId};
use shared::wire::frame::{self, FrameError};
use shared::wire::lines::{self, Line, LineError};
use shared::wire::peer::{Payload, PeerMessage};

use crate::peer::conn::{Backlog, Conn, Traffic};

/// Bytes for one link that are written at once, whatever else the turn brings.
const WRITE_BYTES: usize = 64 * 1024;
/// What a link's buffer keeps of its room between two turns: a few messages' worth, since most links are idle.
const KEPT_BYTES: usize = 512;

/// The open links.
#[derive(Debug)]
pub struct SendBuffers {
    open: BTreeMap<LinkId, SendBuffer>,
    /// Those with something to write.
    dirty: BTreeSet<LinkId>,
    /// Those that the last update went to.
    pushed: Vec<LinkId>,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
struct SendBuffer {
    conn: Conn,
    bytes: Vec<u8>,
}

impl SendBuffers {
    /// No links yet. What is said on them is counted in `traffic`.
    pub fn new(traffic: Arc<Traffic>) -> Self {
        Self { open: BTreeMap::new(), dirty: BTreeSet::new(), pushed: Vec::new(), traffic }
    }

    /// A link is open.
    pub fn open(&mut self, link: LinkId, conn: Conn) {
        self.open.insert(link, SendBuffer { conn, bytes: Vec::new() });
    }

    /// A link is closed, or is to be once everything said on it is out.
    pub fn close(&mut self, link: LinkId) {
        self.open.remove(&link);
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Whether everybody whom the last update was pushed to has much to take already: then nothing is gained by
    /// publishing more. All other links tell nothing of that: a client's, or one outside of the tree, is idle whatever
    /// goes on.
    pub fn are_busy(&self) -> bool {
        let mut pushed = self.pushed.iter().filter_map(|link| self.open.get(link)).peekable();
        pushed.peek().is_some() && pushed.all(|buffer| buffer.conn.is_busy())
    }

    /// Puts one message down for several links. Returns what follows from it for them.
    ///
    /// # Errors
    /// When no link can carry it.
    pub fn append(&mut self, to: &[LinkId], message: &PeerMessage) -> Result<Vec<Input>, FrameError> {
        let frame = frame::encode(message)?;
        if matches!(message, PeerMessage::Broadcast { payload: Payload::Update(_), .. }) {
            self.pushed.clear();
            self.pushed.extend_from_slice(to);
        } else {
            self.traffic.control.fetch_add(u64::try_from(to.len()).unwrap_or(0), Ordering::Relaxed);
        }
        Ok(self.append_bytes(to, &frame))
    }

    /// The same for lines.
    ///
    /// # Errors
    /// When a link can't carry one of them: then none is said.
    pub fn append_lines(&mut self, to: &[LinkId], lines: &[Line]) -> Result<Vec<Input>, LineError> {
        let encoded: Vec<Vec<u8>> = lines.iter().map(lines::encode).collect::<Result<_, _>>()?;
        Ok(self.append_bytes(to, &encoded.concat()))
    }

    fn append_bytes(&mut self, to: &[LinkId], bytes: &[u8]) -> Vec<Input> {
        let mut consequences = Vec::new();
        for link in to {
            let Some(buffer) = self.open.get_mut(link) else { continue };
            buffer.bytes.extend_from_slice(bytes);
            self.dirty.insert(*link);
            if buffer.bytes.len() >= WRITE_BYTES {
                consequences.extend(self.write(*link));
            }
        }
        consequences
    }

    /// Writes what was said on a link. Returns what follows from it.
    pub fn write(&mut self, link: LinkId) -> Option<Input> {
        if !self.dirty.remove(&link) {
            return None;
        }
        let buffer = self.open.get_mut(&link)?;
        let backlog = buffer.conn.send(&buffer.bytes);
        buffer.bytes.clear();
        buffer.bytes.shrink_to(KEPT_BYTES);
        match backlog {
            Backlog::Low => None,
            Backlog::Congested => Some(Input::Congested { link }),
            Backlog::Full => {
                buffer.conn.cut();
                self.open.remove(&link);
                Some(Input::LinkDown { link, reason: "too slow".to_owned() })
            }
        }
    }

    /// Writes on the links until nothing is left or something follows from it.
    pub fn write_all(&mut self) -> Option<Input> {
        while let Some(link) = self.dirty.first().copied() {
            if let Some(consequence) = self.write(link) {
                return Some(consequence);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{PeerId, Version};
    use shared::stamp::Stamp;
    use shared::wire::broadcast::{MessageId, Source};
    use shared::wire::peer::{Fingerprint, Partner};
    use shared::wire::update::{FileUpdate, MAX_NAME_BYTES};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::connection::Connection;
    use crate::connection::codec::Codec;
    use crate::dial::Resolver;
    use crate::peer::conn::ConnContext;
    use crate::shutdown::Tasks;

    /// More than a link takes before it is busy, at once.
    const MANY: usize = 10_000;

    fn update() -> PeerMessage {
        let update = FileUpdate::injected("f".parse().unwrap(), Version(1), Stamp(0), PeerId([1; 32]));
        let update = FileUpdate { name: "x".repeat(MAX_NAME_BYTES), ..update };
        let id = MessageId { source: Source(1), seq: 1 };
        PeerMessage::Broadcast { id, hops: 0, payload: Payload::Update(update.into()) }
    }

    #[tokio::test]
    async fn publishers_wait_for_the_links_in_use_whatever_others_are_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (events, _inbox) = mpsc::channel(1);
        let (open, _drained) = mpsc::channel(1);
        let context =
            ConnContext { events, open, tasks: Tasks::default(), traffic: Arc::default(), original: true, pool: None };
        let mut buffers = SendBuffers::new(Arc::default());
        let [pushed, idle, other] = [1, 2, 3].map(LinkId);
        let mut far_ends = Vec::new();
        for link in [pushed, idle, other] {
            let connection = Connection::dial(&addr.into(), &Resolver::System).await.unwrap();
            buffers.open(link, Conn::open(link, connection, Codec::Unknown { original: true }, &context));
            far_ends.push(listener.accept().await.unwrap());
        }
        assert!(!buffers.are_busy(), "nothing was pushed");

        // Nobody reads, and the task that writes what is queued has no turn before the next await.
        let mut said = 0;
        while !buffers.are_busy() {
            said += 1;
            assert!(said < MANY, "never busy");
            buffers.append(&[pushed], &update()).unwrap();
            assert!(buffers.write_all().is_none());
        }
        let ping = PeerMessage::Ping { nonce: 1, catalogue: Fingerprint::default(), partner: Partner::You };
        buffers.append(&[idle], &ping).unwrap();
        assert!(buffers.are_busy(), "a ping is no update");
        buffers.append(&[pushed, other], &update()).unwrap();
        assert!(!buffers.are_busy(), "the other has room");
        buffers.close(other);
        assert!(buffers.are_busy());
        buffers.close(pushed);
        assert!(!buffers.are_busy(), "nobody is left to wait for");
    }
}
