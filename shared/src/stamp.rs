//! Hybrid logical clock (Kulkarni, Demirbas et al., "Logical Physical Clocks", OPODIS 2014, figure 5): stamps that
//! follow wall time, never go backwards and never tie on one clock.

use serde::{Deserialize, Serialize};

/// Bits of a stamp that count events within one millisecond.
const COUNTER_BITS: u32 = 16;

/// When a change was made: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The wall time part, in milliseconds since 1970.
    pub fn wall_ms(self) -> u64 {
        self.0 >> COUNTER_BITS
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

    /// A stamp for a change made now, larger than every one before it. `wall_ms` is milliseconds since 1970.
    pub fn tick(&mut self, wall_ms: u64) -> Stamp {
        let wall = Stamp(wall_ms.checked_shl(COUNTER_BITS).unwrap_or(u64::MAX));
        self.last = wall.max(Stamp(self.last.0.saturating_add(1)));
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
}
