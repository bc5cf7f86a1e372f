//! Many processes are killed at once, while updates go on; then they come back.

use std::slice;
use std::time::Duration;

use serde::Serialize;
use shared::rng::Rng;
use tokio::time::{Instant, sleep};

use crate::bench::cluster::Cluster;
use crate::bench::control::Stream;
use crate::bench::latency::{Latency, ns};
use crate::bench::limits::{LOST_AFTER, SETTLE, whole_seconds};
use crate::bench::procfs::now_ns;
use crate::bench::{BenchError, Say};

/// Updates a second.
const RATE: usize = 5;
/// How long they go on before and after.
const AROUND: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Some of the processes are killed at once, each time others.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    /// How often.
    pub runs: usize,
    /// Processes that were killed each time.
    pub killed: usize,
    /// Deliveries to survivors that never came.
    pub lost: usize,
    /// Updates before a kill: what the machine does to any update.
    pub before_ms: Latency,
    /// Updates after a kill.
    pub last_delivery_ms: Latency,
    /// From the kill until the last update was published that took longer than 100 ms, in the worst run.
    pub slow_until_ms: f64,
    /// From the new start of the dead until all of them knew all that had happened, in the worst run.
    pub back_after_ms: f64,
    /// Deliveries to those that came back that never came.
    pub lost_at_return: usize,
}

/// One time.
struct Once {
    killed: usize,
    lost: usize,
    before: Vec<f64>,
    after: Vec<f64>,
    slow_until_ms: f64,
    back_after_ms: f64,
    lost_at_return: usize,
}

impl Kill {
    fn of(runs: &[Once]) -> Self {
        let all = |of: fn(&Once) -> &[f64]| Latency::of(runs.iter().flat_map(of).copied().collect());
        let worst = |of: fn(&Once) -> f64| runs.iter().map(of).fold(0.0, f64::max);
        Self {
            runs: runs.len(),
            killed: runs.last().map_or(0, |once| once.killed),
            lost: runs.iter().map(|once| once.lost).sum(),
            before_ms: all(|once| &once.before),
            last_delivery_ms: all(|once| &once.after),
            slow_until_ms: worst(|once| once.slow_until_ms),
            back_after_ms: worst(|once| once.back_after_ms),
            lost_at_return: runs.iter().map(|once| once.lost_at_return).sum(),
        }
    }

    /// The result in one line, for people.
    pub(super) fn line(&self, name: &str) -> String {
        let (before, last) = (self.before_ms, self.last_delivery_ms);
        format!(
            "{name:15} {} processes: {} lost; last delivery p50 {:.2} max {:.2} ms before, {:.2} {:.2} ms afterwards; slower than 100 ms until {:.0} ms; all back after {:.0} ms, {} lost",
            self.killed,
            self.lost,
            before.p50,
            before.max,
            last.p50,
            last.max,
            self.slow_until_ms,
            self.back_after_ms,
            self.lost_at_return
        )
    }
}

/// How many updates one run takes.
pub(super) fn updates() -> usize {
    RATE * whole_seconds(AROUND.0 + AROUND.1)
}

/// Measures it.
pub(super) async fn run(cluster: &mut Cluster, say: &mut Say<'_>) -> Result<Kill, BenchError> {
    let mut runs = Vec::new();
    for run in 0..cluster.order.runs {
        let mut rng = Rng::from_seed(cluster.order.seed.wrapping_add(u64::try_from(run).unwrap_or(0)));
        let once = once(cluster, &mut rng).await?;
        if cluster.order.runs > 1 {
            say(Kill::of(slice::from_ref(&once)).line(&format!("kill {}", run + 1)))?;
        }
        runs.push(once);
    }
    Ok(Kill::of(&runs))
}

/// Never the first: it publishes.
async fn once(cluster: &mut Cluster, rng: &mut Rng) -> Result<Once, BenchError> {
    let candidates: Vec<usize> = (1..cluster.processes()).collect();
    let victims = rng.sample(candidates, cluster.processes() * cluster.order.kill / 100);
    let count = updates();
    let first = cluster.publish(0, Stream::paced(count, RATE)).await?;
    sleep(AROUND.0).await;
    let killed_at = now_ns();
    for victim in &victims {
        cluster.kill(*victim)?;
    }
    cluster.published(0, 4 * AROUND.1).await?;
    let times = cluster.settle(first, count, LOST_AFTER).await?;
    let (before, after): (Vec<_>, Vec<_>) = times.last_deliveries(count).partition(|(at, _)| *at < killed_at);
    let (back_after_ms, lost_at_return) = bring_back(cluster, &victims, first, count).await?;
    Ok(Once {
        killed: victims.len(),
        lost: times.missing(),
        before: before.into_iter().map(|(_, ms)| ms).collect(),
        after: after.into_iter().map(|(_, ms)| ms).collect(),
        slow_until_ms: times.slow_until_ms(count, killed_at),
        back_after_ms,
        lost_at_return,
    })
}

/// The dead start anew, knowing nothing. Returns how long it took until they knew the last updates, and how many of
/// these they don't.
async fn bring_back(
    cluster: &mut Cluster,
    dead: &[usize],
    first: usize,
    count: usize,
) -> Result<(f64, usize), BenchError> {
    let (began, began_ns) = (Instant::now(), now_ns());
    for process in dead {
        cluster.restart(*process, cluster.order.files).await?;
        for node in cluster.nodes_of(*process) {
            cluster.join_node(node).await?;
        }
    }
    cluster.all_joined(began).await?;
    let times = cluster.settle(first, count, LOST_AFTER).await?;
    sleep(SETTLE).await;
    Ok((ns(times.last_ns().saturating_sub(began_ns)), times.missing()))
}
