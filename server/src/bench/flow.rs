//! The phases that the baseline has, too: nobody publishes, one update at a time, and many.

use std::time::Duration;

use serde::Serialize;
use shared::rng::Rng;
use tokio::time::sleep;

use crate::bench::BenchError;
use crate::bench::cluster::{Cluster, Usage};
use crate::bench::control::Stream;
use crate::bench::latency::{Latency, between, float, ns};
use crate::bench::limits::LOST_AFTER;

/// The pause between two updates that go alone, and what chance adds, so that no beat of a protocol is met.
const GAP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));
/// How long a publication may take: a million updates at 1,000 a second, twice.
pub(super) const PUBLISH_LIMIT: Duration = Duration::from_mins(33);

/// What one delivery cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Bytes on the loopback with TCP's and IP's headers, less what idleness takes.
    pub wire_bytes: f64,
    /// Bytes handed to sockets.
    pub bytes: f64,
    /// Writes to sockets.
    pub writes: f64,
    /// Messages that carry no update.
    pub control: f64,
    /// CPU time of all processes, in microseconds.
    pub cpu_us: f64,
}

/// Nobody publishes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Idle {
    /// Bytes on the loopback, a second and node.
    pub wire_bytes: f64,
    /// CPU time a node, in millionths of one core.
    pub cpu_ppm: f64,
}

/// Updates, one at a time or many.
#[derive(Debug, Clone, Serialize)]
pub struct Flow {
    /// Updates published.
    pub updates: usize,
    /// Deliveries that never came.
    pub lost: usize,
    /// From the publication to the last delivery.
    pub last_delivery_ms: Latency,
    /// Updates a second, from the first publication until everybody had all.
    pub updates_per_second: f64,
    /// What a delivery cost.
    pub cost: Cost,
}

impl Cost {
    fn of(before: Usage, after: Usage, deliveries: usize, idle_bytes_per_second: f64) -> Self {
        let each = float(deliveries.max(1));
        let idle = idle_bytes_per_second * after.at.duration_since(before.at).as_secs_f64();
        let (first, last) = (before.written, after.written);
        Self {
            wire_bytes: (between(before.wire_bytes, after.wire_bytes) - idle) / each,
            bytes: between(first.bytes, last.bytes) / each,
            writes: between(first.writes, last.writes) / each,
            control: between(first.control, last.control) / each,
            cpu_us: between(before.cpu_us, after.cpu_us) / each,
        }
    }
}

impl Flow {
    /// The result in one line, for people.
    pub(super) fn line(&self, name: &str) -> String {
        let Self { last_delivery_ms: last, cost, lost, .. } = self;
        let rate = if self.updates_per_second > 0.0 {
            format!(", {:.0} updates/s to all", self.updates_per_second)
        } else {
            String::new()
        };
        format!(
            "{name:15} last delivery p50 {:.2} p99 {:.2} max {:.2} ms{rate}; {lost} lost; a delivery: {:.0} B on the wire, {:.2} writes, {:.2} control, {:.1} µs CPU",
            last.p50, last.p99, last.max, cost.wire_bytes, cost.writes, cost.control, cost.cpu_us
        )
    }
}

/// Measures what a quiet overlay costs.
pub(super) async fn idle(cluster: &mut Cluster) -> Result<Idle, BenchError> {
    let before = cluster.usage().await?;
    sleep(cluster.order.idle).await;
    let after = cluster.usage().await?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let each = seconds * float(cluster.order.nodes);
    Ok(Idle {
        wire_bytes: between(before.wire_bytes, after.wire_bytes) / each,
        cpu_ppm: between(before.cpu_us, after.cpu_us) / each,
    })
}

/// Updates one at a time. `idle_bytes`: what a node sends in a second anyway.
pub(super) async fn alone(
    cluster: &mut Cluster,
    rounds: usize,
    idle_bytes: f64,
    mut by: impl FnMut() -> usize,
) -> Result<Flow, BenchError> {
    let mut rng = Rng::from_seed(cluster.order.seed ^ 1);
    let before = cluster.usage().await?;
    let mut first = None;
    for _ in 0..rounds {
        let node = by();
        let update = cluster.publish(node, Stream::quick(1, 0)).await?;
        cluster.published(node, LOST_AFTER).await?;
        first.get_or_insert(update);
        sleep(rng.duration(GAP.0, GAP.1)).await;
    }
    // Only now: to be asked costs the nodes more CPU than an update.
    let times = cluster.settle(first.unwrap_or(0), rounds, LOST_AFTER).await?;
    let after = cluster.usage().await?;
    let lost = times.missing();
    let deliveries = rounds * (cluster.alive().len() - 1) - lost;
    Ok(Flow {
        updates: rounds,
        lost,
        last_delivery_ms: Latency::of(times.last_deliveries(rounds).map(|(_, ms)| ms).collect()),
        updates_per_second: 0.0,
        cost: Cost::of(before, after, deliveries, idle_bytes * float(cluster.order.nodes)),
    })
}

/// Many updates by the first node.
pub(super) async fn stream(cluster: &mut Cluster, stream: Stream) -> Result<Flow, BenchError> {
    let count = stream.count;
    let before = cluster.usage().await?;
    let first = cluster.publish(0, stream).await?;
    let published = cluster.published(0, PUBLISH_LIMIT).await?;
    let times = cluster.settle(first, published, LOST_AFTER).await?;
    let after = cluster.usage().await?;
    let took_ns = times.last_ns().saturating_sub(times.published_ns(0).unwrap_or(0));
    let lost = times.missing() + (count - published) * cluster.alive().len();
    let deliveries = (count * (cluster.alive().len() - 1)).saturating_sub(lost);
    Ok(Flow {
        updates: count,
        lost,
        last_delivery_ms: Latency::of(times.last_deliveries(published).map(|(_, ms)| ms).collect()),
        updates_per_second: float(published) / (ns(took_ns) / 1000.0),
        cost: Cost::of(before, after, deliveries, 0.0),
    })
}
