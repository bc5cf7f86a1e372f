//! The flags of `grapevine watch`.

use clap::Args;

use crate::cli::Authorities;

/// `grapevine watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The server's address.
    #[arg(default_value = "http://127.0.0.1:8000", env = "GRAPEVINE_URL")]
    pub url: String,
    /// Print each entry as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Encryption.
    #[command(flatten)]
    pub authorities: Authorities,
}
