//! Request and response bodies of the REST API, and the names that both sides use.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::condition::Condition;
use crate::wire::stream::{PartState, PeerState};

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
    /// How many files it knows.
    pub files: u32,
    /// The ids of its neighbours.
    pub neighbours: Vec<String>,
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
    /// The peers, those seen only as somebody's neighbour included; `null` where that isn't known.
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
    /// Events that wait for the broker.
    pub outbox: u64,
    /// Messages in RabbitMQ that wait for a bridge; `null` with the embedded broker (they are in `outbox`) and while
    /// RabbitMQ can't be asked.
    pub queue: Option<u64>,
    /// Events that were set aside: here, and in RabbitMQ's queue `grapevine.dead`; `null` while that can't be asked.
    pub dead_letters: Option<u64>,
    /// Running local peers.
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

/// What the concurrency lab shall run. Absent numbers are the original's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabConfig {
    /// Producer threads, 1 to 8.
    pub producers: u32,
    /// Consumer threads, 1 to 8.
    pub consumers: u32,
    /// Packets of each producer, 1 to 100.
    pub packets: u32,
    /// How many producers may be active at once, 1 to 8.
    pub permits: u32,
    /// How many packets the queue holds, 1 to 100.
    pub queue_capacity: u32,
    /// The longest time that one packet takes to make or to handle, in milliseconds, 0 to 1,000.
    pub work_ms: u32,
    /// Threads of the race, 1 to 8.
    pub race_threads: u32,
    /// How long each variant of the race runs, in milliseconds, 1 to 2,000.
    pub race_ms: u32,
    /// What the chance in `work_ms` follows from: the same number, the same times. Any unless given; the run tells it.
    pub seed: Option<u32>,
}

impl LabConfig {
    /// How many threads of one kind, or permits, there may be.
    pub const THREADS: RangeInclusive<u32> = 1..=8;
    /// How many packets a producer makes, or the queue holds.
    pub const PACKETS: RangeInclusive<u32> = 1..=100;
    /// How long a packet may take, in milliseconds.
    pub const WORK_MS: RangeInclusive<u32> = 0..=1_000;
    /// How long a variant of the race may run, in milliseconds.
    pub const RACE_MS: RangeInclusive<u32> = 1..=2_000;
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            producers: 3,
            consumers: 2,
            packets: 5,
            permits: 2,
            queue_capacity: 4,
            work_ms: 200,
            race_threads: 4,
            race_ms: 250,
            seed: None,
        }
    }
}

/// How far a run of the lab is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabState {
    /// Its threads are at work.
    Running,
    /// It is over.
    Finished,
}

/// One variant of the race: many threads add one to the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RaceOut {
    /// How the threads add: `load+store`, `mutex`, `fetch_add` or `channel`.
    pub method: String,
    /// Threads that added.
    pub threads: u32,
    /// How often they added.
    pub expected: u64,
    /// The number at the end.
    pub actual: u64,
    /// Additions that others overwrote: `expected - actual`.
    pub lost: u64,
    /// How long it ran, in microseconds.
    pub elapsed_us: u64,
    /// Additions a second that counted: `actual` by that time. All variants run equally long.
    pub per_second: u64,
}

/// Answer of `POST /lab/runs` and `GET /lab/runs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabRunOut {
    /// The run's id.
    pub id: String,
    /// How far it is.
    pub state: LabState,
    /// What it runs.
    pub config: LabConfig,
    /// What the threads said, in the order in which they said it.
    pub log: Vec<String>,
    /// The shared log that the consumers wrote under the lock.
    pub shared_log: Vec<String>,
    /// The most producers that held a permit at once.
    pub max_active_producers: u32,
    /// The variants of the race that are done.
    pub race: Vec<RaceOut>,
}
