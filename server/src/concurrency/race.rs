//! A lost update, shown, then cured three ways. Many threads add one to the same number for a set time.
//!
//! Loading and storing an atomic number are two steps: between them another thread can store, and that addition is
//! overwritten. That is no data race in Rust's sense, so it needs no `unsafe`; it's only wrong. A time and not a count
//! ends the race, because on a busy machine a thread runs a count within one slice of its own and meets nobody.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use shared::wire::lab::RaceOut;

use super::lock;
use super::recorder::Recorder;
use super::stop::Stop;

/// Additions between two looks at the clock's flag, so that looking isn't what is measured. A guess.
const BATCH: u32 = 64;
/// How many additions wait in the channel: enough that neither side waits for each single one. A guess.
const CHANNEL_CAPACITY: usize = 1024;

/// How the threads add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Load, then store: additions get lost.
    LoadStore,
    /// Under a lock.
    Mutex,
    /// In one atomic step.
    FetchAdd,
    /// Sent to the one thread that owns the number.
    Channel,
}

impl Method {
    /// All, in the order of telling.
    pub(super) const ALL: [Self; 4] = [Self::LoadStore, Self::Mutex, Self::FetchAdd, Self::Channel];

    /// Its name, as the page and the terminal show it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LoadStore => "load+store",
            Self::Mutex => "mutex",
            Self::FetchAdd => "fetch_add",
            Self::Channel => "channel",
        }
    }
}

/// What came out of a race.
struct Tally {
    expected: u64,
    actual: u64,
    elapsed: Duration,
}

/// Runs one variant and records its result.
///
/// # Errors
/// When a thread can't be started; those that were end first.
pub(super) fn run(method: Method, recorder: &Recorder<'_>, stop: &Stop) -> io::Result<()> {
    let config = recorder.config();
    let track = Track { threads: config.race_threads, time: Duration::from_millis(u64::from(config.race_ms)), stop };
    let tally = match method {
        Method::LoadStore => {
            let number = AtomicU64::new(0);
            let add = || number.store(number.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            track.run(&|| add, || number.load(Ordering::Relaxed))?
        }
        Method::Mutex => {
            let number = Mutex::new(0_u64);
            let add = || *lock(&number) += 1;
            track.run(&|| add, || *lock(&number))?
        }
        Method::FetchAdd => {
            let number = AtomicU64::new(0);
            let add = || {
                number.fetch_add(1, Ordering::Relaxed);
            };
            track.run(&|| add, || number.load(Ordering::Relaxed))?
        }
        Method::Channel => by_channel(&track)?,
    };
    let elapsed_us = u64::try_from(tally.elapsed.as_micros()).unwrap_or(u64::MAX);
    recorder.race(RaceOut {
        method: method.name().to_owned(),
        threads: track.threads,
        expected: tally.expected,
        actual: tally.actual,
        lost: tally.expected.saturating_sub(tally.actual),
        elapsed_us,
        per_second: per_second(tally.actual, elapsed_us),
    });
    Ok(())
}

fn per_second(count: u64, elapsed_us: u64) -> u64 {
    let rate = u128::from(count) * 1_000_000 / u128::from(elapsed_us.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn by_channel(track: &Track<'_>) -> io::Result<Tally> {
    let (sender, receiver) = mpsc::sync_channel::<u64>(CHANNEL_CAPACITY);
    thread::scope(|scope| {
        let owner = Builder::new().name("race-owner".to_owned()).spawn_scoped(scope, || receiver.into_iter().sum())?;
        // The owner takes until the last sender is gone, so a send never fails.
        let adder = |sender: SyncSender<u64>| {
            move || {
                let _sent = sender.send(1);
            }
        };
        let raced = track.run(&|| adder(sender.clone()), || 0);
        // The owner ends when nobody can send any more.
        drop(sender);
        let actual = owner.join().unwrap_or(0);
        Ok(Tally { actual, ..raced? })
    })
}

/// Where the threads run.
struct Track<'a> {
    threads: u32,
    time: Duration,
    stop: &'a Stop,
}

impl Track<'_> {
    /// Lets each thread call the addition that `adder` makes for it, from one common start until the time is over;
    /// `read` reads the number after that.
    fn run<A: FnMut() + Send>(&self, adder: &dyn Fn() -> A, read: impl FnOnce() -> u64) -> io::Result<Tally> {
        let over = AtomicBool::new(false);
        // One more for this thread, which takes the time.
        let gate = Gate::new(self.threads + 1);
        thread::scope(|scope| {
            let start = |number| {
                let (add, gate, over) = (adder(), &gate, &over);
                Builder::new().name(format!("race-{number}")).spawn_scoped(scope, move || race(add, gate, over))
            };
            let started: io::Result<Vec<ScopedJoinHandle<'_, u64>>> = (0..self.threads).map(start).collect();
            let Ok(threads) = started else {
                over.store(true, Ordering::Relaxed);
                gate.open();
                return Err(started.err().unwrap_or_else(|| io::ErrorKind::Other.into()));
            };
            gate.pass();
            let begun = Instant::now();
            self.stop.pause(self.time);
            over.store(true, Ordering::Relaxed);
            let expected = threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum();
            let elapsed = begun.elapsed();
            Ok(Tally { expected, actual: read(), elapsed })
        })
    }
}

/// One thread's race: adds until it is over, and says how often it did.
fn race(mut add: impl FnMut(), gate: &Gate, over: &AtomicBool) -> u64 {
    gate.pass();
    let mut added = 0;
    loop {
        (0..BATCH).for_each(|_| add());
        added += u64::from(BATCH);
        if over.load(Ordering::Relaxed) {
            return added;
        }
    }
}

/// A barrier that can be opened for those who wait, should the others never come.
struct Gate {
    missing: Mutex<u32>,
    changed: Condvar,
}

impl Gate {
    fn new(expected: u32) -> Self {
        Self { missing: Mutex::new(expected), changed: Condvar::new() }
    }

    /// Waits until all have come.
    fn pass(&self) {
        let mut missing = lock(&self.missing);
        *missing = missing.saturating_sub(1);
        self.changed.notify_all();
        drop(self.changed.wait_while(missing, |missing| *missing > 0).unwrap_or_else(PoisonError::into_inner));
    }

    fn open(&self) {
        *lock(&self.missing) = 0;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use shared::wire::lab::LabConfig;

    use super::super::new_run;
    use super::*;

    fn result(method: Method, race_threads: u32) -> RaceOut {
        let config = LabConfig { race_threads, race_ms: 20, ..LabConfig::default() };
        let run = Mutex::new(new_run(config));
        super::run(method, &Recorder::new(&run, &|_| ()), &Stop::default()).unwrap();
        run.into_inner().unwrap().race.remove(0)
    }

    #[test]
    fn mutex_fetch_add_and_channel_lose_nothing() {
        for method in [Method::Mutex, Method::FetchAdd, Method::Channel] {
            let result = result(method, 4);
            assert_eq!((result.actual, result.lost), (result.expected, 0), "{result:?}");
            assert!(result.expected >= 4 * u64::from(BATCH));
        }
    }

    /// How many it loses is up to the machine; that it never counts too many isn't.
    #[test]
    fn load_and_store_never_count_too_many() {
        let result = result(Method::LoadStore, 8);
        assert!(result.actual > 0 && result.actual <= result.expected, "{result:?}");
        assert_eq!(result.lost, result.expected - result.actual);
    }

    #[test]
    fn rates_are_what_counted_by_the_time_it_took() {
        for method in Method::ALL {
            let result = result(method, 2);
            assert!(result.elapsed_us >= 20_000, "{result:?}");
            assert_eq!(result.per_second, per_second(result.actual, result.elapsed_us));
        }
        assert_eq!(per_second(3, 2_000_000), 1);
        assert_eq!(per_second(u64::MAX / 2, 1_000_000), u64::MAX / 2);
    }

    #[test]
    fn a_single_thread_loses_nothing_even_without_a_lock() {
        assert_eq!(result(Method::LoadStore, 1).lost, 0);
    }

    #[test]
    fn a_gate_can_be_opened_for_those_who_wait() {
        let gate = Gate::new(3);
        thread::scope(|scope| {
            scope.spawn(|| gate.pass());
            gate.open();
        });
        gate.pass();
    }
}
