//! Conditional requests (RFC 9110, section 13): each header's meaning, and their order of precedence (section 13.2.2).
//! What a caller may not see or do is answered before any of them is looked at (section 13.2.1).

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, header};
use shared::ids::Version;

use crate::http::error::ApiError;
use crate::http::etag::{Tag, Tags};
use crate::store::metadata::FileRecord;
use crate::store::precondition::{Precondition, Versions};

/// Whether a caller who wants to read has this version already: 304.
///
/// # Errors
/// When she wants it only if it is another one: 412.
pub fn is_known(headers: &HeaderMap, file: &FileRecord) -> Result<bool, ApiError> {
    is_wanted(headers, file)?;
    let stored_s = file.stored_ms / 1000;
    Ok(match Tags::read(headers, &header::IF_NONE_MATCH) {
        Some(tags) => tags.weak_versions().contains(file.version),
        None => date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|since_s| stored_s <= since_s),
    })
}

/// What a change demands of the version that it replaces, now that the file is as `file` says.
///
/// # Errors
/// When that doesn't hold already: 412. When it demands nothing: 428.
pub fn of_change(headers: &HeaderMap, file: &FileRecord) -> Result<Precondition, ApiError> {
    is_wanted(headers, file)?;
    let others =
        Tags::read(headers, &header::IF_NONE_MATCH).map_or(Versions::OneOf(Vec::new()), |tags| tags.weak_versions());
    if others.contains(file.version) {
        return Err(ApiError::VersionMismatch(file.version));
    }
    let these = Tags::read(headers, &header::IF_MATCH).ok_or(ApiError::PreconditionRequired)?.strong_versions();
    Ok(Precondition { these, others })
}

/// Whether a range may be served of this version (`If-Range`). A date never matches: two versions may be of the same
/// second, so it is no strong validator (section 8.8.2.2); the whole content is right then, too.
pub fn range_is_wanted(headers: &HeaderMap, version: Version) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        Some(value) => Tag::parse(value.as_bytes()).and_then(|tag| tag.strong_version()) == Some(version),
    }
}

/// `If-Match`, or else `If-Unmodified-Since`.
fn is_wanted(headers: &HeaderMap, file: &FileRecord) -> Result<(), ApiError> {
    let stored_s = file.stored_ms / 1000;
    let holds = match Tags::read(headers, &header::IF_MATCH) {
        Some(tags) => tags.strong_versions().contains(file.version),
        None => date(headers, &header::IF_UNMODIFIED_SINCE).is_none_or(|since_s| stored_s <= since_s),
    };
    if holds { Ok(()) } else { Err(ApiError::VersionMismatch(file.version)) }
}

/// The date of a header, in seconds since 1970, in any of the three formats (section 5.6.7). What isn't one valid date
/// is ignored.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines = headers.get_all(name).iter();
    let (Some(value), None) = (lines.next(), lines.next()) else { return None };
    let date: SystemTime = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, and a part of a second that dates don't tell.
    const STORED_MS: u64 = 784_111_777_250;
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn file() -> FileRecord {
        FileRecord {
            id: "f".parse().unwrap(),
            owner: "alice".parse().unwrap(),
            version: Version(2),
            name: "a".to_owned(),
            content_type: "text/plain".to_owned(),
            size_bytes: 1,
            content: None,
            sha256: None,
            created_ms: STORED_MS,
            stored_ms: STORED_MS,
        }
    }

    type Lines = &'static [(&'static str, &'static str)];

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn status(error: &ApiError) -> u16 {
        match error {
            ApiError::VersionMismatch(Version(2)) => 412,
            ApiError::PreconditionRequired => 428,
            other => panic!("{other:?}"),
        }
    }

    /// The status of a read and of a change with these headers.
    fn check(lines: &[(&'static str, &str)]) -> (u16, u16) {
        let headers = headers(lines);
        let read = match is_known(&headers, &file()) {
            Ok(known) => {
                if known {
                    304
                } else {
                    200
                }
            }
            Err(error) => status(&error),
        };
        (read, of_change(&headers, &file()).map_or_else(|error| status(&error), |_allowed| 200))
    }

    /// RFC 9110, sections 13.1 and 13.2.2, line by line.
    #[test]
    fn conditions_hold_in_their_order_of_precedence() {
        const MATCH: &str = "if-match";
        const NONE: &str = "if-none-match";
        const MODIFIED: &str = "if-modified-since";
        const UNMODIFIED: &str = "if-unmodified-since";
        let table: &[(Lines, (u16, u16))] = &[
            (&[], (200, 428)),
            // 13.1.1: strong comparison; the star for whatever there is.
            (&[(MATCH, "\"2\"")], (200, 200)),
            (&[(MATCH, "\"1\", \"2\"")], (200, 200)),
            (&[(MATCH, "*")], (200, 200)),
            (&[(MATCH, "\"1\"")], (412, 412)),
            (&[(MATCH, "W/\"2\"")], (412, 412)),
            (&[(MATCH, "\"x,*,y\"")], (412, 412)),
            (&[(MATCH, "2")], (412, 412)),
            // 13.1.2: weak comparison; false is 304 for reads and 412 for changes.
            (&[(NONE, "\"2\"")], (304, 412)),
            (&[(NONE, "W/\"2\"")], (304, 412)),
            (&[(NONE, "\"1\", W/\"2\"")], (304, 412)),
            (&[(NONE, "*")], (304, 412)),
            (&[(NONE, "\"1\"")], (200, 428)),
            (&[(NONE, "\"x,*,y\"")], (200, 428)),
            // 13.1.3: a date that isn't one is ignored, and so is it on a change.
            (&[(MODIFIED, AT)], (304, 428)),
            (&[(MODIFIED, AFTER)], (304, 428)),
            (&[(MODIFIED, BEFORE)], (200, 428)),
            (&[(MODIFIED, "Sunday, 06-Nov-94 08:49:37 GMT")], (304, 428)),
            (&[(MODIFIED, "Sun Nov  6 08:49:37 1994")], (304, 428)),
            (&[(MODIFIED, "yesterday")], (200, 428)),
            (&[(MODIFIED, "1994-11-06T08:49:37Z")], (200, 428)),
            // 13.1.4.
            (&[(UNMODIFIED, AT)], (200, 428)),
            (&[(UNMODIFIED, AFTER)], (200, 428)),
            (&[(UNMODIFIED, BEFORE)], (412, 412)),
            (&[(UNMODIFIED, "yesterday")], (200, 428)),
            // 13.2.2, step 1 before 2: the date is ignored beside If-Match.
            (&[(MATCH, "\"2\""), (UNMODIFIED, BEFORE)], (200, 200)),
            (&[(MATCH, "\"1\""), (UNMODIFIED, AFTER)], (412, 412)),
            // Step 3 after 1 and 2.
            (&[(MATCH, "\"2\""), (NONE, "\"2\"")], (304, 412)),
            (&[(MATCH, "\"1\""), (NONE, "\"2\"")], (412, 412)),
            (&[(MATCH, "*"), (NONE, "*")], (304, 412)),
            (&[(MATCH, "*"), (NONE, "\"1\"")], (200, 200)),
            (&[(UNMODIFIED, BEFORE), (NONE, "\"2\"")], (412, 412)),
            // Step 4: the date is ignored beside If-None-Match.
            (&[(NONE, "\"1\""), (MODIFIED, AFTER)], (200, 428)),
            (&[(NONE, "\"2\""), (MODIFIED, BEFORE)], (304, 412)),
            // More than one date is none.
            (&[(MODIFIED, AFTER), (MODIFIED, AFTER)], (200, 428)),
        ];
        for (lines, expected) in table {
            assert_eq!(check(lines), *expected, "{lines:?}");
        }
    }

    /// Section 13.1.5.
    #[test]
    fn a_range_is_served_of_the_version_that_is_named_by_a_strong_tag() {
        let wanted = |value: &str| range_is_wanted(&headers(&[("if-range", value)]), Version(2));
        assert!(range_is_wanted(&HeaderMap::new(), Version(2)));
        assert!(wanted("\"2\""));
        for other in ["\"1\"", "W/\"2\"", "*", "2", "\"2\", \"1\"", AT, ""] {
            assert!(!wanted(other), "{other}");
        }
    }
}
