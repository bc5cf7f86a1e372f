//! The figures of a run, and how they are written.

use serde::Serialize;

use crate::bench::family::Usage;

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

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

/// Three of ten processes are killed at once.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    /// Processes that were killed.
    pub killed: usize,
    /// Deliveries to survivors that never came.
    pub lost: usize,
    /// Updates after the kill.
    pub last_delivery_ms: Latency,
    /// From the kill until the last update was published that took longer than 100 ms.
    pub slow_until_ms: f64,
}

/// One process is stopped for 10 s.
#[derive(Debug, Clone, Serialize)]
pub struct Stop {
    /// Deliveries to the others that never came.
    pub lost: usize,
    /// The others', before.
    pub before_ms: Latency,
    /// The others', meanwhile.
    pub meanwhile_ms: Latency,
    /// From going on until the stopped one had everything.
    pub whole_after_ms: f64,
}

/// One system's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Until everybody had a neighbour.
    pub joined_ms: f64,
    /// Nobody publishes.
    pub idle: Idle,
    /// KiB that only one node's process has, at the start.
    pub private_kib: f64,
    /// The first node publishes now and then.
    pub one_sender: Flow,
    /// Each update is another node's.
    pub random_senders: Flow,
    /// A thousand a second.
    pub paced: Flow,
    /// As fast as the publisher can.
    pub burst: Flow,
    /// At most 64 that haven't reached everybody.
    pub window: Flow,
    /// KiB that only one node's process has, after all that.
    pub private_kib_after: f64,
    /// One is stopped for a while.
    pub stop: Option<Stop>,
    /// Many die.
    pub kill: Option<Kill>,
    /// All deliveries that never came.
    pub lost: usize,
}

impl Latency {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let place = (values.len() * share / 100).min(values.len().saturating_sub(1));
            values.get(place).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl Cost {
    pub(super) fn of(before: Usage, after: Usage, deliveries: usize, idle_bytes_per_second: f64) -> Self {
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

impl Stop {
    pub(super) fn line(&self) -> String {
        format!(
            "stop            one process for 10 s: {} lost; the others' p99 {:.2} ms before, {:.2} ms meanwhile; whole again after {:.0} ms",
            self.lost, self.before_ms.p99, self.meanwhile_ms.p99, self.whole_after_ms
        )
    }
}

impl Kill {
    pub(super) fn line(&self) -> String {
        let last = self.last_delivery_ms;
        format!(
            "kill            {} processes: {} lost; afterwards last delivery p50 {:.2} max {:.2} ms; slower than 100 ms until {:.0} ms",
            self.killed, self.lost, last.p50, last.max, self.slow_until_ms
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 ns")]
pub(super) fn ns(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn between(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64
}

pub(super) fn float(count: usize) -> f64 {
    between(0, u64::try_from(count).unwrap_or(u64::MAX))
}
