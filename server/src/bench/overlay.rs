//! Ours: a peer as `grapevine peer` runs it, with somebody who notes when updates arrive.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::ids::{FileId, Version};
use shared::stamp::{Clock, Stamp};
use shared::wire::stream::PeerState;
use shared::wire::update::FileUpdate;
use tokio::net::TcpListener;

use crate::bench::marks::Marks;
use crate::peer::conn::Traffic;
use crate::peer::observer::{Observer, Place};
use crate::peer::{self, PeerConfig, PeerError, PeerHandle};
use crate::shutdown::Tasks;
use crate::wall;

/// Bytes of an update whose name is empty.
const BARE_BYTES: usize = 55;
/// What the files are called: this and a number.
const PREFIX: &str = "u-";

/// One peer.
#[derive(Debug)]
pub(super) struct Node {
    listener: Option<TcpListener>,
    handle: Option<PeerHandle>,
    watcher: Arc<Watcher>,
    traffic: Arc<Traffic>,
    tasks: Tasks,
    clock: Clock,
}

#[derive(Debug)]
struct Watcher {
    marks: Arc<Marks>,
    neighbours: AtomicUsize,
}

impl Observer for Watcher {
    fn started(&self, _at: Place, _kept: &Catalogue) {}

    fn observe(&self, _at: Place, event: NodeEvent) {
        match event {
            NodeEvent::Applied { file, .. } => {
                if let Some(update) = file.as_str().strip_prefix(PREFIX).and_then(|number| number.parse().ok()) {
                    self.marks.delivered(update);
                }
            }
            NodeEvent::NeighbourUp { .. } => drop(self.neighbours.fetch_add(1, Ordering::Relaxed)),
            NodeEvent::NeighbourDown { .. } => drop(self.neighbours.fetch_sub(1, Ordering::Relaxed)),
            NodeEvent::Received { .. }
            | NodeEvent::Learned { .. }
            | NodeEvent::Suspected { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::Rejected { .. }
            | NodeEvent::Misbehaved { .. } => {}
        }
    }

    fn stopped(&self, _at: Place, _state: PeerState) {}
}

impl Node {
    /// A peer that will listen on `listener`.
    pub(super) fn new(listener: TcpListener, marks: Arc<Marks>, traffic: Arc<Traffic>, tasks: &Tasks) -> Self {
        let watcher = Arc::new(Watcher { marks, neighbours: AtomicUsize::new(0) });
        let tasks = tasks.clone();
        Self { listener: Some(listener), handle: None, watcher, traffic, tasks, clock: Clock::default() }
    }

    /// Starts it.
    pub(super) async fn join(&mut self, contact: Option<SocketAddr>) -> Result<(), PeerError> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let config = PeerConfig {
            contacts: contact.into_iter().collect(),
            traffic: self.traffic.clone(),
            ..PeerConfig::default()
        };
        self.handle = Some(peer::spawn(listener, config, self.watcher.clone(), &self.tasks).await?);
        Ok(())
    }

    /// How many neighbours it has.
    pub(super) fn neighbours(&self) -> usize {
        self.watcher.neighbours.load(Ordering::Relaxed)
    }

    /// Publishes an update of about `payload` bytes.
    pub(super) async fn publish(&mut self, update: usize, payload: usize) -> io::Result<()> {
        let handle = self.handle.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let file: FileId = format!("{PREFIX}{update}").parse().map_err(io::Error::other)?;
        let stamp: Stamp = self.clock.tick(wall::now_ms());
        let name = "x".repeat(payload.saturating_sub(BARE_BYTES).max(1));
        let bare = FileUpdate::injected(file, Version(1), stamp, handle.id());
        self.watcher.marks.delivered(update);
        handle.publish(FileUpdate { name, ..bare }).await;
        Ok(())
    }
}
