//! The flags of `grapevine serve` for what callers may use: connections, time, bytes of heads.

use clap::Args;

/// What callers may use of the server.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits on callers")]
pub struct Limits {
    /// The most connections. One more, and the one that has waited the longest for a request is closed; /health and
    /// /ready are answered all the same. Less where the limit of open files leaves no room for so many.
    #[arg(long, default_value_t = 1024, value_name = "COUNT", env = "GRAPEVINE_MAX_CONNECTIONS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// The most connections from one address, or from one IPv6 network of 64 bits. Behind a proxy all come from one.
    #[arg(long, default_value_t = 256, value_name = "COUNT", env = "GRAPEVINE_MAX_CONNECTIONS_PER_ADDRESS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: u32,
    /// How long a request's head may take, in seconds.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", env = "GRAPEVINE_HEAD_TIMEOUT",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub head_timeout: u32,
    /// How long a connection is kept between two requests, in seconds.
    #[arg(long, default_value_t = 75, value_name = "SECONDS", env = "GRAPEVINE_IDLE_TIMEOUT",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub idle_timeout: u32,
    /// How long a body of JSON may take, in seconds.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", env = "GRAPEVINE_BODY_TIMEOUT",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub body_timeout: u32,
    /// How long to wait in all for a client that gives less of an upload, or takes less of an answer, than --min-rate,
    /// in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", env = "GRAPEVINE_STALL_TIMEOUT",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub stall_timeout: u32,
    /// At how many bytes a second a client is never given up; 0 for one byte now and then.
    #[arg(long, default_value_t = 512, value_name = "BYTES", env = "GRAPEVINE_MIN_RATE")]
    pub min_rate: u64,
    /// The largest head of a request, in bytes.
    #[arg(long, default_value_t = 65_536, value_name = "BYTES", env = "GRAPEVINE_MAX_HEAD_BYTES",
        value_parser = clap::value_parser!(u32).range(1_024..=1_048_576))]
    pub max_head_bytes: u32,
    /// The most headers of a request.
    #[arg(long, default_value_t = 100, value_name = "COUNT", env = "GRAPEVINE_MAX_HEADERS",
        value_parser = clap::value_parser!(u32).range(16..=1_000))]
    pub max_headers: u32,
}
