//! Bytes <-> [`ContentMessage`]. Behind a connection's first byte, [`super::FIRST_BYTE`], both sides say frames: a 32-bit
//! big-endian length, one byte that names the kind, and the fields in postcard, as on a gossip link. Kinds from
//! [`FIRST_BULK`] on have as their first field how many bytes of contents follow behind the frame, as they are: these never
//! go through the codec, so that they can be sent from a file and read into one. Kinds that aren't known are skipped, with
//! such bytes.

use serde::de::DeserializeOwned;

use crate::ids::ClusterName;
use crate::wire::content::{Blob, ContentMessage, Held, MAX_ASKED_PAGES, MAX_REASON_BYTES, MAX_RUNS, Run};
use crate::wire::manifest::{MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_LEVEL_BYTES, MAX_PAGES};

/// The largest frame, without its length and what follows it: a page, and some.
pub const MAX_FRAME_BYTES: usize = MAX_LEVEL_BYTES + 64;
/// Kinds from this one on are followed by bytes of contents.
pub const FIRST_BULK: u8 = 128;
/// The most bytes behind one frame: the longest chunk.
pub const MAX_BULK_BYTES: u32 = MAX_CHUNK_BYTES;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;

/// What a sender did wrong, or would do. Nothing behind it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The length field is beyond the limit.
    #[error("a frame of {0} bytes; at most {MAX_FRAME_BYTES} are allowed")]
    TooLarge(usize),
    /// The frame has no kind.
    #[error("an empty frame")]
    Empty,
    /// The fields don't fit the kind.
    #[error("a malformed content message of kind {kind}")]
    Malformed {
        /// The kind byte.
        kind: u8,
        /// What postcard said.
        #[source]
        source: postcard::Error,
    },
    /// A field is beyond its limit.
    #[error("{what} has {len}; at most {max} are allowed")]
    Limit {
        /// Which field.
        what: &'static str,
        /// Its size or count.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A run of nothing.
    #[error("a run of no {0}")]
    NoRun(&'static str),
}

/// One complete frame, without what follows it.
///
/// # Errors
/// When a field of the message is beyond its limit.
pub fn encode(message: &ContentMessage) -> Result<Vec<u8>, ContentError> {
    message.check()?;
    let (kind, _) = message.kind();
    let frame = vec![0, 0, 0, 0, kind];
    let mut frame = message.write(frame).map_err(|source| ContentError::Malformed { kind, source })?;
    let len = frame.len() - LENGTH_BYTES;
    if len > MAX_FRAME_BYTES {
        return Err(ContentError::TooLarge(len));
    }
    let length = u32::try_from(len).map_err(|_too_large| ContentError::TooLarge(len))?.to_be_bytes();
    frame.iter_mut().zip(length).for_each(|(to, from)| *to = from);
    Ok(frame)
}

/// What stands at the beginning of these bytes, and how many of them it takes; `None` until more have come. Behind it are
/// [`ContentMessage::follow_bytes`] bytes of contents.
///
/// # Errors
/// When the peer broke the format. The stream can't be read any further.
pub fn read(bytes: &[u8]) -> Result<Option<(ContentMessage, usize)>, ContentError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if len > MAX_FRAME_BYTES {
        return Err(ContentError::TooLarge(len));
    }
    let Some(payload) = rest.get(..len) else { return Ok(None) };
    let (&kind, fields) = payload.split_first().ok_or(ContentError::Empty)?;
    let message = ContentMessage::decode(kind, fields).map_err(|source| ContentError::Malformed { kind, source })?;
    message.check()?;
    Ok(Some((message, LENGTH_BYTES + len)))
}

/// Makes of each row `number "name" Variant {fields} = what is written, limits;` what is known of such a message, and what
/// writes and reads it.
macro_rules! kinds {
    ($($number:literal $name:literal $variant:ident $fields:tt = $written:tt, $limits:expr;)*) => {
        #[expect(unused_variables, reason = "each match names all fields of a message, and needs some")]
        impl ContentMessage {
            /// The byte that names its kind on the wire, and its name, for counts.
            pub fn kind(&self) -> (u8, &'static str) {
                match self {
                    $(Self::$variant $fields => ($number, $name),)*
                    Self::Unknown { kind, .. } => (*kind, "unknown"),
                }
            }

            fn check(&self) -> Result<(), ContentError> {
                match self {
                    $(Self::$variant $fields => $limits,)*
                    Self::Unknown { len_bytes, .. } => limit("what follows", *len_bytes, MAX_BULK_BYTES),
                }
            }

            fn write(&self, frame: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
                match self {
                    $(Self::$variant $fields => postcard::to_extend(&$written, frame),)*
                    Self::Unknown { kind: FIRST_BULK.., len_bytes } => postcard::to_extend(len_bytes, frame),
                    Self::Unknown { .. } => Ok(frame),
                }
            }

            fn decode(kind: u8, fields: &[u8]) -> Result<Self, postcard::Error> {
                Ok(match kind {
                    $($number => {
                        let $written = fields_of(fields)?;
                        Self::$variant $fields
                    })*
                    FIRST_BULK.. => Self::Unknown { kind, len_bytes: fields_of(fields)? },
                    kind => Self::Unknown { kind, len_bytes: 0 },
                })
            }
        }
    };
}

kinds! {
      0 "hello"       Hello(hello) = hello, limit("a cluster name", hello.cluster.len(), ClusterName::MAX_BYTES);
      1 "goodbye"     Goodbye { reason } = reason, limit("a reason", reason.len(), MAX_REASON_BYTES);
      2 "interest"    Interest { manifest } = manifest, Ok(());
      3 "no_interest" NoInterest { manifest } = manifest, Ok(());
      4 "have"        Have { manifest, held } = (manifest, held), held.check();
      5 "gone"        Gone { manifest } = manifest, Ok(());
      6 "ask_root"    AskRoot { request, manifest } = (request, manifest), Ok(());
      7 "ask_pages"   AskPages { request, manifest, pages } = (request, manifest, pages), check_pages(*pages);
      8 "root"        Root { request, bytes } = (request, bytes), bytes.check();
      9 "page"        Page { request, number, bytes } = (request, number, bytes), bytes.check();
     10 "ask_chunks"  AskChunks { request, manifest, chunks } = (request, manifest, chunks), check_chunks(*chunks);
     11 "cancel"      Cancel { request } = request, Ok(());
     12 "refused"     Refused { request, why } = (request, why), Ok(());
     13 "damaged"     Damaged { manifest, chunk } = (manifest, chunk), Ok(());
    128 "chunks"      Chunks { len_bytes, request, chunks } = (len_bytes, request, chunks),
                      check_chunks(*chunks).and(limit("what follows", *len_bytes, MAX_BULK_BYTES));
}

impl Held {
    fn check(&self) -> Result<(), ContentError> {
        let Self::Runs(runs) = self else { return Ok(()) };
        limit("a list of runs", runs.len(), MAX_RUNS)?;
        runs.iter().try_for_each(|run| check_chunks(*run))
    }
}

impl Blob {
    fn check(&self) -> Result<(), ContentError> {
        limit("a part of a manifest", self.0.len(), MAX_LEVEL_BYTES)
    }
}

fn fields_of<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}

fn check_chunks(run: Run) -> Result<(), ContentError> {
    if run.count == 0 {
        return Err(ContentError::NoRun("chunks"));
    }
    limit("a run of chunks", u64::from(run.first) + u64::from(run.count), MAX_CHUNKS)
}

fn check_pages(run: Run) -> Result<(), ContentError> {
    if run.count == 0 {
        return Err(ContentError::NoRun("pages"));
    }
    limit("a list of pages", run.count, MAX_ASKED_PAGES)?;
    limit("a run of pages", u64::from(run.first) + u64::from(run.count), MAX_PAGES)
}

fn limit<L: TryInto<u64>, M: TryInto<u64>>(what: &'static str, len: L, max: M) -> Result<(), ContentError> {
    let (len, max) = (len.try_into().unwrap_or(u64::MAX), max.try_into().unwrap_or(u64::MAX));
    if len > max { Err(ContentError::Limit { what, len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::ManifestHash;

    fn ask(first: u32, count: u32) -> ContentMessage {
        ContentMessage::AskChunks { request: 1, manifest: ManifestHash([1; 32]), chunks: Run { first, count } }
    }

    proptest! {
        #[test]
        fn what_any_bytes_say_can_be_said_again(kind in any::<u8>(), fields in vec(any::<u8>(), 0..90)) {
            let length = u32::try_from(1 + fields.len()).unwrap().to_be_bytes();
            let frame = [&length[..], &[kind], &fields].concat();
            if let Ok(message) = read(&frame) {
                let (message, taken) = message.unwrap();
                prop_assert_eq!(taken, frame.len());
                let again = encode(&message).unwrap();
                let len = again.len();
                prop_assert_eq!(read(&again), Ok(Some((message, len))));
            }
        }

        #[test]
        fn nothing_is_read_before_all_of_it_has_come(cut in 0_usize..60, first in 0..1000_u32) {
            let frame = encode(&ask(first, 7)).unwrap();
            prop_assert_eq!(read(&frame[..cut.min(frame.len() - 1)]), Ok(None));
        }

        #[test]
        fn fields_of_tomorrow_are_ignored(behind in vec(any::<u8>(), 0..9)) {
            let mut frame = [encode(&ask(0, 1)).unwrap(), behind].concat();
            let len = frame.len();
            frame[..4].copy_from_slice(&u32::try_from(len - 4).unwrap().to_be_bytes());
            prop_assert_eq!(read(&frame), Ok(Some((ask(0, 1), len))));
        }
    }

    #[test]
    fn the_largest_page_fits_a_frame() {
        let (request, number) = (u32::MAX, u32::MAX);
        let page = |len| ContentMessage::Page { request, number, bytes: Blob(vec![7; len]) };
        let frame = encode(&page(MAX_LEVEL_BYTES)).unwrap();
        assert_eq!(read(&frame).unwrap().unwrap().0, page(MAX_LEVEL_BYTES));
        assert!(matches!(encode(&page(MAX_LEVEL_BYTES + 1)), Err(ContentError::Limit { .. })));
    }

    #[test]
    fn a_list_of_the_most_runs_fits_a_frame() {
        let runs = |count| Held::Runs(vec![Run { first: MAX_CHUNKS - 1, count: 1 }; count]);
        let have = |count| ContentMessage::Have { manifest: ManifestHash([1; 32]), held: runs(count) };
        assert!(encode(&have(MAX_RUNS)).is_ok());
        assert!(matches!(encode(&have(MAX_RUNS + 1)), Err(ContentError::Limit { .. })));
    }

    #[test]
    fn runs_that_nobody_can_have_are_refused() {
        assert_eq!(encode(&ask(7, 0)), Err(ContentError::NoRun("chunks")));
        for (first, count) in [(MAX_CHUNKS, 1), (0, MAX_CHUNKS + 1), (u32::MAX, u32::MAX)] {
            assert!(matches!(encode(&ask(first, count)), Err(ContentError::Limit { .. })));
        }
        let pages = |first, count| {
            encode(&ContentMessage::AskPages {
                request: 1,
                manifest: ManifestHash([1; 32]),
                pages: Run { first, count },
            })
        };
        assert!(pages(0, MAX_ASKED_PAGES).is_ok());
        assert!(pages(0, MAX_ASKED_PAGES + 1).is_err() && pages(u32::MAX, 1).is_err() && pages(0, 0).is_err());
    }

    #[test]
    fn more_than_a_chunk_never_follows() {
        let chunks = Run { first: 0, count: 1 };
        let brings = |len_bytes| encode(&ContentMessage::Chunks { len_bytes, request: 1, chunks });
        assert!(brings(MAX_BULK_BYTES).is_ok() && brings(MAX_BULK_BYTES + 1).is_err());
        let later = ContentMessage::Unknown { kind: 200, len_bytes: 9 };
        let frame = encode(&later).unwrap();
        assert_eq!(read(&frame).unwrap().unwrap().0.follow_bytes(), 9);
        let long = encode(&ContentMessage::Unknown { kind: 200, len_bytes: u32::MAX });
        assert!(matches!(long, Err(ContentError::Limit { .. })));
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        assert_eq!(read(&[0xff; 4]), Err(ContentError::TooLarge(0xffff_ffff)));
        assert_eq!(read(&[0; 4]), Err(ContentError::Empty));
    }
}
