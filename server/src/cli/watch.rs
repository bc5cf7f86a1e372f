//! The flags of `grapevine watch`.

use clap::Args;

use crate::cli::Authorities;
use crate::site::Site;

/// `grapevine watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The server's address.
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8000", env = "GRAPEVINE_URL")]
    pub url: Site,
    /// Print a JSON object a line: a snapshot first, then each entry.
    #[arg(long, env = "GRAPEVINE_WATCH_JSON")]
    pub json: bool,
    /// Encryption.
    #[command(flatten)]
    pub authorities: Authorities,
}
