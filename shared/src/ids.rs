//! Names of things: peers, files, users, versions, contents. Each is parsed and printed here and nowhere else.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Serialize};

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{what} must not be empty")]
    Empty {
        /// What was being parsed.
        what: &'static str,
    },
    /// The text is longer than allowed.
    #[error("{what} is {len} bytes long; at most {max} are allowed")]
    TooLong {
        /// What was being parsed.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The text has a character that may not be in it.
    #[error("{what} must not contain {found:?}")]
    BadCharacter {
        /// What was being parsed.
        what: &'static str,
        /// The first such character.
        found: char,
    },
    /// The text is not 64 hexadecimal digits.
    #[error("{what} must be 64 hexadecimal digits")]
    NotAHash {
        /// What was being parsed.
        what: &'static str,
    },
    /// The text is not a version number.
    #[error("a version must be a whole number from 1 to {}", Version::MAX.0)]
    NotAVersion,
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > max {
        return Err(IdError::TooLong { what, len: text.len(), max });
    }
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match text.chars().find(|c| !is_plain && c.is_control()) {
        Some(found) => Err(IdError::BadCharacter { what, found }),
        None => Ok(()),
    }
}

/// Reads a text without a copy of its own.
struct TextId<T>(PhantomData<T>);

impl<T: FromStr<Err = IdError>> Visitor<'_> for TextId<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest accepted text, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check($what, text, Self::MAX_BYTES)?;
                Ok(Self(text.into()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextId(PhantomData))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Names a file for as long as it exists, tombstone included. Opaque: the API makes `UUIDv7`, `--inject` may name
    /// anything.
    FileId, "a file id", 128
);
text_id!(
    /// Names a user. Trusted from the request's header until clusters are authenticated.
    UserId, "a user id", 128
);

text_id!(
    /// Names an overlay: peers of another one are refused.
    ClusterName, "a cluster name", 64
);

impl Default for ClusterName {
    fn default() -> Self {
        Self("grapevine".into())
    }
}

/// Which edition of a file: 1 for the first, one more for each change. Never goes backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Version(pub u64);

impl TryFrom<u64> for Version {
    type Error = IdError;

    fn try_from(number: u64) -> Result<Self, IdError> {
        if (Self::FIRST.0..=Self::MAX.0).contains(&number) { Ok(Self(number)) } else { Err(IdError::NotAVersion) }
    }
}

impl Version {
    /// The first version of a file.
    pub const FIRST: Self = Self(1);
    /// The largest version: what fits a signed 64-bit column, as in `SQLite`.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The version after this one; `None` at [`Version::MAX`].
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then(|| Self(self.0 + 1))
    }
}

impl FromStr for Version {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse::<u64>().map_err(|_digits| IdError::NotAVersion)?.try_into()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes as lower-case hexadecimal digits.
fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn from_hex(what: &'static str, text: &str) -> Result<[u8; 32], IdError> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(IdError::NotAHash { what });
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_utf8| IdError::NotAHash { what })?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_digits| IdError::NotAHash { what })?;
    }
    Ok(bytes)
}

/// Reads a hash as one piece: byte by byte it would cost more than all else of a message.
struct HashBytes;

impl Visitor<'_> for HashBytes {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
        bytes.try_into().map_err(|_length| E::invalid_length(bytes.len(), &self))
    }
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first ten digits: enough to tell one from another in a log line or on the page.
            pub fn short(&self) -> String {
                to_hex(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                from_hex($what, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    deserializer.deserialize_bytes(HashBytes).map(Self)
                }
            }
        }
    };
}

hash_id!(
    /// Names a peer, whatever its address. Random for now; the hash of its public key once clusters are authenticated.
    PeerId, "a peer id"
);
hash_id!(
    /// Names a content: the BLAKE3 hash of its bytes.
    ContentHash, "a content hash"
);
hash_id!(
    /// Names a manifest: the BLAKE3 hash of its root.
    ManifestHash, "a manifest hash"
);
hash_id!(
    /// Names a chunk of a content: the BLAKE3 hash of its bytes.
    ChunkHash, "a chunk hash"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_printing_and_parsing() {
        let hash = ContentHash(*blake3::hash(b"grapevine").as_bytes());
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.short(), hash.to_string()[..10]);
    }

    #[test]
    fn bad_names_are_refused_with_a_reason() {
        assert_eq!("".parse::<FileId>(), Err(IdError::Empty { what: "a file id" }));
        assert_eq!("a\nb".parse::<UserId>(), Err(IdError::BadCharacter { what: "a user id", found: '\n' }));
        assert!("x".repeat(129).parse::<FileId>().is_err());
        assert!("zz".repeat(32).parse::<PeerId>().is_err());
        assert!("é".repeat(32).parse::<PeerId>().is_err());
        assert!("0".parse::<Version>().is_err());
        assert!("9223372036854775808".parse::<Version>().is_err());
        assert_eq!(Version::MAX.next(), None);
    }
}
