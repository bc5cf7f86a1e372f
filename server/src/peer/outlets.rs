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
/// What a link's buffer keeps of its room between two turns.
const KEPT_BYTES: usize = 4096;

/// The open links.
#[derive(Debug)]
pub struct Outlets {
    open: BTreeMap<LinkId, Outlet>,
    /// Those with something to write.
    spoken: BTreeSet<LinkId>,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
struct Outlet {
    conn: Conn,
    said: Vec<u8>,
}

impl Outlets {
    /// No links yet. What is said on them is counted in `traffic`.
    pub fn new(traffic: Arc<Traffic>) -> Self {
        Self { open: BTreeMap::new(), spoken: BTreeSet::new(), traffic }
    }

    /// A link is open.
    pub fn open(&mut self, link: LinkId, conn: Conn) {
        self.open.insert(link, Outlet { conn, said: Vec::new() });
    }

    /// A link is closed, or is to be once everything said on it is out.
    pub fn close(&mut self, link: LinkId) {
        self.open.remove(&link);
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Whether every neighbour has much to take already: then nothing is gained by publishing more.
    pub fn are_busy(&self) -> bool {
        !self.open.is_empty() && self.open.values().all(|outlet| outlet.conn.is_busy())
    }

    /// Puts one message down for several links. Gives what follows from it for them.
    ///
    /// # Errors
    /// When no link can carry it.
    pub fn say(&mut self, to: &[LinkId], message: &PeerMessage) -> Result<Vec<Input>, FrameError> {
        let frame = frame::encode(message)?;
        if !matches!(message, PeerMessage::Broadcast { payload: Payload::Update(_), .. }) {
            self.traffic.control.fetch_add(u64::try_from(to.len()).unwrap_or(0), Ordering::Relaxed);
        }
        Ok(self.put_down(to, &frame))
    }

    /// The same for lines.
    ///
    /// # Errors
    /// When a link can't carry one of them: then none is said.
    pub fn say_lines(&mut self, to: &[LinkId], lines: &[Line]) -> Result<Vec<Input>, LineError> {
        let encoded: Vec<Vec<u8>> = lines.iter().map(lines::encode).collect::<Result<_, _>>()?;
        Ok(self.put_down(to, &encoded.concat()))
    }

    fn put_down(&mut self, to: &[LinkId], bytes: &[u8]) -> Vec<Input> {
        let mut consequences = Vec::new();
        for link in to {
            let Some(outlet) = self.open.get_mut(link) else { continue };
            outlet.said.extend_from_slice(bytes);
            self.spoken.insert(*link);
            if outlet.said.len() >= WRITE_BYTES {
                consequences.extend(self.write(*link));
            }
        }
        consequences
    }

    /// Writes what was said on a link. Gives what follows from it.
    pub fn write(&mut self, link: LinkId) -> Option<Input> {
        if !self.spoken.remove(&link) {
            return None;
        }
        let outlet = self.open.get_mut(&link)?;
        let backlog = outlet.conn.send(&outlet.said);
        outlet.said.clear();
        outlet.said.shrink_to(KEPT_BYTES);
        match backlog {
            Backlog::Low => None,
            Backlog::Congested => Some(Input::Congested { link }),
            Backlog::Full => {
                outlet.conn.cut();
                self.open.remove(&link);
                Some(Input::LinkDown { link, reason: "too slow".to_owned() })
            }
        }
    }

    /// Writes on the links until nothing is left or something follows from it.
    pub fn write_all(&mut self) -> Option<Input> {
        while let Some(link) = self.spoken.first().copied() {
            if let Some(consequence) = self.write(link) {
                return Some(consequence);
            }
        }
        None
    }
}
