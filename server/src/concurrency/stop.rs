//! Ending early: the threads of a run wait here instead of sleeping, so that a stop wakes them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock;

/// Whether the lab shall stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Wakes everyone who pauses; from now on nobody pauses.
    pub(super) fn ask(&self) {
        *lock(&self.asked) = true;
        self.changed.notify_all();
    }

    /// Whether the run is to end before its time.
    pub(super) fn asked(&self) -> bool {
        *lock(&self.asked)
    }

    /// Waits for `time`, or until the stop.
    pub(super) fn pause(&self, time: Duration) {
        let waited = self.changed.wait_timeout_while(lock(&self.asked), time, |asked| !*asked);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
