//! `ETag` and the conditions on it, parsed and compared (RFC 9110, sections 8.8.3 and 13.1). A file's tag is its
//! version in quotes; it is strong.

use axum::http::{HeaderMap, HeaderName, header};
use shared::ids::Version;

use crate::http::error::ApiError;
use crate::store::Precondition;

/// The tag of a version.
pub fn of(version: Version) -> String {
    format!("\"{version}\"")
}

/// What a change demands of the file's version.
///
/// # Errors
/// When it demands nothing.
pub fn required(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    if !headers.contains_key(header::IF_MATCH) {
        return Err(ApiError::PreconditionRequired);
    }
    if tags(headers, header::IF_MATCH).any(|tag| tag == "*") {
        return Ok(Precondition::Any);
    }
    // A weak tag never matches here (strong comparison), and what isn't a version of ours matches none.
    Ok(Precondition::OneOf(tags(headers, header::IF_MATCH).filter_map(parse).collect()))
}

/// Whether the caller has this version already (`If-None-Match`).
pub fn is_known(headers: &HeaderMap, version: Version) -> bool {
    tags(headers, header::IF_NONE_MATCH)
        .any(|tag| tag == "*" || parse(tag.strip_prefix("W/").unwrap_or(tag)) == Some(version))
}

/// Whether a range may be served of this version (`If-Range`). A date isn't compared: it is too coarse to be strong.
pub fn range_is_wanted(headers: &HeaderMap, version: Version) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        Some(value) => value.to_str().is_ok_and(|tag| parse(tag.trim()) == Some(version)),
    }
}

fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

fn parse(tag: &str) -> Option<Version> {
    let number = tag.strip_prefix('"')?.strip_suffix('"')?;
    // `+1` and `01` are other tags than `1`.
    number.parse().ok().filter(|version: &Version| version.to_string() == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_change_demands_versions_by_strong_tags() {
        let demand = |value| required(&headers(header::IF_MATCH, value)).unwrap();
        assert_eq!(demand("\"3\""), Precondition::OneOf(vec![Version(3)]));
        assert_eq!(demand("\"1\", \"2\""), Precondition::OneOf(vec![Version(1), Version(2)]));
        assert_eq!(demand("*"), Precondition::Any);
        for never in ["W/\"1\"", "1", "\"01\"", "\"x\"", "\"0\"", ""] {
            assert_eq!(demand(never), Precondition::OneOf(vec![]), "{never}");
        }
        assert!(matches!(required(&HeaderMap::new()), Err(ApiError::PreconditionRequired)));
    }

    #[test]
    fn a_known_version_is_recognised_by_weak_tags_too() {
        let known = |value| is_known(&headers(header::IF_NONE_MATCH, value), Version(2));
        assert!(known("\"2\"") && known("W/\"2\"") && known("\"1\", \"2\"") && known("*"));
        assert!(!known("\"1\"") && !is_known(&HeaderMap::new(), Version(2)));
    }
}
