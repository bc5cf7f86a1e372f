//! How many files and sockets the process may have open: raised to what the system lets it have, and shared out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// What a server has open besides connections and local peers: databases, their readers, logs, the runtime's own. About
/// 30, and room for as many changes at once.
const SERVER: u64 = 64;
/// What a local peer has open: its journal's three files, its port, and its links at both ends. Eight links are the most
/// that it keeps, and some come while others go.
const PEER: u64 = 24;

/// Raises the limit of open files to the hard limit; says what it is then.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    if let Err(error) = raised {
        debug!(%error, "the limit of open files stays as it is");
    }
    // No limit at all.
    limit.unwrap_or(u64::MAX)
}

/// How many connections a server with `peers` local peers can serve when it may have `limit` files open: each may need a
/// second one, the content that goes in or out. Never none.
pub fn connections_within(limit: u64, peers: u32) -> u64 {
    let reserved = SERVER.saturating_add(PEER.saturating_mul(u64::from(peers)));
    (limit.saturating_sub(reserved) / 2).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_limit(), hard.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }

    #[test]
    fn connections_leave_room_for_files_and_peers() {
        assert_eq!(connections_within(256, 0), 96);
        assert_eq!(connections_within(256, 5), 36);
        assert_eq!(connections_within(1024, 5), 420);
        assert_eq!(connections_within(100, 5), 16);
        assert!(connections_within(u64::MAX, 5) > 1_000_000);
    }
}
