//! Bytes <-> [`PeerMessage`]: a 32-bit big-endian length, one byte that names the kind, and the fields in postcard.
//! The length counts kind and fields. A kind that isn't known is skipped, so that newer minors can add kinds.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::peer::{Hello, MAX_PEERS_PER_MESSAGE, MAX_REASON_BYTES, MAX_UPDATES_PER_STATE, PeerMessage};
use crate::wire::update::{FileUpdate, MAX_NAME_BYTES};

/// The largest frame, without its length field. From the design: 1 MiB.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The longest cluster name, in bytes.
pub const MAX_CLUSTER_BYTES: usize = 64;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;

/// What a sender did wrong, or would do. The decoder's stream is of no use after one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is beyond the limit.
    #[error("a frame of {0} bytes; at most {MAX_FRAME_BYTES} are allowed")]
    TooLarge(usize),
    /// The frame has no kind.
    #[error("an empty frame")]
    Empty,
    /// The fields don't fit the kind.
    #[error("a malformed message of kind {kind}")]
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
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// One complete frame for `message`.
///
/// # Errors
/// When a field of the message is beyond its limit.
pub fn encode(message: &PeerMessage) -> Result<Vec<u8>, FrameError> {
    check_limits(message)?;
    let mut frame = vec![0; LENGTH_BYTES];
    let kind = kind(message);
    frame.push(kind);
    let encoded = match message {
        PeerMessage::Hello(hello) => write(frame, hello),
        PeerMessage::Peers(addrs) => write(frame, addrs),
        PeerMessage::Pull { after } => write(frame, after),
        PeerMessage::State { updates, more } => write(frame, &(updates, more)),
        PeerMessage::Update { update, hops } => write(frame, &(update, hops)),
        PeerMessage::Submit { request, update } => write(frame, &(request, update)),
        PeerMessage::Accepted { request } => write(frame, request),
        PeerMessage::Refused { request, reason } => write(frame, &(request, reason)),
        PeerMessage::Ping { nonce } | PeerMessage::Pong { nonce } => write(frame, nonce),
        PeerMessage::Goodbye { reason, leaving } => write(frame, &(reason, leaving)),
    };
    let mut frame = encoded.map_err(|source| FrameError::Malformed { kind, source })?;
    let len = frame.len() - LENGTH_BYTES;
    if len > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(len));
    }
    let header = u32::try_from(len).map_err(|_too_large| FrameError::TooLarge(len))?.to_be_bytes();
    for (byte, value) in frame.iter_mut().zip(header) {
        *byte = value;
    }
    Ok(frame)
}

fn write(frame: Vec<u8>, fields: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(fields, frame)
}

fn kind(message: &PeerMessage) -> u8 {
    match message {
        PeerMessage::Hello(_) => 0,
        PeerMessage::Peers(_) => 1,
        PeerMessage::Pull { .. } => 2,
        PeerMessage::State { .. } => 3,
        PeerMessage::Update { .. } => 4,
        PeerMessage::Submit { .. } => 5,
        PeerMessage::Accepted { .. } => 6,
        PeerMessage::Refused { .. } => 7,
        PeerMessage::Ping { .. } => 8,
        PeerMessage::Pong { .. } => 9,
        PeerMessage::Goodbye { .. } => 10,
    }
}

/// The message in `payload`, a frame without its length field; `None` for a kind that isn't known.
///
/// # Errors
/// When the payload isn't what its kind says, or a field is beyond its limit.
pub fn decode(payload: &[u8]) -> Result<Option<PeerMessage>, FrameError> {
    let (&kind, fields) = payload.split_first().ok_or(FrameError::Empty)?;
    let message = match kind {
        0 => read::<Hello>(fields).map(PeerMessage::Hello),
        1 => read(fields).map(PeerMessage::Peers),
        2 => read(fields).map(|after| PeerMessage::Pull { after }),
        3 => read(fields).map(|(updates, more)| PeerMessage::State { updates, more }),
        4 => read(fields).map(|(update, hops)| PeerMessage::Update { update, hops }),
        5 => read(fields).map(|(request, update)| PeerMessage::Submit { request, update }),
        6 => read(fields).map(|request| PeerMessage::Accepted { request }),
        7 => read(fields).map(|(request, reason)| PeerMessage::Refused { request, reason }),
        8 => read(fields).map(|nonce| PeerMessage::Ping { nonce }),
        9 => read(fields).map(|nonce| PeerMessage::Pong { nonce }),
        10 => read(fields).map(|(reason, leaving)| PeerMessage::Goodbye { reason, leaving }),
        _ => return Ok(None),
    };
    let message = message.map_err(|source| FrameError::Malformed { kind, source })?;
    check_limits(&message)?;
    Ok(Some(message))
}

fn read<T: DeserializeOwned>(fields: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(fields)
}

fn check_limits(message: &PeerMessage) -> Result<(), FrameError> {
    match message {
        PeerMessage::Hello(hello) => limit("a cluster name", hello.cluster.len(), MAX_CLUSTER_BYTES),
        PeerMessage::Peers(addrs) => limit("a list of peers", addrs.len(), MAX_PEERS_PER_MESSAGE),
        PeerMessage::State { updates, more: _ } => {
            limit("a page of the catalogue", updates.len(), MAX_UPDATES_PER_STATE)?;
            updates.iter().try_for_each(check_name)
        }
        PeerMessage::Update { update, .. } | PeerMessage::Submit { update, .. } => check_name(update),
        PeerMessage::Refused { reason, .. } | PeerMessage::Goodbye { reason, .. } => {
            limit("a reason", reason.len(), MAX_REASON_BYTES)
        }
        PeerMessage::Pull { .. }
        | PeerMessage::Accepted { .. }
        | PeerMessage::Ping { .. }
        | PeerMessage::Pong { .. } => Ok(()),
    }
}

fn check_name(update: &FileUpdate) -> Result<(), FrameError> {
    limit("a file name", update.name.len(), MAX_NAME_BYTES)
}

fn limit(what: &'static str, len: usize, max: usize) -> Result<(), FrameError> {
    if len > max { Err(FrameError::Limit { what, len, max }) } else { Ok(()) }
}

/// Cuts a stream of bytes into frames. Holds at most one frame and what was pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// Takes bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message of a known kind; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// When the peer broke the format. The stream can't be read any further.
    pub fn next_message(&mut self) -> Result<Option<PeerMessage>, FrameError> {
        loop {
            let pending = self.buffer.get(self.consumed..).unwrap_or_default();
            let Some((header, rest)) = pending.split_first_chunk::<LENGTH_BYTES>() else {
                return Ok(None);
            };
            let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
            if len > MAX_FRAME_BYTES {
                return Err(FrameError::TooLarge(len));
            }
            let Some(payload) = rest.get(..len) else {
                return Ok(None);
            };
            let decoded = decode(payload)?;
            self.consumed += LENGTH_BYTES + len;
            if decoded.is_some() {
                return Ok(decoded);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(_)) = decoder.next_message() {}
            }
        }

        #[test]
        fn frames_survive_any_cutting(cut in 1_usize..40, nonces in proptest::collection::vec(any::<u64>(), 1..20)) {
            let messages: Vec<_> = nonces.into_iter().map(|nonce| PeerMessage::Ping { nonce }).collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
            let mut decoder = Decoder::default();
            let mut decoded = Vec::new();
            for chunk in bytes.chunks(cut) {
                decoder.push(chunk);
                while let Some(message) = decoder.next_message().unwrap() {
                    decoded.push(message);
                }
            }
            prop_assert_eq!(decoded, messages);
        }
    }

    #[test]
    fn an_unknown_kind_is_skipped() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 3, 250, 1, 2]);
        decoder.push(&encode(&PeerMessage::Pong { nonce: 7 }).unwrap());
        assert_eq!(decoder.next_message(), Ok(Some(PeerMessage::Pong { nonce: 7 })));
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 4]);
        assert_eq!(decoder.next_message(), Err(FrameError::TooLarge(0xffff_ffff)));
    }

    #[test]
    fn a_list_beyond_its_limit_is_refused() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let message = PeerMessage::Peers(vec![addr; MAX_PEERS_PER_MESSAGE + 1]);
        assert!(matches!(encode(&message), Err(FrameError::Limit { .. })));
    }
}
