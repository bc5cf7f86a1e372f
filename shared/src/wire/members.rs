//! Reading JSON objects of which one member says what the others are.
//!
//! Deriving it would be shorter. But derived code copies such an object into a buffer of its own kind first, and each type
//! in it is compiled once more for that buffer: a fifth of what the page weighs.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::{Error, Map, Value};

/// The members of an object that haven't been taken yet.
#[derive(Debug)]
pub(super) struct Members(Map<String, Value>);

impl Members {
    /// Returns what `take` makes of an object.
    pub(super) fn read<'de, T, D: Deserializer<'de>>(
        deserializer: D,
        take: fn(&mut Self) -> Result<T, Error>,
    ) -> Result<T, D::Error> {
        let mut members = Self(Map::deserialize(deserializer)?);
        take(&mut members).map_err(D::Error::custom)
    }

    /// Takes and returns a member; one that is absent is null.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Error> {
        let value = self.0.get_mut(name).map(Value::take).unwrap_or_default();
        T::deserialize(value).map_err(|error| Error::custom(format_args!("{name}: {error}")))
    }

    /// Takes and returns the member that says what the others are.
    pub(super) fn tag(&mut self, name: &str) -> Result<String, Error> {
        self.take(name)
    }
}

/// Returns the error that nothing is called `found`.
pub(super) fn unknown<T>(found: &str) -> Result<T, Error> {
    Err(Error::custom(format_args!("there is no {found:?}")))
}
