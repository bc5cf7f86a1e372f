//! The times that all phases keep.

use std::time::Duration;

/// How long nothing may move before what is missing counts as lost.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(10);
/// The pause before and after a fault, so that no phase sees what the last one left.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

/// Returns the seconds of a duration, begun ones counted.
pub(super) fn whole_seconds(duration: Duration) -> usize {
    usize::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(usize::MAX)
}
