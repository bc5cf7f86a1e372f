//! The flags of `grapevine bridge`.

use clap::Args;

use crate::cli::Authorities;
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
        default_value = "amqp://guest:guest@127.0.0.1:5672/%2f",
        env = "GRAPEVINE_AMQP_URL",
        hide_env_values = true
    )]
    pub amqp_url: String,
    /// The queue to consume.
    #[arg(long, default_value = "grapevine.bridge", value_name = "NAME", env = "GRAPEVINE_QUEUE")]
    pub queue: String,
    /// Encryption.
    #[command(flatten)]
    pub authorities: Authorities,
    /// The overlay's name.
    #[arg(long, default_value = "grapevine", env = "GRAPEVINE_CLUSTER")]
    pub cluster: String,
}
