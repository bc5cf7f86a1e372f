//! Commands and flags: name, help, default, environment variable, check. Declared once, nothing is done here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use shared::ids::ClusterName;

use crate::cli::bench::Bench;
use crate::cli::bridge::Bridge;
use crate::cli::concurrency::Concurrency;
use crate::cli::fsck::Fsck;
use crate::cli::peer::Peer;
use crate::cli::republish::Republish;
use crate::cli::serve::Serve;
use crate::cli::simulate::Simulate;
use crate::cli::watch::Watch;
use crate::telemetry::LogFormat;

pub mod bench;
pub mod bridge;
pub mod concurrency;
pub mod fsck;
pub mod limits;
pub mod peer;
pub mod republish;
pub mod serve;
pub mod simulate;
mod values;
pub mod watch;

/// The heading of the flags that all commands have.
const EVERYWHERE: &str = "Options of every command";

/// Take a file once and bring the news of it to every machine.
#[derive(Debug, Parser)]
#[command(
    name = "grapevine",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "RUST_LOG says what is logged: warn, debug, or by part, info,server::peer=trace (info without it).\n\
                  SIGINT (Ctrl+C) and SIGTERM end a command in order; serve, peer and bridge ignore SIGHUP: they outlive their terminal."
)]
pub struct Cli {
    /// A TOML file with values for the flags: a table for each command, e.g. `[serve]` with `port = 8000`, or
    /// `[bench.gossip]`; what all commands have stands before the tables. Flags beat the environment, the environment
    /// beats the file; an empty variable is none.
    #[arg(long, global = true, value_name = "FILE", env = "GRAPEVINE_CONFIG", help_heading = EVERYWHERE, display_order = 1000)]
    pub config: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "human", env = "GRAPEVINE_LOG_FORMAT",
        help_heading = EVERYWHERE, display_order = 1001)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `grapevine` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All of it in one process: REST API and dashboard, broker, bridge, local peers, concurrency lab.
    Serve(Box<Serve>),
    /// One gossip peer as its own process.
    Peer(Peer),
    /// The bridge from RabbitMQ to the peers as its own process.
    Bridge(Bridge),
    /// The concurrency lab in the terminal: producers, consumers, a semaphore, a lock and a race.
    Concurrency(Concurrency),
    /// What happens on a server, live, as the dashboard gets it.
    Watch(Watch),
    /// Check a server's data directory: what is in it, and what is wrong with it. Ends with 0 if nothing is, with 1 if
    /// something is.
    Fsck(Fsck),
    /// Have a server publish the newest version of each file again, after its broker has lost something. Harmless.
    Republish(Republish),
    /// A whole overlay in virtual time: how updates spread, and what losses, partitions and deaths do to it.
    Simulate(Simulate),
    /// What the overlay does on this machine, measured.
    #[command(subcommand)]
    Bench(Bench),
}

/// Whom to trust where a URL asks for encryption.
#[derive(Debug, Clone, Args)]
pub struct Authorities {
    /// Believe the certificates of the authorities in this file (PEM), instead of those that the system believes, where a
    /// URL asks for encryption: amqps, https or wss.
    #[arg(long, value_name = "FILE", env = "GRAPEVINE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

impl Command {
    /// What is wrong with flags together that are right alone: a sentence for people.
    pub fn contradiction(&self) -> Option<String> {
        match self {
            Self::Serve(serve) => serve.contradiction(),
            Self::Bridge(bridge) => bridge.contradiction(),
            Self::Peer(peer) => peer.contradiction(),
            Self::Concurrency(_)
            | Self::Watch(_)
            | Self::Simulate(_)
            | Self::Bench(_)
            | Self::Fsck(_)
            | Self::Republish(_) => None,
        }
    }
}

/// Flags that all networking commands have.
#[derive(Debug, Clone, Args)]
pub struct Overlay {
    /// The overlay's name: peers of another one are refused.
    #[arg(long, default_value_t, value_name = "NAME", env = "GRAPEVINE_CLUSTER")]
    pub cluster: ClusterName,
    /// Listen on an address that other machines can reach. There is no authentication yet: whoever reaches it can read,
    /// write and delete. Without this flag only loopback addresses are accepted.
    #[arg(long, env = "GRAPEVINE_ALLOW_UNAUTHENTICATED")]
    pub allow_unauthenticated: bool,
    /// Refuse peers and bridges of the original system, which speak JSON lines on the peers' ports. They know neither
    /// clusters nor authentication.
    #[arg(long, env = "GRAPEVINE_NO_JSON_LINES")]
    pub no_json_lines: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
