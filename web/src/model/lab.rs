//! The concurrency lab's last run, as its events told it.

use std::collections::VecDeque;

use shared::wire::event::{Entry, Event};
use shared::wire::lab::{LabStep, LabThread, RaceOut};

use crate::small_map::SmallMap;

/// How many log lines are kept: the largest run (8 producers, 100 packets) makes 1,600; the last screens are enough.
const LINE_LIMIT: usize = 500;

/// A run as seen so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabView {
    /// Its id; absent before the first run.
    pub run: Option<String>,
    /// Whether it is over.
    pub finished: bool,
    /// What each thread does now.
    pub lanes: SmallMap<LabThread, LabStep>,
    /// What the threads said, oldest first, each with the number of its entry.
    pub lines: VecDeque<(u64, String)>,
    /// Packets in the queue, as last told.
    pub depth: u32,
    /// The variants of the race that are done.
    pub race: Vec<RaceOut>,
}

impl LabView {
    /// Takes over one entry; those that aren't about the lab change nothing.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Lab { run, thread, step } => {
                self.enter(run);
                self.step(entry.seq, *thread, step);
            }
            Event::LabRace { run, result } => {
                self.enter(run);
                self.race.push(result.clone());
            }
            Event::LabFinished { run } => {
                self.enter(run);
                self.finished = true;
            }
            _ => {}
        }
    }

    /// Producers that hold a permit now.
    pub fn permits_held(&self) -> usize {
        let holds =
            |step: &&LabStep| matches!(step, LabStep::Works | LabStep::Generated { .. } | LabStep::Queued { .. });
        let producers = self.lanes.entries().iter().filter(|(thread, _)| matches!(thread, LabThread::Producer(_)));
        producers.map(|(_, step)| step).filter(holds).count()
    }

    fn enter(&mut self, run: &str) {
        if self.run.as_deref() != Some(run) {
            *self = Self { run: Some(run.to_owned()), ..Self::default() };
        }
    }

    fn step(&mut self, seq: u64, thread: LabThread, step: &LabStep) {
        if let LabStep::Queued { depth } | LabStep::Took { depth } = step {
            self.depth = *depth;
        }
        let line = match step {
            LabStep::Generated { .. } | LabStep::Logged { .. } => Some(format!("{thread} {step}")),
            _ => None,
        };
        if let Some(line) = line {
            if self.lines.len() == LINE_LIMIT {
                self.lines.pop_front();
            }
            self.lines.push_back((seq, line));
        }
        self.lanes.put(thread, step.clone());
    }
}

/// What a thread does, in the log's words, without what it wrote.
pub fn words(step: &LabStep) -> String {
    if let LabStep::Logged { .. } = step { "logged message".to_owned() } else { step.to_string() }
}

/// What kind of moment a step is, for its colour: `wait`, `work` or `done`.
pub fn mood(step: &LabStep) -> &'static str {
    match step {
        LabStep::WaitsForPermit | LabStep::WaitsForPacket | LabStep::WaitsForLock => "wait",
        LabStep::Works
        | LabStep::Generated { .. }
        | LabStep::Queued { .. }
        | LabStep::Took { .. }
        | LabStep::Logged { .. } => "work",
        LabStep::ReleasedPermit | LabStep::Finished => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(view: &mut LabView, run: &str, steps: impl IntoIterator<Item = (LabThread, LabStep)>) {
        for (seq, (thread, step)) in (1..).zip(steps) {
            view.apply(&Entry { seq, at_ms: 0, event: Event::Lab { run: run.to_owned(), thread, step } });
        }
    }

    #[test]
    fn lanes_lines_and_permits_follow_the_threads() {
        let mut view = LabView::default();
        let (first, second) = (LabThread::Producer(0), LabThread::Producer(1));
        feed(
            &mut view,
            "a",
            [
                (first, LabStep::Works),
                (second, LabStep::WaitsForPermit),
                (first, LabStep::Generated { packet: 0 }),
                (first, LabStep::Queued { depth: 3 }),
            ],
        );
        assert_eq!(view.lines, [(3, "[Producer 0] generated data packet 0".to_owned())]);
        assert_eq!((view.permits_held(), view.depth, view.lanes.entries().len()), (1, 3, 2));
    }

    #[test]
    fn a_new_run_starts_from_nothing() {
        let mut view = LabView::default();
        feed(&mut view, "a", [(LabThread::Consumer(0), LabStep::Finished)]);
        view.apply(&Entry { seq: 9, at_ms: 0, event: Event::LabFinished { run: "a".to_owned() } });
        assert!(view.finished);
        feed(&mut view, "b", [(LabThread::Consumer(1), LabStep::WaitsForPacket)]);
        assert_eq!((view.run.as_deref(), view.finished, view.lanes.entries().len()), (Some("b"), false, 1));
    }
}
