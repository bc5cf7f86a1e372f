//! Producers that need a permit to work, a bounded queue, and consumers that write one log under a lock:
//!
//! ```text
//! producer: wait for permit, work, generate, put (wait for room), give permit back
//! consumer: take (wait for packet), work, wait for lock, write, unlock
//! ```
//!
//! Consumers end when all producers have and the queue is empty. A producer that waits for room keeps its permit:
//! consumers need none, so the queue always gets room.

use std::io;
use std::sync::Mutex;
use std::thread::{self, Builder, Scope};
use std::time::Duration;

use shared::rng::Rng;
use shared::wire::lab::{LabStep, LabThread};

use super::lock;
use super::permits::Permits;
use super::queue::{Inlet, Queue};
use super::recorder::{Recorder, line};
use super::stop::Stop;

/// What the threads share.
struct Stage<'a> {
    recorder: &'a Recorder<'a>,
    stop: &'a Stop,
    permits: Permits,
    queue: Queue<String>,
    shared_log: Mutex<Vec<String>>,
    seed: u32,
}

/// Runs the producers and consumers of the recorder's configuration to their end. After a stop nobody works any
/// longer: producers end after the packet at hand, and what is in the queue is still logged.
///
/// # Errors
/// When a thread can't be started; those that were end first.
pub(super) fn run(recorder: &Recorder<'_>, stop: &Stop) -> io::Result<()> {
    let stage = Stage::new(recorder, stop);
    // Made before any consumer looks, or it would see a queue that has ended. A thread that doesn't start drops its own.
    let inlets: Vec<_> = (0..recorder.config().producers).map(|_| stage.queue.inlet()).collect();
    let started = thread::scope(|scope| stage.start(scope, inlets));
    let max_active = stage.permits.max_held();
    recorder.pipeline(stage.shared_log.into_inner().unwrap_or_default(), max_active);
    started
}

impl<'a> Stage<'a> {
    fn new(recorder: &'a Recorder<'a>, stop: &'a Stop) -> Self {
        let config = recorder.config();
        Self {
            recorder,
            stop,
            permits: Permits::new(config.permits),
            queue: Queue::new(config.queue_capacity),
            shared_log: Mutex::default(),
            seed: config.seed.unwrap_or_default(),
        }
    }

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        inlets: Vec<Inlet<'scope, String>>,
    ) -> io::Result<()> {
        for number in 0..self.recorder.config().consumers {
            let thread = Builder::new().name(format!("consumer-{number}"));
            thread.spawn_scoped(scope, move || self.consume(number))?;
        }
        for (number, inlet) in (0..).zip(inlets) {
            let thread = Builder::new().name(format!("producer-{number}"));
            thread.spawn_scoped(scope, move || self.produce(number, &inlet))?;
        }
        Ok(())
    }

    fn produce(&self, number: u32, inlet: &Inlet<'_, String>) {
        let me = LabThread::Producer(number);
        let say = |step| self.recorder.step(me, step);
        let mut rng = self.chance(u64::from(number));
        for packet in 0..self.recorder.config().packets {
            if self.stop.asked() {
                break;
            }
            say(LabStep::WaitsForPermit);
            let permit = self.permits.acquire();
            say(LabStep::Works);
            self.work(&mut rng);
            let generated = LabStep::Generated { packet };
            let message = line(me, &generated).unwrap_or_default();
            say(generated);
            inlet.put(message, |depth| say(LabStep::Queued { depth }));
            // Said while the permit is still held, so that a watcher never counts more active ones than permits.
            say(LabStep::ReleasedPermit);
            drop(permit);
        }
        say(LabStep::Finished);
    }

    fn consume(&self, number: u32) {
        let say = |step| self.recorder.step(LabThread::Consumer(number), step);
        let mut rng = self.chance(u64::from(number) | 1 << 32);
        loop {
            say(LabStep::WaitsForPacket);
            let Some(entry) = self.queue.take(|depth| say(LabStep::Took { depth })) else { break };
            self.work(&mut rng);
            say(LabStep::WaitsForLock);
            lock(&self.shared_log).push(format!("{number}: {entry}"));
            say(LabStep::Logged { entry });
        }
        say(LabStep::Finished);
    }

    /// Each thread's own, so that it doesn't depend on who comes first.
    fn chance(&self, thread: u64) -> Rng {
        Rng::from_seed(u64::from(self.seed) << 33 | thread)
    }

    fn work(&self, rng: &mut Rng) {
        self.stop.pause(self.work_time(rng));
    }

    /// Returns from a quarter of the configured time (the original's spread) to all of it.
    fn work_time(&self, rng: &mut Rng) -> Duration {
        let longest = Duration::from_millis(u64::from(self.recorder.config().work_ms));
        rng.duration(longest / 4, longest)
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::event::Event;
    use shared::wire::lab::{LabConfig, LabRunOut};

    use super::super::new_run;
    use super::*;

    fn watched(config: LabConfig) -> (LabRunOut, Vec<(LabThread, LabStep)>) {
        let (run, steps) = (Mutex::new(new_run(config)), Mutex::new(Vec::new()));
        let tell = |event| {
            if let Event::Lab { thread, step, .. } = event {
                lock(&steps).push((thread, step));
            }
        };
        super::run(&Recorder::new(&run, &tell), &Stop::default()).unwrap();
        (run.into_inner().unwrap(), steps.into_inner().unwrap())
    }

    fn crowded() -> LabConfig {
        LabConfig { producers: 6, consumers: 3, packets: 40, queue_capacity: 3, work_ms: 1, ..LabConfig::default() }
    }

    #[test]
    fn every_packet_is_logged_exactly_once_and_every_thread_finishes() {
        let (run, steps) = watched(crowded());
        let mut expected: Vec<_> = (0..6)
            .flat_map(|producer| {
                (0..40).map(move |packet| format!("[Producer {producer}] generated data packet {packet}"))
            })
            .collect();
        let mut logged: Vec<_> =
            run.shared_log.iter().map(|entry| entry.split_once(": ").unwrap().1.to_owned()).collect();
        expected.sort();
        logged.sort();
        assert_eq!(logged, expected);
        assert_eq!(run.log.len(), 2 * expected.len());
        assert_eq!(steps.iter().filter(|(_, step)| *step == LabStep::Finished).count(), 9);
    }

    #[test]
    fn a_packet_is_generated_before_it_is_logged() {
        let (run, _) = watched(crowded());
        for (at, line) in run.log.iter().enumerate() {
            if let Some((_, entry)) = line.split_once("logged message → ") {
                assert!(run.log[..at].iter().any(|earlier| earlier == entry), "{line} came first");
            }
        }
    }

    #[test]
    fn a_watcher_never_sees_more_active_producers_than_permits_nor_an_overfull_queue() {
        let (run, steps) = watched(crowded());
        let (mut active, mut most_active, mut depth) = (0_u32, 0, 0_u32);
        for (_, step) in steps {
            match step {
                LabStep::Works => active += 1,
                LabStep::ReleasedPermit => active -= 1,
                LabStep::Queued { depth: now } => {
                    assert_eq!(now, depth + 1);
                    depth = now;
                }
                LabStep::Took { depth: now } => {
                    assert_eq!(now + 1, depth);
                    depth = now;
                }
                _ => {}
            }
            assert!(active <= 2 && depth <= 3, "{active} active, {depth} queued");
            most_active = most_active.max(active);
        }
        assert!(most_active <= run.max_active_producers && run.max_active_producers <= 2);
    }

    #[test]
    fn runs_of_one_seed_take_the_same_times() {
        let times = |seed| {
            let run = Mutex::new(new_run(LabConfig { work_ms: 1_000, seed, ..LabConfig::default() }));
            let (tell, stop) = (|_| {}, Stop::default());
            let recorder = Recorder::new(&run, &tell);
            let stage = Stage::new(&recorder, &stop);
            let each = (0..4).map(|thread| {
                let mut rng = stage.chance(thread);
                (0..20).map(|_| stage.work_time(&mut rng)).collect::<Vec<_>>()
            });
            each.collect::<Vec<_>>()
        };
        let first = times(Some(7));
        assert_eq!(first, times(Some(7)));
        assert_ne!(first, times(Some(8)));
        assert_ne!(first[0], first[1], "the threads keep different paces");
        assert_ne!(times(None), times(None), "without a seed one is drawn");
    }

    #[test]
    fn a_stop_ends_it_and_nothing_in_the_queue_is_lost() {
        let run = Mutex::new(new_run(LabConfig { work_ms: 1_000, packets: 100, ..LabConfig::default() }));
        let stop = Stop::default();
        let tell = |event: Event| {
            if matches!(event, Event::Lab { step: LabStep::Generated { packet: 0 }, .. }) {
                stop.ask();
            }
        };
        super::run(&Recorder::new(&run, &tell), &stop).unwrap();
        let run = run.into_inner().unwrap();
        assert!(!run.shared_log.is_empty() && run.shared_log.len() < 300);
        assert_eq!(run.log.len(), 2 * run.shared_log.len());
    }
}
