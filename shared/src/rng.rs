//! The only source of chance in this crate: one seeded `ChaCha` generator, integers only, the same numbers on every
//! target.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator whose numbers follow from `seed` alone.
    pub fn from_seed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 where `bound` is 0. Lemire's multiplication (arXiv 1805.10941) without its rejection
    /// step: the bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.any()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// A duration from `low` to `high`, both included, in whole microseconds.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let low = u64::try_from(low.as_micros()).unwrap_or(u64::MAX);
        let high = u64::try_from(high.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(low + self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// One of `items`, each as likely as the others.
    pub fn pick<T>(&mut self, items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> Option<T> {
        let mut items = items.into_iter();
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        items.nth(usize::try_from(self.below(count)).unwrap_or(usize::MAX))
    }

    /// At most `limit` of `items`, by chance.
    pub fn sample<T>(&mut self, mut items: Vec<T>, limit: usize) -> Vec<T> {
        while items.len() > limit {
            let place = self.pick(0..items.len()).unwrap_or(0);
            items.swap_remove(place);
        }
        items
    }
}
