//! All cores have something else to do: nobody may be suspected for that. And somebody who is stopped must be, soon.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use shared::rng::Rng;
use tokio::time::{Instant, sleep};

use crate::bench::BenchError;
use crate::bench::cluster::Cluster;
use crate::bench::control::Stream;
use crate::bench::latency::{Latency, ns};
use crate::bench::limits::{LOST_AFTER, SETTLE, whole_seconds};
use crate::bench::procfs::now_ns;

/// Threads that do nothing but count, for each core.
const SPINNERS_PER_CORE: usize = 2;
/// Updates a second meanwhile.
const RATE: usize = 5;
/// How many processes are stopped afterwards, one after the other.
const STOPS: usize = 5;
/// How long anybody may take to notice that.
const NOTICE_LIMIT: Duration = Duration::from_secs(20);
/// How often it is asked whether somebody has.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// All cores were busy.
#[derive(Debug, Clone, Serialize)]
pub struct Busy {
    /// For so many seconds.
    pub seconds: f64,
    /// How often a neighbour was suspected meanwhile, though all lived.
    pub suspected: u64,
    /// How many neighbours were lost meanwhile, by reason.
    pub neighbours_lost: BTreeMap<String, u64>,
    /// Deliveries that never came.
    pub lost: usize,
    /// From the publication to the last delivery.
    pub last_delivery_ms: Latency,
    /// Afterwards: from the stop of a process until somebody suspected it.
    pub stopped_suspected_after_ms: Latency,
}

impl Busy {
    /// The result in one line, for people.
    pub(super) fn line(&self) -> String {
        let (last, noticed) = (self.last_delivery_ms, self.stopped_suspected_after_ms);
        format!(
            "busy            for {:.0} s: {} suspected, neighbours lost: {:?}; {} lost; last delivery p50 {:.2} p99 {:.2} max {:.2} ms; afterwards a stopped process is suspected after {:.0} ms, at worst {:.0} ms",
            self.seconds,
            self.suspected,
            self.neighbours_lost,
            self.lost,
            last.p50,
            last.p99,
            last.max,
            noticed.p50,
            noticed.max
        )
    }
}

/// How many updates that takes.
pub(super) fn updates(busy: Duration) -> usize {
    RATE * whole_seconds(busy)
}

/// Measures it.
pub(super) async fn run(cluster: &mut Cluster) -> Result<Busy, BenchError> {
    let busy = cluster.order.busy;
    let count = updates(busy);
    let before = cluster.status(None).await?;
    let spinners = Spinners::start();
    let first = cluster.publish(0, Stream::paced(count, RATE)).await?;
    sleep(busy).await;
    cluster.published(0, 2 * LOST_AFTER).await?;
    let times = cluster.settle(first, count, LOST_AFTER).await?;
    drop(spinners);
    let after = cluster.status(None).await?;
    let newly = |reason: &String, count: u64| count - before.lost.get(reason).copied().unwrap_or(0);
    let lost = after.lost.into_iter().map(|(reason, count)| (newly(&reason, count), reason));
    Ok(Busy {
        seconds: busy.as_secs_f64(),
        suspected: after.suspected - before.suspected,
        neighbours_lost: lost.filter(|(count, _)| *count > 0).map(|(count, reason)| (reason, count)).collect(),
        lost: times.missing(),
        last_delivery_ms: Latency::of(times.last_deliveries(count).map(|(_, ms)| ms).collect()),
        stopped_suspected_after_ms: stops(cluster).await?,
    })
}

/// Stops some processes, one at a time, until each is suspected.
async fn stops(cluster: &mut Cluster) -> Result<Latency, BenchError> {
    let mut rng = Rng::from_seed(cluster.order.seed);
    let mut noticed = Vec::new();
    for victim in rng.sample((1..cluster.processes()).collect(), STOPS) {
        sleep(SETTLE).await;
        cluster.signal(victim, Signal::STOP)?;
        let (stopped_at, began) = (now_ns(), Instant::now());
        let mut suspected_at = 0;
        while suspected_at < stopped_at && began.elapsed() < NOTICE_LIMIT {
            sleep(ASK_EVERY).await;
            suspected_at = cluster.status(Some(victim)).await?.suspected_at_ns;
        }
        let after =
            if suspected_at < stopped_at { began.elapsed() } else { Duration::from_nanos(suspected_at - stopped_at) };
        noticed.push(ns(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)));
        cluster.signal(victim, Signal::CONT)?;
    }
    Ok(Latency::of(noticed))
}

/// Threads that keep all cores busy until this is dropped.
struct Spinners {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinners {
    fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let over = Arc::new(AtomicBool::new(false));
        let spin = |over: Arc<AtomicBool>| {
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..cores * SPINNERS_PER_CORE).map(|_| spin(over.clone())).collect();
        Self { over, threads }
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It can't have panicked.
            drop(thread.join());
        }
    }
}
