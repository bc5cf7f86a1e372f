//! The table of kinds: of each message between peers its number and its name, its fields in their order on the wire, the
//! addresses that it tells, and the limits that it keeps.
//!
//! One more message is a variant of [`PeerMessage`] (or of [`Payload`], for a broadcast), a row here, and what
//! [`crate::gossip::node`] does with it.

use std::net::SocketAddr;
use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::wire::broadcast::MessageId;
use crate::wire::census::Record;
use crate::wire::frame::{FrameError, MAX_CLUSTER_BYTES, MAX_VERSION_BYTES};
use crate::wire::peer::{
    Claim, Hello, MAX_ADDRS, MAX_CLAIMS, MAX_ENTRIES, MAX_FEATURE_BYTES, MAX_FEATURES, MAX_KEYS, MAX_PAYLOAD_BYTES,
    MAX_RANGES, MAX_REASON_BYTES, MAX_RECORD_NEIGHBOURS, MAX_WANTED, Payload, PeerMessage, Unknown, Wanted,
};
use crate::wire::update::{FileUpdate, MAX_NAME_BYTES};

/// What all messages of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The byte that names it on the wire.
    pub number: u8,
    /// Its name, for counts.
    pub name: &'static str,
    /// Whether nothing is lost with it: then nobody looks whether the other side is still there to hear it.
    pub is_spare: bool,
    /// Whether it tells addresses.
    pub tells_addrs: bool,
}

/// Kinds from this one on are broadcasts, whatever they say: who doesn't know one passes it on as it is.
pub const FIRST_BROADCAST: u8 = 128;

/// Nothing is lost with it.
const SPARE: bool = true;
/// Something is.
const NEEDED: bool = false;

/// Makes of each row `number "name" importance Variant {fields} = form (what is written), [addresses], limits;` what is
/// known of such a message, and what writes and reads it.
macro_rules! kinds {
    ($($number:literal $name:literal $spare:ident
       $variant:ident $fields:tt = $form:ident $written:tt, [$($addrs:ident)*], $limits:expr;)*) => {
        #[expect(unused_variables, reason = "each match names all fields of a message, and needs some")]
        impl PeerMessage {
            /// What kind of message it is.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant $fields => Kind {
                        number: $number,
                        name: $name,
                        is_spare: $spare,
                        tells_addrs: !<[&str]>::is_empty(&[$(stringify!($addrs)),*]),
                    },)*
                    Self::Broadcast { payload: Payload::Unknown(unknown), .. } => Kind::unknown(unknown.kind),
                    Self::Unknown { kind } => Kind::unknown(*kind),
                }
            }

            /// Puts others in the place of the addresses that it tells. (A hello's is its sender's own affair.)
            pub fn relocate(&mut self, place: impl Fn(SocketAddr) -> SocketAddr) {
                match self {
                    $(Self::$variant $fields => { $($addrs.relocate(&place);)* })*
                    Self::Broadcast { payload: Payload::Unknown(_), .. } | Self::Unknown { .. } => {}
                }
            }

            /// Whether it is within its limits.
            pub(super) fn check(&self) -> Result<(), FrameError> {
                match self {
                    $(Self::$variant $fields => $limits,)*
                    Self::Broadcast { payload: Payload::Unknown(unknown), .. } => check_payload(&unknown.body),
                    Self::Unknown { .. } => Ok(()),
                }
            }

            /// Puts its fields down.
            pub(super) fn write(&self, buffer: &mut Vec<u8>) -> Result<(), postcard::Error> {
                match self {
                    $(Self::$variant $fields => $form::write(buffer, &$written),)*
                    Self::Broadcast { id, hops, payload: Payload::Unknown(unknown) } => {
                        Plain::write(buffer, &(id, hops, &*unknown.body))
                    }
                    Self::Unknown { .. } => Ok(()),
                }
            }

            /// The message of a kind that has these fields. One of an unknown kind is within its limits.
            pub(super) fn read(kind: u8, fields: &[u8]) -> Result<Self, FrameError> {
                let message = match kind {
                    $($number => $form::read(fields).map(|$written| Self::$variant $fields),)*
                    FIRST_BROADCAST.. => return unknown_broadcast(kind, fields),
                    kind => Ok(Self::Unknown { kind }),
                };
                message.map_err(|source| FrameError::Malformed { kind, source })
            }
        }
    };
}

kinds! {
      0 "hello"         NEEDED Hello(hello) = Plain hello, [], check_hello(hello);
      1 "welcome"       NEEDED Welcome { others } = Plain others, [others], check_addrs(others);
      2 "goodbye"       NEEDED Goodbye { reason, leaving, others } = Plain (reason, leaving, others), [others],
                               check_reason(reason).and(check_addrs(others));
      3 "forward_join"  NEEDED ForwardJoin { addr, ttl } = Plain (addr, ttl), [addr], Ok(());
      4 "shuffle"       SPARE  Shuffle { walk, ttl, addrs } = Plain (walk, ttl, addrs), [addrs], check_addrs(addrs);
      5 "shuffle_reply" SPARE  ShuffleReply { walk, addrs } = Plain (walk, addrs), [addrs], check_addrs(addrs);
      6 "ping"          NEEDED Ping { nonce, catalogue, partner } = Plain (nonce, catalogue, partner), [], Ok(());
      7 "pong"          NEEDED Pong { nonce, catalogue, partner } = Plain (nonce, catalogue, partner), [], Ok(());
      8 "ihave"         SPARE  IHave(announced) = Plain announced, [], limit("an announcement", announced.len(), MAX_RANGES);
      9 "graft"         NEEDED Graft(ranges) = Plain ranges, [], limit("a graft", ranges.len(), MAX_RANGES);
     10 "prune"         SPARE  Prune {} = Plain (), [], Ok(());
     11 "reconcile"     NEEDED Reconcile(set, claims) = Plain (set, claims), [], check_claims(claims);
     12 "request"       NEEDED Request(set, wanted) = Plain (set, wanted), [], check_wanted(wanted);
     13 "state"         NEEDED State { entries, rest } = Plain (entries, rest), [], check_files(entries);
     14 "records"       NEEDED Records { entries, rest } = Plain (entries, rest), [entries], check_records(entries);
     15 "submit"        NEEDED Submit { request, update } = Plain (request, update), [], check_update(update);
     16 "accepted"      NEEDED Accepted { request } = Plain request, [], Ok(());
     17 "refused"       NEEDED Refused { request, reason } = Plain (request, reason), [], check_reason(reason);
     18 "deferred"      NEEDED Deferred { request, reason } = Plain (request, reason), [], check_reason(reason);
    128 "update"        NEEDED Broadcast { id, hops, payload: Payload::Update(update) } = Envelope (id, hops, update), [],
                               check_update(update);
    129 "record"        SPARE  Broadcast { id, hops, payload: Payload::Record(record) } = Envelope (id, hops, record),
                               [record], check_record(record);
    130 "suspect"       NEEDED Broadcast { id, hops, payload: Payload::Suspect(peer) } = Envelope (id, hops, peer), [],
                               Ok(());
    131 "beacon"        NEEDED Broadcast { id, hops, payload: Payload::Beacon } = Envelope (id, hops, ()), [], Ok(());
}

impl Kind {
    fn unknown(number: u8) -> Self {
        Self { number, name: "unknown", is_spare: NEEDED, tells_addrs: false }
    }
}

// --- fields -------------------------------------------------------------------------------------------------------

/// Fields that follow each other.
struct Plain;

impl Plain {
    fn write(buffer: &mut Vec<u8>, fields: &impl Serialize) -> Result<(), postcard::Error> {
        postcard::serialize_with_flavor(fields, Behind(buffer))
    }

    fn read<'a, T: Deserialize<'a>>(fields: &'a [u8]) -> Result<T, postcard::Error> {
        postcard::from_bytes(fields)
    }
}

/// The name of a broadcast, over how many links it has come, and its payload with the length before it.
struct Envelope;

impl Envelope {
    fn write<T: Serialize>(
        buffer: &mut Vec<u8>,
        (id, hops, payload): &(&MessageId, &u16, T),
    ) -> Result<(), postcard::Error> {
        Plain::write(buffer, &(id, hops))?;
        let start = buffer.len();
        Plain::write(buffer, payload)?;
        // How long it is, is only known now; the length goes before it.
        let end = buffer.len();
        Plain::write(buffer, &(end - start))?;
        let length_bytes = buffer.len() - end;
        if let Some(written) = buffer.get_mut(start..) {
            written.rotate_right(length_bytes);
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(fields: &[u8]) -> Result<(MessageId, u16, T), postcard::Error> {
        let (id, hops, payload): (MessageId, u16, &[u8]) = Plain::read(fields)?;
        Ok((id, hops, Plain::read(payload)?))
    }
}

/// A broadcast of a kind that isn't in the table: kept as it is, if it isn't too long.
fn unknown_broadcast(kind: u8, fields: &[u8]) -> Result<PeerMessage, FrameError> {
    let (id, hops, body) = Plain::read(fields).map_err(|source| FrameError::Malformed { kind, source })?;
    check_payload(body)?;
    Ok(PeerMessage::Broadcast { id, hops, payload: Payload::Unknown(Arc::new(Unknown { kind, body: body.into() })) })
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

// --- addresses ----------------------------------------------------------------------------------------------------

/// Something that tells addresses.
trait Relocate {
    /// Puts others in their place.
    fn relocate(&mut self, place: &impl Fn(SocketAddr) -> SocketAddr);
}

impl Relocate for SocketAddr {
    fn relocate(&mut self, place: &impl Fn(Self) -> Self) {
        *self = place(*self);
    }
}

impl Relocate for Arc<Record> {
    fn relocate(&mut self, place: &impl Fn(SocketAddr) -> SocketAddr) {
        let addr = place(self.addr);
        if addr != self.addr {
            Self::make_mut(self).addr = addr;
        }
    }
}

impl<T: Relocate> Relocate for Vec<T> {
    fn relocate(&mut self, place: &impl Fn(SocketAddr) -> SocketAddr) {
        for one in self {
            one.relocate(place);
        }
    }
}

// --- limits -------------------------------------------------------------------------------------------------------

fn check_hello(hello: &Hello) -> Result<(), FrameError> {
    limit("a cluster name", hello.cluster.len(), MAX_CLUSTER_BYTES)?;
    limit("a list of features", hello.features.len(), MAX_FEATURES)?;
    hello.features.iter().try_for_each(|feature| limit("a feature", feature.name.len(), MAX_FEATURE_BYTES))
}

fn check_addrs(addrs: &[SocketAddr]) -> Result<(), FrameError> {
    limit("a list of peers", addrs.len(), MAX_ADDRS)
}

fn check_reason(reason: &str) -> Result<(), FrameError> {
    limit("a reason", reason.len(), MAX_REASON_BYTES)
}

fn check_claims(claims: &[Claim]) -> Result<(), FrameError> {
    limit("a list of claims", claims.len(), MAX_CLAIMS)?;
    claims.iter().try_for_each(|claim| match claim {
        Claim::Fingerprint(..) => Ok(()),
        Claim::ItemSet(_, keys) | Claim::Missing(keys) => limit("a claim", keys.len(), MAX_KEYS),
    })
}

fn check_wanted(wanted: &[Wanted]) -> Result<(), FrameError> {
    limit("a list of wishes", wanted.len(), MAX_WANTED)?;
    wanted.iter().try_for_each(|wanted| match wanted {
        Wanted::Range(..) => Ok(()),
        Wanted::Keys(keys) => limit("a purpose", keys.len(), MAX_ENTRIES),
    })
}

fn check_payload(body: &[u8]) -> Result<(), FrameError> {
    limit("a broadcast", body.len(), MAX_PAYLOAD_BYTES)
}

fn check_files(entries: &[Arc<FileUpdate>]) -> Result<(), FrameError> {
    limit("a page of files", entries.len(), MAX_ENTRIES)?;
    entries.iter().try_for_each(|update| check_update(update))
}

fn check_records(entries: &[Arc<Record>]) -> Result<(), FrameError> {
    limit("a page of peers", entries.len(), MAX_ENTRIES)?;
    entries.iter().try_for_each(|record| check_record(record))
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
