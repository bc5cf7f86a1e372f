//! Lists in pages: how long one is, and where the next begins.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::error::ApiError;

/// The longest page.
const MAX: u32 = 500;
/// The page where the caller doesn't say.
const DEFAULT: u32 = 100;

/// How many entries the caller wants.
///
/// # Errors
/// When that is none or too many.
pub fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    let limit = asked.unwrap_or(DEFAULT);
    if (1..=MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::Invalid(format!("limit must be from 1 to {MAX}")))
    }
}

/// Cuts `entries`, of which one more than `limit` was asked for, and names the next page, whose address `next` makes
/// from the last entry of this one.
pub fn cut<T>(entries: &mut Vec<T>, limit: u32, next: impl FnOnce(&T) -> String) -> HeaderMap {
    let length = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = entries.len() > length;
    entries.truncate(length);
    let link = entries.last().filter(|_| has_more).map(|last| format!("<{}>; rel=\"next\"", next(last)));
    let value = link.and_then(|link| HeaderValue::try_from(link).ok());
    value.map(|value| (header::LINK, value)).into_iter().collect()
}
