//! Bytes <-> [`PeerMessage`]: a 32-bit big-endian length, one byte that names the kind, and the fields in postcard.
//! The length counts kind and fields. An unknown kind is read as [`PeerMessage::Unknown`]: newer minors add kinds.

use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::ClusterName;
use crate::wire::broadcast::MessageId;
use crate::wire::census::Record;
use crate::wire::peer::{
    Claim, MAX_ADDRS, MAX_CLAIMS, MAX_ENTRIES, MAX_FEATURE_BYTES, MAX_FEATURES, MAX_KEYS, MAX_RANGES, MAX_REASON_BYTES,
    MAX_RECORD_NEIGHBOURS, MAX_WANTED, Payload, PeerMessage, Wanted,
};
use crate::wire::update::{FileUpdate, MAX_NAME_BYTES};

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
    check_limits(message)?;
    let mut frame = Vec::with_capacity(USUAL_FRAME_BYTES);
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    let kind = kind(message);
    frame.push(kind);
    write_fields(message, &mut frame).map_err(|source| FrameError::Malformed { kind, source })?;
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

fn write_fields(message: &PeerMessage, buffer: &mut Vec<u8>) -> Result<(), postcard::Error> {
    match message {
        PeerMessage::Hello(hello) => write(buffer, hello),
        PeerMessage::Prune | PeerMessage::Unknown { .. } => Ok(()),
        PeerMessage::Welcome { others } => write(buffer, others),
        PeerMessage::Goodbye { reason, leaving, others } => write(buffer, &(reason, leaving, others)),
        PeerMessage::ForwardJoin { addr, ttl } => write(buffer, &(addr, ttl)),
        PeerMessage::Shuffle { walk, ttl, addrs } => write(buffer, &(walk, ttl, addrs)),
        PeerMessage::ShuffleReply { walk, addrs } => write(buffer, &(walk, addrs)),
        PeerMessage::Ping { nonce, catalogue, partner } | PeerMessage::Pong { nonce, catalogue, partner } => {
            write(buffer, &(nonce, catalogue, partner))
        }
        PeerMessage::Broadcast { id, hops, payload } => match payload {
            Payload::Update(update) => write(buffer, &(id, hops, &**update)),
            Payload::Record(record) => write(buffer, &(id, hops, &**record)),
            Payload::Suspect(peer) => write(buffer, &(id, hops, peer)),
            Payload::Beacon => write(buffer, &(id, hops)),
        },
        PeerMessage::Have(announced) => write(buffer, announced),
        PeerMessage::Graft(ranges) => write(buffer, ranges),
        PeerMessage::Reconcile(set, claims) => write(buffer, &(set, claims)),
        PeerMessage::Want(set, wanted) => write(buffer, &(set, wanted)),
        PeerMessage::State { entries, rest } => write(buffer, &(entries, rest)),
        PeerMessage::Records { entries, rest } => write(buffer, &(entries, rest)),
        PeerMessage::Submit { request, update } => write(buffer, &(request, update)),
        PeerMessage::Accepted { request } => write(buffer, request),
        PeerMessage::Refused { request, reason } | PeerMessage::Deferred { request, reason } => {
            write(buffer, &(request, reason))
        }
    }
}

fn write(buffer: &mut Vec<u8>, fields: &impl Serialize) -> Result<(), postcard::Error> {
    postcard::serialize_with_flavor(fields, Behind(buffer))
}

/// Writes behind what a buffer has; postcard's own flavours want to own it, or copy byte by byte.
struct Behind<'a>(&'a mut Vec<u8>);

impl Flavor for Behind<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> Result<(), postcard::Error> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

fn kind(message: &PeerMessage) -> u8 {
    match message {
        PeerMessage::Hello(_) => 0,
        PeerMessage::Welcome { .. } => 1,
        PeerMessage::Goodbye { .. } => 2,
        PeerMessage::ForwardJoin { .. } => 3,
        PeerMessage::Shuffle { .. } => 4,
        PeerMessage::ShuffleReply { .. } => 5,
        PeerMessage::Ping { .. } => 6,
        PeerMessage::Pong { .. } => 7,
        PeerMessage::Broadcast { payload: Payload::Update(_), .. } => 8,
        PeerMessage::Broadcast { payload: Payload::Record(_), .. } => 9,
        PeerMessage::Broadcast { payload: Payload::Suspect(_), .. } => 10,
        PeerMessage::Have(_) => 11,
        PeerMessage::Graft(_) => 12,
        PeerMessage::Prune => 13,
        PeerMessage::Reconcile(..) => 14,
        PeerMessage::Want(..) => 15,
        PeerMessage::State { .. } => 16,
        PeerMessage::Records { .. } => 17,
        PeerMessage::Submit { .. } => 18,
        PeerMessage::Accepted { .. } => 19,
        PeerMessage::Refused { .. } => 20,
        PeerMessage::Broadcast { payload: Payload::Beacon, .. } => 21,
        PeerMessage::Deferred { .. } => 22,
        PeerMessage::Unknown { kind } => *kind,
    }
}

/// The message in `payload`, a frame without its length field.
///
/// # Errors
/// When the payload isn't what its kind says, or a field is beyond its limit.
pub fn decode(payload: &[u8]) -> Result<PeerMessage, FrameError> {
    let (&kind, fields) = payload.split_first().ok_or(FrameError::Empty)?;
    let message = match kind {
        0 => read(fields).map(PeerMessage::Hello),
        1 => read(fields).map(|others| PeerMessage::Welcome { others }),
        2 => read(fields).map(|(reason, leaving, others)| PeerMessage::Goodbye { reason, leaving, others }),
        3 => read(fields).map(|(addr, ttl)| PeerMessage::ForwardJoin { addr, ttl }),
        4 => read(fields).map(|(walk, ttl, addrs)| PeerMessage::Shuffle { walk, ttl, addrs }),
        5 => read(fields).map(|(walk, addrs)| PeerMessage::ShuffleReply { walk, addrs }),
        6 => read(fields).map(|(nonce, catalogue, partner)| PeerMessage::Ping { nonce, catalogue, partner }),
        7 => read(fields).map(|(nonce, catalogue, partner)| PeerMessage::Pong { nonce, catalogue, partner }),
        8 => broadcast(fields, |update| Payload::Update(Arc::new(update))),
        9 => broadcast(fields, |record| Payload::Record(Arc::new(record))),
        10 => broadcast(fields, |peer| Payload::Suspect(Box::new(peer))),
        11 => read(fields).map(PeerMessage::Have),
        12 => read(fields).map(PeerMessage::Graft),
        13 => Ok(PeerMessage::Prune),
        14 => read(fields).map(|(set, claims)| PeerMessage::Reconcile(set, claims)),
        15 => read(fields).map(|(set, wanted)| PeerMessage::Want(set, wanted)),
        16 => read(fields).map(|(entries, rest)| PeerMessage::State { entries, rest }),
        17 => read(fields).map(|(entries, rest)| PeerMessage::Records { entries, rest }),
        18 => read(fields).map(|(request, update)| PeerMessage::Submit { request, update }),
        19 => read(fields).map(|request| PeerMessage::Accepted { request }),
        20 => read(fields).map(|(request, reason)| PeerMessage::Refused { request, reason }),
        21 => broadcast(fields, |()| Payload::Beacon),
        22 => read(fields).map(|(request, reason)| PeerMessage::Deferred { request, reason }),
        kind => Ok(PeerMessage::Unknown { kind }),
    };
    let message = message.map_err(|source| FrameError::Malformed { kind, source })?;
    check_limits(&message)?;
    Ok(message)
}

fn broadcast<T: DeserializeOwned>(
    fields: &[u8],
    payload: impl FnOnce(T) -> Payload,
) -> Result<PeerMessage, postcard::Error> {
    let (id, hops, body): (MessageId, u16, T) = read(fields)?;
    Ok(PeerMessage::Broadcast { id, hops, payload: payload(body) })
}

fn read<T: DeserializeOwned>(fields: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(fields)
}

fn check_limits(message: &PeerMessage) -> Result<(), FrameError> {
    match message {
        PeerMessage::Hello(hello) => {
            limit("a cluster name", hello.cluster.len(), MAX_CLUSTER_BYTES)?;
            limit("a list of features", hello.features.len(), MAX_FEATURES)?;
            hello.features.iter().try_for_each(|feature| limit("a feature", feature.name.len(), MAX_FEATURE_BYTES))
        }
        PeerMessage::Welcome { others } => limit("a list of peers", others.len(), MAX_ADDRS),
        PeerMessage::Goodbye { reason, others, .. } => {
            limit("a reason", reason.len(), MAX_REASON_BYTES)?;
            limit("a list of peers", others.len(), MAX_ADDRS)
        }
        PeerMessage::Shuffle { addrs, .. } | PeerMessage::ShuffleReply { addrs, .. } => {
            limit("a list of peers", addrs.len(), MAX_ADDRS)
        }
        PeerMessage::Broadcast { payload: Payload::Update(update), .. } | PeerMessage::Submit { update, .. } => {
            check_update(update)
        }
        PeerMessage::Broadcast { payload: Payload::Record(record), .. } => check_record(record),
        PeerMessage::Have(announced) => limit("an announcement", announced.len(), MAX_RANGES),
        PeerMessage::Graft(ranges) => limit("a graft", ranges.len(), MAX_RANGES),
        PeerMessage::Reconcile(_, claims) => {
            limit("a list of claims", claims.len(), MAX_CLAIMS)?;
            claims.iter().try_for_each(|claim| match claim {
                Claim::Short(..) => Ok(()),
                Claim::All(_, keys) | Claim::Extra(keys) => limit("a claim", keys.len(), MAX_KEYS),
            })
        }
        PeerMessage::Want(_, wanted) => {
            limit("a list of wishes", wanted.len(), MAX_WANTED)?;
            wanted.iter().try_for_each(|wanted| match wanted {
                Wanted::Range(..) => Ok(()),
                Wanted::Keys(keys) => limit("a wish", keys.len(), MAX_ENTRIES),
            })
        }
        PeerMessage::State { entries, .. } => {
            limit("a page of files", entries.len(), MAX_ENTRIES)?;
            entries.iter().try_for_each(|update| check_update(update))
        }
        PeerMessage::Records { entries, .. } => {
            limit("a page of peers", entries.len(), MAX_ENTRIES)?;
            entries.iter().try_for_each(|record| check_record(record))
        }
        PeerMessage::Refused { reason, .. } | PeerMessage::Deferred { reason, .. } => {
            limit("a reason", reason.len(), MAX_REASON_BYTES)
        }
        PeerMessage::ForwardJoin { .. }
        | PeerMessage::Ping { .. }
        | PeerMessage::Pong { .. }
        | PeerMessage::Broadcast { payload: Payload::Suspect(_) | Payload::Beacon, .. }
        | PeerMessage::Prune
        | PeerMessage::Accepted { .. }
        | PeerMessage::Unknown { .. } => Ok(()),
    }
}

fn check_update(update: &FileUpdate) -> Result<(), FrameError> {
    limit("a file name", update.name.len(), MAX_NAME_BYTES)
}

fn check_record(record: &Record) -> Result<(), FrameError> {
    limit("a list of neighbours", record.active.len(), MAX_RECORD_NEIGHBOURS)?;
    limit("a software version", record.version.len(), MAX_VERSION_BYTES)
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
    }

    #[test]
    fn an_unknown_kind_says_no_more_than_that() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 3, 250, 1, 2]);
        decoder.push(&encode(&PeerMessage::Accepted { request: 7 }).unwrap());
        assert_eq!(decoder.next_message(), Ok(Some(PeerMessage::Unknown { kind: 250 })));
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
    fn a_hello_of_tomorrow_is_read_as_far_as_it_is_known() {
        let feature = crate::wire::peer::Feature { name: "content".to_owned(), version: 3 };
        let hello = crate::wire::peer::Hello {
            major: 2,
            minor: 9,
            cluster: "grapevine".to_owned(),
            peer: crate::ids::PeerId([1; 32]),
            listen: None,
            wish: crate::wire::peer::Wish::Join,
            presence: None,
            features: vec![feature],
        };
        let mut frame = encode(&PeerMessage::Hello(hello.clone())).unwrap();
        frame.extend_from_slice(b"more");
        assert_eq!(decode(&frame[LENGTH_BYTES..]).unwrap(), PeerMessage::Hello(hello.clone()));
        assert_eq!((hello.offers("content"), hello.offers("durable")), (Some(3), None));
    }

    #[test]
    fn a_list_beyond_its_limit_is_refused() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let message = PeerMessage::Shuffle { walk: 1, ttl: 1, addrs: vec![addr; MAX_ADDRS + 1] };
        assert!(matches!(encode(&message), Err(FrameError::Limit { .. })));
    }
}
