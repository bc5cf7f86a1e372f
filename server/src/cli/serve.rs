//! The flags of `grapevine serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, value_parser};

use crate::cli::limits::Limits;
use crate::cli::values::{amqp_url, queue};
use crate::cli::{Authorities, Overlay};
use crate::dial::HostPort;
use crate::front::{AllowedHost, BasePath};

/// The most local peers that may be allowed. A thousand in one process have been measured.
const PEERS: u32 = 4096;

/// The largest reserve of the disk, in bytes: a pebibyte.
const RESERVE_MAX: u64 = 1 << 50;

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
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = value_parser!(u32).range(..=i64::from(PEERS)), env = "GRAPEVINE_PEERS")]
    pub peers: u32,
    /// The first local peer's port, the others follow; 0 for any free ones.
    #[arg(long, default_value_t = 9001, env = "GRAPEVINE_PEER_PORT")]
    pub peer_port: u16,
    /// The most local peers that run at once.
    #[arg(long, default_value_t = 32, value_name = "COUNT", value_parser = value_parser!(u32).range(..=i64::from(PEERS)), env = "GRAPEVINE_MAX_PEERS")]
    pub max_peers: u32,
    /// A peer elsewhere that the local ones join through (HOST:PORT, repeatable).
    #[arg(long = "peer", value_name = "HOST:PORT", env = "GRAPEVINE_PEER", value_delimiter = ',')]
    pub contacts: Vec<HostPort>,
    /// Where files, catalogue and the peers' state are kept.
    #[arg(long, default_value = "grapevine-data", value_name = "DIR", env = "GRAPEVINE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// The largest file that is accepted, in bytes.
    #[arg(long, default_value_t = 16 << 30, value_name = "BYTES", value_parser = value_parser!(u64).range(1..=i64::MAX.unsigned_abs()), env = "GRAPEVINE_MAX_UPLOAD_BYTES")]
    pub max_upload_bytes: u64,
    /// How much room on the disk is kept from uploads, in bytes: for deletions, journals and shutting down. It is a file in
    /// the data directory; 0 keeps none.
    #[arg(long, default_value_t = 32 << 20, value_name = "BYTES", value_parser = value_parser!(u64).range(..=RESERVE_MAX), env = "GRAPEVINE_DISK_RESERVE_BYTES")]
    pub disk_reserve_bytes: u64,
    /// Begin a new catalogue where there is none, even beside contents or peers' state that an old one knew. These
    /// contents are kept in `contents/lost`, but no file has them any more.
    #[arg(long, env = "GRAPEVINE_NEW_CATALOGUE")]
    pub new_catalogue: bool,
    /// Give the local peers new ids and keep everything else: for a data directory that was copied from another server's,
    /// once.
    #[arg(long, env = "GRAPEVINE_NEW_IDENTITY")]
    pub new_identity: bool,
    /// A RabbitMQ to use instead of the embedded broker, e.g. <amqp://guest:guest@127.0.0.1:5672/%2f>; encrypted with
    /// amqps.
    #[arg(long, value_name = "URL", value_parser = amqp_url, env = "GRAPEVINE_AMQP_URL", hide_env_values = true)]
    pub amqp_url: Option<String>,
    /// The bridge's queue in RabbitMQ.
    #[arg(long, default_value = "grapevine.bridge", value_name = "NAME", value_parser = queue, env = "GRAPEVINE_QUEUE")]
    pub queue: String,
    /// Run no bridge here; needs --amqp-url and `grapevine bridge` elsewhere.
    #[arg(long, env = "GRAPEVINE_NO_BRIDGE")]
    pub no_bridge: bool,
    /// A name under which browsers reach this server, besides localhost and its own address, on every port unless it
    /// names one (HOST or HOST:PORT, repeatable). Behind a proxy it is the proxy's name.
    #[arg(long, value_name = "HOST", env = "GRAPEVINE_ALLOWED_HOST", value_delimiter = ',')]
    pub allowed_host: Vec<AllowedHost>,
    /// The path under which a proxy serves this server, e.g. /grapevine. Calls are taken with and without it.
    #[arg(long, value_name = "PATH", default_value_t, env = "GRAPEVINE_BASE_PATH")]
    pub base_path: BasePath,
    /// Encryption.
    #[command(flatten)]
    pub authorities: Authorities,
    /// Overlay.
    #[command(flatten)]
    pub overlay: Overlay,
    /// Limits.
    #[command(flatten)]
    pub limits: Limits,
}

impl Serve {
    /// No flag `requires` another by clap's means: those don't see what stands in the file.
    pub(super) fn contradiction(&self) -> Option<String> {
        let &Self { peers, max_peers, port, peer_port, .. } = self;
        if peers > max_peers {
            return Some(format!(
                "--peers {peers} is more than --max-peers {max_peers}: raise that one, or start fewer"
            ));
        }
        if self.no_bridge && self.amqp_url.is_none() {
            return Some("--no-bridge needs --amqp-url, and `grapevine bridge` elsewhere".to_owned());
        }
        if peer_port == 0 || peers == 0 {
            return None;
        }
        let last = u32::from(peer_port).saturating_add(peers - 1);
        if last > u32::from(u16::MAX) {
            return Some(format!("--peers {peers} from --peer-port {peer_port} on: there is no port {last}"));
        }
        let taken = (u32::from(peer_port)..=last).contains(&u32::from(port));
        taken.then(|| format!("--port {port} is one of the local peers' ports, {peer_port} to {last} (--peer-port)"))
    }
}
