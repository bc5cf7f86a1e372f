//! What two peers say to each other on a content connection. A content is named by its manifest
//! ([`super::manifest`]); what its chunks are, both sides know from there. How it is said in bytes is in [`frame`].

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Serialize};

use crate::ids::{ManifestHash, PeerId};

pub mod frame;

/// A connection that begins with this byte brings contents: a frame's length has none like it, nor has a JSON line.
pub const FIRST_BYTE: u8 = b'C';
/// The most runs in one [`ContentMessage::Have`]; who has more says so in several. A guess.
pub const MAX_RUNS: usize = 1024;
/// The most pages that one [`ContentMessage::AskPages`] may ask for. A guess: half a MiB.
pub const MAX_ASKED_PAGES: u32 = 8;
/// The most requests that may be open on a connection, each way: small files fill a window of 4 MiB with that many.
pub const MAX_OPEN_REQUESTS: usize = 1024;
/// The most bytes that may be asked for and not have come on a connection, each way, one chunk aside: the window.
pub const MAX_OPEN_BYTES: u64 = 4 << 20;
/// The most contents that one side may be interested in at a time. A guess.
pub const MAX_INTERESTS: usize = 4096;
/// Between two [`ContentMessage::Have`] of one content, on one connection, pass at least so many milliseconds.
pub const HAVE_EVERY_MS: u64 = 20;
/// The longest reason in a [`ContentMessage::Goodbye`], in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// What one side says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentMessage {
    /// The first message, from both sides.
    Hello(ContentHello),
    /// The connection ends.
    Goodbye {
        /// Why, for people.
        reason: String,
    },
    /// The sender wants a content: it is to be told what the receiver has of it, now and whenever that changes, until all
    /// of it is there.
    Interest {
        /// The content's manifest.
        manifest: ManifestHash,
    },
    /// It wants it no longer.
    NoInterest {
        /// The content's manifest.
        manifest: ManifestHash,
    },
    /// What the sender has of a content that the receiver is interested in, besides what it said before.
    Have {
        /// The content's manifest.
        manifest: ManifestHash,
        /// What it has.
        held: Held,
    },
    /// The sender has given a content up, with what it said it had: there is a newer version.
    Gone {
        /// The content's manifest.
        manifest: ManifestHash,
    },
    /// The root of a manifest is wanted.
    AskRoot {
        /// The request's name, which is in use on this connection by no other request of this side.
        request: u32,
        /// The manifest.
        manifest: ManifestHash,
    },
    /// Some pages of a manifest are wanted.
    AskPages {
        /// The request's name.
        request: u32,
        /// The manifest.
        manifest: ManifestHash,
        /// Which.
        pages: Run,
    },
    /// The answer to [`ContentMessage::AskRoot`].
    Root {
        /// The request.
        request: u32,
        /// The root's bytes.
        bytes: Blob,
    },
    /// One of the answers to [`ContentMessage::AskPages`].
    Page {
        /// The request.
        request: u32,
        /// The page's number.
        number: u32,
        /// The page's bytes.
        bytes: Blob,
    },
    /// Some chunks are wanted, that lie behind each other.
    AskChunks {
        /// The request's name.
        request: u32,
        /// The content's manifest.
        manifest: ManifestHash,
        /// Which.
        chunks: Run,
    },
    /// A request is of no use any more. What is on its way of the answer may come.
    Cancel {
        /// The request.
        request: u32,
    },
    /// A request isn't answered, or not to its end.
    Refused {
        /// The request.
        request: u32,
        /// Why.
        why: Refusal,
    },
    /// A chunk that came doesn't have its hash: who sent it may look at what it has.
    Damaged {
        /// The content's manifest.
        manifest: ManifestHash,
        /// The chunk's number.
        chunk: u32,
    },
    /// Chunks, whose bytes follow the frame: the answer to [`ContentMessage::AskChunks`], or a part of it, in order.
    Chunks {
        /// How many bytes follow: as many as these chunks have.
        len_bytes: u32,
        /// The request.
        request: u32,
        /// Which chunks.
        chunks: Run,
    },
    /// Something that a later version says.
    Unknown {
        /// Its kind.
        kind: u8,
        /// How many bytes follow it.
        len_bytes: u32,
    },
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentHello {
    /// The protocol's major version; others are refused.
    pub major: u16,
    /// Its minor version.
    pub minor: u16,
    /// The overlay that the sender belongs to; others are refused.
    pub cluster: String,
    /// Its id.
    pub peer: PeerId,
}

/// Chunks, or pages, that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run {
    /// The number of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// What somebody has of a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// Everything, the manifest included.
    All,
    /// These chunks; none says that it is being fetched, or about to be.
    Runs(Vec<Run>),
}

/// Bytes, as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// Why a request isn't answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum Refusal {
    /// What was asked for isn't there.
    Lacks,
    /// Too much is being sent already; others, or the same later.
    Busy,
    /// What was there doesn't have its hash any more.
    Damaged,
    /// The request breaks a limit.
    NotAllowed,
    /// A reason that a later version has.
    Other(u8),
}

impl ContentMessage {
    /// How many bytes of contents follow its frame.
    pub fn follow_bytes(&self) -> u32 {
        match self {
            Self::Chunks { len_bytes, .. } | Self::Unknown { len_bytes, .. } => *len_bytes,
            Self::Hello(_)
            | Self::Goodbye { .. }
            | Self::Interest { .. }
            | Self::NoInterest { .. }
            | Self::Have { .. }
            | Self::Gone { .. }
            | Self::AskRoot { .. }
            | Self::AskPages { .. }
            | Self::Root { .. }
            | Self::Page { .. }
            | Self::AskChunks { .. }
            | Self::Cancel { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. } => 0,
        }
    }
}

impl Run {
    /// The number behind the last.
    pub fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobBytes)
    }
}

/// Reads bytes as one piece.
struct BlobBytes;

impl Visitor<'_> for BlobBytes {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }
}

impl From<u8> for Refusal {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Lacks,
            1 => Self::Busy,
            2 => Self::Damaged,
            3 => Self::NotAllowed,
            other => Self::Other(other),
        }
    }
}

impl From<Refusal> for u8 {
    fn from(why: Refusal) -> Self {
        match why {
            Refusal::Lacks => 0,
            Refusal::Busy => 1,
            Refusal::Damaged => 2,
            Refusal::NotAllowed => 3,
            Refusal::Other(other) => other,
        }
    }
}
