//! What callers may use of the server: connections, time, bytes of heads. Each has a flag of `grapevine serve`.

use std::time::Duration;

use crate::cli::limits as flags;
use crate::http::pace::Pace;

/// The limits at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. Beyond that the one that has waited the longest for a request is closed.
    pub connections: usize,
    /// Connections from one address, or from one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// How long a request's head may take.
    pub head_time: Duration,
    /// How long a connection is kept between two requests.
    pub idle_time: Duration,
    /// How long a body of JSON may take.
    pub body_time: Duration,
    /// How long is waited for a client that takes nothing of an answer or gives nothing of an upload.
    pub stall_time: Duration,
    /// How much a client takes or gives that is waited for without end, in bytes a second.
    pub bytes_per_s: u64,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most headers of a request.
    pub headers: usize,
}

impl Limits {
    /// What the flags say.
    pub fn of(flags: &flags::Limits) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let seconds = |number: u32| Duration::from_secs(number.into());
        Self {
            connections: count(flags.max_connections),
            connections_per_address: count(flags.max_connections_per_address),
            head_time: seconds(flags.head_timeout),
            idle_time: seconds(flags.idle_timeout),
            body_time: seconds(flags.body_timeout),
            stall_time: seconds(flags.stall_timeout),
            bytes_per_s: flags.min_rate,
            head_bytes: count(flags.max_head_bytes),
            headers: count(flags.max_headers),
        }
    }

    /// The patience with somebody who takes an answer or gives an upload.
    pub fn pace(&self) -> Pace {
        Pace::new(self.stall_time, self.bytes_per_s)
    }
}

/// The flags' defaults. Guesses, but for what is said.
impl Default for Limits {
    fn default() -> Self {
        Self {
            // About 40 MB if all have sent the largest head but its last byte.
            connections: 1024,
            connections_per_address: 256,
            // Longer than a lost packet's retries.
            head_time: Duration::from_secs(10),
            // Longer than nginx keeps its connections to a server (60 s), so that it doesn't write to a closed one.
            idle_time: Duration::from_secs(75),
            body_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(30),
            // A modem of the last century has six times that.
            bytes_per_s: 512,
            head_bytes: 64 * 1024,
            headers: 100,
        }
    }
}
