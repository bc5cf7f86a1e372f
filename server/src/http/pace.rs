//! Patience with a slow other side: the time that one waits for it is counted, and what it takes or gives pays that
//! back. So neither silence nor a drip of single bytes holds a connection for ever, and a slow but honest line is served.

use std::time::Duration;

/// How long is waited for the other side of a connection, and what it has used of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    patience: Duration,
    bytes_per_s: u64,
    waited: Duration,
}

impl Pace {
    /// Waits `patience` for nothing at all, and for ever for `bytes_per_s` bytes a second.
    pub const fn new(patience: Duration, bytes_per_s: u64) -> Self {
        Self { patience, bytes_per_s, waited: Duration::ZERO }
    }

    /// How long may still be waited.
    pub const fn left(&self) -> Duration {
        self.patience.saturating_sub(self.waited)
    }

    /// So long was waited.
    pub const fn count(&mut self, waited: Duration) {
        self.waited = self.waited.saturating_add(waited);
    }

    /// So much came or went.
    pub fn pay_back(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let paid = bytes.saturating_mul(1_000_000).checked_div(self.bytes_per_s).unwrap_or(u64::MAX);
        self.waited = self.waited.saturating_sub(Duration::from_micros(paid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many seconds a side holds out that gives `bytes` after each second; `None` where it may go on.
    fn lasts(bytes: usize) -> Option<u32> {
        let mut pace = Pace::new(Duration::from_secs(30), 512);
        (1..1_000).find(|_second| {
            pace.count(Duration::from_secs(1));
            let is_over = pace.left().is_zero();
            pace.pay_back(bytes);
            is_over
        })
    }

    #[test]
    fn silence_and_drips_come_to_an_end_and_a_slow_line_does_not() {
        assert_eq!(lasts(0), Some(30));
        assert_eq!(lasts(1), Some(31));
        assert_eq!(lasts(256), Some(59));
        assert_eq!(lasts(512), None);
    }

    #[test]
    fn without_a_rate_only_silence_ends_it() {
        let mut pace = Pace::new(Duration::from_secs(30), 0);
        pace.count(Duration::from_secs(29));
        pace.pay_back(1);
        assert_eq!(pace.left(), Duration::from_secs(30));
    }
}
