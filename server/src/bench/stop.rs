//! One process is stopped and goes on, while updates go on.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::bench::BenchError;
use crate::bench::cluster::Cluster;
use crate::bench::control::Stream;
use crate::bench::file_names::Files;
use crate::bench::latency::{Latency, ns};
use crate::bench::limits::{LOST_AFTER, SETTLE, whole_seconds};
use crate::bench::procfs::now_ns;

/// How long updates go on before, and after: the target is that 2 s are enough.
const AROUND: Duration = Duration::from_secs(5);
/// How long they go on before that, uncounted: the first of a stream are slow, and would make any p99 meanwhile look
/// good.
const WARM_UP: Duration = Duration::from_secs(5);
/// The updates are of so many files, so that what is known takes no more memory in the end than before.
const FILES: usize = 1000;
/// How often the others' memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// One process is stopped for a while.
#[derive(Debug, Clone, Serialize)]
pub struct Stop {
    /// For so many seconds.
    pub seconds: f64,
    /// Updates a second.
    pub per_second: usize,
    /// Deliveries that never came.
    pub lost: usize,
    /// The others', before.
    pub before_ms: Latency,
    /// The others', meanwhile.
    pub meanwhile_ms: Latency,
    /// How much more private memory one of the others had meanwhile than before, in KiB, at most.
    pub private_growth_kib: u64,
    /// From going on until the stopped one had everything that was published until then.
    pub whole_after_ms: f64,
}

impl Stop {
    /// The result in one line, for people.
    pub(super) fn line(&self) -> String {
        format!(
            "stop            one process for {:.0} s at {}/s: {} lost; the others' p50 {:.2}, p99 {:.2} ms before, {:.2}, {:.2} ms meanwhile, {} KiB more private memory at most; whole again after {:.0} ms",
            self.seconds,
            self.per_second,
            self.lost,
            self.before_ms.p50,
            self.before_ms.p99,
            self.meanwhile_ms.p50,
            self.meanwhile_ms.p99,
            self.private_growth_kib,
            self.whole_after_ms
        )
    }
}

/// How many updates that takes.
pub(super) fn updates(rate: usize, stop: Duration) -> usize {
    rate * whole_seconds(WARM_UP + stop + 2 * AROUND)
}

/// Measures it.
pub(super) async fn run(cluster: &mut Cluster) -> Result<Stop, BenchError> {
    let (stop, rate) = (cluster.order.stop, cluster.order.stop_rate);
    let count = updates(rate, stop);
    let victim = cluster.processes() / 2;
    let frozen = cluster.nodes_of(victim);
    sleep(SETTLE).await;
    let first = cluster.publish(0, Stream::paced(count, rate).of(Files::Shared(FILES))).await?;
    sleep(WARM_UP).await;
    let warm_at = now_ns();
    sleep(AROUND).await;
    let memory: BTreeMap<usize, u64> = private(cluster, victim).collect();
    cluster.signal(victim, Signal::STOP)?;
    let stopped_at = now_ns();
    let private_growth_kib = watch_memory(cluster, victim, &memory).await;
    cluster.signal(victim, Signal::CONT)?;
    let resumed_at = now_ns();
    cluster.published(0, 2 * (WARM_UP + stop + 2 * AROUND)).await?;
    let times = cluster.settle(first, count, LOST_AFTER).await?;
    let others: Vec<(u64, f64)> = times.only(|node| !frozen.contains(&node)).last_deliveries(count).collect();
    let during = |from: u64, to: u64| {
        Latency::of(others.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, ms)| *ms).collect())
    };
    let until_resumed =
        (0..count).filter(|update| times.published_ns(*update).is_some_and(|at| at < resumed_at)).count();
    let back = times.only(|node| frozen.contains(&node)).first(until_resumed);
    Ok(Stop {
        seconds: stop.as_secs_f64(),
        per_second: rate,
        lost: times.missing(),
        before_ms: during(warm_at, stopped_at),
        meanwhile_ms: during(stopped_at, resumed_at),
        private_growth_kib,
        whole_after_ms: ns(back.last_ns().saturating_sub(resumed_at)),
    })
}

/// The others' private memory, in KiB.
fn private(cluster: &Cluster, victim: usize) -> impl Iterator<Item = (usize, u64)> {
    cluster.memory().filter(move |(process, _)| *process != victim).map(|(process, memory)| (process, memory.private))
}

/// For as long as the process is stopped. Returns by how much anybody's private memory grew, at most.
async fn watch_memory(cluster: &Cluster, victim: usize, before: &BTreeMap<usize, u64>) -> u64 {
    let end = Instant::now() + cluster.order.stop;
    let mut largest = 0;
    while Instant::now() < end {
        tokio::time::sleep_until(end.min(Instant::now() + LOOK_EVERY)).await;
        let growth = private(cluster, victim)
            .map(|(process, now)| now.saturating_sub(before.get(&process).copied().unwrap_or(now)));
        largest = largest.max(growth.max().unwrap_or(0));
    }
    largest
}
