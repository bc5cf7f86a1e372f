//! Ours: a peer as `grapevine peer` runs it, with the same observers and one more, who notes when what comes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::gossip::stats::Stats;
use shared::ids::{FileId, PeerId, Version};
use shared::stamp::{Clock, Stamp};
use shared::wire::event::PeerState;
use shared::wire::update::FileUpdate;
use tokio::net::TcpListener;

use crate::bench::BenchError;
use crate::bench::arrivals::Arrivals;
use crate::bench::control::Status;
use crate::bench::file_names::{self, Arrival, Files};
use crate::bench::procfs::now_ns;
use crate::peer::conn::Traffic;
use crate::peer::counts::Counts;
use crate::peer::log::Logs;
use crate::peer::observer::{Observer, Observers, Place};
use crate::peer::pool::Pool;
use crate::peer::{self, PeerConfig, PeerError, PeerHandle, state};
use crate::shutdown::Tasks;
use crate::wall;

/// Bytes of an update whose name is empty.
const BARE_BYTES: usize = 56;

/// What the peers of one process share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    /// What its peers wrote.
    pub(super) traffic: Arc<Traffic>,
    /// What its peers share, if they do.
    pub(super) pool: Option<Pool>,
    /// What came to its peers, and when.
    pub(super) logs: Logs,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Node {
    listener: Option<TcpListener>,
    kept: Catalogue,
    handle: Option<PeerHandle>,
    watcher: Arc<Watcher>,
    shared: Shared,
    tasks: Tasks,
    clock: Clock,
}

#[derive(Debug)]
struct Watcher {
    arrivals: Arc<Arrivals>,
    seen: Mutex<Status>,
}

impl Observer for Watcher {
    fn started(&self, _at: Place, _kept: &Catalogue) {}

    fn observe(&self, _at: Place, event: &NodeEvent) {
        match event {
            NodeEvent::Applied { file, version, .. } => {
                let Some(arrival) = file_names::arrival(file, *version) else { return };
                self.arrivals.arrived(&arrival);
                if arrival == Arrival::Kept {
                    let mut seen = self.seen();
                    seen.files += 1;
                    seen.files_at_ns = now_ns();
                }
            }
            NodeEvent::NeighbourUp { .. } => self.seen().neighbours += 1,
            NodeEvent::NeighbourDown { reason, .. } => {
                let mut seen = self.seen();
                seen.neighbours -= 1;
                *seen.lost.entry(reason.to_string()).or_default() += 1;
            }
            NodeEvent::Suspected { .. } => {
                let mut seen = self.seen();
                seen.suspected += 1;
                seen.suspected_at_ns = now_ns();
            }
            NodeEvent::Received { .. }
            | NodeEvent::Learned { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::KeepsUp { .. }
            | NodeEvent::Rejected { .. }
            | NodeEvent::ClockWrong { .. }
            | NodeEvent::ClocksAgree
            | NodeEvent::Unreached { .. }
            | NodeEvent::Alone { .. }
            | NodeEvent::SeenAt { .. }
            | NodeEvent::Twin { .. }
            | NodeEvent::Twins { .. }
            | NodeEvent::NoTwin
            | NodeEvent::Recorded { .. }
            | NodeEvent::Unrecorded { .. }
            | NodeEvent::NotUnderstood { .. }
            | NodeEvent::Misbehaved { .. } => {}
        }
    }

    fn stopped(&self, _at: Place, _state: PeerState, _stats: &Stats) {}

    fn state_was_damaged(&self, _aside: &Path, _why: &PeerError) {}
}

impl Watcher {
    fn seen(&self) -> MutexGuard<'_, Status> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// A peer that will listen on `listener`, and knows `kept`.
    pub(super) fn new(
        listener: TcpListener,
        kept: Catalogue,
        arrivals: Arc<Arrivals>,
        shared: Shared,
        tasks: &Tasks,
    ) -> Self {
        let seen = Mutex::new(Status { neighbours: 0, files: 0, ..Status::none() });
        let (watcher, tasks) = (Arc::new(Watcher { arrivals, seen }), tasks.clone());
        Self { listener: Some(listener), kept, handle: None, watcher, shared, tasks, clock: Clock::default() }
    }

    /// Starts it.
    pub(super) async fn join(&mut self, contact: Option<SocketAddr>) -> Result<(), BenchError> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let config = PeerConfig {
            contacts: contact.into_iter().map(Into::into).collect(),
            traffic: self.shared.traffic.clone(),
            pool: self.shared.pool.clone(),
            ..PeerConfig::default()
        };
        let mut kept = state::load(None, false, &self.tasks).await?;
        kept.catalogue = std::mem::take(&mut self.kept);
        self.handle = Some(peer::start(listener, config, kept, self.observers(), self.tasks.child())?);
        Ok(())
    }

    /// What is measured isn't to wait for what is logged.
    fn observers(&self) -> Observers {
        let watcher = Observers::default().and(self.watcher.clone());
        watcher.and(self.shared.logs.of_a_peer()).and(Arc::new(Counts::default()))
    }

    /// How it fares.
    pub(super) fn status(&self) -> Status {
        self.watcher.seen().clone()
    }

    /// Publishes update number `place` of those that begin with `first`, of about `payload` bytes.
    pub(super) async fn publish(
        &mut self,
        files: Files,
        first: usize,
        place: usize,
        payload: usize,
    ) -> Result<(), BenchError> {
        let handle = self.handle.as_ref().ok_or(io::Error::from(io::ErrorKind::NotConnected))?;
        let (file, version) = files.name(first, place).map_err(io::Error::other)?;
        if let Some(arrival) = file_names::arrival(&file, version) {
            self.watcher.arrivals.arrived(&arrival);
        }
        handle.publish(change(file, version, self.clock.tick(wall::now_ms()), handle.id(), payload)).await;
        Ok(())
    }
}

/// Files that peers know from the start, the same for all.
pub(super) fn kept(files: usize, payload: usize) -> Result<Catalogue, BenchError> {
    let change =
        |number| Ok(Arc::new(change(file_names::kept(number)?, Version(1), Stamp(0), PeerId([1; 32]), payload)));
    let kept: Result<Catalogue, _> = (0..files).map(change).collect();
    Ok(kept.map_err(|error: shared::ids::IdError| io::Error::other(error))?)
}

fn change(file: FileId, version: Version, stamp: Stamp, origin: PeerId, payload: usize) -> FileUpdate {
    let name = "x".repeat(payload.saturating_sub(BARE_BYTES).max(1));
    FileUpdate { name, ..FileUpdate::injected(file, version, stamp, origin) }
}
