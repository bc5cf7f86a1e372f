//! Two halves that don't reach each other for a while, both publishing.
//!
//! The network is cut by a table of nftables, whose rules drop all connections between the halves, old and new. The
//! processes of the upper half run in a group of their own, by which the rules know them. A rule can't tell who dialled
//! before the dialler speaks: the first word of who was dialled still gets through.
//!
//! The rules apply to the network namespace that the bench runs in; so it must be one of its own, with nothing in it
//! but the loopback.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use crate::bench::BenchError;
use crate::bench::cluster::{Cluster, UPPER_GROUP};
use crate::bench::control::Stream;
use crate::bench::latency::{Latency, ns};
use crate::bench::limits::{LOST_AFTER, SETTLE, whole_seconds};
use crate::bench::procfs::now_ns;

/// The table's name.
const TABLE: &str = "inet grapevine_bench";
/// Updates a second by each half.
const RATE: usize = 2;
/// How long they go on before the cut, and after it is mended.
const AROUND: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

/// Two halves lose each other.
#[derive(Debug, Clone, Serialize)]
pub struct Split {
    /// For so many seconds.
    pub seconds: f64,
    /// Deliveries that never came.
    pub lost: usize,
    /// Deliveries to the other half that did, meanwhile: by the first words after the cut.
    pub leaked: usize,
    /// Within the halves, meanwhile.
    pub meanwhile_ms: Latency,
    /// From mending until everybody had all that was published before.
    pub merged_after_ms: f64,
    /// From mending until the last update was published that took longer than 100 ms.
    pub slow_until_ms: f64,
}

impl Split {
    /// The result in one line, for people.
    pub(super) fn line(&self) -> String {
        format!(
            "split           for {:.0} s: {} lost, {} leaked; the halves' last delivery p50 {:.2} max {:.2} ms meanwhile; merged {:.0} ms after mending; slower than 100 ms until {:.0} ms",
            self.seconds,
            self.lost,
            self.leaked,
            self.meanwhile_ms.p50,
            self.meanwhile_ms.max,
            self.merged_after_ms,
            self.slow_until_ms
        )
    }
}

/// How many updates that takes.
pub(super) fn updates(split: Duration) -> usize {
    2 * half(split)
}

fn half(split: Duration) -> usize {
    RATE * whole_seconds(AROUND.0 + split + AROUND.1)
}

/// Whether the network can be cut here.
///
/// # Errors
/// When it can't, or mustn't.
pub(super) fn check() -> Result<(), BenchError> {
    let devices = fs::read_to_string("/proc/self/net/dev")?;
    if devices.lines().filter_map(|line| line.split_once(':')).any(|(name, _)| name.trim() != "lo") {
        return Err(BenchError::Uncut(
            "this network namespace has more than a loopback; run it with: unshare -n sh -c \"ip link set lo up; ...\""
                .to_owned(),
        ));
    }
    nft("list tables")
}

/// Measures it.
pub(super) async fn run(cluster: &mut Cluster) -> Result<Split, BenchError> {
    let split = cluster.order.split;
    let count = half(split);
    let upper = cluster.nodes_of(cluster.processes() / 2).first().copied().unwrap_or(0);
    let first = cluster.publish(0, Stream::paced(count, RATE)).await?;
    cluster.publish(upper, Stream::paced(count, RATE)).await?;
    sleep(AROUND.0).await;
    let (lower_addrs, upper_addrs) = cluster.addrs().split_at_checked(upper).unwrap_or_default();
    nft(&rules(lower_addrs, upper_addrs))?;
    let cut_at = now_ns();
    sleep(split).await;
    let mended_at = now_ns();
    nft(&format!("delete table {TABLE}"))?;
    for node in [0, upper] {
        cluster.published(node, 4 * (AROUND.1 + SETTLE)).await?;
    }
    let times = cluster.settle(first, 2 * count, LOST_AFTER).await?;
    let (mut meanwhile, mut arrivals) = (Vec::new(), Vec::new());
    for (updates, own) in [(0..count, 0..upper), (count..2 * count, upper..cluster.order.nodes)] {
        let (here, there) = (times.only(|node| own.contains(&node)), times.only(|node| !own.contains(&node)));
        for update in updates {
            if let Some(at) = here.published_ns(update).filter(|at| (cut_at..mended_at).contains(at)) {
                meanwhile.extend(here.last_delivery_ns(update, at).map(ns));
                arrivals.extend(there.of(update).filter(|time| *time > 0));
            }
        }
    }
    let merged_at = arrivals.iter().copied().max().unwrap_or(mended_at);
    Ok(Split {
        seconds: split.as_secs_f64(),
        lost: times.missing(),
        leaked: arrivals.iter().filter(|time| **time < mended_at).count(),
        meanwhile_ms: Latency::of(meanwhile),
        merged_after_ms: ns(merged_at.saturating_sub(mended_at)),
        slow_until_ms: times.slow_until_ms(2 * count, mended_at),
    })
}

/// Whoever dialled somebody of the other half has a connection that carries nothing any more, in neither direction.
fn rules(lower: &[SocketAddr], upper: &[SocketAddr]) -> String {
    let ports = |addrs: &[SocketAddr]| addrs.iter().map(|addr| addr.port().to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "table {TABLE} {{
            chain output {{
                type filter hook output priority 0
                meta skgid {UPPER_GROUP} tcp dport {{ {} }} ct mark set 1
                meta skgid != {UPPER_GROUP} tcp dport {{ {} }} ct mark set 1
                ct mark 1 drop
            }}
        }}",
        ports(lower),
        ports(upper)
    )
}

fn nft(commands: &str) -> Result<(), BenchError> {
    let output = Command::new("nft").arg(commands).stdin(Stdio::null()).output();
    let output = output.map_err(|error| BenchError::Uncut(format!("nft: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::Uncut(format!("nft: {}", said.lines().next().unwrap_or("failed"))))
}
