//! A peer joins that lacks what the others know: all of it, or one file.

use std::time::Duration;

use serde::Serialize;
use shared::wire::frame;
use shared::wire::peer::{MAX_ENTRIES, PeerMessage};
use tokio::time::sleep;

use crate::bench::cluster::Cluster;
use crate::bench::control::Stream;
use crate::bench::latency::{between, float, ns};
use crate::bench::limits::{LOST_AFTER, SETTLE};
use crate::bench::procfs::now_ns;
use crate::bench::{BenchError, overlay};

/// How often it is asked how much it has. To answer takes it some microseconds.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A peer has caught up.
#[derive(Debug, Clone, Serialize)]
pub struct Rejoin {
    /// Files that the others knew.
    pub files: usize,
    /// Files that it didn't get.
    pub lost: usize,
    /// From the beginning of its join until it had all.
    pub took_ms: f64,
    /// Bytes on the loopback meanwhile, headers included.
    pub wire_bytes: f64,
    /// Bytes handed to sockets.
    pub bytes: f64,
    /// Bytes of what it lacked alone.
    pub lacked_bytes: f64,
}

impl Rejoin {
    /// The result in one line, for people.
    pub(super) fn line(&self, name: &str) -> String {
        format!(
            "{name:15} {} files: {} lost; {:.0} bytes lacking came in {:.0} ms, with {:.0} B on the wire ({:.2} times), {:.0} of them written",
            self.files,
            self.lost,
            self.lacked_bytes,
            self.took_ms,
            self.wire_bytes,
            self.wire_bytes / self.lacked_bytes,
            self.bytes
        )
    }
}

/// The last process starts anew, knowing nothing.
pub(super) async fn newcomer(cluster: &mut Cluster) -> Result<Rejoin, BenchError> {
    let files = cluster.order.files;
    rejoin(cluster, 0, Lacking::Files(files)).await
}

/// The last process starts anew, knowing all but an update that was made before.
pub(super) async fn difference(cluster: &mut Cluster) -> Result<Rejoin, BenchError> {
    let files = cluster.order.files;
    rejoin(cluster, files, Lacking::Update).await
}

/// What the last process lacks.
#[derive(Clone, Copy)]
enum Lacking {
    Files(usize),
    Update,
}

async fn rejoin(cluster: &mut Cluster, knows: usize, lacking: Lacking) -> Result<Rejoin, BenchError> {
    let process = cluster.processes() - 1;
    cluster.kill(process)?;
    sleep(SETTLE).await;
    let update = cluster.publish(0, Stream::quick(1, 0)).await?;
    cluster.published(0, LOST_AFTER).await?;
    cluster.restart(process, knows).await?;
    sleep(SETTLE).await;
    let before = cluster.usage().await?;
    let began = now_ns();
    for node in cluster.nodes_of(process) {
        cluster.join_node(node).await?;
    }
    let (lost, had_all_at) = match lacking {
        Lacking::Files(count) => until_it_has(cluster, process, count).await?,
        Lacking::Update => {
            let times = cluster.settle(update, 1, LOST_AFTER).await?;
            (times.missing(), times.last_ns())
        }
    };
    let after = cluster.usage().await?;
    let lacked = match lacking {
        Lacking::Files(count) => count,
        Lacking::Update => 1,
    };
    Ok(Rejoin {
        files: cluster.order.files,
        lost,
        took_ms: ns(had_all_at.saturating_sub(began)),
        wire_bytes: between(before.wire_bytes, after.wire_bytes),
        bytes: between(before.written.bytes, after.written.bytes),
        lacked_bytes: float(bytes_of(lacked, cluster.order.payload)? * cluster.nodes_of(process).len()),
    })
}

/// Waits until a process has so many of the files that the others began with, or none has come for long. Returns how
/// many it lacks, and when the last came.
async fn until_it_has(cluster: &mut Cluster, process: usize, files: usize) -> Result<(usize, u64), BenchError> {
    let began = now_ns();
    loop {
        let status = cluster.status_of(process).await?;
        let lost = files.saturating_sub(status.files);
        let silent = Duration::from_nanos(now_ns().saturating_sub(status.files_at_ns.max(began)));
        if lost == 0 || silent > LOST_AFTER {
            return Ok((lost, status.files_at_ns));
        }
        sleep(ASK_EVERY).await;
    }
}

/// What so many files take in full pages.
fn bytes_of(files: usize, payload: usize) -> Result<usize, BenchError> {
    let entries: Vec<_> = overlay::kept(files, payload)?.iter().cloned().collect();
    let pages = entries.chunks(MAX_ENTRIES).map(|page| {
        let page = PeerMessage::State { entries: page.to_vec(), rest: None };
        frame::encode(&page).map(|bytes| bytes.len())
    });
    pages.sum::<Result<usize, _>>().map_err(|error| std::io::Error::other(error).into())
}
