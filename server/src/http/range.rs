//! The header `Range`: one range of bytes (RFC 9110, section 14). Several ranges at once aren't served; the whole
//! content is, as the RFC allows.

use std::ops::Range;

use axum::http::{HeaderMap, header};

use crate::http::error::ApiError;

/// The wanted part of a content of `size_bytes` bytes; `None` for all of it.
///
/// # Errors
/// When the range lies outside of the content.
pub fn wanted(headers: &HeaderMap, size_bytes: u64) -> Result<Option<Range<u64>>, ApiError> {
    let value = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some(range) = value.and_then(|value| value.strip_prefix("bytes=")).and_then(parse) else {
        return Ok(None);
    };
    let part = match range {
        Spec::From(first, last) => first..last.map_or(size_bytes, |last| last.saturating_add(1).min(size_bytes)),
        Spec::Last(length) => size_bytes.saturating_sub(length)..size_bytes,
    };
    if part.is_empty() { Err(ApiError::RangeNotSatisfiable(size_bytes)) } else { Ok(Some(part)) }
}

enum Spec {
    From(u64, Option<u64>),
    Last(u64),
}

/// What isn't one valid range is ignored, as the RFC says.
fn parse(text: &str) -> Option<Spec> {
    match text.trim().split_once('-')? {
        ("", length) => Some(Spec::Last(number(length)?)),
        (first, "") => Some(Spec::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Beyond 64 bits it is beyond every content.
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str) -> Result<Option<Range<u64>>, ()> {
        let headers = HeaderMap::from_iter([(header::RANGE, value.parse().unwrap())]);
        wanted(&headers, 10).map_err(|_outside| ())
    }

    #[test]
    fn one_range_is_understood_and_others_are_ignored() {
        assert_eq!(check("bytes=0-3"), Ok(Some(0..4)));
        assert_eq!(check("bytes=4-"), Ok(Some(4..10)));
        assert_eq!(check("bytes=-3"), Ok(Some(7..10)));
        assert_eq!(check("bytes=-30"), Ok(Some(0..10)));
        assert_eq!(check("bytes=8-99999999999999999999"), Ok(Some(8..10)));
        assert_eq!(check("bytes=10-"), Err(()));
        assert_eq!(check("bytes=-0"), Err(()));
        for ignored in ["bytes=0-1,3-4", "bytes=3-1", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=+1-2"] {
            assert_eq!(check(ignored), Ok(None), "{ignored}");
        }
    }
}
