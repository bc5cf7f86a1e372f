//! A fault that repeats, as it is logged: each reason at once, then once a minute in sum, then its end. It says what to
//! log; whoever has the fault logs it in its own words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// How often a fault that lasts is summed up.
const SUMMED_UP_EVERY: Duration = Duration::from_mins(1);
/// How many reasons are told apart; what goes beyond is counted only. A guess: a few for each of some addresses.
const REASONS: usize = 16;

/// What is to be logged of a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// This reason, which is told for the first time.
    Reason(String),
    /// It still fails.
    Still {
        /// For how long it has.
        time: Duration,
        /// How often it has.
        failures: u64,
        /// How often each has been the reason lately.
        reasons: Vec<(u64, String)>,
    },
}

/// One thing that works or doesn't, such as the way to an address.
#[derive(Debug, Default)]
pub struct Outage {
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    began: Instant,
    summed_up: Instant,
    failures: u64,
    /// How often each has been the reason since it was summed up.
    reasons: BTreeMap<String, u64>,
}

impl Outage {
    /// It failed, because of `reason`, which should be the same text each time. Returns what is to be logged now, if
    /// anything.
    pub fn failed(&mut self, reason: &str, now: Instant) -> Option<News> {
        let begin = || Lasting { began: now, summed_up: now, failures: 0, reasons: BTreeMap::new() };
        let lasting = self.lasting.get_or_insert_with(begin);
        lasting.failures += 1;
        if let Some(count) = lasting.reasons.get_mut(reason) {
            *count += 1;
        } else if lasting.reasons.len() < REASONS {
            lasting.reasons.insert(reason.to_owned(), 1);
            return Some(News::Reason(reason.to_owned()));
        }
        (now.duration_since(lasting.summed_up) >= SUMMED_UP_EVERY).then(|| lasting.sum_up(now))
    }

    /// It works. Returns what is to be logged if it didn't before.
    pub fn over(&mut self, now: Instant) -> Option<String> {
        let Lasting { began, failures, .. } = self.lasting.take()?;
        Some(format!("after {} and {failures} failures", seconds(now - began)))
    }

    /// Whether it doesn't work.
    pub fn lasts(&self) -> bool {
        self.lasting.is_some()
    }
}

impl Lasting {
    fn sum_up(&mut self, now: Instant) -> News {
        self.summed_up = now;
        let counted = self.reasons.iter_mut().filter(|(_, count)| **count > 0);
        let reasons = counted.map(|(reason, count)| (std::mem::take(count), reason.clone())).collect();
        News::Still { time: now - self.began, failures: self.failures, reasons }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason) => f.write_str(reason),
            Self::Still { time, failures, reasons } => {
                let lately: Vec<String> =
                    reasons.iter().map(|(count, reason)| format!("{count} times: {reason}")).collect();
                let lately = lately.join("; ");
                write!(f, "still so after {} and {failures} failures; lately {lately}", seconds(*time))
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_repeats_is_told_at_once_then_summed_up_each_minute_and_its_end_is_told() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut outage = Outage::default();
        assert_eq!(outage.over(at(0)), None);
        assert_eq!(outage.failed("refused", at(0)), Some(News::Reason("refused".to_owned())));
        assert_eq!(outage.failed("another cluster", at(1)), Some(News::Reason("another cluster".to_owned())));
        let said: Vec<String> =
            (2..120).filter_map(|second| Some(outage.failed("refused", at(second))?.to_string())).collect();
        assert_eq!(said, ["still so after 60 s and 61 failures; lately 1 times: another cluster; 60 times: refused"]);
        assert!(outage.lasts());
        assert_eq!(outage.over(at(125)), Some("after 125 s and 120 failures".to_owned()));
        assert_eq!(outage.failed("refused", at(130)), Some(News::Reason("refused".to_owned())), "another outage");
    }

    #[test]
    fn reasons_without_end_take_no_room_without_end() {
        let (now, mut outage) = (Instant::now(), Outage::default());
        let said = (0..1000).filter_map(|number| outage.failed(&format!("reason {number}"), now)).count();
        assert_eq!(said, REASONS);
    }
}
