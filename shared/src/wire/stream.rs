//! What the server pushes to the page and to `grapevine watch`: one [`Overview`], then numbered [`Entry`]s, and an
//! overview again for a reader that was too slow. Server and page fold entries into the overview with the same
//! function, so both show the same.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Error;

use crate::wire::event::Entry;
use crate::wire::members::{Members, unknown};
use crate::wire::overview::Overview;

/// The format's version; a page of another version reloads itself.
pub const VERSION: u32 = 3;
/// How often the server says that it is there. A guess: people wait for a sign of life about that long.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a reader counts the server as gone: two heartbeats late, and a third due.
pub const SILENCE: Duration = Duration::from_secs(6);

/// One WebSocket message from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamFrame {
    /// The state of everything. Sent first, and again to a reader that was too slow.
    Snapshot {
        /// [`VERSION`].
        format: u32,
        /// How many entries the reader missed because it was too slow; 0 in the first frame.
        missed: u64,
        /// The state after the entry number `overview.seq`.
        overview: Box<Overview>,
    },
    /// What has happened since, without gaps.
    Batch {
        /// Consecutive entries.
        entries: Vec<Entry>,
    },
    /// The server is there: every [`HEARTBEAT`], and at once when what it says has changed.
    Heartbeat {
        /// Now, in milliseconds since 1970 by the server's clock.
        at_ms: u64,
        /// The number of the last entry that was sent.
        seq: u64,
        /// What lies in the outbox; absent as long as nobody has counted.
        outbox: Option<OutboxView>,
    },
}

/// What lies in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxView {
    /// Events that the broker, or what is behind it, hasn't taken yet.
    pub waiting: u64,
    /// Events that were set aside here.
    pub set_aside: u64,
}

impl<'de> Deserialize<'de> for StreamFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, frame)
    }
}

fn frame(members: &mut Members) -> Result<StreamFrame, Error> {
    Ok(match members.tag("type")?.as_str() {
        "snapshot" => StreamFrame::Snapshot {
            format: members.take("format")?,
            missed: members.take("missed")?,
            overview: members.take("overview")?,
        },
        "batch" => StreamFrame::Batch { entries: members.take("entries")? },
        "heartbeat" => StreamFrame::Heartbeat {
            at_ms: members.take("at_ms")?,
            seq: members.take("seq")?,
            outbox: members.take("outbox")?,
        },
        other => return unknown(other),
    })
}
