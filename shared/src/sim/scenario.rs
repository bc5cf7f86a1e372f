//! Faults and workload as data, and how a seed becomes one.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::gossip::config::Config;
use crate::rng::Rng;
use crate::sim::network::Network;

/// Overlays beyond this size are simulated without a census: every peer's record at every peer is n² records.
const CENSUS_MAX: usize = 512;
/// The longest pause between one peer's join and the next's.
const JOIN_EVERY: Duration = Duration::from_millis(20);
/// The longest time that all the joins take: in a large overlay they come quicker.
const JOINS: Duration = Duration::from_secs(20);
/// Rounds before those that count: the first floods, and its duplicates prune the tree.
const WARM_UP: u32 = 10;
/// Rounds that count.
const ROUNDS: u32 = 30;

/// What a run consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The seed that everything else in the run follows from.
    pub seed: u64,
    /// Peers that may exist.
    pub hosts: usize,
    /// How they behave.
    pub config: Config,
    /// What is between them.
    pub network: Network,
    /// How long a commit to disk takes at most.
    pub commit: Duration,
    /// What is done to the peers, by time.
    pub actions: Vec<(Duration, Action)>,
    /// From when on updates count in the report.
    pub measured_from: Duration,
    /// When the last fault that a report counts from happens; the beginning where there is none.
    pub fault_at: Duration,
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
    /// Its packets to those on other sides vanish, and theirs to it.
    Partition(usize, u8),
    /// It is stopped, as by SIGSTOP, or goes on.
    Pause(usize, bool),
    /// A file gets its next version there.
    Publish(usize, u32),
}

/// The scenarios that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// One peer publishes.
    OneSender,
    /// Each update is another peer's.
    RandomSenders,
    /// So many of 100 die at once, and others go on publishing.
    Kill(u32),
    /// Two halves lose each other for a minute, and both go on publishing.
    Partition,
    /// Peers join, leave and die all the time.
    Churn,
    /// One message of twenty never arrives.
    Loss,
    /// A bit of everything.
    Chaos,
}

/// There is no such scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such scenario; there are {names}", names = Name::ALL.map(|name| name.to_string()).join(", "))]
pub struct UnknownScenario;

impl Name {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OneSender,
        Self::RandomSenders,
        Self::Kill(30),
        Self::Kill(50),
        Self::Kill(80),
        Self::Kill(95),
        Self::Partition,
        Self::Churn,
        Self::Loss,
        Self::Chaos,
    ];
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneSender => f.write_str("one-sender"),
            Self::RandomSenders => f.write_str("random-senders"),
            Self::Kill(percent) => write!(f, "kill-{percent}"),
            Self::Partition => f.write_str("partition"),
            Self::Churn => f.write_str("churn"),
            Self::Loss => f.write_str("loss"),
            Self::Chaos => f.write_str("chaos"),
        }
    }
}

impl FromStr for Name {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, UnknownScenario> {
        Self::ALL.into_iter().find(|name| name.to_string() == text).ok_or(UnknownScenario)
    }
}

/// A scenario that is being put together, action by action.
struct Script {
    rng: Rng,
    hosts: usize,
    now: Duration,
    files: u32,
    actions: Vec<(Duration, Action)>,
}

impl Script {
    /// All hosts join through the first.
    fn new(hosts: usize, seed: u64) -> Self {
        let mut actions = vec![(Duration::ZERO, Action::Start(0, 0))];
        let mut now = Duration::from_millis(100);
        let pause = JOIN_EVERY.min(JOINS / u32::try_from(hosts.max(1)).unwrap_or(u32::MAX));
        for host in 1..hosts {
            actions.push((now, Action::Start(host, 0)));
            now += pause;
        }
        Self { rng: Rng::from_seed(seed ^ 0x5c12), hosts, now: now + Duration::from_secs(10), files: 0, actions }
    }

    fn act(&mut self, action: Action) {
        self.actions.push((self.now, action));
    }

    /// New files, each by a host that `by` chooses.
    fn publish(&mut self, rounds: u32, every: Duration, mut by: impl FnMut(&mut Rng) -> usize) {
        for _ in 0..rounds {
            let host = by(&mut self.rng);
            let file = self.files;
            self.act(Action::Publish(host, file));
            self.files += 1;
            self.now += every;
        }
    }

    fn any_host(&mut self) -> usize {
        self.rng.pick(0..self.hosts).unwrap_or(0)
    }
}

impl Scenario {
    /// The named scenario with so many peers.
    pub fn named(name: Name, hosts: usize, seed: u64) -> Self {
        let mut script = Script::new(hosts, seed);
        let second = Duration::from_secs(1);
        let sender = script.any_host();
        let any = move |rng: &mut Rng| rng.pick(0..hosts).unwrap_or(0);
        script.publish(WARM_UP, second, |rng| if name == Name::OneSender { sender } else { any(rng) });
        let measured_from = script.now;
        let mut fault_at = Duration::ZERO;
        let mut network = Network::good();
        match name {
            Name::OneSender => script.publish(ROUNDS, second, |_| sender),
            Name::RandomSenders => script.publish(ROUNDS, second, any),
            Name::Kill(percent) => {
                fault_at = script.now;
                let dead = kill(&mut script, percent);
                let alive: Vec<usize> = (0..hosts).filter(|host| !dead.contains(host)).collect();
                script.publish(ROUNDS, second / 2, |rng| rng.pick(&alive).copied().unwrap_or(0));
            }
            Name::Partition => fault_at = partition(&mut script),
            Name::Churn => churn(&mut script),
            Name::Loss => {
                network.lost = 50;
                script.publish(ROUNDS, second, any);
            }
            Name::Chaos => return Self::chaos(seed),
        }
        let mut config = Config::default();
        if hosts > CENSUS_MAX {
            config.census.peers = 0;
        }
        let faults_end = script.now;
        let commit = Duration::from_millis(5);
        Self { seed, hosts, config, network, commit, actions: script.actions, measured_from, fault_at, faults_end }
    }

    /// A random run: between 2 and 14 hosts that join one after the other, and then leave, die, come back, stop, are cut
    /// off and publish for 30 seconds.
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
        let network = Network {
            latency: (Duration::from_millis(1), Duration::from_millis(1 + rng.below(50))),
            jitter: Duration::from_millis(rng.below(20)),
            lost: rng.below(50),
            duplicated: rng.below(100),
            delayed: rng.below(200),
            bandwidth: 0,
        };
        let commit = Duration::from_millis(rng.below(20));
        let config = Config::default();
        let (measured_from, fault_at) = (Duration::ZERO, Duration::ZERO);
        Self { seed, hosts, config, network, commit, actions, measured_from, fault_at, faults_end }
    }

    fn any_action(hosts: usize, rng: &mut Rng) -> Action {
        let host = rng.pick(0..hosts).unwrap_or(0);
        match rng.below(12) {
            0 => Action::Leave(host),
            1 | 2 => Action::Kill(host),
            3 | 4 => Action::Start(host, rng.pick(0..hosts).unwrap_or(0)),
            5 => Action::Partition(host, u8::try_from(rng.below(3)).unwrap_or(0)),
            6 => Action::Pause(host, true),
            7 => Action::Pause(host, false),
            _ => Action::Publish(host, u32::try_from(rng.below(5)).unwrap_or(0)),
        }
    }
}

fn kill(script: &mut Script, percent: u32) -> BTreeSet<usize> {
    let count = script.hosts * usize::try_from(percent).unwrap_or(0) / 100;
    let dead = BTreeSet::from_iter(script.rng.sample((0..script.hosts).collect(), count));
    for host in &dead {
        script.act(Action::Kill(*host));
    }
    dead
}

fn partition(script: &mut Script) -> Duration {
    let half = script.hosts / 2;
    for host in half..script.hosts {
        script.act(Action::Partition(host, 1));
    }
    let hosts = script.hosts;
    let mut turn = false;
    script.publish(120, Duration::from_millis(500), |rng| {
        turn = !turn;
        let side = if turn { 0..half } else { half..hosts };
        rng.pick(side).unwrap_or(0)
    });
    for host in half..script.hosts {
        script.act(Action::Partition(host, 0));
    }
    script.now
}

/// Every 200 ms somebody dies, leaves or comes back, for a minute; each second somebody publishes.
fn churn(script: &mut Script) {
    for step in 0..300 {
        let (host, contact) = (script.any_host(), script.any_host());
        let action = match script.rng.below(4) {
            0 => Action::Leave(host),
            1 => Action::Kill(host),
            _ => Action::Start(host, contact),
        };
        script.act(action);
        if step % 5 == 0 {
            let (host, file) = (script.any_host(), script.files);
            script.act(Action::Publish(host, file));
            script.files += 1;
        }
        script.now += Duration::from_millis(200);
    }
}
