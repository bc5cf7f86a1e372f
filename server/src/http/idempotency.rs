//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): who isn't sure that an upload succeeded
//! repeats it under the same key and gets the first answer. What was made under a key is the store's to remember; here
//! are the header and the keys whose first upload is still at work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use shared::ids::UserId;

use crate::http::error::ApiError;

/// The header's name.
pub const HEADER: &str = "idempotency-key";
/// Marks an answer that was given before.
pub const REPEATED: &str = "idempotency-replayed";
/// The longest key, in bytes. A UUID has 36.
const KEY_BYTES: usize = 255;

/// The keys whose uploads are at work; clones are the same ones. As many as there are connections at most.
#[derive(Debug, Clone, Default)]
pub struct KeysAtWork(
    /// A lock is enough: it is held to insert or to remove.
    Arc<Mutex<HashSet<(UserId, String)>>>,
);

/// A key while its upload is at work; free again when dropped.
#[derive(Debug)]
pub struct KeyAtWork {
    keys: KeysAtWork,
    entry: (UserId, String),
}

impl KeysAtWork {
    /// Takes the key that a request of `user`'s names, if it names one.
    ///
    /// # Errors
    /// When it isn't a key, or another request is at work under it.
    pub fn take(&self, headers: &HeaderMap, user: &UserId) -> Result<Option<KeyAtWork>, ApiError> {
        let mut lines = headers.get_all(HEADER).iter();
        let Some(value) = lines.next() else { return Ok(None) };
        let key = value.to_str().ok().and_then(parse).filter(|_| lines.next().is_none());
        let key = key.ok_or_else(|| {
            ApiError::BadRequest(format!("Idempotency-Key must be one string of 1 to {KEY_BYTES} characters"))
        })?;
        let entry = (user.clone(), key);
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.clone()) {
            return Err(ApiError::KeyAtWork);
        }
        Ok(Some(KeyAtWork { keys: self.clone(), entry }))
    }
}

impl KeyAtWork {
    /// The key itself.
    pub fn key(&self) -> &str {
        &self.entry.1
    }
}

impl Drop for KeyAtWork {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}

/// A string of structured fields (RFC 9651, section 3.3.3), or without quotes, as many clients send it.
fn parse(value: &str) -> Option<String> {
    let value = value.trim();
    let key = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None if value.contains(|c: char| c.is_whitespace() || "\",;".contains(c)) => return None,
        None => value.to_owned(),
    };
    (1..=KEY_BYTES).contains(&key.len()).then_some(key)
}

fn unquoted(quoted: &str) -> Option<String> {
    let mut key = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.as_str().is_empty().then_some(key),
            '\\' => key.push(rest.next().filter(|c| matches!(c, '"' | '\\'))?),
            c if c == ' ' || c.is_ascii_graphic() => key.push(c),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_string_with_or_without_quotes() {
        let uuid = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(parse(&format!("\"{uuid}\"")).as_deref(), Some(uuid));
        assert_eq!(parse(uuid).as_deref(), Some(uuid));
        assert_eq!(parse(" \"a \\\"b\\\\\" ").as_deref(), Some("a \"b\\"));
        for wrong in ["", "\"\"", "\"a", "\"a\"b", "a b", "a, b", "\"a\", \"b\"", "\"\\a\"", &"x".repeat(256)] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_taken_until_its_upload_is_over() {
        let keys = KeysAtWork::default();
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), "k".parse().unwrap())]);
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let first = keys.take(&headers, &alice).unwrap();
        assert!(matches!(keys.take(&headers, &alice), Err(ApiError::KeyAtWork)));
        assert!(keys.take(&headers, &bob).unwrap().is_some(), "each user has keys of her own");
        drop(first);
        assert!(keys.take(&headers, &alice).unwrap().is_some());
        assert!(keys.take(&HeaderMap::new(), &alice).unwrap().is_none());
    }
}
