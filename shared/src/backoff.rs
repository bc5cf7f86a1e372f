//! How long to wait before trying again: for peers, the broker and the browser's socket alike.

use std::time::Duration;

use crate::rng::Rng;

/// Doubling delays with full jitter between half and whole ("Exponential Backoff and Jitter", AWS Architecture Blog,
/// 2015, "equal jitter"): never zero, never in step with others, bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay, before jitter.
    pub first: Duration,
    /// The longest delay, before jitter.
    pub longest: Duration,
}

impl Backoff {
    /// The delay before attempt number `attempt + 1`, where `attempt` attempts have failed so far.
    pub fn delay(&self, attempt: u32, rng: &mut Rng) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
        let whole = doubled.min(self.longest);
        rng.duration(whole / 2, whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn delays_stay_between_half_the_first_and_the_longest(attempt: u32, seed: u64) {
            let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
            let delay = backoff.delay(attempt, &mut Rng::from_seed(seed));
            prop_assert!(delay >= backoff.first / 2 && delay <= backoff.longest);
        }
    }
}
