//! Many versions of few files: what they cost in memory, and that everybody has the last of each.

use serde::Serialize;

use crate::bench::BenchError;
use crate::bench::cluster::Cluster;
use crate::bench::control::Stream;
use crate::bench::file_names::{Files, VERSION_FILES};
use crate::bench::flow::PUBLISH_LIMIT;
use crate::bench::latency::{float, ns};
use crate::bench::limits::LOST_AFTER;
use crate::bench::procfs::{Memory, now_ns};

/// Versions were published.
#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// So many.
    pub updates: usize,
    /// Of so many files.
    pub files: usize,
    /// So many hadn't reached everybody yet, at most.
    pub window: usize,
    /// Files that somebody doesn't know in their last version.
    pub lost: usize,
    /// Updates a second, until everybody had all.
    pub updates_per_second: f64,
    /// A process's memory before, on average and at most.
    pub before: Footprint,
    /// And after.
    pub after: Footprint,
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Footprint {
    /// Resident, on average.
    pub resident_kib: u64,
    /// What only the process has, on average.
    pub private_kib: u64,
    /// Resident, the largest process's.
    pub resident_kib_max: u64,
    /// What only it has, the largest process's.
    pub private_kib_max: u64,
}

impl Footprint {
    /// Reads what the processes hold now.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let (mut sum, mut largest, mut processes) = (Memory::default(), Memory::default(), 0);
        for (_, memory) in cluster.memory() {
            sum.resident += memory.resident;
            sum.private += memory.private;
            largest.resident = largest.resident.max(memory.resident);
            largest.private = largest.private.max(memory.private);
            processes += 1;
        }
        let processes = processes.max(1);
        Self {
            resident_kib: sum.resident / processes,
            private_kib: sum.private / processes,
            resident_kib_max: largest.resident,
            private_kib_max: largest.private,
        }
    }
}

impl Versions {
    /// The result in one line, for people.
    pub(super) fn line(&self) -> String {
        let Self { before, after, .. } = self;
        format!(
            "versions        {} of {} files, {} in flight: {} lost, {:.0}/s; a process has {} KiB resident, {} private before, {} and {} after ({} and {} at most)",
            self.updates,
            self.files,
            self.window,
            self.lost,
            self.updates_per_second,
            before.resident_kib,
            before.private_kib,
            after.resident_kib,
            after.private_kib,
            after.resident_kib_max,
            after.private_kib_max
        )
    }
}

/// Measures it.
pub(super) async fn run(cluster: &mut Cluster) -> Result<Versions, BenchError> {
    let (updates, window) = (cluster.order.versions, cluster.order.window);
    let before = Footprint::of(cluster);
    let began = now_ns();
    cluster.publish(0, Stream::quick(updates, window).of(Files::Untimed)).await?;
    let published = cluster.published(0, PUBLISH_LIMIT).await?;
    let took_ns = now_ns().saturating_sub(began);
    let lost = cluster.settle_untimed(published, LOST_AFTER).await? + updates - published;
    Ok(Versions {
        updates,
        files: updates.min(VERSION_FILES),
        window,
        lost,
        updates_per_second: float(published) / (ns(took_ns) / 1000.0),
        before,
        after: Footprint::of(cluster),
    })
}
