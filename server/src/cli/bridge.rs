//! The flags of `grapevine bridge`.

use clap::Args;
use shared::ids::ClusterName;

use crate::cli::Authorities;
use crate::cli::values::{amqp_url, queue};
use crate::dial::HostPort;

/// `grapevine bridge`.
#[derive(Debug, Args)]
pub struct Bridge {
    /// A peer to hand changes to (HOST:PORT, repeatable). The next one is used when one fails.
    #[arg(long = "peer", value_name = "HOST:PORT", required = true, env = "GRAPEVINE_PEER", value_delimiter = ',')]
    pub entries: Vec<HostPort>,
    /// The RabbitMQ to consume from; encrypted with amqps.
    #[arg(
        long,
        value_name = "URL",
        value_parser = amqp_url,
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f",
        env = "GRAPEVINE_AMQP_URL",
        hide_env_values = true
    )]
    pub amqp_url: String,
    /// The queue to consume.
    #[arg(long, default_value = "grapevine.bridge", value_name = "NAME", value_parser = queue, env = "GRAPEVINE_QUEUE")]
    pub queue: String,
    /// Encryption.
    #[command(flatten)]
    pub authorities: Authorities,
    /// The overlay's name.
    #[arg(long, default_value_t, value_name = "NAME", env = "GRAPEVINE_CLUSTER")]
    pub cluster: ClusterName,
}

impl Bridge {
    /// Returns what is wrong with flags that don't go together, if anything.
    pub(super) fn contradiction(&self) -> Option<String> {
        // An empty list in the file: it counts as given.
        self.entries.is_empty().then(|| "the bridge needs --peer: at least one to hand changes to".to_owned())
    }
}
