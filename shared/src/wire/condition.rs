//! What is wrong for as long as it lasts: told once when it begins and once when it ends, listed by `/ready` and the page.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A fault that lasts, by its stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Contents that no row of the catalogue names were found and set aside.
    LostContents,
    /// Contents of files are missing, or aren't what was stored.
    BadContents,
    /// There is so little room on the disk that uploads are refused.
    DiskFull,
    /// The catalogue was moved, replaced or removed under the running server; changes are refused.
    CatalogueDisplaced,
    /// Peers know later versions of files than the catalogue has.
    CatalogueBehind,
    /// The file that keeps a second server out of the data directory was moved, replaced or removed.
    LockDisplaced,
    /// A peer's state was damaged; it was set aside, and the peer begins anew.
    DamagedPeerState,
    /// The broker takes nothing because it is short of memory or disk.
    BrokerAlarm,
    /// Nobody reads the bridge's queue.
    QueueUnread,
    /// Messages that the broker set aside lie in its queue of dead letters.
    DeadLetters,
    /// A queue that was used before the present one is still there, and nobody reads it.
    FormerQueue,
    /// Messages that an earlier version published while no queue wanted them lie where nobody reads them.
    UnroutedMessages,
    /// Somebody else reads the bridge's queue, and changes are gone from it that haven't come to this server's bridge.
    QueueShared,
    /// Changes were confirmed by the broker, haven't come to the bridge, and are in its queue no more.
    ChangesVanished,
    /// No entry peer can take changes now, although some are there.
    ChangesDeferred,
    /// None of the peers that this server should know the overlay by answers.
    OverlayUnreachable,
    /// The process may have fewer files and sockets open than it was told to serve connections.
    FewOpenFiles,
    /// A peer has had no neighbour for long, although it knows addresses.
    PeerAlone,
    /// A peer stays out, since another one has the same identity; or goes on, and the other stays out.
    SameIdentity,
    /// Changes are stamped far ahead of this machine's clock: one of the clocks is wrong.
    ClockWrong,
}

/// A condition that lasts, as last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// What it is this time, in a sentence for people: how many, where, and what helps.
    pub detail: String,
}

impl Condition {
    /// Whether uploads can't be accepted while it lasts.
    pub fn stops_uploads(self) -> bool {
        match self {
            Self::DiskFull | Self::CatalogueDisplaced => true,
            Self::LostContents
            | Self::BadContents
            | Self::CatalogueBehind
            | Self::LockDisplaced
            | Self::DamagedPeerState
            | Self::BrokerAlarm
            | Self::QueueUnread
            | Self::DeadLetters
            | Self::FormerQueue
            | Self::UnroutedMessages
            | Self::QueueShared
            | Self::ChangesVanished
            | Self::ChangesDeferred
            | Self::OverlayUnreachable
            | Self::FewOpenFiles
            | Self::PeerAlone
            | Self::SameIdentity
            | Self::ClockWrong => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LostContents => "lost contents",
            Self::BadContents => "missing or damaged contents",
            Self::DiskFull => "disk full",
            Self::CatalogueDisplaced => "displaced catalogue",
            Self::CatalogueBehind => "catalogue behind the peers",
            Self::LockDisplaced => "displaced lock",
            Self::DamagedPeerState => "damaged state of a peer",
            Self::BrokerAlarm => "alarm of the broker",
            Self::QueueUnread => "unread queue",
            Self::DeadLetters => "dead letters",
            Self::FormerQueue => "former queue",
            Self::UnroutedMessages => "unrouted messages",
            Self::QueueShared => "shared queue",
            Self::ChangesVanished => "vanished changes",
            Self::ChangesDeferred => "deferred changes",
            Self::OverlayUnreachable => "unreachable overlay",
            Self::FewOpenFiles => "few open files",
            Self::PeerAlone => "peer without neighbours",
            Self::SameIdentity => "two peers of one identity",
            Self::ClockWrong => "wrong clock",
        })
    }
}
