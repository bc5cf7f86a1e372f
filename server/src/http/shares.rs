//! Shares: who else may see a file. Only its owner grants, lists and ends them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::UserId;
use shared::wire::rest::{ShareIn, ShareOut};

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::json::JsonBody;
use crate::http::path::Path;
use crate::http::{AppState, file_id};
use crate::store::metadata::ShareRecord;

/// Share a file with another user
///
/// Sharing again with the same user changes nothing and returns the same share.
#[utoipa::path(post, path = "/shares/{id}", tag = "shares", security(("user" = [])),
    params(("id" = String, Path, description = "The file")), request_body = ShareIn,
    responses(
        (status = 201, description = "Shared", body = ShareOut),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The file was shared with you, and only its owner may share it"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
        (status = 408, description = "The body came too slowly"),
        (status = 413, description = "The body is larger than 64 KiB"),
        (status = 415, description = "The body isn't application/json, or it is compressed"),
        (status = 422, description = "The user's id is missing, invalid or the owner's, or there is an unknown member"),
    ))]
pub(super) async fn share(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    body: Result<JsonBody<ShareIn>, ApiError>,
) -> Result<(StatusCode, Json<ShareOut>), ApiError> {
    let (file, target) = (file_id(&id)?, body?.0.target_user_id.trim().parse::<UserId>()?);
    let store = state.store.clone();
    // A task, so that it is told of even when the client goes away meanwhile.
    let task = state.tasks.spawn(async move { store.share(file, user, target).await });
    let share = task.await.map_err(|error| ApiError::Internal(error.into()))??;
    Ok((StatusCode::CREATED, Json(describe(&share))))
}

/// With whom a file is shared
#[utoipa::path(get, path = "/shares/{id}", tag = "shares", security(("user" = [])),
    params(("id" = String, Path, description = "The file")),
    responses(
        (status = 200, description = "Its shares", body = Vec<ShareOut>),
        (status = 304, description = "You have this answer already (If-None-Match)"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The file was shared with you, and only its owner may ask this"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
    ))]
pub(super) async fn list(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
) -> Result<Json<Vec<ShareOut>>, ApiError> {
    let shares = state.store.shares(file_id(&id)?, user).await?;
    Ok(Json(shares.iter().map(describe).collect()))
}

/// End a share
#[utoipa::path(delete, path = "/shares/{id}/{user}", tag = "shares", security(("user" = [])),
    params(("id" = String, Path, description = "The file"), ("user" = String, Path, description = "Who saw it")),
    responses(
        (status = 204, description = "The user sees the file no longer"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 403, description = "The file was shared with you, and only its owner may do this"),
        (status = 404, description = "There is no such file or share, or it isn't yours to see"),
    ))]
pub(super) async fn unshare(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path((id, target)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let target = target.parse().map_err(|_invalid| ApiError::NotFound)?;
    state.store.unshare(file_id(&id)?, user, target).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(share: &ShareRecord) -> ShareOut {
    ShareOut { id: share.id.clone(), target_user_id: share.target.to_string() }
}
