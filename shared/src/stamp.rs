//! Hybrid logical clock (Kulkarni, Demirbas et al., "Logical Physical Clocks", OPODIS 2014, figure 5): stamps that
//! follow wall time, never go backwards and never tie on one clock. Its distance from wall time is bounded (section 5,
//! "Resilience"): after wall time was set back by much, stamps follow it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bits of a stamp that count events within one millisecond.
const COUNTER_BITS: u32 = 16;
/// How far stamps may be ahead of wall time before a clock counts as wrong. A guess: far above what clocks that are kept
/// in step differ by.
pub const MOST_AHEAD: Duration = Duration::from_mins(10);

/// When a change was made: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The wall time part, in milliseconds since 1970.
    pub fn wall_ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// Whether it is more than [`MOST_AHEAD`] of a moment, in milliseconds since 1970.
    fn is_ahead(self, wall_ms: u64) -> bool {
        let ahead = Duration::from_millis(self.wall_ms().saturating_sub(wall_ms));
        ahead > MOST_AHEAD
    }
}

/// Hands out growing stamps.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// A clock that continues after `last`, the largest stamp known from before.
    pub fn after(last: Stamp) -> Self {
        Self { last }
    }

    /// A stamp for a change made now, larger than every one before it, unless that was made by a clock that was wrong: at
    /// most [`MOST_AHEAD`] of wall time. `wall_ms` is milliseconds since 1970.
    pub fn tick(&mut self, wall_ms: u64) -> Stamp {
        let wall = Stamp(wall_ms.checked_shl(COUNTER_BITS).unwrap_or(u64::MAX));
        let next = wall.max(Stamp(self.last.0.saturating_add(1)));
        self.last = if next.is_ahead(wall_ms) { wall } else { next };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_even_when_wall_time_stands_or_goes_back() {
        let mut clock = Clock::default();
        let stamps = [5, 5, 4, 6].map(|ms| clock.tick(ms));
        assert!(stamps.is_sorted_by(|a, b| a < b));
        assert_eq!(stamps[3].wall_ms(), 6);
    }

    #[test]
    fn stamps_follow_wall_time_that_was_set_back_by_more_than_clocks_may_differ() {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        let mut clock = Clock::after(Stamp((2 * DAY_MS) << COUNTER_BITS));
        let stamps = [DAY_MS, DAY_MS].map(|ms| clock.tick(ms));
        assert_eq!(stamps.map(Stamp::wall_ms), [DAY_MS; 2]);
        assert!(stamps[0] < stamps[1]);
        let most = u64::try_from(MOST_AHEAD.as_millis()).unwrap();
        assert!(clock.tick(DAY_MS - most) > stamps[1], "this much is no reason to go back");
    }
}
