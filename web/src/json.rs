//! Reading JSON.

use serde::de::DeserializeOwned;
use serde_json::{Error, Value};

/// Returns what `text` says. By way of a [`Value`]: so each type's reader is compiled for one source only, of the texts as of what
/// stands in them.
///
/// # Errors
/// When it says something else.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    T::deserialize(serde_json::from_str::<Value>(text)?)
}
