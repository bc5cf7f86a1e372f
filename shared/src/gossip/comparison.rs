//! When two neighbours compare their catalogues, as one of them decides it for one link.

use std::time::Duration;

use crate::time::Instant;
use crate::wire::peer::Fingerprint;

/// While news keeps coming, two neighbours are never quite the same: after this long a difference is looked into even
/// so. A guess.
const LASTING: Duration = Duration::from_secs(30);

/// The comparisons on one link.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// When the last one began here.
    last: Option<Instant>,
    /// Whether another one is planned.
    again: bool,
    /// What the other side's catalogue was when it last said so, and this side's then, if they differed.
    difference: Option<Difference>,
}

/// Two catalogues that weren't the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Difference {
    mine: Fingerprint,
    theirs: Fingerprint,
    /// Since when they have differed.
    since: Instant,
}

impl Comparison {
    /// Begins one now. Where the last was less than a `pause` ago, returns when it may begin; it is planned for then.
    pub fn begin(&mut self, now: Instant, pause: Duration) -> Option<Instant> {
        let later = self.last.map(|last| last + pause).filter(|later| now < *later);
        self.again = later.is_some();
        if later.is_none() {
            self.last = Some(now);
        }
        later
    }

    /// Whether one is planned.
    pub fn is_planned(&self) -> bool {
        self.again
    }

    /// Both sides know the same, as far as it matters.
    pub fn is_settled(&mut self) {
        self.difference = None;
    }

    /// The neighbour told its sum, which may differ. Returns whether to look into that: what differs may be on its way, but
    /// not if it differs unchanged for so long as `patience`, or for long.
    pub fn differs(&mut self, mine: Fingerprint, theirs: Fingerprint, now: Instant, patience: Duration) -> bool {
        if mine == theirs {
            self.difference = None;
            return false;
        }
        let Difference { since, .. } = *self.difference.get_or_insert(Difference { mine, theirs, since: now });
        let former = self.difference.replace(Difference { mine, theirs, since });
        let unchanged = former.is_some_and(|former| former.mine == mine && former.theirs == theirs);
        let lasts = (unchanged && now - since >= patience) || now - since >= LASTING;
        if lasts {
            self.difference = None;
        }
        lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn sum(sum: u64) -> Fingerprint {
        Fingerprint { count: 1, sum }
    }

    #[test]
    fn comparisons_in_quick_succession_become_one_more() {
        let (mut comparison, pause) = (Comparison::default(), Duration::from_secs(1));
        assert_eq!(comparison.begin(at(0), pause), None);
        assert_eq!(comparison.begin(at(0), pause), Some(at(1)));
        assert_eq!(comparison.begin(at(0), pause), Some(at(1)));
        assert!(comparison.is_planned());
        assert_eq!(comparison.begin(at(1), pause), None);
        assert!(!comparison.is_planned());
    }

    #[test]
    fn what_is_on_its_way_is_no_reason_to_compare_unless_it_lasts() {
        let mut comparison = Comparison::default();
        for second in 0..30 {
            assert!(!comparison.differs(sum(0), sum(second + 1), at(second), PATIENCE), "{second}");
        }
        assert!(comparison.differs(sum(0), sum(99), at(30), PATIENCE));
    }

    #[test]
    fn what_differs_unchanged_is_looked_into_and_what_became_equal_is_not() {
        let mut comparison = Comparison::default();
        assert!(!comparison.differs(sum(0), sum(1), at(0), PATIENCE));
        assert!(!comparison.differs(sum(1), sum(1), at(1), PATIENCE));
        assert!(!comparison.differs(sum(0), sum(1), at(2), PATIENCE));
        assert!(comparison.differs(sum(0), sum(1), at(4), PATIENCE));
        assert!(!comparison.differs(sum(0), sum(1), at(5), PATIENCE), "it begins anew");
    }
}
