//! What an address means that somebody says: on another machine, loopback and "listens everywhere" mean that machine.
//!
//! ```text
//!   P (0.0.0.0:9001, local neighbour Q at 127.0.0.1:9002)         R, linked with P at 10.0.0.1
//!   │ ── Hello {listen 0.0.0.0:9001} ──────────────────────────▶ │   P is at 10.0.0.1:9001
//!   │ ── Shuffle {0.0.0.0:9001, 0.0.0.0:9002} ─────────────────▶ │   P, and Q at 10.0.0.1:9002
//! ```
//!
//! So an unspecified IP address means the sender's machine, as the receiver sees it; it is replaced before anything else
//! is done with it, and loopback addresses never leave their machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::wire::peer::PeerMessage;

/// Where nobody is: what was said can't be reached from here.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The address that somebody means who is seen at `remote`.
pub fn meant(said: SocketAddr, remote: SocketAddr) -> SocketAddr {
    let (ip, seen) = (said.ip(), remote.ip());
    if !(ip.is_unspecified() || ip.is_loopback() && !seen.is_loopback()) {
        said
    } else if seen.is_ipv6() && ip.is_ipv4() {
        // Who listens on IPv4 only can't be reached at the IPv6 address that it has, too.
        NOWHERE
    } else {
        SocketAddr::new(seen, said.port())
    }
}

/// A message as other machines are told it, where that differs.
pub fn as_others_are_told(message: &PeerMessage) -> Option<PeerMessage> {
    if !message.kind().tells_addrs {
        return None;
    }
    let mut told = message.clone();
    told.relocate(|addr| match addr.ip() {
        ip if !ip.is_loopback() => addr,
        IpAddr::V4(_) => SocketAddr::from(([0; 4], addr.port())),
        IpAddr::V6(_) => SocketAddr::from(([0_u16; 8], addr.port())),
    });
    (told != *message).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_senders_machine_is_read_as_where_it_is_seen() {
        for (said, remote, expected) in [
            ("10.0.0.9:1", "10.0.0.2:7", "10.0.0.9:1"),
            ("0.0.0.0:1", "10.0.0.2:7", "10.0.0.2:1"),
            ("[::]:1", "10.0.0.2:7", "10.0.0.2:1"),
            ("[::]:1", "[fd00::2]:7", "[fd00::2]:1"),
            ("0.0.0.0:1", "[fd00::2]:7", "0.0.0.0:0"),
            ("127.0.0.1:1", "10.0.0.2:7", "10.0.0.2:1"),
            ("[::1]:1", "[fd00::2]:7", "[fd00::2]:1"),
            ("127.0.0.1:1", "127.0.0.1:7", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:7", "127.0.0.1:1"),
        ] {
            let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
            assert_eq!(meant(parse(said), parse(remote)), parse(expected), "{said} from {remote}");
        }
    }

    #[test]
    fn loopback_addresses_never_leave_their_machine() {
        let addrs = ["127.0.0.1:1", "[::1]:2", "10.0.0.9:3"].map(|addr| addr.parse().unwrap()).to_vec();
        let told = as_others_are_told(&PeerMessage::Welcome { others: addrs });
        let expected = ["0.0.0.0:1", "[::]:2", "10.0.0.9:3"].map(|addr| addr.parse().unwrap()).to_vec();
        assert_eq!(told, Some(PeerMessage::Welcome { others: expected.clone() }));
        assert_eq!(as_others_are_told(&PeerMessage::Welcome { others: expected }), None);
        assert_eq!(as_others_are_told(&PeerMessage::Prune), None);
    }
}
