//! The protocol's numbers, each with its unit and where it comes from.

use std::time::Duration;

use crate::backoff::Backoff;

/// How a node behaves. [`Config::default`] is what every driver uses unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The overlay's name; peers of another one are refused.
    pub cluster: String,
    /// A node dials until it has this many neighbours. HyParView's active view for 10,000 nodes (DSN 2007, section 5.1).
    pub neighbours_wanted: usize,
    /// A node accepts neighbours up to this many. A guess: room for newcomers beside the wanted ones.
    pub neighbours_max: usize,
    /// Links in all, clients and strangers that haven't said hello included.
    pub links_max: usize,
    /// Addresses that a node remembers. A guess: 30 times HyParView's passive view; 1,024 addresses are 32 KiB.
    pub known_max: usize,
    /// The pause between attempts to dial one address. The original's 0.5 to 2 s, with a quicker first try.
    pub redial: Backoff,
    /// How often a node with enough neighbours dials one more that it knows, so that two groups, each complete in
    /// itself, become one. Jittered between half and whole. A guess.
    pub mix_every: Duration,
    /// A link that has been silent this long is asked for a sign of life. A guess.
    pub ping_after: Duration,
    /// A link that has been silent this long is closed. Five pings.
    pub silence_limit: Duration,
    /// How long a link may take to say hello.
    pub hello_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: "grapevine".to_owned(),
            neighbours_wanted: 5,
            neighbours_max: 8,
            links_max: 64,
            known_max: 1024,
            redial: Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(2) },
            mix_every: Duration::from_secs(30),
            ping_after: Duration::from_secs(1),
            silence_limit: Duration::from_secs(5),
            hello_limit: Duration::from_secs(5),
        }
    }
}
