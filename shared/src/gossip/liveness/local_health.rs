//! How late this node is for its own deadlines.
//!
//! From Lifeguard (Dadgar, Phillips, Currey, DSN-W 2018, section III-A, "local health"): a node that is late for its
//! own deadlines has no right to accuse others. There the measure is missed answers; here it is the delay between when
//! the node wanted to be woken and when it was, which no other node can falsify.

use std::time::Duration;

use crate::gossip::estimate::Lately;
use crate::time::Instant;

/// A delay that doesn't count: timers of drivers are no finer than some milliseconds, and on a busy machine a process has
/// its turn some tens of them late.
pub const PUNCTUAL: Duration = Duration::from_millis(50);

/// How late this node is for its own deadlines.
#[derive(Debug, Clone, Default)]
pub struct LocalHealth {
    delay: Lately,
    late: Duration,
}

impl LocalHealth {
    /// It wanted to be woken at `planned`, and was at `now`.
    pub fn woken(&mut self, planned: Instant, now: Instant) {
        let delay = now - planned;
        self.late += delay;
        self.delay.sample(delay, now);
    }

    /// What deadlines have to allow for.
    pub fn slowness(&self, now: Instant) -> Duration {
        self.delay.largest(now)
    }

    /// The part of the time until `now` in which it was late, in thousandths.
    pub fn load(&self, now: Instant) -> u16 {
        let share = self.late.as_micros() * 1000 / u128::from(now.as_micros().max(1));
        u16::try_from(share.min(1000)).unwrap_or(1000)
    }
}
