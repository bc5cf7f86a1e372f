//! The whole vocabulary between a fetcher and its driver.

use std::time::Duration;

use crate::ids::{ContentHash, ManifestHash, PeerId};
use crate::wire::content::{Held, Refusal, Run};
use crate::wire::manifest::ManifestError;

/// Names a content connection for as long as it is open. The driver never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

/// Names what was asked for. A fetcher doesn't use a number twice within four billion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// What happens to a fetcher.
#[derive(Debug)]
pub enum Input {
    /// Nothing but time has passed: a deadline is due.
    Wake,
    /// A content is wanted.
    Want {
        /// Its manifest, by which it is named from here on.
        manifest: ManifestHash,
        /// The hash of its bytes.
        content: ContentHash,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// It isn't any more: there is a newer version.
    Forget {
        /// Its manifest.
        manifest: ManifestHash,
    },
    /// The answer to [`Output::Look`]: chunks that are here already, and right.
    Present {
        /// The manifest.
        manifest: ManifestHash,
        /// Which; none if nothing is.
        runs: Vec<Run>,
    },
    /// The answer to [`Output::Check`].
    Checked {
        /// The manifest.
        manifest: ManifestHash,
        /// Whether all chunks together have the hash of the content.
        is_right: bool,
    },
    /// How many bytes may be written, all that is being fetched included.
    Room {
        /// So many.
        bytes: u64,
    },
    /// A connection with somebody is open, who may have something.
    SourceUp {
        /// Its name.
        source: SourceId,
        /// Who.
        peer: PeerId,
    },
    /// It is closed.
    SourceDown {
        /// Its name.
        source: SourceId,
    },
    /// A source has this, besides what it said before.
    Have {
        /// Who.
        source: SourceId,
        /// Of what.
        manifest: ManifestHash,
        /// What.
        held: Held,
    },
    /// A source has given a content up.
    Gone {
        /// Who.
        source: SourceId,
        /// What.
        manifest: ManifestHash,
    },
    /// The answer to [`Output::AskRoot`].
    Root {
        /// From whom.
        source: SourceId,
        /// To what.
        request: RequestId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// One of the answers to [`Output::AskPages`].
    Page {
        /// From whom.
        source: SourceId,
        /// To what.
        request: RequestId,
        /// The page's number.
        number: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Bytes of chunks have come.
    Bytes {
        /// From whom.
        source: SourceId,
        /// To what.
        request: RequestId,
        /// How many.
        count: u32,
    },
    /// All bytes of a chunk have come.
    Chunk {
        /// From whom.
        source: SourceId,
        /// To what.
        request: RequestId,
        /// The chunk's number.
        chunk: u32,
        /// Whether they have its hash. Then it is kept already.
        is_right: bool,
    },
    /// A request isn't answered, or not to its end.
    Refused {
        /// By whom.
        source: SourceId,
        /// Which.
        request: RequestId,
        /// Why.
        why: Refusal,
    },
}

/// What a fetcher wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Be told what a source has of a content.
    Interest {
        /// Whom to ask.
        source: SourceId,
        /// Of what.
        manifest: ManifestHash,
    },
    /// Be told no longer.
    NoInterest {
        /// By whom.
        source: SourceId,
        /// Of what.
        manifest: ManifestHash,
    },
    /// Ask for the root of a manifest.
    AskRoot {
        /// Whom.
        source: SourceId,
        /// The request's name.
        request: RequestId,
        /// Of what.
        manifest: ManifestHash,
    },
    /// Ask for pages of a manifest.
    AskPages {
        /// Whom.
        source: SourceId,
        /// The request's name.
        request: RequestId,
        /// Of what.
        manifest: ManifestHash,
        /// Which.
        pages: Run,
    },
    /// Ask for chunks.
    AskChunks {
        /// Whom.
        source: SourceId,
        /// The request's name.
        request: RequestId,
        /// Of what.
        manifest: ManifestHash,
        /// Which.
        chunks: Run,
    },
    /// What was asked for is of no use any more; nothing of it is told to the fetcher.
    Cancel {
        /// Of whom.
        source: SourceId,
        /// What.
        request: RequestId,
    },
    /// Close a connection. The fetcher has forgotten it already.
    Leave {
        /// Which.
        source: SourceId,
        /// Who is there.
        peer: PeerId,
        /// Why.
        fault: Fault,
    },
    /// The manifest is known: look what of it is here already. Answered by [`Input::Present`].
    Look {
        /// The manifest.
        manifest: ManifestHash,
    },
    /// All chunks are here: look whether they have the hash of the content together. Answered by [`Input::Checked`].
    Check {
        /// The manifest.
        manifest: ManifestHash,
    },
    /// Nobody is known who has it: somebody is to be found.
    Seek {
        /// The manifest.
        manifest: ManifestHash,
    },
    /// How a content stands has changed.
    State {
        /// The manifest.
        manifest: ManifestHash,
        /// How it stands now.
        state: State,
    },
    /// A source isn't asked for a while, as it is slow.
    Slow {
        /// Who.
        source: SourceId,
        /// For how long.
        time: Duration,
    },
}

/// How a content stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for those before it.
    Waiting,
    /// It waits for room.
    NoRoom,
    /// It is being fetched.
    Fetching,
    /// Nobody is known who has what is missing. It is tried again for ever.
    NoSource(Lack),
    /// All of it is here, and is being checked.
    Checking,
    /// All of it is here. The fetcher has forgotten it.
    Done,
    /// It can't be had, whoever has it. The fetcher has forgotten it.
    Failed(Failure),
}

/// Why there is no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// There is no connection to anybody.
    #[error("nobody is connected")]
    Nobody,
    /// Those who are connected don't have what is missing.
    #[error("nobody who is connected has what is missing")]
    Incomplete,
    /// Those who had it have given it up: there is a newer version.
    #[error("who had it has given it up")]
    GivenUp,
}

/// Why a content can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its manifest breaks a limit.
    #[error("its manifest is bad")]
    BadManifest(#[source] ManifestError),
    /// Its manifest is another content's.
    #[error("its manifest is another content's")]
    OtherContent,
    /// Its chunks aren't the content that they should be together.
    #[error("its chunks aren't its content")]
    WrongSum,
}

/// Why a source is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What it sent isn't what was asked for. It is avoided for the life of the process.
    #[error("it sends what isn't right")]
    Lied,
    /// It sent what nobody asked for.
    #[error("it sends what wasn't asked for")]
    Unasked,
    /// Nothing came of what it was asked for.
    #[error("it doesn't answer")]
    Silent,
}
