//! Commands and flags: name, help, default, environment variable, check. Declared once, nothing is done here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use shared::ids::{FileId, Version};
use shared::sim::scenario::Name;

use crate::cli::bench::Bench;
use crate::telemetry::LogFormat;

pub mod bench;

/// Take a file once and bring the news of it to every machine.
#[derive(Debug, Parser)]
#[command(name = "grapevine", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// A TOML file with values for the flags: a table for each command, e.g. `[serve]` with `port = 8000`.
    /// Flags beat the environment, the environment beats the file.
    #[arg(long, global = true, value_name = "FILE", env = "GRAPEVINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "human", env = "GRAPEVINE_LOG_FORMAT")]
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
    Concurrency,
    /// What happens on a server, live, as the dashboard gets it.
    Watch(Watch),
    /// A whole overlay in virtual time: how updates spread, and what losses, partitions and deaths do to it.
    Simulate(Simulate),
    /// What the overlay does on this machine, measured.
    #[command(subcommand)]
    Bench(Bench),
}

/// Flags that all networking commands have.
#[derive(Debug, Clone, Args)]
pub struct Overlay {
    /// The overlay's name: peers of another one are refused.
    #[arg(long, default_value = "grapevine", env = "GRAPEVINE_CLUSTER")]
    pub cluster: String,
    /// Listen on an address that other machines can reach. There is no authentication yet: whoever reaches it can read,
    /// write and delete. Without this flag only loopback addresses are accepted.
    #[arg(long, env = "GRAPEVINE_ALLOW_UNAUTHENTICATED")]
    pub allow_unauthenticated: bool,
    /// Refuse peers and bridges of the original system, which speak JSON lines on the peers' ports. They know neither
    /// clusters nor authentication.
    #[arg(long, env = "GRAPEVINE_NO_JSON_LINES")]
    pub no_json_lines: bool,
}

/// `grapevine serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The address to listen on, for the API and the local peers.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "GRAPEVINE_HOST")]
    pub host: IpAddr,
    /// The API's and the dashboard's port; 0 for any free one.
    #[arg(long, default_value_t = 8000, env = "GRAPEVINE_PORT")]
    pub port: u16,
    /// How many local peers to start.
    #[arg(long, default_value_t = 5, env = "GRAPEVINE_PEERS")]
    pub peers: u32,
    /// The first local peer's port, the others follow; 0 for any free ones.
    #[arg(long, default_value_t = 9001, env = "GRAPEVINE_PEER_PORT")]
    pub peer_port: u16,
    /// The most local peers, stopped ones included.
    #[arg(long, default_value_t = 32, value_name = "COUNT", env = "GRAPEVINE_MAX_PEERS")]
    pub max_peers: u32,
    /// A peer elsewhere that the local ones join through (HOST:PORT, repeatable).
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = resolve, env = "GRAPEVINE_PEER", value_delimiter = ',')]
    pub contacts: Vec<SocketAddr>,
    /// Where files, catalogue and the peers' state are kept.
    #[arg(long, default_value = "grapevine-data", value_name = "DIR", env = "GRAPEVINE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// The largest file that is accepted, in bytes.
    #[arg(long, default_value_t = 16 << 30, value_name = "BYTES", env = "GRAPEVINE_MAX_UPLOAD_BYTES")]
    pub max_upload_bytes: u64,
    /// A RabbitMQ to use instead of the embedded broker, e.g. <amqp://guest:guest@127.0.0.1:5672/%2f>.
    #[arg(long, value_name = "URL", env = "GRAPEVINE_AMQP_URL", hide_env_values = true)]
    pub amqp_url: Option<String>,
    /// The bridge's queue in RabbitMQ.
    #[arg(long, default_value = "grapevine.bridge", value_name = "NAME", env = "GRAPEVINE_QUEUE")]
    pub queue: String,
    /// Run no bridge here; needs --amqp-url and `grapevine bridge` elsewhere.
    #[arg(long, requires = "amqp_url", env = "GRAPEVINE_NO_BRIDGE")]
    pub no_bridge: bool,
    /// A name under which browsers reach this server, besides localhost and its own address (repeatable).
    #[arg(long, value_name = "HOST", env = "GRAPEVINE_ALLOWED_HOST", value_delimiter = ',')]
    pub allowed_host: Vec<String>,
    /// Overlay.
    #[command(flatten)]
    pub overlay: Overlay,
}

/// `grapevine peer`.
#[derive(Debug, Args)]
pub struct Peer {
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "GRAPEVINE_HOST")]
    pub host: IpAddr,
    /// The port to listen on; 0 for any free one.
    #[arg(long, env = "GRAPEVINE_PORT")]
    pub port: u16,
    /// The address that others shall dial, where it isn't the one listened on (HOST:PORT).
    #[arg(long, value_name = "HOST:PORT", value_parser = resolve, env = "GRAPEVINE_ADVERTISE")]
    pub advertise: Option<SocketAddr>,
    /// A peer to join through (HOST:PORT, repeatable). One that lives is enough.
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = resolve, env = "GRAPEVINE_PEER", value_delimiter = ',')]
    pub contacts: Vec<SocketAddr>,
    /// A version to announce (ID:VERSION, repeatable).
    #[arg(long, value_name = "ID:VERSION", value_parser = injection, env = "GRAPEVINE_INJECT", value_delimiter = ',')]
    pub inject: Vec<(FileId, Version)>,
    /// Where id and catalogue are kept; without, they are lost when the process ends.
    #[arg(long, value_name = "DIR", env = "GRAPEVINE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Overlay.
    #[command(flatten)]
    pub overlay: Overlay,
}

/// `grapevine bridge`.
#[derive(Debug, Args)]
pub struct Bridge {
    /// A peer to hand changes to (HOST:PORT, repeatable). The next one is used when one fails.
    #[arg(long = "peer", value_name = "HOST:PORT", value_parser = resolve, required = true, env = "GRAPEVINE_PEER", value_delimiter = ',')]
    pub entries: Vec<SocketAddr>,
    /// The RabbitMQ to consume from.
    #[arg(
        long,
        value_name = "URL",
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f",
        env = "GRAPEVINE_AMQP_URL",
        hide_env_values = true
    )]
    pub amqp_url: String,
    /// The queue to consume.
    #[arg(long, default_value = "grapevine.bridge", value_name = "NAME", env = "GRAPEVINE_QUEUE")]
    pub queue: String,
    /// The overlay's name.
    #[arg(long, default_value = "grapevine", env = "GRAPEVINE_CLUSTER")]
    pub cluster: String,
}

/// `grapevine watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The server's address.
    #[arg(default_value = "http://127.0.0.1:8000", env = "GRAPEVINE_URL")]
    pub url: String,
    /// Print each entry as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `grapevine simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// What happens: one-sender, random-senders, kill-30, kill-50, kill-80, kill-95, partition, churn, loss, or chaos
    /// (a bit of everything, with 2 to 14 peers, whatever --peers says).
    #[arg(long, default_value = "one-sender", value_name = "NAME")]
    pub scenario: Name,
    /// How many peers there are.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = count(2..=1_000_000))]
    pub peers: usize,
    /// What all chance follows from: the same seed gives the same run, on every machine.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// How many runs, each with the next seed.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub runs: u64,
    /// Print each run as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A count within limits.
fn count(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new().range(range).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addrs = text.to_socket_addrs().map_err(|error| format!("not a reachable HOST:PORT: {error}"))?;
    // A name may have addresses of both families; peers listen on IPv4 by default.
    let first = addrs.next().ok_or("the name has no address")?;
    Ok(if first.is_ipv4() { first } else { addrs.find(SocketAddr::is_ipv4).unwrap_or(first) })
}

fn injection(text: &str) -> Result<(FileId, Version), String> {
    let (file, version) = text.rsplit_once(':').ok_or("expected ID:VERSION")?;
    let file = file.parse().map_err(|error| format!("{error}"))?;
    Ok((file, version.parse().map_err(|error| format!("{error}"))?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_injected_id_may_have_colons() {
        assert_eq!(injection("a:b:1"), Ok(("a:b".parse().unwrap(), Version(1))));
        assert!(injection("track_a").is_err());
        assert!(injection("track_a:0").is_err());
    }
}
