//! When a node wants to be woken, and what for: one table, as in quinn-proto's `connection/timer.rs`. What is due is met in
//! the order of [`Deadline`].

use crate::time::Instant;

/// What a node wants to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// A link has been silent for long, hasn't said hello, or is to be compared on.
    Links,
    /// Who stays out looks whether the peer of the same id still answers.
    Return,
    /// Another neighbour is sought.
    Seek,
    /// Somebody beyond the active view is looked up.
    Probe,
    /// Passive views are exchanged.
    Shuffle,
    /// It is told that there is no neighbour.
    Alone,
    /// No change has shown for long that a clock is wrong.
    Clocks,
    /// No twin of this node has been heard of for long.
    Twin,
    /// This node tells of itself.
    Record,
    /// Originals are dialled or told something.
    Originals,
    /// News is announced or asked for.
    Tree,
}

impl Deadline {
    /// Whether it wakes a node that is leaving.
    fn concerns_who_leaves(self) -> bool {
        match self {
            Self::Links | Self::Return | Self::Shuffle | Self::Record | Self::Tree => true,
            Self::Seek | Self::Probe | Self::Alone | Self::Clocks | Self::Twin | Self::Originals => false,
        }
    }
}

/// All deadlines of a node; one that is absent never comes.
#[derive(Debug, Default)]
pub struct Deadlines {
    links: Option<Instant>,
    back: Option<Instant>,
    seek: Option<Instant>,
    probe: Option<Instant>,
    shuffle: Option<Instant>,
    alone: Option<Instant>,
    clocks: Option<Instant>,
    twin: Option<Instant>,
    record: Option<Instant>,
    originals: Option<Instant>,
    tree: Option<Instant>,
}

impl Deadlines {
    /// It is due then, whatever it was before.
    pub fn set(&mut self, deadline: Deadline, at: Instant) {
        self.put(deadline, Some(at));
    }

    /// It is due then, or never.
    pub fn put(&mut self, deadline: Deadline, at: Option<Instant>) {
        *self.slot(deadline) = at;
    }

    /// It is due then at the latest.
    pub fn hasten(&mut self, deadline: Deadline, at: Instant) {
        let planned = self.slot(deadline);
        *planned = Some(planned.map_or(at, |planned| planned.min(at)));
    }

    /// It never comes.
    pub fn stop(&mut self, deadline: Deadline) {
        self.put(deadline, None);
    }

    /// Whether it comes some time, or has come.
    pub fn is_set(&self, deadline: Deadline) -> bool {
        self.all().iter().any(|(other, at)| *other == deadline && at.is_some())
    }

    /// Whether it has come.
    pub fn is_due(&self, deadline: Deadline, now: Instant) -> bool {
        self.all().iter().any(|(other, at)| *other == deadline && at.is_some_and(|at| at <= now))
    }

    /// The first that has come, of those behind another one in their order.
    pub fn due_after(&self, former: Option<Deadline>, now: Instant) -> Option<Deadline> {
        let behind = |deadline: Deadline| former.is_none_or(|former| deadline > former);
        let due = |(deadline, at): &(Deadline, Option<Instant>)| at.is_some_and(|at| at <= now) && behind(*deadline);
        self.all().into_iter().find(due).map(|(deadline, _)| deadline)
    }

    /// When the next one comes, for a node that is `leaving` or not.
    pub fn next(&self, leaving: bool) -> Option<Instant> {
        let concerned = |deadline: Deadline| !leaving || deadline.concerns_who_leaves();
        self.all().into_iter().filter(|(deadline, _)| concerned(*deadline)).filter_map(|(_, at)| at).min()
    }

    fn slot(&mut self, deadline: Deadline) -> &mut Option<Instant> {
        match deadline {
            Deadline::Links => &mut self.links,
            Deadline::Return => &mut self.back,
            Deadline::Seek => &mut self.seek,
            Deadline::Probe => &mut self.probe,
            Deadline::Shuffle => &mut self.shuffle,
            Deadline::Alone => &mut self.alone,
            Deadline::Clocks => &mut self.clocks,
            Deadline::Twin => &mut self.twin,
            Deadline::Record => &mut self.record,
            Deadline::Originals => &mut self.originals,
            Deadline::Tree => &mut self.tree,
        }
    }

    /// All of them, in their order.
    fn all(&self) -> [(Deadline, Option<Instant>); 11] {
        let Self { links, back, seek, probe, shuffle, alone, clocks, twin, record, originals, tree } = *self;
        [
            (Deadline::Links, links),
            (Deadline::Return, back),
            (Deadline::Seek, seek),
            (Deadline::Probe, probe),
            (Deadline::Shuffle, shuffle),
            (Deadline::Alone, alone),
            (Deadline::Clocks, clocks),
            (Deadline::Twin, twin),
            (Deadline::Record, record),
            (Deadline::Originals, originals),
            (Deadline::Tree, tree),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn what_is_due_comes_in_order_and_each_once() {
        let mut deadlines = Deadlines::default();
        for (deadline, ms) in [(Deadline::Tree, 1), (Deadline::Seek, 2), (Deadline::Links, 3), (Deadline::Probe, 9)] {
            deadlines.set(deadline, at(ms));
        }
        let mut met = Vec::new();
        while let Some(deadline) = deadlines.due_after(met.last().copied(), at(3)) {
            met.push(deadline);
        }
        assert_eq!(met, [Deadline::Links, Deadline::Seek, Deadline::Tree]);
        assert!(deadlines.is_due(Deadline::Probe, at(9)) && !deadlines.is_due(Deadline::Shuffle, at(9)));
    }

    #[test]
    fn what_is_hastened_never_comes_later() {
        let mut deadlines = Deadlines::default();
        deadlines.hasten(Deadline::Links, at(5));
        deadlines.hasten(Deadline::Links, at(7));
        assert_eq!(deadlines.next(false), Some(at(5)));
        deadlines.put(Deadline::Links, None);
        assert_eq!(deadlines.next(false), None);
    }

    #[test]
    fn who_leaves_is_not_woken_to_seek_neighbours() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Deadline::Seek, at(1));
        deadlines.set(Deadline::Shuffle, at(2));
        assert_eq!((deadlines.next(false), deadlines.next(true)), (Some(at(1)), Some(at(2))));
    }
}
