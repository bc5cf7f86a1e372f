//! Faults and workload as data, and how a seed becomes one.

use std::time::Duration;

use crate::rng::Rng;

/// What a run consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The seed that everything else in the run follows from.
    pub seed: u64,
    /// Peers that may exist; each joins through one that joined before it.
    pub hosts: usize,
    /// The shortest and longest time that a message takes.
    pub latency: (Duration, Duration),
    /// Messages of 1,000 that arrive twice.
    pub duplicated: u64,
    /// Messages of 1,000 that take ten times as long, so that later ones overtake them.
    pub delayed: u64,
    /// How long a commit to disk takes at most.
    pub commit: Duration,
    /// What is done to the peers, by time.
    pub actions: Vec<(Duration, Action)>,
    /// When the last action is over and links are good again.
    pub faults_end: Duration,
}

/// Something done to the peers. Numbers name hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It starts, with what its disk has, knowing the address of another.
    Start(usize, usize),
    /// It says goodbye and stops.
    Leave(usize),
    /// It stops at once; what wasn't committed is lost.
    Kill(usize),
    /// Its links to the others break, and new ones can't be made until the faults end.
    Isolate(usize),
    /// A file gets its next version there.
    Publish(usize, u8),
}

impl Scenario {
    /// A random run: between 2 and 14 hosts that join one after the other, and then leave, die, come back, are cut off
    /// and publish for 30 seconds.
    pub fn chaos(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let hosts = 2 + usize::try_from(rng.below(13)).unwrap_or(0);
        let faults_end = Duration::from_secs(30);
        let mut actions = vec![(Duration::ZERO, Action::Start(0, 0))];
        for host in 1..hosts {
            let contact = rng.pick(0..host).unwrap_or(0);
            actions.push((rng.duration(Duration::ZERO, Duration::from_secs(5)), Action::Start(host, contact)));
        }
        for _ in 0..rng.below(120) {
            let at = rng.duration(Duration::from_secs(1), faults_end);
            actions.push((at, Self::any_action(hosts, &mut rng)));
        }
        actions.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            hosts,
            latency: (Duration::from_millis(1), Duration::from_millis(1 + rng.below(50))),
            duplicated: rng.below(100),
            delayed: rng.below(200),
            commit: Duration::from_millis(rng.below(20)),
            actions,
            faults_end,
        }
    }

    fn any_action(hosts: usize, rng: &mut Rng) -> Action {
        let host = rng.pick(0..hosts).unwrap_or(0);
        match rng.below(10) {
            0 => Action::Leave(host),
            1 | 2 => Action::Kill(host),
            3 | 4 => Action::Start(host, rng.pick(0..hosts).unwrap_or(0)),
            5 => Action::Isolate(host),
            _ => Action::Publish(host, u8::try_from(rng.below(5)).unwrap_or(0)),
        }
    }
}
