//! What caches may do with an answer (RFC 9111), and the tag of JSON, so that who has it already gets 304. Also the
//! last net for errors that the framework makes: they leave as problems like all others.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use http_body::Body as _;
use shared::wire::rest::USER_HEADER;

use crate::http::COMPRESSED_BYTES;
use crate::http::error::{self, ApiError};
use crate::http::etag::Tags;

/// The largest JSON that gets a tag, in bytes. A guess: the longest page of files with long names.
const TAGGED_BYTES: usize = 2 << 20;

/// Says of an answer for whom and how long it is.
pub async fn apply(request: Request, next: Next) -> Response<Body> {
    // The body of an answer to HEAD is still there: whoever sends it leaves it out.
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let audience = Audience::of(request.uri().path());
    let conditions =
        (Tags::read(request.headers(), &header::IF_MATCH), Tags::read(request.headers(), &header::IF_NONE_MATCH));
    let mut response = next.run(request).await;
    if audience.has_tags() && is_read && response.status() == StatusCode::OK && is_untagged_json(&response) {
        response = tagged(response, conditions).await;
    }
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if is_error {
        response = error::as_problem(response).await;
    }
    // Some errors may be kept by default (RFC 9110, section 15.1), and the next moment may know better.
    let policy = if is_error { Some("no-store") } else { audience.policy() };
    let headers = response.headers_mut();
    if let Some(policy) = policy {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(policy));
    }
    if audience == Audience::Caller {
        headers.append(header::VARY, HeaderValue::from_static(USER_HEADER));
    }
    response
}

/// Whom the answers under a path are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Who is asking, and nobody else.
    Caller,
    /// Everybody who can ask.
    All,
    /// Everybody, for this moment.
    Now,
    /// The dashboard's and the docs' files say it themselves.
    Page,
}

impl Audience {
    fn of(path: &str) -> Self {
        match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
            "files" | "shares" => Self::Caller,
            "health" | "ready" => Self::Now,
            "ui" | "docs" => Self::Page,
            _ => Self::All,
        }
    }

    fn has_tags(self) -> bool {
        matches!(self, Self::Caller | Self::All)
    }

    /// It may be kept, but is asked for anew each time.
    fn policy(self) -> Option<&'static str> {
        match self {
            Self::Caller => Some("private, no-cache"),
            Self::All => Some("no-cache"),
            Self::Now => Some("no-store"),
            Self::Page => None,
        }
    }
}

fn is_untagged_json(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/json");
    let bytes_max = u64::try_from(TAGGED_BYTES).unwrap_or(u64::MAX);
    let is_small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= bytes_max);
    is_json && is_small && !headers.contains_key(header::ETAG)
}

/// With a tag made from its bytes; weak, for the same comes compressed, too.
async fn tagged(response: Response<Body>, (if_match, if_none_match): (Option<Tags>, Option<Tags>)) -> Response<Body> {
    // Strong comparison: no weak tag matches (RFC 9110, section 13.1.1).
    if if_match.is_some_and(|tags| tags != Tags::Any) {
        return ApiError::PreconditionFailed.into_response();
    }
    let (mut parts, body) = response.into_parts();
    let bytes: Bytes = match to_bytes(body, TAGGED_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) => return ApiError::Internal(error.into()).into_response(),
    };
    let opaque = format!("\"{}\"", &blake3::hash(&bytes).to_hex().get(..32).unwrap_or_default());
    if let Ok(tag) = HeaderValue::try_from(format!("W/{opaque}")) {
        parts.headers.insert(header::ETAG, tag);
    }
    if if_none_match.is_some_and(|tags| tags.have(&opaque)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        // As with the whole answer, which would be compressed for some.
        if u64::try_from(bytes.len()).is_ok_and(|length| length >= COMPRESSED_BYTES) {
            parts.headers.append(header::VARY, HeaderValue::from_static(header::ACCEPT_ENCODING.as_str()));
        }
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
