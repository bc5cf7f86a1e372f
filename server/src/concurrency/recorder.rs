//! What a run says: kept in its record and told to whoever watches, both in one order.

use std::sync::Mutex;

use shared::wire::event::Event;
use shared::wire::lab::{LabConfig, LabRunOut, LabState, RaceOut};
use shared::wire::lab::{LabStep, LabThread};

use super::lock;

/// The record of one run, shared by its threads.
pub(super) struct Recorder<'a> {
    id: String,
    config: LabConfig,
    run: &'a Mutex<LabRunOut>,
    tell: &'a (dyn Fn(Event) + Sync),
}

impl<'a> Recorder<'a> {
    /// Notes in `run` what happens, and tells it.
    pub(super) fn new(run: &'a Mutex<LabRunOut>, tell: &'a (dyn Fn(Event) + Sync)) -> Self {
        let (id, config) = {
            let run = lock(run);
            (run.id.clone(), run.config.clone())
        };
        Self { id, config, run, tell }
    }

    /// What the run was asked for.
    pub(super) fn config(&self) -> &LabConfig {
        &self.config
    }

    /// A thread did a step.
    pub(super) fn step(&self, thread: LabThread, step: LabStep) {
        let line = line(thread, &step);
        let mut run = lock(self.run);
        run.log.extend(line);
        // Told under the lock, so that the record and the watcher have the same order.
        (self.tell)(Event::Lab { run: self.id.clone(), thread, step });
    }

    /// A line that belongs to no thread.
    pub(super) fn say(&self, line: String) {
        lock(self.run).log.push(line);
    }

    /// The producers and consumers are done.
    pub(super) fn pipeline(&self, shared_log: Vec<String>, max_active_producers: u32) {
        let mut run = lock(self.run);
        run.shared_log = shared_log;
        run.max_active_producers = max_active_producers;
    }

    /// A variant of the race is done.
    pub(super) fn race(&self, result: RaceOut) {
        let mut run = lock(self.run);
        run.race.push(result.clone());
        (self.tell)(Event::LabRace { run: self.id.clone(), result });
    }

    /// The run is over.
    pub(super) fn finish(&self) {
        let mut run = lock(self.run);
        run.state = LabState::Finished;
        (self.tell)(Event::LabFinished { run: self.id.clone() });
    }
}

/// What a thread says aloud at a step, in the original's words.
pub(super) fn line(thread: LabThread, step: &LabStep) -> Option<String> {
    match step {
        LabStep::Generated { .. } | LabStep::Logged { .. } => Some(format!("{thread} {step}")),
        LabStep::WaitsForPermit
        | LabStep::Works
        | LabStep::Queued { .. }
        | LabStep::ReleasedPermit
        | LabStep::WaitsForPacket
        | LabStep::Took { .. }
        | LabStep::WaitsForLock
        | LabStep::Finished => None,
    }
}
