//! The flags of `grapevine peer`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use shared::ids::{FileId, Version};

use crate::cli::Overlay;
use crate::cli::values::{dialable, injection};
use crate::dial::HostPort;

/// `grapevine peer`.
#[derive(Debug, Args)]
pub struct Peer {
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "GRAPEVINE_HOST")]
    pub host: IpAddr,
    /// The port to listen on; 0 for any free one.
    #[arg(long, env = "GRAPEVINE_PORT")]
    pub port: u16,
    /// The address that others shall dial, where it isn't the one listened on (IP:PORT).
    #[arg(long, value_name = "IP:PORT", value_parser = dialable, env = "GRAPEVINE_ADVERTISE")]
    pub advertise: Option<SocketAddr>,
    /// A peer to join through (HOST:PORT, repeatable). One that lives is enough. A name is looked up each time it is
    /// dialled.
    #[arg(long = "peer", value_name = "HOST:PORT", env = "GRAPEVINE_PEER", value_delimiter = ',')]
    pub contacts: Vec<HostPort>,
    /// A version to announce (ID:VERSION, repeatable).
    #[arg(long, value_name = "ID:VERSION", value_parser = injection, env = "GRAPEVINE_INJECT", value_delimiter = ',')]
    pub inject: Vec<(FileId, Version)>,
    /// Where id and catalogue are kept; without, they are lost when the process ends.
    #[arg(long, value_name = "DIR", env = "GRAPEVINE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Take a new id and keep everything else: for a data directory that was copied from another peer's, once.
    #[arg(long, env = "GRAPEVINE_NEW_IDENTITY")]
    pub new_identity: bool,
    /// Overlay.
    #[command(flatten)]
    pub overlay: Overlay,
}

impl Peer {
    /// Returns what is wrong with flags that don't go together, if anything.
    pub(super) fn contradiction(&self) -> Option<String> {
        let nowhere = self.new_identity && self.data_dir.is_none();
        nowhere.then(|| "--new-identity needs --data-dir: without one a peer keeps no identity".to_owned())
    }
}
