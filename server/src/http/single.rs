//! Headers that may come once (RFC 9110, section 5.3): whoever takes one of several picks another one than a proxy before
//! us may have picked.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::error::ApiError;

/// The one line of the header `name`, if there is one.
///
/// # Errors
/// When there are several.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    match lines.next() {
        None => Ok(first),
        Some(_second) => Err(ApiError::BadRequest(format!("there are several headers {name}; send one"))),
    }
}
