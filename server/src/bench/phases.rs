//! What is measured, phase by phase, and what the phases have in common.

use std::time::Duration;

use shared::rng::Rng;
use tokio::time::sleep;

use crate::bench::cluster::Cluster;
use crate::bench::control::Stream;
use crate::bench::report::Figures;
use crate::bench::{BenchError, Say, busy, flow, kill, procfs, rejoin, split, stop, versions};
use crate::cli::bench::{BenchGossip, Phase, System};

/// Updates before the first that count: the first floods, and its duplicates prune the tree.
const WARM_UP: usize = 10;
/// The paced stream: so many a second, for so long.
const PACED: (usize, usize) = (1000, 5);
/// A fault needs the first process, which publishes, another that it happens to, and one that sees it.
const FAULT_PROCESSES: usize = 3;

/// How many updates all phases publish.
pub(super) fn updates(order: &BenchGossip) -> usize {
    let of_phase = |phase: &Phase| match phase {
        Phase::Idle | Phase::Versions => 0,
        Phase::Alone => 2 * order.rounds,
        Phase::Streams => PACED.0 * PACED.1 + 2 * order.burst,
        Phase::Stop => stop::updates(order.stop_rate, order.stop),
        Phase::Kill => order.runs * kill::updates(),
        Phase::Split => split::updates(order.split),
        Phase::Newcomer | Phase::Difference => 1,
        Phase::Busy => busy::updates(order.busy),
    };
    WARM_UP + order.phases.iter().map(of_phase).sum::<usize>()
}

/// Runs the phases with one system.
pub(super) async fn run(cluster: &mut Cluster, system: System, say: &mut Say<'_>) -> Result<Figures, BenchError> {
    let joined_ms = cluster.join().await?.as_secs_f64() * 1000.0;
    sleep(if system == System::Grapevine { cluster.order.rest } else { Duration::ZERO }).await;
    let mut figures = Figures { joined_ms, private_kib: private_kib(cluster), ..Figures::default() };
    let mut warm = false;
    for phase in cluster.order.phases.clone() {
        if system == System::Tree && !phase.has_baseline() {
            continue;
        }
        if phase.is_fault() && cluster.processes() < FAULT_PROCESSES {
            say(format!("{phase:?} is left out: it needs {FAULT_PROCESSES} processes"))?;
            continue;
        }
        if phase != Phase::Idle && !std::mem::replace(&mut warm, true) {
            flow::alone(cluster, WARM_UP, 0.0, || 0).await?;
        }
        measure(cluster, phase, &mut figures, say).await?;
    }
    Ok(figures)
}

async fn measure(
    cluster: &mut Cluster,
    phase: Phase,
    figures: &mut Figures,
    say: &mut Say<'_>,
) -> Result<(), BenchError> {
    match phase {
        Phase::Idle => {
            let idle = flow::idle(cluster).await?;
            say(format!(
                "idle            {:.0} B/s and node, {:.0} millionths of a core; {} KiB private a node",
                idle.wire_bytes, idle.cpu_ppm, figures.private_kib
            ))?;
            figures.idle = Some(idle);
        }
        Phase::Alone => alone(cluster, figures, say).await?,
        Phase::Streams => streams(cluster, figures, say).await?,
        Phase::Stop => {
            let stop = stop::run(cluster).await?;
            say(stop.line())?;
            figures.lost += stop.lost;
            figures.stop = Some(stop);
        }
        Phase::Kill => {
            let kill = kill::run(cluster, say).await?;
            say(kill.line("kill"))?;
            figures.lost += kill.lost + kill.lost_at_return;
            figures.kill = Some(kill);
        }
        Phase::Split => {
            let split = split::run(cluster).await?;
            say(split.line())?;
            figures.lost += split.lost;
            figures.split = Some(split);
        }
        Phase::Newcomer => {
            let newcomer = rejoin::newcomer(cluster).await?;
            say(newcomer.line("newcomer"))?;
            figures.lost += newcomer.lost;
            figures.newcomer = Some(newcomer);
        }
        Phase::Difference => {
            let difference = rejoin::difference(cluster).await?;
            say(difference.line("difference"))?;
            figures.lost += difference.lost;
            figures.difference = Some(difference);
        }
        Phase::Versions => {
            let versions = versions::run(cluster).await?;
            say(versions.line())?;
            figures.lost += versions.lost;
            figures.versions = Some(versions);
        }
        Phase::Busy => {
            let busy = busy::run(cluster).await?;
            say(busy.line())?;
            figures.lost += busy.lost;
            figures.busy = Some(busy);
        }
    }
    Ok(())
}

async fn alone(cluster: &mut Cluster, figures: &mut Figures, say: &mut Say<'_>) -> Result<(), BenchError> {
    let BenchGossip { nodes, rounds, seed, .. } = cluster.order;
    let idle = figures.idle.map_or(0.0, |idle| idle.wire_bytes);
    let one = flow::alone(cluster, rounds, idle, || 0).await?;
    say(one.line("one sender"))?;
    let mut rng = Rng::from_seed(seed);
    let random = flow::alone(cluster, rounds, idle, || rng.pick(0..nodes).unwrap_or(0)).await?;
    say(random.line("random senders"))?;
    figures.lost += one.lost + random.lost;
    (figures.one_sender, figures.random_senders) = (Some(one), Some(random));
    Ok(())
}

async fn streams(cluster: &mut Cluster, figures: &mut Figures, say: &mut Say<'_>) -> Result<(), BenchError> {
    let BenchGossip { burst, window, .. } = cluster.order;
    let paced = flow::stream(cluster, Stream::paced(PACED.0 * PACED.1, PACED.0)).await?;
    say(paced.line("paced 1000/s"))?;
    let in_flight = flow::stream(cluster, Stream::quick(burst, window)).await?;
    say(in_flight.line(&format!("{window} in flight")))?;
    let burst = flow::stream(cluster, Stream::quick(burst, 0)).await?;
    say(burst.line("burst"))?;
    let private_kib_after = private_kib(cluster);
    say(format!("memory          {private_kib_after} KiB private a node, after all that"))?;
    figures.lost += paced.lost + in_flight.lost + burst.lost;
    figures.private_kib_after = Some(private_kib_after);
    (figures.paced, figures.window, figures.burst) = (Some(paced), Some(in_flight), Some(burst));
    Ok(())
}

/// Memory that only one process has, for each of its nodes.
fn private_kib(cluster: &Cluster) -> u64 {
    let nodes = u64::try_from(cluster.alive().len()).unwrap_or(u64::MAX);
    cluster.memory().map(|(_, memory)| memory.private).sum::<u64>() / nodes.max(1)
}

/// The machine's load, as a line.
pub(super) fn load() -> String {
    format!("load            {}", procfs::load())
}
