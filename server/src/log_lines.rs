//! The log lines that people know, from the original system or from our own documents. Their words are here and nowhere
//! else: who logs one and what waits for one both take it from here, and one test pins them all.

use std::fmt;
use std::net::SocketAddr;

use shared::ids::{FileId, Version};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// `serve` takes calls; at this address, where it is known.
    Ready(Option<SocketAddr>),
    /// A peer listens.
    Listening(SocketAddr),
    /// A peer was told of another's address.
    Learned(SocketAddr),
    /// Two peers became neighbours.
    Connected(SocketAddr),
    /// They are no longer; by its short id, where it was, and why.
    Lost(&'a str, SocketAddr, &'a str),
    /// Somebody who breaks the rules was sent away, and why.
    Refused(SocketAddr, &'a str),
    /// A change is in a peer's catalogue.
    Applied(&'a FileId, Version),
    /// The bridge has an entry peer.
    Forwarding(SocketAddr),
    /// An entry peer has taken a change from the bridge.
    Forwarded(&'a FileId, Version),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(None) => f.write_str("Grapevine is ready"),
            Self::Ready(Some(addr)) => write!(f, "{}: open http://{addr}/ui/", Self::Ready(None)),
            Self::Listening(addr) => write!(f, "[P2P] listening {addr}"),
            Self::Learned(addr) => write!(f, "[P2P] learned peer {addr}"),
            Self::Connected(addr) => write!(f, "[P2P] connected {addr}"),
            Self::Lost(peer, addr, reason) => write!(f, "[P2P] lost neighbour {peer} at {addr}: {reason}"),
            Self::Refused(remote, reason) => write!(f, "[P2P] refused {remote}: {reason}"),
            Self::Applied(file, version) => write!(f, "[P2P] event applied {file} -> v{version}"),
            Self::Forwarding(entry) => write!(f, "[Bridge] forwarding to {entry}"),
            Self::Forwarded(file, version) => write!(f, "[Bridge] forwarded event: {file} -> v{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes one of these changes what is in people's instructions, scripts and heads.
    #[test]
    fn the_log_lines_that_people_know_are_as_they_know_them() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 9001));
        let (file, version) = ("track_a".parse().unwrap(), Version(1));
        for (line, known) in [
            (Line::Ready(None), "Grapevine is ready"),
            (Line::Ready(Some(addr)), "Grapevine is ready: open http://127.0.0.1:9001/ui/"),
            (Line::Listening(addr), "[P2P] listening 127.0.0.1:9001"),
            (Line::Learned(addr), "[P2P] learned peer 127.0.0.1:9001"),
            (Line::Connected(addr), "[P2P] connected 127.0.0.1:9001"),
            (Line::Lost("1a2b3c", addr, "closed"), "[P2P] lost neighbour 1a2b3c at 127.0.0.1:9001: closed"),
            (Line::Refused(addr, "bad frame"), "[P2P] refused 127.0.0.1:9001: bad frame"),
            (Line::Applied(&file, version), "[P2P] event applied track_a -> v1"),
            (Line::Forwarding(addr), "[Bridge] forwarding to 127.0.0.1:9001"),
            (Line::Forwarded(&file, version), "[Bridge] forwarded event: track_a -> v1"),
        ] {
            assert_eq!(line.to_string(), known);
        }
    }
}
