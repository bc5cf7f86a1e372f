//! Bytes <-> [`PeerMessage`]: a 32-bit big-endian length, one byte that names the kind, and the fields in postcard.
//! The length counts kind and fields. What each kind is stands in [`kinds`]. Newer minors add kinds: an unknown one is read
//! as [`PeerMessage::Unknown`], or, where it is a broadcast, as one with an unknown payload.

use crate::ids::ClusterName;
use crate::wire::peer::PeerMessage;

pub mod kinds;

/// The largest frame, without its length field. From the design: 1 MiB.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The longest cluster name, in bytes.
pub const MAX_CLUSTER_BYTES: usize = ClusterName::MAX_BYTES;
/// The longest name of a software version, in bytes.
pub const MAX_VERSION_BYTES: usize = 64;
/// What most frames take; only a wrong guess costs something.
const USUAL_FRAME_BYTES: usize = 256;
/// What a decoder keeps of its room while nothing comes: most links are idle.
const KEPT_BYTES: usize = 512;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;

/// What a sender did wrong, or would do. The decoder's stream is of no use after one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is beyond the limit.
    #[error("a frame of {0} bytes; at most {MAX_FRAME_BYTES} are allowed")]
    TooLarge(usize),
    /// It is no frame, but the beginning of something else.
    #[error("{0}")]
    Foreign(&'static str),
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
    message.check()?;
    let mut frame = Vec::with_capacity(USUAL_FRAME_BYTES);
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    let kind = message.kind().number;
    frame.push(kind);
    message.write(&mut frame).map_err(|source| FrameError::Malformed { kind, source })?;
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

/// The message in `payload`, a frame without its length field.
///
/// # Errors
/// When the payload isn't what its kind says, or a field is beyond its limit.
pub fn decode(payload: &[u8]) -> Result<PeerMessage, FrameError> {
    let (&kind, fields) = payload.split_first().ok_or(FrameError::Empty)?;
    let message = PeerMessage::read(kind, fields)?;
    message.check()?;
    Ok(message)
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

    /// The next message; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// When the peer broke the format. The stream can't be read any further.
    pub fn next_message(&mut self) -> Result<Option<PeerMessage>, FrameError> {
        let pending = self.buffer.get(self.consumed..).unwrap_or_default();
        if pending.is_empty() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.consumed = 0;
            return Ok(None);
        }
        let Some((header, rest)) = pending.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if len > MAX_FRAME_BYTES {
            return Err(foreign(*header).map_or(FrameError::TooLarge(len), FrameError::Foreign));
        }
        let Some(payload) = rest.get(..len) else {
            return Ok(None);
        };
        let message = decode(payload)?;
        self.consumed += LENGTH_BYTES + len;
        Ok(Some(message))
    }
}

/// What begins with these bytes, where it is something that people know.
fn foreign(bytes: [u8; LENGTH_BYTES]) -> Option<&'static str> {
    match &bytes {
        b"HTTP" | b"GET " | b"HEAD" | b"POST" | b"PUT " | b"PATC" | b"DELE" | b"OPTI" | b"CONN" | b"TRAC" | b"PRI " => {
            Some("this is HTTP: is this the API's address?")
        }
        [0x16, 3, ..] => Some("this is TLS, which peers don't speak"),
        b"AMQP" => Some("this is AMQP: is this the broker's address?"),
        b"SSH-" => Some("this is SSH"),
        [b'{', ..] => Some("this is JSON, as peers of the original system speak it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::PeerId;
    use crate::wire::broadcast::{MessageId, Source};
    use crate::wire::peer::{DURABLE, Feature, Hello, MAX_ADDRS, MAX_FEATURES, MAX_PAYLOAD_BYTES, Purpose};

    fn hello(features: Vec<(String, u16)>) -> Hello {
        Hello {
            major: 2,
            minor: 9,
            cluster: "grapevine".to_owned(),
            peer: PeerId([1; 32]),
            listen: None,
            purpose: Purpose::Join,
            presence: None,
            features: features.into_iter().map(|(name, version)| Feature { name, version }).collect(),
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(chunks in vec(any::<Vec<u8>>(), 0..8)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(_)) = decoder.next_message() {}
            }
        }

        #[test]
        fn frames_survive_any_cutting(cut in 1_usize..40, nonces in vec(any::<u64>(), 1..20)) {
            let messages: Vec<_> = nonces.into_iter().map(|nonce| PeerMessage::Accepted { request: nonce }).collect();
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

        #[test]
        fn what_any_bytes_say_can_be_said_again(kind in any::<u8>(), fields in vec(any::<u8>(), 0..80)) {
            if let Ok(message) = decode(&[vec![kind], fields].concat()) {
                let again = encode(&message).unwrap();
                prop_assert_eq!(decode(&again[LENGTH_BYTES..]), Ok(message));
            }
        }

        #[test]
        fn a_broadcast_of_an_unknown_kind_is_written_as_it_was_read(
            kind in 200..=u8::MAX,
            (source, seq, hops) in any::<(u64, u64, u16)>(),
            body in vec(any::<u8>(), 0..=MAX_PAYLOAD_BYTES),
            behind in vec(any::<u8>(), 0..9),
        ) {
            let id = MessageId { source: Source(source), seq };
            let said = [vec![kind], postcard::to_stdvec(&(id, hops, body)).unwrap()].concat();
            let message = decode(&[said.clone(), behind].concat()).unwrap();
            prop_assert_eq!(&encode(&message).unwrap()[LENGTH_BYTES..], said);
        }

        #[test]
        fn a_hello_is_read_whatever_features_it_lists(
            features in vec(("[a-z]{0,32}", any::<u16>()), 0..=MAX_FEATURES),
            behind in vec(any::<u8>(), 0..9),
        ) {
            let said = PeerMessage::Hello(hello(features));
            let frame = [encode(&said).unwrap(), behind].concat();
            prop_assert_eq!(decode(&frame[LENGTH_BYTES..]), Ok(said));
        }
    }

    #[test]
    fn an_unknown_kind_says_no_more_than_that() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 3, 100, 1, 2]);
        decoder.push(&encode(&PeerMessage::Accepted { request: 7 }).unwrap());
        assert_eq!(decoder.next_message(), Ok(Some(PeerMessage::Unknown { kind: 100 })));
        assert_eq!(decoder.next_message(), Ok(Some(PeerMessage::Accepted { request: 7 })));
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 4]);
        assert_eq!(decoder.next_message(), Err(FrameError::TooLarge(0xffff_ffff)));
    }

    #[test]
    fn what_isnt_a_frame_is_called_by_its_name() {
        for (bytes, what) in [
            (&b"HTTP/1.1 400 Bad Request"[..], "this is HTTP: is this the API's address?"),
            (b"GET / HTTP/1.1", "this is HTTP: is this the API's address?"),
            (&[0x16, 3, 1, 2, 0], "this is TLS, which peers don't speak"),
            (b"{\"type\": \"hello\"", "this is JSON, as peers of the original system speak it"),
            (&[0x50, 1, 2, 3], "a frame of 1342243331 bytes; at most 1048576 are allowed"),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.next_message().unwrap_err().to_string(), what);
        }
    }

    #[test]
    fn a_hello_tells_in_which_version_a_feature_is_offered() {
        let hello = hello(vec![("content".to_owned(), 3)]);
        assert_eq!((hello.offers("content"), hello.offers(DURABLE)), (Some(3), None));
    }

    #[test]
    fn a_list_beyond_its_limit_is_refused() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let message = PeerMessage::Shuffle { walk: 1, ttl: 1, addrs: vec![addr; MAX_ADDRS + 1] };
        assert!(matches!(encode(&message), Err(FrameError::Limit { .. })));
    }
}
