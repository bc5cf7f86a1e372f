//! The lab in the terminal, in the original's words.

use std::io::{self, Write};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use shared::wire::event::Event;
use shared::wire::lab::{LabConfig, LabRunOut, LabState, RaceOut};

use super::race::{self, Method};
use super::recorder::{Recorder, line};
use super::stop::Stop;
use super::{check, new_run, pipeline};

/// Lines that wait for the terminal; when it is slower than the threads, they wait for it. A guess.
const LINES: usize = 64;

/// Runs the lab and writes to `out` what it does. Returns what came out.
pub(super) fn run(config: LabConfig, out: &mut impl Write) -> io::Result<LabRunOut> {
    check(&config).map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    let run = Mutex::new(new_run(config));
    print_pipeline(&run, out)?;
    print_race(&run, out)?;
    let mut run = run.into_inner().unwrap_or_else(PoisonError::into_inner);
    run.state = LabState::Finished;
    Ok(run)
}

fn print_pipeline(run: &Mutex<LabRunOut>, out: &mut impl Write) -> io::Result<()> {
    let stop = Stop::default();
    let (teller, listener) = mpsc::sync_channel(LINES);
    thread::scope(|scope| {
        let stop = &stop;
        let conductor = Builder::new().name("lab".to_owned()).spawn_scoped(scope, move || {
            let tell = |event| {
                if let Event::Lab { thread, step, .. } = event
                    && let Some(line) = line(thread, &step)
                {
                    drop(teller.send(line));
                }
            };
            pipeline::run(&Recorder::new(run, &tell), stop)
        })?;
        // Nobody reads any longer (a closed pipe): the threads needn't go on. The rest of the lines is dropped.
        let printed = listener.into_iter().try_for_each(|line| writeln!(out, "{line}"));
        if printed.is_err() {
            stop.ask();
        }
        conductor.join().map_err(|_panic| io::Error::other("a thread of the lab panicked"))??;
        printed
    })?;
    writeln!(out, "All messages processed.\nFinal shared_log contents:")?;
    let run = super::lock(run);
    run.shared_log.iter().try_for_each(|entry| writeln!(out, "  {entry}"))?;
    let LabConfig { producers, permits, .. } = run.config;
    let most = run.max_active_producers;
    writeln!(out, "Semaphore of {permits}: at most {most} of {producers} producers were at work at once.")
}

fn print_race(run: &Mutex<LabRunOut>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Running race condition demonstration...")?;
    let (method, threads, expected, actual, lost) = ("method", "threads", "expected", "actual", "lost");
    writeln!(out, "  {method:<10} {threads:>7} {expected:>13} {actual:>13} {lost:>13} {:>13}", "counted/s")?;
    let stop = Stop::default();
    for method in Method::ALL {
        race::run(method, &Recorder::new(run, &|_| ()), &stop)?;
        if let Some(result) = super::lock(run).race.last() {
            writeln!(out, "{}", row(result))?;
        }
    }
    writeln!(out, "{}", conclusion(&super::lock(run).race))
}

fn row(result: &RaceOut) -> String {
    let RaceOut { method, threads, expected, actual, lost, per_second, .. } = result;
    format!("  {method:<10} {threads:>7} {expected:>13} {actual:>13} {lost:>13} {per_second:>13}")
}

/// One sentence that is true for these results.
fn conclusion(results: &[RaceOut]) -> String {
    let (losing, safe): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.lost > 0);
    let safe = safe.iter().map(|result| result.method.as_str()).collect::<Vec<_>>().join(", ");
    let Some(worst) = losing.first() else {
        return format!(
            "Race condition demo finished: nothing was lost this time ({safe}); only load+store may lose, when two \
             threads meet between its two steps."
        );
    };
    let per_mille = worst.lost.saturating_mul(1_000) / worst.expected.max(1);
    format!(
        "Race condition demo finished: {} lost {} of {} updates ({}.{} %), overwritten between load and store; lost \
         nothing: {safe}.",
        worst.method,
        worst.lost,
        worst.expected,
        per_mille / 10,
        per_mille % 10,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> LabConfig {
        LabConfig { packets: 2, work_ms: 1, race_ms: 5, ..LabConfig::default() }
    }

    #[test]
    fn it_prints_the_run_in_the_originals_words() {
        let mut out = Vec::new();
        let run = run(quick(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..12], run.log);
        assert!(run.log.iter().any(|line| line == "[Producer 2] generated data packet 1"));
        assert!(text.contains("] logged message → [Producer 0] generated data packet 0\n"));
        assert_eq!(lines[12..14], ["All messages processed.", "Final shared_log contents:"]);
        let shared: Vec<_> = run.shared_log.iter().map(|entry| format!("  {entry}")).collect();
        assert_eq!(lines[14..20], shared);
        assert_eq!(
            lines[20],
            format!("Semaphore of 2: at most {} of 3 producers were at work at once.", run.max_active_producers)
        );
        assert_eq!(lines[21], "Running race condition demonstration...");
        assert_eq!(lines.len(), 28);
        assert_eq!((run.state, run.race.len()), (LabState::Finished, 4));
    }

    #[test]
    fn the_conclusion_says_what_was_lost() {
        let result = |method: &str, lost| RaceOut {
            method: method.to_owned(),
            threads: 2,
            expected: 1_000,
            actual: 1_000 - lost,
            lost,
            elapsed_us: 500,
            per_second: 2_000_000,
        };
        let lossy = conclusion(&[result("load+store", 345), result("mutex", 0), result("channel", 0)]);
        assert!(lossy.contains("load+store lost 345 of 1000 updates (34.5 %)"), "{lossy}");
        assert!(lossy.ends_with("lost nothing: mutex, channel."), "{lossy}");
        assert!(conclusion(&[result("load+store", 0)]).contains("nothing was lost this time (load+store)"));
        assert!(row(&result("mutex", 0)).ends_with("2000000"));
    }

    #[test]
    fn a_closed_pipe_ends_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let slow = LabConfig { packets: 100, work_ms: 1_000, ..LabConfig::default() };
        assert_eq!(run(slow, &mut Closed).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_bad_number_is_refused() {
        let refused = run(LabConfig { consumers: 0, ..quick() }, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.to_string(), "consumers must be from 1 to 8, not 0");
    }
}
