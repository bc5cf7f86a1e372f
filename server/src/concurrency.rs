//! The concurrency lab: real threads that share a queue, a lock and permits, and a race that loses updates. It can be
//! watched in the event stream or in the terminal; all that it tells comes from the run.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use shared::wire::event::Event;
use shared::wire::lab::{LabConfig, LabRunOut, LabState};
use tracing::warn;
use uuid::Uuid;

use self::race::Method;
use self::recorder::Recorder;
use self::stop::Stop;
use crate::hub::Hub;

mod permits;
mod pipeline;
mod queue;
mod race;
mod recorder;
mod stop;
mod terminal;

/// How many runs can be asked for; older ones are forgotten. A guess: what a class looks back at.
const KEPT_RUNS: usize = 16;

/// Why a run wasn't started. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Another run is going on, or the process can't have one now: it stops, or has no thread to spare.
    #[error("the lab is busy; it does one run at a time")]
    Busy,
    /// A number of the configuration is out of its range.
    #[error("{0}")]
    Invalid(String),
}

/// The lab of a server; clones are the same lab. Its threads end with the last clone, or with [`Lab::stop`].
#[derive(Debug, Clone)]
pub struct Lab {
    bench: Arc<Bench>,
}

#[derive(Debug)]
struct Bench {
    hub: Hub,
    stop: Arc<Stop>,
    /// A lock is enough: it is held to look up or to add a run, and never across an await.
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    /// Oldest first, at most [`KEPT_RUNS`].
    kept: VecDeque<Arc<Mutex<LabRunOut>>>,
    /// The thread of the last run.
    conductor: Option<JoinHandle<()>>,
}

impl Lab {
    /// A lab that tells its steps to `hub`.
    pub fn new(hub: Hub) -> Self {
        Self { bench: Arc::new(Bench { hub, stop: Arc::default(), runs: Mutex::default() }) }
    }

    /// Starts a run and returns at once; its state can be asked for by its id.
    ///
    /// # Errors
    /// When a number of `config` is out of its range, or the lab is busy.
    pub fn start(&self, config: LabConfig) -> Result<LabRunOut, LabError> {
        check(&config).map_err(LabError::Invalid)?;
        let mut runs = lock(&self.bench.runs);
        let busy = runs.kept.back().is_some_and(|last| lock(last).state == LabState::Running);
        if busy || self.bench.stop.asked() {
            return Err(LabError::Busy);
        }
        let begun = new_run(config);
        let run = Arc::new(Mutex::new(begun.clone()));
        let (hub, stop, record) = (self.bench.hub.clone(), Arc::clone(&self.bench.stop), Arc::clone(&run));
        let conductor = thread::Builder::new().name("lab".to_owned()).spawn(move || conduct(&hub, &stop, &record));
        runs.conductor = Some(conductor.map_err(|error| {
            warn!(%error, "no thread for the lab");
            LabError::Busy
        })?);
        if runs.kept.len() == KEPT_RUNS {
            runs.kept.pop_front();
        }
        runs.kept.push_back(run);
        Ok(begun)
    }

    /// One of the last 16 runs, as far as it is.
    pub fn get(&self, id: &str) -> Option<LabRunOut> {
        let runs = lock(&self.bench.runs);
        runs.kept.iter().map(|run| lock(run)).find(|run| run.id == id).map(|run| run.clone())
    }

    /// Ends the run, if there is one, and waits for its threads (milliseconds); after this none is started.
    pub fn stop(&self) {
        self.bench.stop();
    }
}

impl Bench {
    fn stop(&self) {
        self.stop.ask();
        let conductor = lock(&self.runs).conductor.take();
        if conductor.is_some_and(|thread| thread.join().is_err()) {
            warn!("a thread of the lab panicked");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Does one run for `grapevine concurrency`: writes to `out` what the threads say as they say it, the shared log, and
/// the race's counts.
///
/// # Errors
/// When `config` has a number out of its range, a thread can't be started, or `out` takes no more; the run's threads
/// have ended then.
pub fn run_in_terminal(config: LabConfig, out: &mut impl Write) -> io::Result<LabRunOut> {
    terminal::run(config, out)
}

/// Leads one run from its own thread.
fn conduct(hub: &Hub, stop: &Stop, run: &Mutex<LabRunOut>) {
    let tell = |event: Event| hub.emit(event);
    let recorder = Recorder::new(run, &tell);
    if let Err(error) = perform(&recorder, stop) {
        warn!(%error, "a run of the lab ended early");
        recorder.say(format!("the run ended early: {error}"));
    }
    recorder.finish();
}

fn perform(recorder: &Recorder<'_>, stop: &Stop) -> io::Result<()> {
    pipeline::run(recorder, stop)?;
    for method in Method::ALL {
        race::run(method, recorder, stop)?;
    }
    Ok(())
}

fn new_run(mut config: LabConfig) -> LabRunOut {
    config.seed.get_or_insert_with(|| Uuid::new_v4().as_fields().0);
    LabRunOut {
        id: Uuid::now_v7().to_string(),
        state: LabState::Running,
        config,
        log: Vec::new(),
        shared_log: Vec::new(),
        max_active_producers: 0,
        race: Vec::new(),
    }
}

/// Returns which number is out of its range, if one is.
fn check(config: &LabConfig) -> Result<(), String> {
    let numbers: [(&str, u32, RangeInclusive<u32>); 8] = [
        ("producers", config.producers, LabConfig::THREADS),
        ("consumers", config.consumers, LabConfig::THREADS),
        ("packets", config.packets, LabConfig::PACKETS),
        ("permits", config.permits, LabConfig::THREADS),
        ("queue_capacity", config.queue_capacity, LabConfig::PACKETS),
        ("work_ms", config.work_ms, LabConfig::WORK_MS),
        ("race_threads", config.race_threads, LabConfig::THREADS),
        ("race_ms", config.race_ms, LabConfig::RACE_MS),
    ];
    match numbers.iter().find(|(_, number, range)| !range.contains(number)) {
        Some((name, number, range)) => {
            Err(format!("{name} must be from {} to {}, not {number}", range.start(), range.end()))
        }
        None => Ok(()),
    }
}

/// A lock whose data is right at every moment, so that one thread's panic doesn't take it from the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use shared::wire::lab::{LabStep, LabThread};
    use shared::wire::stream::StreamFrame;

    use super::*;

    fn quick() -> LabConfig {
        LabConfig { packets: 2, work_ms: 1, race_ms: 5, ..LabConfig::default() }
    }

    fn finished(lab: &Lab, id: &str) -> LabRunOut {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let run = lab.get(id).expect("a run that was just started is kept");
            if run.state == LabState::Finished {
                return run;
            }
            assert!(Instant::now() < deadline, "the run hangs: {run:?}");
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_run_tells_every_step_to_the_hub_and_ends() {
        let hub = Hub::new(10, false);
        let mut reader = hub.subscribe();
        reader.next_frame().await;
        let lab = Lab::new(hub);
        let begun = lab.start(quick()).unwrap();
        assert_eq!((begun.state, begun.log.len()), (LabState::Running, 0));
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Event::LabFinished { .. })) {
            let next = tokio::time::timeout(Duration::from_secs(30), reader.next_frame()).await;
            // Heartbeats come in between.
            let StreamFrame::Batch { entries } = next.expect("the run goes on") else { continue };
            events.extend(entries.into_iter().map(|entry| entry.event));
        }
        let run = finished(&lab, &begun.id);
        assert_eq!((run.log.len(), run.shared_log.len(), run.race.len()), (12, 6, 4));
        let ended = events.iter().filter(|event| matches!(event, Event::Lab { step: LabStep::Finished, .. }));
        assert_eq!(ended.count(), 5);
        let raced = events.iter().filter_map(|event| match event {
            Event::LabRace { run, result } => Some((run, result)),
            _ => None,
        });
        assert_eq!(raced.collect::<Vec<_>>(), run.race.iter().map(|result| (&run.id, result)).collect::<Vec<_>>());
        let first =
            Event::Lab { run: run.id.clone(), thread: LabThread::Producer(0), step: LabStep::Generated { packet: 0 } };
        assert!(events.contains(&first));
    }

    #[test]
    fn one_run_at_a_time_and_a_slow_one_ends_with_the_lab() {
        let lab = Lab::new(Hub::new(10, false));
        let slow = LabConfig { packets: 100, work_ms: 1_000, race_ms: 2_000, ..LabConfig::default() };
        let begun = lab.start(slow.clone()).unwrap();
        assert!(matches!(lab.start(quick()), Err(LabError::Busy)));
        let asked = Instant::now();
        lab.stop();
        assert!(asked.elapsed() < Duration::from_secs(5));
        assert_eq!(lab.get(&begun.id).unwrap().state, LabState::Finished);
        assert!(matches!(lab.start(quick()), Err(LabError::Busy)));

        let dropped = Lab::new(Hub::new(10, false));
        dropped.start(slow).unwrap();
        let asked = Instant::now();
        drop(dropped);
        assert!(asked.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_last_runs_are_kept() {
        let lab = Lab::new(Hub::new(10, false));
        let config = LabConfig { producers: 1, packets: 1, work_ms: 0, race_threads: 1, race_ms: 1, ..quick() };
        let ids: Vec<_> = (0..=KEPT_RUNS)
            .map(|_| {
                let id = lab.start(config.clone()).unwrap().id;
                finished(&lab, &id).id
            })
            .collect();
        assert_eq!(lab.get(&ids[0]), None);
        assert!(ids[1..].iter().all(|id| lab.get(id).is_some()));
    }

    #[test]
    fn a_number_out_of_its_range_is_named() {
        let lab = Lab::new(Hub::new(10, false));
        let refused = lab.start(LabConfig { permits: 9, ..LabConfig::default() }).unwrap_err();
        assert_eq!(refused.to_string(), "permits must be from 1 to 8, not 9");
        let refused = lab.start(LabConfig { race_ms: 0, ..LabConfig::default() }).unwrap_err();
        assert_eq!(refused.to_string(), "race_ms must be from 1 to 2000, not 0");
    }
}
