//! What times and counts are summed up with.

use serde::Serialize;

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

impl Latency {
    /// Returns the distribution of the values.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let place = (values.len() * share / 100).min(values.len().saturating_sub(1));
            values.get(place).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// Returns nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 ns")]
pub(super) fn ns(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Returns by how much a counter has grown.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn between(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64
}

/// Returns a count as a number to divide with.
pub(super) fn float(count: usize) -> f64 {
    between(0, u64::try_from(count).unwrap_or(u64::MAX))
}
