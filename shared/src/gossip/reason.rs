//! Why links end and changes aren't taken: each reason once, with its text, and the name under which it is counted.

use std::net::SocketAddr;

use crate::ids::ClusterName;
use crate::wire::peer::MAJOR;

/// Why a link ends, or a connection doesn't become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    // --- what the other side did ---
    /// It says more in a second than it may.
    #[error("too many messages")]
    TooManyMessages,
    /// The same in JSON lines.
    #[error("too many lines")]
    TooManyLines,
    /// What it said at once leads to more answers than there may be.
    #[error("too much asked at once")]
    TooMuchAsked,
    /// There are as many links as may be, in all or with its address.
    #[error("too many links")]
    TooManyLinks,
    /// It speaks another major version.
    #[error("protocol version {0}; this peer speaks {MAJOR}")]
    OtherVersion(u16),
    /// It belongs to another overlay.
    #[error("cluster {theirs:?}; this peer is in {:?}", own.as_str())]
    OtherCluster {
        /// Its own.
        theirs: String,
        /// This node's.
        own: ClusterName,
    },
    /// It said something before it said who it is.
    #[error("a message before hello")]
    BeforeHello,
    /// It said once more who it is.
    #[error("a second hello")]
    SecondHello,
    /// It wants what only the side that dialled may want, or the other way round.
    #[error("an unexpected purpose")]
    UnexpectedPurpose,
    /// It is a client, and says what only neighbours say.
    #[error("a client that speaks as a neighbour")]
    NoNeighbour,
    /// It speaks JSON lines, and peers of the original aren't wanted.
    #[error("JSON lines, which are turned off")]
    LinesTurnedOff,
    /// What came can't be read, as the driver says.
    #[error("{0}")]
    Unreadable(String),

    // --- who parts in peace ---
    /// There is no room for one more neighbour.
    #[error("full")]
    Full,
    /// Another neighbour needs the room.
    #[error("making room")]
    MakingRoom,
    /// There is a better link with the same peer.
    #[error("another link is in use")]
    AnotherLink,
    /// This node is at the other end, too.
    #[error("this is myself")]
    Myself,
    /// A peer of the same id is linked already.
    #[error("a peer of the same id is linked already, from {0}")]
    Twin(SocketAddr),
    /// The other side is the younger of two peers of one id.
    #[error("a peer of the same id that began earlier goes on; start this one with --new-identity")]
    Younger,
    /// This node is the younger of two peers of one id, and the other side is the older.
    #[error("this is the younger of two peers of one id")]
    IsYounger,
    /// This node has met its older twin.
    #[error("stays out: another peer has the same id")]
    StaysOut,
    /// This node is being stopped.
    #[error("leaving")]
    Leaving,
    /// The other side said why, and it is none of these.
    #[error("{0}")]
    Told(String),

    // --- what is broken ---
    /// It didn't say who it is, or whether it takes this node in.
    #[error("no hello")]
    NoHello,
    /// Nothing comes any more.
    #[error("silent")]
    Silent,
    /// It was taken for a peer of the original, and isn't one.
    #[error("not an original")]
    NotAnOriginal,
    /// The connection is gone, as the driver says.
    #[error("{0}")]
    Lost(String),
}

impl Reason {
    /// What the other side means with its reason.
    pub fn told(text: String) -> Self {
        let known = [Self::Full, Self::MakingRoom, Self::AnotherLink, Self::Leaving];
        known.into_iter().find(|reason| reason.to_string() == text).unwrap_or(Self::Told(text))
    }

    /// Whether nothing is wrong: there is no room, or another link.
    pub fn is_no_fault(&self) -> bool {
        matches!(self, Self::Full | Self::AnotherLink)
    }

    /// The name under which it is counted: without what is particular to one case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooManyMessages => "too_many_messages",
            Self::TooManyLines => "too_many_lines",
            Self::TooMuchAsked => "too_much_asked",
            Self::TooManyLinks => "too_many_links",
            Self::OtherVersion(_) => "other_version",
            Self::OtherCluster { .. } => "other_cluster",
            Self::BeforeHello => "before_hello",
            Self::SecondHello => "second_hello",
            Self::UnexpectedPurpose => "unexpected_purpose",
            Self::NoNeighbour => "no_neighbour",
            Self::LinesTurnedOff => "lines_turned_off",
            Self::Unreadable(_) => "unreadable",
            Self::Full => "full",
            Self::MakingRoom => "making_room",
            Self::AnotherLink => "another_link",
            Self::Myself => "myself",
            Self::Twin(_) => "twin",
            Self::Younger => "younger",
            Self::IsYounger => "is_younger",
            Self::StaysOut => "stays_out",
            Self::Leaving => "leaving",
            Self::Told(_) => "told",
            Self::NoHello => "no_hello",
            Self::Silent => "silent",
            Self::NotAnOriginal => "not_an_original",
            Self::Lost(_) => "lost",
        }
    }
}

/// Why a change isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its file's name is longer than names may be.
    #[error("its name is too long")]
    LongName,
    /// Its version is too far above the known one.
    #[error("its version is too far ahead")]
    VersionJump,
    /// There are as many files as may be.
    #[error("there are too many files")]
    TooManyFiles,
    /// A client hands it over while another peer has this one's identity.
    #[error("this peer stands by: another one has its identity")]
    StandsBy,
}

impl Refusal {
    /// Whether it may be taken later, or by another peer.
    pub fn passes(self) -> bool {
        match self {
            Self::TooManyFiles | Self::StandsBy => true,
            Self::LongName | Self::VersionJump => false,
        }
    }

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::LongName => "long_name",
            Self::VersionJump => "version_jump",
            Self::TooManyFiles => "too_many_files",
            Self::StandsBy => "stands_by",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_says_is_known_by_its_text() {
        assert_eq!(Reason::told("full".to_owned()), Reason::Full);
        assert_eq!(Reason::told(Reason::AnotherLink.to_string()), Reason::AnotherLink);
        let other = Reason::told("the moon".to_owned());
        assert_eq!((other.name(), other.to_string().as_str()), ("told", "the moon"));
    }
}
