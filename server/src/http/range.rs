//! The header `Range`: one range of bytes (RFC 9110, section 14). Several ranges at once aren't served; the whole
//! content is, as the RFC allows (section 14.2). Only `GET` has ranges: on `HEAD` the header is ignored.

use std::ops::Range;

use axum::http::{HeaderMap, header};

use crate::http::error::ApiError;

/// The wanted part of a content of `size_bytes` bytes; `None` for all of it.
///
/// # Errors
/// When the range lies outside of the content.
pub fn wanted(headers: &HeaderMap, size_bytes: u64) -> Result<Option<Range<u64>>, ApiError> {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(value), None) = (lines.next(), lines.next()) else { return Ok(None) };
    // No range lies in an empty content, and answering 416 has surprised many: it is served whole, as others do.
    let Some(range) = value.to_str().ok().and_then(parse).filter(|_| size_bytes > 0) else { return Ok(None) };
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
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // A list of one; empty elements are passed over (section 5.6.1.2).
    let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let (spec, None) = (specs.next()?, specs.next()) else { return None };
    match spec.split_once('-')? {
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

    type Wanted = Result<Option<Range<u64>>, ()>;

    fn check(lines: &[&str], size_bytes: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::RANGE, line.parse().unwrap());
        }
        wanted(&headers, size_bytes).map_err(|_outside| ())
    }

    #[test]
    fn one_range_is_understood_and_others_are_ignored() {
        let table: &[(&str, Wanted)] = &[
            ("bytes=0-3", Ok(Some(0..4))),
            ("Bytes=0-3", Ok(Some(0..4))),
            ("BYTES=4-", Ok(Some(4..10))),
            ("bytes=-3", Ok(Some(7..10))),
            ("bytes=-30", Ok(Some(0..10))),
            ("bytes=, 0-3 ,", Ok(Some(0..4))),
            ("bytes=8-99999999999999999999", Ok(Some(8..10))),
            ("bytes=9-9", Ok(Some(9..10))),
            ("bytes=10-", Err(())),
            ("bytes=10-12", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=3-1", Ok(None)),
            ("bytes=-", Ok(None)),
            ("bytes=", Ok(None)),
            ("bytes 0-1", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("bytes=+1-2", Ok(None)),
            ("bytes=1 - 2", Ok(None)),
            ("lines=0-1", Ok(None)),
        ];
        for (value, expected) in table {
            assert_eq!(check(&[value], 10), *expected, "{value}");
        }
        assert_eq!(check(&["bytes=0-1", "bytes=3-4"], 10), Ok(None), "two lines are two ranges");
    }

    #[test]
    fn an_empty_content_is_served_whole() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-"] {
            assert_eq!(check(&[value], 0), Ok(None), "{value}");
        }
    }
}
