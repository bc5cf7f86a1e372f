//! What is measured, phase by phase; the same for the floor and for ours.

use std::time::Duration;

use rustix::process::Signal;
use shared::rng::Rng;
use tokio::time::sleep;

use crate::bench::family::{Family, Times};
use crate::bench::kernel::{self, now_ns};
use crate::bench::report::{Cost, Figures, Flow, Idle, Kill, Latency, Stop, between, float, ns};
use crate::bench::{BenchError, Overlay};
use crate::cli::System;

/// Updates before those that count: the first floods, and its duplicates prune the tree.
const WARM_UP: usize = 10;
/// The pause between two updates that go alone, and what chance adds, so that no beat of a protocol is met.
const GAP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));
/// How long nothing may move before what is missing counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// How long the nodes are left alone before idleness is measured: until the newcomers have stopped shuffling.
const REST: Duration = Duration::from_secs(40);
/// How long idleness is measured: some of the longest pauses between two heartbeats.
const IDLE: Duration = Duration::from_secs(20);
/// Updates on their way at most, in the phase of that name.
const WINDOW: u64 = 64;
/// The paced phase: so many a second, for so long.
const PACED: (usize, usize) = (1000, 5);
/// An update that takes longer than this after a fault counts as slow.
const SLOW_MS: f64 = 100.0;

/// Updates while one process is stopped: 100 a second, 2 s before and 10 s meanwhile.
const STOP_UPDATES: usize = 1200;
/// Updates while processes die: 5 a second, 5 s before and 20 s after.
const KILL_UPDATES: usize = 125;

/// How many updates all phases publish.
pub(super) fn updates(order: Overlay) -> usize {
    WARM_UP + 2 * order.rounds + PACED.0 * PACED.1 + 2 * order.burst + STOP_UPDATES + KILL_UPDATES
}

/// Runs all phases with one system.
pub(super) async fn run(
    family: &mut Family,
    system: System,
    say: &mut dyn FnMut(String),
) -> Result<Figures, BenchError> {
    let mut rng = Rng::from_seed(family.order.seed);
    let joined_ms = ms(family.join(system).await?);
    sleep(if system == System::Grapevine { REST } else { Duration::ZERO }).await;
    let (idle, private_kib) = (idle(family).await?, private_kib(family));
    say(format!(
        "idle            {:.0} B/s and node, {:.0} millionths of a core; {private_kib:.0} KiB private",
        idle.wire_bytes, idle.cpu_ppm
    ));
    alone(family, WARM_UP, idle, |_| 0).await?;
    let (rounds, burst) = (family.order.rounds, family.order.burst);
    let nodes = family.order.nodes;
    let one_sender = alone(family, rounds, idle, |_| 0).await?;
    say(one_sender.line("one sender"));
    let random_senders = alone(family, rounds, idle, |_| rng.pick(0..nodes).unwrap_or(0)).await?;
    say(random_senders.line("random senders"));
    let paced =
        stream(family, PACED.0 * PACED.1, Duration::from_secs(1) / u32::try_from(PACED.0).unwrap_or(1), 0).await?;
    say(paced.line("paced 1000/s"));
    let window = stream(family, burst, Duration::ZERO, WINDOW).await?;
    say(window.line("64 in flight"));
    let burst = stream(family, burst, Duration::ZERO, 0).await?;
    say(burst.line("burst"));
    let private_kib_after = self::private_kib(family);
    say(format!("memory          {private_kib_after:.0} KiB private a node, after all that"));
    let (mut stop, mut kill) = (None, None);
    if system == System::Grapevine && family.processes() > 2 {
        let stopped = self::stop(family).await?;
        say(stopped.line());
        stop = Some(stopped);
        let killed = self::kill(family, &mut rng).await?;
        say(killed.line());
        kill = Some(killed);
    }
    let flows = [&one_sender, &random_senders, &paced, &burst, &window];
    let lost = flows.iter().map(|flow| flow.lost).sum::<usize>()
        + stop.as_ref().map_or(0, |stop| stop.lost)
        + kill.as_ref().map_or(0, |kill| kill.lost);
    Ok(Figures {
        joined_ms,
        idle,
        private_kib,
        one_sender,
        random_senders,
        paced,
        burst,
        window,
        private_kib_after,
        stop,
        kill,
        lost,
    })
}

async fn idle(family: &mut Family) -> Result<Idle, BenchError> {
    let before = family.usage().await?;
    sleep(IDLE).await;
    let after = family.usage().await?;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let each = seconds * float(family.order.nodes);
    Ok(Idle {
        wire_bytes: between(before.wire_bytes, after.wire_bytes) / each,
        cpu_ppm: between(before.cpu_us, after.cpu_us) / each,
    })
}

/// Updates one at a time.
async fn alone(
    family: &mut Family,
    rounds: usize,
    idle: Idle,
    mut by: impl FnMut(usize) -> usize,
) -> Result<Flow, BenchError> {
    let mut rng = Rng::from_seed(family.order.seed ^ 1);
    let before = family.usage().await?;
    let mut first = None;
    for round in 0..rounds {
        let node = by(round);
        let update = family.publish(node, 1, Duration::ZERO, 0).await?;
        family.published(node, LOST_AFTER).await?;
        first.get_or_insert(update);
        sleep(rng.duration(GAP.0, GAP.1)).await;
    }
    // Only now: to be asked costs the nodes more CPU than an update.
    let times = family.settle(first.unwrap_or(0), rounds, LOST_AFTER).await?;
    let lost = times.missing();
    let latencies = last_deliveries(&times, rounds).map(|(_, ms)| ms).collect();
    let after = family.usage().await?;
    let deliveries = rounds * (family.alive().len() - 1) - lost;
    Ok(Flow {
        updates: rounds,
        lost,
        last_delivery_ms: Latency::of(latencies),
        updates_per_second: 0.0,
        cost: Cost::of(before, after, deliveries, idle.wire_bytes * float(family.order.nodes)),
    })
}

/// Many updates by the first node.
async fn stream(family: &mut Family, count: usize, gap: Duration, window: u64) -> Result<Flow, BenchError> {
    let before = family.usage().await?;
    let first = family.publish(0, count, gap, window).await?;
    let published = family.published(0, Duration::from_mins(10)).await?;
    let times = family.settle(first, published, LOST_AFTER).await?;
    let after = family.usage().await?;
    let began = times.published_ns(0).unwrap_or(0);
    let ended = times.nodes.iter().flat_map(|(_, times)| times).max().copied().unwrap_or(0);
    let lost = times.missing() + (count - published) * family.alive().len();
    let deliveries = (count * (family.alive().len() - 1)).saturating_sub(lost);
    Ok(Flow {
        updates: count,
        lost,
        last_delivery_ms: Latency::of(last_deliveries(&times, published).map(|(_, ms)| ms).collect()),
        updates_per_second: float(published) / (ns(ended.saturating_sub(began)) / 1000.0),
        cost: Cost::of(before, after, deliveries, 0.0),
    })
}

/// One process is stopped for 10 s while 100 updates a second go on.
async fn stop(family: &mut Family) -> Result<Stop, BenchError> {
    let victim = family.processes() / 2;
    let frozen = family.nodes_of(victim);
    let first = family.publish(0, STOP_UPDATES, Duration::from_millis(10), 0).await?;
    sleep(Duration::from_secs(2)).await;
    family.signal(victim, Signal::STOP)?;
    let stopped_at = now_ns();
    sleep(Duration::from_secs(10)).await;
    family.signal(victim, Signal::CONT)?;
    let resumed_at = now_ns();
    family.published(0, Duration::from_secs(30)).await?;
    let times = family.settle(first, STOP_UPDATES, LOST_AFTER).await?;
    let others = times.only(|node| !frozen.contains(&node));
    let (before, meanwhile): (Vec<_>, Vec<_>) =
        last_deliveries(&others, STOP_UPDATES).partition(|(at, _)| *at < stopped_at);
    let whole = times.only(|node| frozen.contains(&node));
    let whole_at = whole.nodes.iter().flat_map(|(_, times)| times).max().copied().unwrap_or(0);
    Ok(Stop {
        lost: times.missing(),
        before_ms: Latency::of(before.into_iter().map(|(_, ms)| ms).collect()),
        meanwhile_ms: Latency::of(meanwhile.into_iter().map(|(_, ms)| ms).collect()),
        whole_after_ms: ns(whole_at.saturating_sub(resumed_at)),
    })
}

/// 30 % of the processes die at once, while 5 updates a second go on for 20 s.
async fn kill(family: &mut Family, rng: &mut Rng) -> Result<Kill, BenchError> {
    let candidates: Vec<usize> = (1..family.processes()).collect();
    let victims = rng.sample(candidates, family.processes() * 3 / 10);
    let first = family.publish(0, KILL_UPDATES, Duration::from_millis(200), 0).await?;
    sleep(Duration::from_secs(5)).await;
    let killed_at = now_ns();
    for victim in &victims {
        family.kill(*victim)?;
    }
    family.published(0, Duration::from_mins(1)).await?;
    let times = family.settle(first, KILL_UPDATES, LOST_AFTER).await?;
    let after: Vec<(u64, f64)> = last_deliveries(&times, KILL_UPDATES).filter(|(at, _)| *at >= killed_at).collect();
    let slow = after.iter().filter(|(_, ms)| *ms > SLOW_MS).map(|(at, _)| ns(at - killed_at)).fold(0.0, f64::max);
    Ok(Kill {
        killed: victims.len(),
        lost: times.missing(),
        last_delivery_ms: Latency::of(after.into_iter().map(|(_, ms)| ms).collect()),
        slow_until_ms: slow,
    })
}

fn private_kib(family: &Family) -> f64 {
    float(usize::try_from(family.memory().private).unwrap_or(0)) / float(family.alive().len())
}

/// When each update was published, and how many milliseconds later the last node had it. Those that are lost aren't in.
fn last_deliveries(times: &Times, count: usize) -> impl Iterator<Item = (u64, f64)> {
    (0..count).filter_map(|update| {
        let at = times.published_ns(update)?;
        Some((at, ns(times.last_delivery_ns(update, at)?)))
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The machine's load, as a line.
pub(super) fn load() -> String {
    format!("load            {}", kernel::load())
}
