//! How far an upload is, and how fast.

use std::collections::VecDeque;

use shared::wire::rest::FileOut;

/// Over how many milliseconds the speed is measured: long enough to be calm, short enough to follow a change. A guess.
const WINDOW_MS: u64 = 2000;

/// How far one upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadPhase {
    /// Others are sent first.
    Waiting,
    /// Its bytes are on their way.
    Sending {
        /// Bytes sent.
        sent: u64,
        /// Bytes to send.
        total: u64,
        /// Bytes a second; absent until it can be told.
        speed: Option<u64>,
    },
    /// Every byte is sent; the server writes it to stable storage.
    Storing,
    /// It was acknowledged.
    Stored(Box<FileOut>),
    /// It failed. Where the server's answer is missing, it may have been stored.
    Failed {
        /// Why, in the server's words.
        detail: String,
        /// Whether somebody else has changed the file meanwhile.
        conflict: bool,
    },
    /// It was cancelled here.
    Cancelled {
        /// Whether every byte was sent by then, so that it may have been stored.
        all_sent: bool,
    },
}

impl UploadPhase {
    /// Whether nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Stored(_) | Self::Failed { .. } | Self::Cancelled { .. })
    }

    /// Whether it failed because somebody else has changed the file meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Failed { conflict: true, .. })
    }

    /// Returns what it is once it is cancelled.
    #[must_use]
    pub fn cancelled(&self) -> Self {
        let all_sent = match self {
            Self::Sending { sent, total, .. } => sent >= total,
            Self::Storing => true,
            Self::Waiting | Self::Stored(_) | Self::Failed { .. } | Self::Cancelled { .. } => false,
        };
        Self::Cancelled { all_sent }
    }

    /// What trying once more is called; `None` where there is nothing to be tried.
    pub fn retry_words(&self) -> Option<&'static str> {
        match self {
            Self::Failed { conflict: true, .. } => Some("Replace the newer version"),
            Self::Failed { conflict: false, .. } | Self::Cancelled { .. } => Some("Retry"),
            Self::Waiting | Self::Sending { .. } | Self::Storing | Self::Stored(_) => None,
        }
    }
}

/// How many seconds the rest takes at `speed` bytes a second, rounded up; `None` where nothing moves.
pub fn left_s(sent: u64, total: u64, speed: u64) -> Option<u64> {
    (speed > 0).then(|| total.saturating_sub(sent).div_ceil(speed))
}

/// Measures the speed of one upload from its progress.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// When (in milliseconds) how many bytes had been sent.
    samples: VecDeque<(u64, u64)>,
}

impl Meter {
    /// Notes that `sent` bytes were sent at `now_ms`; the speed in bytes a second where it can be told.
    pub fn note(&mut self, now_ms: u64, sent: u64) -> Option<u64> {
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(|(at, _)| at + WINDOW_MS <= now_ms) {
            self.samples.pop_front();
        }
        let (since_ms, before) = self.samples.front().copied().unwrap_or((now_ms, sent));
        self.samples.push_back((now_ms, sent));
        let elapsed_ms = now_ms.checked_sub(since_ms).filter(|elapsed| *elapsed >= 100)?;
        Some(sent.saturating_sub(before).saturating_mul(1000) / elapsed_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cancelled_may_have_been_stored_once_every_byte_was_sent() {
        let sending = |sent| UploadPhase::Sending { sent, total: 10, speed: None };
        for (phase, all_sent) in
            [(UploadPhase::Waiting, false), (sending(9), false), (sending(10), true), (UploadPhase::Storing, true)]
        {
            assert_eq!(phase.cancelled(), UploadPhase::Cancelled { all_sent }, "{phase:?}");
        }
    }

    #[test]
    fn the_speed_follows_the_last_two_seconds() {
        let mut meter = Meter::default();
        assert_eq!(meter.note(0, 0), None);
        assert_eq!(meter.note(1000, 5000), Some(5000));
        let speeds: Vec<_> = (2..10).map(|s| meter.note(s * 1000, 5000 + (s - 1) * 1000)).collect();
        assert_eq!(speeds.last(), Some(&Some(1000)));
        assert!(meter.samples.len() <= 4);
    }

    #[test]
    fn the_time_left_follows_the_speed() {
        assert_eq!(
            [left_s(0, 1000, 100), left_s(950, 1000, 100), left_s(1000, 1000, 100)],
            [Some(10), Some(1), Some(0)]
        );
        assert_eq!(left_s(0, 1000, 0), None, "nobody knows");
    }

    #[test]
    fn no_speed_is_told_from_too_short_a_time() {
        let mut meter = Meter::default();
        meter.note(0, 0);
        assert_eq!(meter.note(20, 1_000_000), None);
    }
}
