//! Request and response bodies of the REST API, and the names that both sides use.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::condition::Condition;
use crate::wire::event::{PartState, PeerState};

/// The header that says who is asking.
pub const USER_HEADER: &str = "x-user-id";

/// What is known of one version of a file. Keys as in the original, times in RFC 3339 (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileOut {
    /// The file's id (`UUIDv7`).
    pub id: String,
    /// Its name as uploaded.
    pub filename: String,
    /// Its media type as uploaded.
    pub content_type: String,
    /// Who owns it.
    pub owner_id: String,
    /// Its version, from 1; also its `ETag`.
    pub version: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// BLAKE3 hash of its content, 64 hexadecimal digits.
    pub content_hash: String,
    /// When its first version was uploaded.
    pub created_at: String,
    /// When this version was uploaded.
    pub updated_at: String,
    /// How many of this server's running peers know this version; `null` where it can't tell: it has no peers of its own,
    /// or no longer counts.
    pub peers_reached: Option<u32>,
}

/// Body of `POST /shares/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareIn {
    /// With whom to share.
    pub target_user_id: String,
}

/// One share of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareOut {
    /// The share's id.
    pub id: String,
    /// Who may see the file.
    pub target_user_id: String,
}

/// One local peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerOut {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Where it listens.
    #[schema(value_type = String)]
    pub addr: SocketAddr,
    /// Whether it runs.
    pub state: PeerState,
    /// How many files it knows; `null` where that isn't known: this server doesn't run it, and it hasn't told yet.
    pub files: Option<u32>,
    /// The ids of its neighbours; `null` where they aren't known.
    pub neighbours: Option<Vec<String>>,
}

/// What to do with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerAction {
    /// Stop it at once, without goodbye.
    Kill,
    /// Start it again at the same address with what it kept.
    Rejoin,
}

/// Body of `POST /peers/{id}/actions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerActionIn {
    /// What to do.
    pub action: PeerAction,
}

/// The overlay as this server's peers see it, or as a contact peer tells where this server runs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyOut {
    /// The peers, those that this server doesn't run included; `null` where that isn't known.
    pub peers: Option<Vec<PeerOut>>,
    /// Pairs of ids with a link between them, the smaller first; `null` where that isn't known.
    pub links: Option<Vec<(String, String)>>,
}

/// An error, as RFC 9457 says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of error; stable.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of error in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
}

/// Answer of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthOut {
    /// `ok`.
    pub status: String,
    /// The server's time, RFC 3339.
    pub time: String,
}

/// Answer of `GET /ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadyOut {
    /// Whether uploads are accepted.
    pub ready: bool,
    /// Whether the catalogue and the content store can be written.
    pub store: PartState,
    /// The connection to the broker. Uploads are accepted while it is away.
    pub broker: PartState,
    /// The bridge; absent with `--no-bridge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<PartState>,
    /// Events that wait for the broker; `null` while the catalogue can't be asked.
    pub outbox: Option<u64>,
    /// Messages in RabbitMQ that wait for a bridge; `null` with the embedded broker (they are in `outbox`) and while
    /// RabbitMQ can't be asked.
    pub queue: Option<u64>,
    /// Events that were set aside: here, and in RabbitMQ's queue `grapevine.dead`; `null` while that can't be asked.
    pub dead_letters: Option<u64>,
    /// Local peers that take part in the overlay: one that stays out for another of its identity doesn't count.
    pub peers: u32,
    /// The faults that last.
    pub conditions: Vec<ConditionOut>,
}

/// A fault that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConditionOut {
    /// Its stable name.
    pub name: Condition,
    /// What it is this time, in a sentence for people.
    pub detail: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Answer of `POST /republish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepublishOut {
    /// How many versions are published again.
    pub versions: u64,
}
