//! How fast a source is: bytes a second while it is asked for something.

use std::time::Duration;

use crate::time::Instant;

/// Over so long a time bytes are counted at least, before they tell a rate. A guess: a busy machine's turns are shorter.
const WINDOW: Duration = Duration::from_millis(250);
/// So many windows must have told before the rate is held against a source.
const ENOUGH: u32 = 4;

/// The pace of one source.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when it is asked for something without a break, or since the last window ended.
    since: Option<Instant>,
    bytes: u64,
    rate: u64,
    windows: u32,
}

impl Pace {
    /// It is asked for something.
    pub(super) fn asked(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Bytes came. Returns whether the rate is a new one.
    pub(super) fn came(&mut self, bytes: u32, now: Instant) -> bool {
        let Some(since) = self.since else { return false };
        self.bytes += u64::from(bytes);
        let time = now - since;
        if time < WINDOW {
            return false;
        }
        let rate = per_second(self.bytes, time);
        self.rate = if self.windows == 0 { rate } else { u64::midpoint(self.rate, rate) };
        self.windows += 1;
        (self.since, self.bytes) = (Some(now), 0);
        true
    }

    /// Nothing is asked of it any more. A window that was begun is left out, unless it is the first that tells anything.
    pub(super) fn idle(&mut self, now: Instant) {
        if let Some(since) = self.since.take()
            && self.windows == 0
            && self.bytes > 0
        {
            self.rate = per_second(self.bytes, now - since);
        }
        self.bytes = 0;
    }

    /// Bytes a second; 0 while nothing is known.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// The same, once it is sure enough to be held against somebody.
    pub(super) fn sure(&self) -> Option<u64> {
        (self.windows >= ENOUGH).then_some(self.rate)
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1_000_000) / micros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn the_time_without_a_request_doesnt_count() {
        let mut pace = Pace::default();
        pace.asked(at(0));
        assert!(!pace.came(1000, at(100)));
        pace.idle(at(100));
        assert_eq!((pace.rate(), pace.sure()), (10_000, None));
        pace.asked(at(5000));
        assert!(pace.came(2500, at(5250)));
        assert_eq!(pace.rate(), 10_000);
    }

    #[test]
    fn one_window_alone_is_held_against_nobody() {
        let mut pace = Pace::default();
        pace.asked(at(0));
        for window in 1..=4 {
            assert_eq!(pace.sure(), None);
            assert!(pace.came(250, at(window * 250)));
        }
        assert_eq!(pace.sure(), Some(1000));
    }
}
