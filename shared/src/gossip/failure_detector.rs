//! Whether the other end of a link is alive: heartbeats with a deadline that follows the link's measured round trip
//! (RFC 6298, section 2) and this node's own slowness ([`super::liveness::local_health`]); how long a suspicion lasts.

use std::time::Duration;

use crate::gossip::config::Liveness;
use crate::gossip::estimate::Estimate;
use crate::time::Instant;

/// What is known of the other end of one link.
#[derive(Debug, Clone)]
pub struct FailureDetector {
    heard: Instant,
    /// When something was first said that has had no answer of any kind yet.
    unanswered: Option<Instant>,
    asked: Option<Instant>,
    nonce: u32,
    suspected: bool,
    round_trip: Estimate,
}

/// How long a suspicion lasts before the link is closed, where an answer may take so long as `wait`.
pub fn suspicion(wait: Duration, config: &Liveness) -> Duration {
    wait * config.suspicion_multiplier
}

/// What is to be done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing until then.
    Fine(Instant),
    /// Ask, with this nonce.
    Ask(u32),
    /// It doesn't answer: ask again, and tell others.
    Suspect(u32),
    /// It is gone.
    Dead,
}

impl FailureDetector {
    /// A link that opens now.
    pub fn new(now: Instant) -> Self {
        Self { heard: now, unanswered: None, asked: None, nonce: 0, suspected: false, round_trip: Estimate::default() }
    }

    /// Something was heard.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.unanswered = None;
        self.suspected = false;
    }

    /// When something was heard last.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// Something was said that isn't a sign of life only.
    pub fn said(&mut self, now: Instant) {
        self.unanswered.get_or_insert(now);
    }

    /// The answer to a question.
    pub fn answered(&mut self, nonce: u32, now: Instant) {
        let Some(asked) = self.asked.filter(|_| nonce == self.nonce) else { return };
        self.asked = None;
        self.round_trip.sample(now - asked);
    }

    /// The smoothed round trip; `None` before the first answer.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.usual()
    }

    /// How long an answer on this link takes at most, if all is well.
    pub fn usual_wait(&self) -> Option<Duration> {
        self.round_trip.longest()
    }

    /// Ask at once, unless that is under way.
    pub fn probe_now(&mut self, now: Instant) {
        // As if something had been said long ago; what is under way already is only kept from being forgotten.
        self.unanswered = Some(if self.asked.is_none() { Instant::START } else { now });
    }

    /// Nothing could be heard for `pause`, since this node itself was held up.
    pub fn discount(&mut self, pause: Duration) {
        self.heard = self.heard + pause;
        self.unanswered = self.unanswered.map(|at| at + pause);
        self.asked = self.asked.map(|at| at + pause);
    }

    /// What is to be done now. `every`: how often the link is asked when nothing else happens.
    pub fn check(&mut self, now: Instant, every: Duration, config: &Liveness, slowness: Duration) -> Verdict {
        if let Some(asked) = self.asked {
            if self.heard <= asked {
                return self.wait(now, asked, config, slowness);
            }
            // Something else was heard since: it lives, even if the answer is still on its way.
            self.asked = None;
        }
        let busy = self.unanswered.map(|since| since + config.busy_ping);
        let due = busy.unwrap_or(self.heard + every).min(self.heard + every);
        if now < due { Verdict::Fine(due) } else { Verdict::Ask(self.ask(now)) }
    }

    fn wait(&mut self, now: Instant, asked: Instant, config: &Liveness, slowness: Duration) -> Verdict {
        let wait = config.probe_timeout.max(self.usual_wait().unwrap_or_default()) + slowness * 2;
        let suspect_at = asked + wait;
        let dead_at = suspect_at + suspicion(wait, config);
        if now >= dead_at {
            return Verdict::Dead;
        }
        if now >= suspect_at && !self.suspected {
            self.suspected = true;
            self.nonce = self.nonce.wrapping_add(1);
            return Verdict::Suspect(self.nonce);
        }
        Verdict::Fine(if self.suspected { dead_at } else { suspect_at })
    }

    fn ask(&mut self, now: Instant) -> u32 {
        self.asked = Some(now);
        self.nonce = self.nonce.wrapping_add(1);
        self.nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::liveness::local_health::LocalHealth;

    const CONFIG: fn() -> Liveness = Liveness::default;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn liveness_a_silent_link_is_suspected_within_three_seconds_and_then_dead() {
        let (mut detector, every) = (FailureDetector::new(at(0)), CONFIG().partner_ping);
        let mut seen = Vec::new();
        for ms in 0..10_000 {
            let verdict = detector.check(at(ms), every, &CONFIG(), Duration::ZERO);
            if !matches!(verdict, Verdict::Fine(_)) {
                seen.push((ms, verdict));
            }
            if seen.last().is_some_and(|(_, verdict)| *verdict == Verdict::Dead) {
                break;
            }
        }
        assert_eq!(seen, [(2200, Verdict::Ask(1)), (2950, Verdict::Suspect(2)), (4450, Verdict::Dead)]);
    }

    #[test]
    fn liveness_a_starved_node_accuses_nobody() {
        let (mut detector, every) = (FailureDetector::new(at(0)), CONFIG().partner_ping);
        assert_eq!(detector.check(at(2200), every, &CONFIG(), Duration::ZERO), Verdict::Ask(1));
        let mut health = LocalHealth::default();
        health.woken(at(2950), at(7950));
        detector.discount(Duration::from_secs(5));
        assert!(matches!(detector.check(at(7950), every, &CONFIG(), health.slowness(at(7950))), Verdict::Fine(_)));
        detector.heard(at(7951));
        assert!(matches!(detector.check(at(7951), every, &CONFIG(), health.slowness(at(7951))), Verdict::Fine(_)));
    }

    #[test]
    fn the_deadline_follows_the_round_trip() {
        let mut detector = FailureDetector::new(at(0));
        let mut now = 0;
        for _ in 0..20 {
            now += 1500;
            let verdict = detector.check(at(now), Duration::from_secs(1), &CONFIG(), Duration::ZERO);
            let Verdict::Ask(nonce) = verdict else { panic!("{verdict:?}") };
            detector.heard(at(now + 300));
            detector.answered(nonce, at(now + 300));
        }
        assert_eq!(detector.round_trip().unwrap().as_millis(), 300);
        assert!(detector.usual_wait().unwrap() < Duration::from_millis(310));
    }
}
