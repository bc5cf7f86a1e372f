//! Files: upload, list, replace, delete. How one is read is in [`download`](super::download) and
//! [`history`](super::history).

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use shared::ids::{FileId, UserId};
use shared::wire::rest::FileOut;
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::idempotency::{self, KeyAtWork};
use crate::http::path::Path;
use crate::http::{AppState, conditions, etag, file_id, page, upload};
use crate::hub::Hub;
use crate::store::error::StoreError;
use crate::store::metadata::FileRecord;
use crate::store::precondition::Precondition;
use crate::store::{Created, NewContent};
use crate::wall;

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

/// Upload a new file
///
/// Streams the file to disk. When this is answered, its bytes, its metadata and its event are on stable storage. One
/// file in each call. With an `Idempotency-Key` it can be repeated without making a second file.
#[utoipa::path(post, path = "/files", tag = "files", security(("user" = [])),
    params(("idempotency-key" = Option<String>, Header,
        description = "A string of your own, at most 255 characters: an upload of the same file under the same key \
            within 24 hours is answered by the first one's answer")),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "Stored", body = FileOut,
            headers(("location" = String, description = "The file's path"), ("etag" = String, description = "`\"1\"`"),
                ("idempotency-replayed" = String, description = "`true` where the file was made by an earlier call"))),
        (status = 400, description = "The body is broken, or not whole, or the key isn't one"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "Another upload is at work under this key"),
        (status = 410, description = "The file that was made under this key has been deleted since"),
        (status = 413, description = "The file is larger than allowed"),
        (status = 415, description = "The body isn't multipart/form-data, or it is compressed"),
        (status = 422, description = "There is no file in the body, or several, its name is invalid, or the key was used \
            for another one"),
        (status = 503, description = "Somebody has moved or removed the catalogue; nothing can be changed"),
        (status = 507, description = "There is no room on the disk"),
    ))]
pub(super) async fn upload(
    State(state): State<AppState>,
    Caller(user): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let key = state.keys.take(&headers, &user)?;
    let new = upload::receive(&state, &headers, body).await?;
    let Created { file, is_repeated } = create(&state, user, new, key).await?;
    let location = format!("/files/{}", file.id);
    let mut head = HeaderMap::new();
    insert(&mut head, header::LOCATION, location);
    insert(&mut head, header::ETAG, etag::of(file.version));
    if is_repeated {
        insert(&mut head, HeaderName::from_static(idempotency::REPEATED), "true".to_owned());
    }
    Ok((StatusCode::CREATED, head, Json(latest(&state.hub, &file))).into_response())
}

/// Makes the file, unless it was made under this key already.
async fn create(state: &AppState, user: UserId, new: NewContent, key: Option<KeyAtWork>) -> Result<Created, ApiError> {
    let store = state.store.clone();
    settled(state, async move { store.create(user, new, key.as_ref().map(|key| key.key().to_owned())).await }).await
}

/// List the files that you own or that were shared with you
///
/// The newest first. The header `Link` names the next page.
#[utoipa::path(get, path = "/files", tag = "files", security(("user" = [])), params(ListQuery),
    responses(
        (status = 200, description = "A page of files", body = Vec<FileOut>,
            headers(("link" = String, description = "The next page, if there is one"))),
        (status = 304, description = "You have this answer already (If-None-Match)"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 422, description = "A parameter is invalid"),
    ))]
pub(super) async fn list(
    State(state): State<AppState>,
    Caller(user): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response<Body>, ApiError> {
    let Query(ListQuery { limit, after }) = query?;
    let limit = page::limit(limit)?;
    let after = after.map(|id| file_id(&id)).transpose();
    let after = after.map_err(|_not_an_id| ApiError::Invalid("after must be a file's id".to_owned()))?;
    let mut files = state.store.list(user, after, limit + 1).await?;
    let link = page::cut(&mut files, limit, |last| format!("/files?limit={limit}&after={}", last.id));
    let files: Vec<FileOut> = files.iter().map(|file| latest(&state.hub, file)).collect();
    Ok((link, Json(files)).into_response())
}

/// Replace a file's content
///
/// `If-Match` says which version you change, so that nobody's change is lost. Its name and type become the new file's.
#[utoipa::path(put, path = "/files/{id}", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file"),
        ("if-match" = String, Header, description = "The `ETag` that you have, several, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "An `ETag` that you don't want to replace")),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Stored", body = FileOut,
            headers(("etag" = String, description = "The new version in quotes"))),
        (status = 400, description = "The body is broken or not whole"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The file was shared with you, and only its owner may change it"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
        (status = 408, description = "The body came too slowly"),
        (status = 412, description = "The file is at another version; `ETag` says which"),
        (status = 413, description = "The file is larger than allowed"),
        (status = 415, description = "The body isn't multipart/form-data, or it is compressed"),
        (status = 422, description = "There is no file in the body, or several, or its name is invalid"),
        (status = 428, description = "If-Match is missing"),
        (status = 503, description = "Somebody has moved or removed the catalogue; nothing can be changed"),
        (status = 507, description = "There is no room on the disk"),
    ))]
pub(super) async fn replace(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    // Whatever can be refused before the body has come is.
    let (file, precondition) = changeable(&state, &id, &user, &headers).await?;
    let new = upload::receive(&state, &headers, body).await?;
    let store = state.store.clone();
    let file = settled(&state, async move { store.replace(file, user, precondition, new).await }).await?;
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
        (status = 503, description = "Somebody has moved or removed the catalogue; nothing can be changed"),
        (status = 507, description = "There is no room on the disk, not even what is kept of it"),
    ))]
pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (file, precondition) = changeable(&state, &id, &user, &headers).await?;
    let store = state.store.clone();
    settled(&state, async move { store.delete(file, user, precondition).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The file that `user` may change and what she demands of its version, as far as can be told now; the transaction of
/// the change decides.
async fn changeable(
    state: &AppState,
    id: &str,
    user: &UserId,
    headers: &HeaderMap,
) -> Result<(FileId, Precondition), ApiError> {
    let file = state.store.file(file_id(id)?, user.clone(), None).await?;
    if file.owner != *user {
        return Err(ApiError::NotOwner);
    }
    let precondition = conditions::of_change(headers, &file)?;
    Ok((file.id, precondition))
}

/// Lets a change come to its end and be told of even when the client goes away meanwhile.
async fn settled<T: Send + 'static>(
    state: &AppState,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, ApiError> {
    let task = state.tasks.spawn(work);
    Ok(task.await.map_err(|error| ApiError::Internal(error.into()))??)
}

/// Puts a header into `headers`.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    match HeaderValue::try_from(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(error) => tracing::error!(%name, %error, "a header was left out"),
    }
}

/// A file's latest version, with how far it has come.
pub(super) fn latest(hub: &Hub, file: &FileRecord) -> FileOut {
    describe(file, hub.read(|overview| overview.reached(&file.id, file.version)))
}

/// A version, with how far it has come where that is known.
pub(super) fn describe(file: &FileRecord, peers_reached: Option<u32>) -> FileOut {
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
