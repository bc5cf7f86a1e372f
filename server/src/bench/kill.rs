//! Many processes are killed at once, while updates go on; then they come back.

use std::time::Duration;

use serde::Serialize;
use shared::rng::Rng;
use tokio::time::{Instant, sleep};

use crate::bench::BenchError;
use crate::bench::family::Family;
use crate::bench::kernel::now_ns;
use crate::bench::orders::Stream;
use crate::bench::phases::{LOST_AFTER, SETTLE, SLOW_MS, whole};
use crate::bench::report::{Latency, ns};

/// Updates a second.
const RATE: usize = 5;
/// How long they go on before and after.
const AROUND: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Some of the processes are killed at once, each time others.
#[derive(Debug, Clone, Default, Serialize)]
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
    pub(super) fn line(&self) -> String {
        let (before, last) = (self.before_ms, self.last_delivery_ms);
        format!(
            "kill            {} processes, {} times: {} lost; last delivery p50 {:.2} max {:.2} ms before, {:.2} {:.2} ms afterwards; slower than 100 ms until {:.0} ms; all back after {:.0} ms, {} lost",
            self.killed,
            self.runs,
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

impl Once {
    fn line(&self, run: usize) -> String {
        let (before, last) = (Latency::of(self.before.clone()), Latency::of(self.after.clone()));
        format!(
            "kill {:<10} {} lost; last delivery p50 {:.2} max {:.2} ms before, {:.2} {:.2} ms afterwards; slower than 100 ms until {:.0} ms; all back after {:.0} ms, {} lost",
            run + 1,
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
    RATE * whole(AROUND.0 + AROUND.1)
}

pub(super) async fn run(family: &mut Family, say: &mut dyn FnMut(String)) -> Result<Kill, BenchError> {
    let runs = family.order.runs;
    let mut all = Kill { runs, ..Kill::default() };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let mut rng = Rng::from_seed(family.order.seed.wrapping_add(u64::try_from(run).unwrap_or(0)));
        let once = once(family, &mut rng).await?;
        if runs > 1 {
            say(once.line(run));
        }
        all.killed = once.killed;
        all.lost += once.lost;
        all.lost_at_return += once.lost_at_return;
        all.slow_until_ms = all.slow_until_ms.max(once.slow_until_ms);
        all.back_after_ms = all.back_after_ms.max(once.back_after_ms);
        before.extend(once.before);
        after.extend(once.after);
    }
    all.before_ms = Latency::of(before);
    all.last_delivery_ms = Latency::of(after);
    Ok(all)
}

/// Never the first: it publishes.
async fn once(family: &mut Family, rng: &mut Rng) -> Result<Once, BenchError> {
    let candidates: Vec<usize> = (1..family.processes()).collect();
    let victims = rng.sample(candidates, family.processes() * family.order.kill / 100);
    let count = updates();
    let first = family.publish(0, Stream::paced(count, RATE)).await?;
    sleep(AROUND.0).await;
    let killed_at = now_ns();
    for victim in &victims {
        family.kill(*victim)?;
    }
    family.published(0, 4 * AROUND.1).await?;
    let times = family.settle(first, count, LOST_AFTER).await?;
    let (before, after): (Vec<_>, Vec<_>) = times.last_deliveries(count).partition(|(at, _)| *at < killed_at);
    let slow = after.iter().filter(|(_, ms)| *ms > SLOW_MS).map(|(at, _)| ns(at - killed_at)).fold(0.0, f64::max);
    let (back_after_ms, lost_at_return) = bring_back(family, &victims, first, count).await?;
    Ok(Once {
        killed: victims.len(),
        lost: times.missing(),
        before: before.into_iter().map(|(_, ms)| ms).collect(),
        after: after.into_iter().map(|(_, ms)| ms).collect(),
        slow_until_ms: slow,
        back_after_ms,
        lost_at_return,
    })
}

/// The dead start anew, knowing nothing. Says how long it took until they knew the last updates, and how many of these
/// they don't.
async fn bring_back(
    family: &mut Family,
    dead: &[usize],
    first: usize,
    count: usize,
) -> Result<(f64, usize), BenchError> {
    let (began, began_ns) = (Instant::now(), now_ns());
    for process in dead {
        family.restart(*process, family.order.files).await?;
        for node in family.nodes_of(*process) {
            family.join_node(node).await?;
        }
    }
    family.all_joined(began).await?;
    let times = family.settle(first, count, LOST_AFTER).await?;
    sleep(SETTLE).await;
    Ok((ns(times.last_ns().saturating_sub(began_ns)), times.missing()))
}
