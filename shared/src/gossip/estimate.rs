//! What was measured, for deadlines.

use std::time::Duration;

use crate::time::Instant;

/// How long something usually takes, and how long it takes at most if all is well (RFC 6298, section 2).
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    /// Smoothed, and its variation; absent before the first sample.
    known: Option<(Duration, Duration)>,
}

impl Estimate {
    /// One measurement.
    pub fn sample(&mut self, sample: Duration) {
        self.known = Some(match self.known {
            None => (sample, sample / 2),
            Some((smooth, variation)) => (smooth * 7 / 8 + sample / 8, variation * 3 / 4 + smooth.abs_diff(sample) / 4),
        });
    }

    /// The smoothed value; `None` before the first sample.
    pub fn usual(&self) -> Option<Duration> {
        self.known.map(|(smooth, _)| smooth)
    }

    /// RFC 6298's RTO; `None` before the first sample.
    pub fn longest(&self) -> Option<Duration> {
        self.known.map(|(smooth, variation)| smooth + variation * 4)
    }
}

/// The largest that was measured of late, halved every second: for what comes and goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lately {
    largest: Duration,
    since: Instant,
}

impl Lately {
    /// One measurement.
    pub fn sample(&mut self, sample: Duration, now: Instant) {
        *self = Self { largest: self.largest(now).max(sample), since: now };
    }

    /// The largest of late.
    pub fn largest(&self, now: Instant) -> Duration {
        let seconds = u32::try_from((now - self.since).as_secs()).unwrap_or(u32::MAX);
        self.largest / 2_u32.checked_pow(seconds).unwrap_or(u32::MAX)
    }
}
