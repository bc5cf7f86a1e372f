//! The flags of `grapevine bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::values::{count, seconds};

/// `grapevine bench`.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Updates over real TCP on the loopback, one process a peer: latency, throughput, cost, and what the stop or the
    /// death of processes, a partition, newcomers or a busy machine do to it; the first three beside a bare TCP tree.
    /// Takes minutes.
    Gossip(Box<BenchGossip>),
    /// A process of `bench gossip`.
    #[command(hide = true)]
    Child(BenchChild),
}

/// `grapevine bench gossip`.
#[derive(Debug, Clone, Args)]
pub struct BenchGossip {
    /// How many peers there are.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = count(2..=4096), env = "GRAPEVINE_BENCH_NODES")]
    pub nodes: usize,
    /// In how many processes; one for each peer unless given.
    #[arg(long, value_name = "N", value_parser = count(1..=4096), env = "GRAPEVINE_BENCH_PROCS")]
    pub procs: Option<usize>,
    /// What to measure, in this order.
    #[arg(
        long, value_enum, value_name = "LIST", value_delimiter = ',',
        default_values_t = [Phase::Idle, Phase::Alone, Phase::Streams, Phase::Stop, Phase::Kill],
        env = "GRAPEVINE_BENCH_PHASES"
    )]
    pub phases: Vec<Phase>,
    /// Bytes of an update.
    #[arg(long, default_value_t = 100, value_name = "BYTES", value_parser = count(64..=1000), env = "GRAPEVINE_BENCH_PAYLOAD")]
    pub payload: usize,
    /// Files that each peer knows from the start.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = count(0..=10_000_000), env = "GRAPEVINE_BENCH_FILES")]
    pub files: usize,
    /// How long the peers are left alone first: after 40 s newcomers have stopped shuffling.
    #[arg(long, default_value = "40", value_name = "SECONDS", value_parser = seconds, env = "GRAPEVINE_BENCH_REST")]
    pub rest: Duration,
    /// idle: how long. 20 s hold some of the longest pauses between two heartbeats.
    #[arg(long, default_value = "20", value_name = "SECONDS", value_parser = seconds, env = "GRAPEVINE_BENCH_IDLE")]
    pub idle: Duration,
    /// alone: updates by one sender, and as many by random ones.
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = count(1..=100_000), env = "GRAPEVINE_BENCH_ROUNDS")]
    pub rounds: usize,
    /// streams: updates in a burst.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = count(1..=1_000_000), env = "GRAPEVINE_BENCH_BURST")]
    pub burst: usize,
    /// streams, versions: updates that haven't reached everybody yet, at most.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = count(1..=100_000), env = "GRAPEVINE_BENCH_WINDOW")]
    pub window: usize,
    /// stop: how long one process is stopped.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds, env = "GRAPEVINE_BENCH_STOP")]
    pub stop: Duration,
    /// stop: updates a second meanwhile.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = count(1..=100_000), env = "GRAPEVINE_BENCH_STOP_RATE")]
    pub stop_rate: usize,
    /// kill: how many of 100 processes die at once.
    #[arg(long, default_value_t = 30, value_name = "PERCENT", value_parser = count(1..=99), env = "GRAPEVINE_BENCH_KILL")]
    pub kill: usize,
    /// kill: how often, each time with the next seed; the dead come back in between.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = count(1..=1000), env = "GRAPEVINE_BENCH_RUNS")]
    pub runs: usize,
    /// split: for how long the halves don't reach each other.
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds, env = "GRAPEVINE_BENCH_SPLIT")]
    pub split: Duration,
    /// versions: updates, in turn of 10,000 files.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = count(1..=100_000_000), env = "GRAPEVINE_BENCH_VERSIONS")]
    pub versions: usize,
    /// busy: for how long all cores have something else to do.
    #[arg(long, default_value = "600", value_name = "SECONDS", value_parser = seconds, env = "GRAPEVINE_BENCH_BUSY")]
    pub busy: Duration,
    /// What all chance follows from.
    #[arg(long, default_value_t = 1, value_name = "S", env = "GRAPEVINE_BENCH_SEED")]
    pub seed: u64,
    /// Print one JSON object.
    #[arg(long, env = "GRAPEVINE_BENCH_JSON")]
    pub json: bool,
}

impl BenchGossip {
    /// In how many processes the peers run.
    pub fn processes(&self) -> usize {
        self.procs.unwrap_or(self.nodes).min(self.nodes)
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Nobody publishes: traffic and CPU time. Beside the baseline
    Idle,
    /// Updates that go alone: time until the last peer has them. Beside the baseline
    Alone,
    /// 1,000 updates a second, some on their way at a time, and as fast as it goes. Beside the baseline
    Streams,
    /// One process is stopped and goes on
    Stop,
    /// Many processes are killed, and come back
    Kill,
    /// Two halves lose each other and meet again. Needs root, `nft` and a network namespace of its own
    Split,
    /// A peer without any files joins those that have --files
    Newcomer,
    /// A peer joins that has all files but one
    Difference,
    /// Many versions of few files: memory
    Versions,
    /// All cores are busy: is anybody suspected? And how soon is one who is stopped?
    Busy,
}

impl Phase {
    /// Whether it is measured with the baseline, too.
    pub fn has_baseline(self) -> bool {
        matches!(self, Self::Idle | Self::Alone | Self::Streams)
    }

    /// Whether something happens to some of the processes that others must get over.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Stop | Self::Kill | Self::Split | Self::Busy)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// A bare tree of TCP connections: the baseline.
    Tree,
    /// Grapevine's peers.
    Grapevine,
}

/// `grapevine bench child`.
#[derive(Debug, Args)]
pub struct BenchChild {
    /// What it runs.
    #[arg(long)]
    pub system: System,
    /// How many nodes there are in all.
    #[arg(long)]
    pub nodes: usize,
    /// Its first node.
    #[arg(long)]
    pub from: usize,
    /// The one after its last.
    #[arg(long)]
    pub to: usize,
    /// The ports to listen on, in the order of its nodes; any, where these are taken or not given.
    #[arg(long, value_delimiter = ',')]
    pub ports: Vec<u16>,
    /// Files that its nodes know from the start.
    #[arg(long)]
    pub files: usize,
    /// How many updates there may be.
    #[arg(long)]
    pub updates: usize,
    /// Bytes of an update.
    #[arg(long)]
    pub payload: usize,
    /// Where all processes count: the parent's counters.
    #[arg(long)]
    pub progress: PathBuf,
}

impl BenchChild {
    /// Whether it runs more than one node.
    pub fn has_several(&self) -> bool {
        self.to.saturating_sub(self.from) > 1
    }
}
