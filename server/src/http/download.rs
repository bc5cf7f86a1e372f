//! A file's content: whole, in part, or not at all where the caller has it.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use shared::ids::Version;
use utoipa::IntoParams;

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::files::insert;
use crate::http::path::Path;
use crate::http::{AppState, conditions, disposition, etag, file_id, range};
use crate::store::metadata::FileRecord;
use crate::wall;

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VersionQuery {
    /// An earlier version; the latest where absent.
    version: Option<u64>,
}

/// Download a file
///
/// Answers `HEAD`, one range of bytes, and all conditions of RFC 9110 too. Several ranges at once are answered with the
/// whole content, and so is any range of an empty one. A whole content is checked while it is sent: if it is damaged, the
/// connection breaks off before its end.
#[utoipa::path(get, path = "/files/{id}", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file"), VersionQuery,
        ("range" = Option<String>, Header, description = "One range of bytes, as `bytes=0-99`"),
        ("if-range" = Option<String>, Header, description = "The `ETag` of which the range is wanted; else all is sent"),
        ("if-match" = Option<String>, Header, description = "The `ETag` that is wanted, several, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` that you have, several, or `*`"),
        ("if-modified-since" = Option<String>, Header, description = "The `Last-Modified` that you have"),
        ("if-unmodified-since" = Option<String>, Header, description = "The `Last-Modified` that is wanted")),
    responses(
        (status = 200, description = "The content", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("etag" = String, description = "The version in quotes"),
                ("last-modified" = String, description = "When this version was uploaded"),
                ("repr-digest" = String, description = "SHA-256 of the whole content"))),
        (status = 206, description = "The part asked for with Range"),
        (status = 304, description = "You have this version already (If-None-Match, If-Modified-Since)"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 404, description = "There is no such file or version, it was deleted, or it isn't yours to see"),
        (status = 412, description = "It isn't the version that is wanted (If-Match, If-Unmodified-Since)"),
        (status = 416, description = "The range lies outside of the content"),
        (status = 422, description = "A parameter is invalid"),
        (status = 500, description = "The content is missing or damaged on the server's disk"),
    ))]
pub(super) async fn download(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    query: Result<Query<VersionQuery>, QueryRejection>,
    request: Parts,
) -> Result<Response<Body>, ApiError> {
    let headers = &request.headers;
    let version = query?.0.version.map(|version| version.to_string().parse::<Version>()).transpose()?;
    let file = state.store.file(file_id(&id)?, user, version).await?;
    if conditions::is_known(headers, &file)? {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag::of(file.version))]).into_response());
    }
    let may_have_range = request.method == Method::GET && conditions::range_is_wanted(headers, file.version);
    let part = if may_have_range { range::wanted(headers, file.size_bytes)? } else { None };
    let bytes = part.clone().unwrap_or(0..file.size_bytes);
    let content = state.store.open_content(&file, bytes.clone()).await?;
    let length = bytes.end - bytes.start;
    let body = if request.method == Method::HEAD {
        // The same head and no body.
        Body::empty()
    } else {
        let (store, asked) = (state.store.clone(), file.clone());
        Body::from_stream(content.into_blocks(move |error| store.report_content(&asked, error)))
    };
    let mut response = (content_head(&file), body).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if part.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let place = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, file.size_bytes);
        insert(response.headers_mut(), header::CONTENT_RANGE, place);
    }
    Ok(response)
}

/// What is said of a content whether or not it is sent.
fn content_head(file: &FileRecord) -> HeaderMap {
    let mut head = HeaderMap::new();
    insert(&mut head, header::ETAG, etag::of(file.version));
    insert(&mut head, header::LAST_MODIFIED, wall::http_date(file.stored_ms));
    insert(&mut head, header::CONTENT_TYPE, disposition::safe_type(&file.content_type).to_owned());
    insert(&mut head, header::CONTENT_DISPOSITION, disposition::attachment(&file.name));
    insert(&mut head, header::ACCEPT_RANGES, "bytes".to_owned());
    insert(&mut head, header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned());
    if let Some(sha256) = file.sha256 {
        let digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
        insert(&mut head, HeaderName::from_static("repr-digest"), digest);
    }
    head
}
