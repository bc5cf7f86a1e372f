//! Files: upload, list, download, replace, delete; what is known of them.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use shared::ids::Version;
use shared::wire::queue::ChangeKind;
use shared::wire::rest::FileOut;
use shared::wire::stream::Event;
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::{AppState, disposition, etag, file_id, range, upload};
use crate::hub::Hub;
use crate::store::error::StoreError;
use crate::store::metadata::FileRecord;
use crate::wall;

/// The longest page of a list.
const PAGE_MAX: u32 = 500;
/// The page of a list where the caller doesn't say.
const PAGE_DEFAULT: u32 = 100;

/// What an upload's body looks like.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body for the API's description; it is parsed as a stream")]
pub struct UploadForm {
    /// The file.
    #[schema(value_type = String, format = Binary)]
    uploaded: Vec<u8>,
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// How many files at most, 1 to 500; 100 where absent.
    limit: Option<u32>,
    /// Only files older than the one with this id.
    after: Option<String>,
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VersionQuery {
    /// An earlier version; the latest where absent.
    version: Option<u64>,
}

/// Upload a new file
///
/// Streams the file to disk. When this is answered, its bytes, its metadata and its event are on stable storage.
#[utoipa::path(post, path = "/files", tag = "files", security(("user" = [])),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "Stored", body = FileOut,
            headers(("location" = String, description = "The file's path"), ("etag" = String, description = "`\"1\"`"))),
        (status = 400, description = "The body is broken"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 408, description = "Nothing of the body came for a while"),
        (status = 413, description = "The file is larger than allowed"),
        (status = 415, description = "The body isn't multipart/form-data"),
        (status = 422, description = "There is no file in the body, or its name is invalid"),
        (status = 507, description = "There is no room on the disk"),
    ))]
pub(super) async fn upload(
    State(state): State<AppState>,
    caller: Result<Caller, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let Caller(user) = match caller {
        Ok(caller) => caller,
        Err(error) => return Err(upload::refuse_unread(&state, body, error)),
    };
    let new = upload::receive(&state, &headers, body).await?;
    let store = state.store.clone();
    let file = settled(&state, ChangeKind::Uploaded, async move { store.create(user, new).await }).await?;
    let location = format!("/files/{}", file.id);
    let head = [(header::LOCATION, location), (header::ETAG, etag::of(file.version))];
    Ok((StatusCode::CREATED, head, Json(latest(&state.hub, &file))).into_response())
}

/// List the files that you own or that were shared with you
///
/// The newest first. The header `Link` names the next page.
#[utoipa::path(get, path = "/files", tag = "files", security(("user" = [])), params(ListQuery),
    responses(
        (status = 200, description = "A page of files", body = Vec<FileOut>,
            headers(("link" = String, description = "The next page, if there is one"))),
        (status = 401, description = "Nobody says who is asking"),
        (status = 422, description = "A parameter is invalid"),
    ))]
pub(super) async fn list(
    State(state): State<AppState>,
    Caller(user): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response<Body>, ApiError> {
    let Query(ListQuery { limit, after }) = query?;
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Invalid(format!("limit must be from 1 to {PAGE_MAX}")));
    }
    let after = after.map(|id| file_id(&id)).transpose();
    let after = after.map_err(|_not_an_id| ApiError::Invalid("after must be a file's id".to_owned()))?;
    // One more than asked for says whether there is a next page.
    let mut files = state.store.list(user, after, limit + 1).await?;
    let has_more = files.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    files.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next =
        files.last().filter(|_| has_more).map(|last| format!("</files?limit={limit}&after={}>; rel=\"next\"", last.id));
    let page: Vec<FileOut> = files.iter().map(|file| latest(&state.hub, file)).collect();
    Ok((link(next), Json(page)).into_response())
}

fn link(next: Option<String>) -> HeaderMap {
    let value = next.and_then(|next| HeaderValue::try_from(next).ok());
    value.map(|value| (header::LINK, value)).into_iter().collect()
}

/// Download a file
///
/// Answers `HEAD`, ranges and conditions too. A whole content is checked while it is sent: if it is damaged, the
/// connection breaks off before its end.
#[utoipa::path(get, path = "/files/{id}", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file"), VersionQuery),
    responses(
        (status = 200, description = "The content", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("etag" = String, description = "The version in quotes"),
                ("repr-digest" = String, description = "SHA-256 of the whole content"))),
        (status = 206, description = "The part asked for with Range"),
        (status = 304, description = "You have this version already (If-None-Match)"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 404, description = "There is no such file or version, it was deleted, or it isn't yours to see"),
        (status = 416, description = "The range lies outside of the content"),
        (status = 422, description = "A parameter is invalid"),
        (status = 500, description = "The content is missing or damaged on the server's disk"),
    ))]
pub(super) async fn download(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    query: Result<Query<VersionQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let version = query?.0.version.map(|version| version.to_string().parse::<Version>()).transpose()?;
    let file = state.store.file(file_id(&id)?, user, version).await?;
    let head = content_head(&file);
    if etag::is_known(&headers, file.version) {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let part =
        if etag::range_is_wanted(&headers, file.version) { range::wanted(&headers, file.size_bytes)? } else { None };
    let whole = 0..file.size_bytes;
    let bytes = part.clone().unwrap_or(whole);
    let content = state.store.open_content(&file, bytes.clone()).await?;
    let length = bytes.end - bytes.start;
    let (store, asked) = (state.store.clone(), file.clone());
    let body = Body::from_stream(content.into_blocks(move |error| store.report_content(&asked, error)));
    let mut response = (head, body).into_response();
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
    // Who may see it may change, and so may the version.
    insert(&mut head, header::CACHE_CONTROL, "private, no-cache".to_owned());
    insert(&mut head, header::VARY, shared::wire::rest::USER_HEADER.to_owned());
    insert(&mut head, header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned());
    if let Some(sha256) = file.sha256 {
        let digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
        insert(&mut head, HeaderName::from_static("repr-digest"), digest);
    }
    head
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    match HeaderValue::try_from(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(error) => tracing::error!(%name, %error, "a header was left out"),
    }
}

/// Replace a file's content
///
/// `If-Match` says which version you change, so that nobody's change is lost. Its name and type become the new file's.
#[utoipa::path(put, path = "/files/{id}", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file"),
        ("if-match" = String, Header, description = "The `ETag` that you have, several, or `*`")),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Stored", body = FileOut,
            headers(("etag" = String, description = "The new version in quotes"))),
        (status = 400, description = "The body is broken"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The file was shared with you, and only its owner may change it"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
        (status = 408, description = "Nothing of the body came for a while"),
        (status = 412, description = "The file is at another version; `ETag` says which"),
        (status = 413, description = "The file is larger than allowed"),
        (status = 415, description = "The body isn't multipart/form-data"),
        (status = 422, description = "There is no file in the body, or its name is invalid"),
        (status = 428, description = "If-Match is missing"),
        (status = 507, description = "There is no room on the disk"),
    ))]
pub(super) async fn replace(
    State(state): State<AppState>,
    caller: Result<Caller, ApiError>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    // Whatever can be refused before the body has come is.
    let allowed = async {
        let (file, Caller(user), precondition) = (file_id(&id)?, caller?, etag::required(&headers));
        // A stranger's file doesn't exist for her, with or without the header.
        state.store.file(file.clone(), user.clone(), None).await?;
        let precondition = precondition?;
        state.store.check_change(file.clone(), user.clone(), precondition.clone()).await?;
        Ok((file, user, precondition))
    };
    let (file, user, precondition) = match allowed.await {
        Ok(allowed) => allowed,
        Err(error) => return Err(upload::refuse_unread(&state, body, error)),
    };
    let new = upload::receive(&state, &headers, body).await?;
    let store = state.store.clone();
    let replace = async move { store.replace(file, user, precondition, new).await };
    let file = settled(&state, ChangeKind::Updated, replace).await?;
    Ok(([(header::ETAG, etag::of(file.version))], Json(latest(&state.hub, &file))).into_response())
}

/// Delete a file
///
/// All its versions go; that it is gone spreads like any other version.
#[utoipa::path(delete, path = "/files/{id}", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file"),
        ("if-match" = String, Header, description = "The `ETag` that you have, several, or `*`")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The file was shared with you, and only its owner may delete it"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
        (status = 412, description = "The file is at another version; `ETag` says which"),
        (status = 428, description = "If-Match is missing"),
    ))]
pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let file = file_id(&id)?;
    state.store.file(file.clone(), user.clone(), None).await?;
    let precondition = etag::required(&headers)?;
    let store = state.store.clone();
    settled(&state, ChangeKind::Deleted, async move { store.delete(file, user, precondition).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is known of a file
#[utoipa::path(get, path = "/files/{id}/meta", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file")),
    responses(
        (status = 200, description = "Its latest version", body = FileOut,
            headers(("etag" = String, description = "The version in quotes"))),
        (status = 401, description = "Nobody says who is asking"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
    ))]
pub(super) async fn meta(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    let file = state.store.file(file_id(&id)?, user, None).await?;
    Ok(([(header::ETAG, etag::of(file.version))], Json(latest(&state.hub, &file))).into_response())
}

/// All versions of a file
///
/// The newest first. Each can be downloaded with `?version=`.
#[utoipa::path(get, path = "/files/{id}/history", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file")),
    responses(
        (status = 200, description = "Its versions", body = Vec<FileOut>),
        (status = 401, description = "Nobody says who is asking"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
    ))]
pub(super) async fn history(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
) -> Result<Json<Vec<FileOut>>, ApiError> {
    let versions = state.store.history(file_id(&id)?, user).await?;
    let newest = versions.first().map(|file| latest(&state.hub, file));
    Ok(Json(newest.into_iter().chain(versions.iter().skip(1).map(|file| describe(file, None))).collect()))
}

/// Lets a change come to its end and be told of even when the client goes away meanwhile.
async fn settled(
    state: &AppState,
    change: ChangeKind,
    work: impl Future<Output = Result<FileRecord, StoreError>> + Send + 'static,
) -> Result<FileRecord, ApiError> {
    let hub = state.hub.clone();
    let task = state.tasks.spawn(async move {
        let file = work.await?;
        let (id, version, size_bytes) = (file.id.clone(), file.version, file.size_bytes);
        hub.emit(Event::FileStored { file: id, version, change, size_bytes });
        Ok(file)
    });
    task.await.map_err(|error| ApiError::Internal(error.into()))?
}

/// A file's latest version, with how far it has come.
fn latest(hub: &Hub, file: &FileRecord) -> FileOut {
    describe(file, hub.read(|overview| overview.reached(&file.id, file.version)))
}

fn describe(file: &FileRecord, peers_reached: Option<u32>) -> FileOut {
    FileOut {
        id: file.id.to_string(),
        filename: file.name.clone(),
        content_type: file.content_type.clone(),
        owner_id: file.owner.to_string(),
        version: file.version.0,
        size_bytes: file.size_bytes,
        content_hash: file.content.map(|hash| hash.to_string()).unwrap_or_default(),
        created_at: wall::rfc3339(file.created_ms),
        updated_at: wall::rfc3339(file.stored_ms),
        peers_reached,
    }
}
