//! What is known of a file: of its latest version, and of all that are kept.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Response;
use axum::response::IntoResponse;
use serde::Deserialize;
use shared::ids::Version;
use shared::wire::rest::FileOut;
use utoipa::IntoParams;

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::files::{describe, latest};
use crate::http::path::Path;
use crate::http::{AppState, file_id, page};
use crate::store::metadata::FileRecord;

/// Which part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// How many versions at most, 1 to 500; 100 where absent.
    limit: Option<u32>,
    /// Only versions before this one.
    before: Option<u64>,
}

/// What is known of a file
///
/// `ETag` is that of this answer, which changes with `peers_reached`, too. For `If-Match` take `version` in quotes.
#[utoipa::path(get, path = "/files/{id}/meta", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file")),
    responses(
        (status = 200, description = "Its latest version", body = FileOut,
            headers(("etag" = String, description = "Of this answer, weak"))),
        (status = 304, description = "You have this answer already (If-None-Match)"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
    ))]
pub(super) async fn meta(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
) -> Result<Json<FileOut>, ApiError> {
    let file = state.store.file(file_id(&id)?, user, None).await?;
    Ok(Json(latest(&state.hub, &file)))
}

/// The versions of a file
///
/// The newest first. Each can be downloaded with `?version=`. The header `Link` names the next page.
#[utoipa::path(get, path = "/files/{id}/history", tag = "files", security(("user" = [])),
    params(("id" = String, Path, description = "The file"), HistoryQuery),
    responses(
        (status = 200, description = "A page of its versions", body = Vec<FileOut>,
            headers(("link" = String, description = "The next page, if there is one"))),
        (status = 304, description = "You have this answer already (If-None-Match)"),
        (status = 401, description = "Nobody says who is asking"),
        (status = 404, description = "There is no such file, it was deleted, or it isn't yours to see"),
        (status = 422, description = "A parameter is invalid"),
    ))]
pub(super) async fn history(
    State(state): State<AppState>,
    Caller(user): Caller,
    Path(id): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response<Body>, ApiError> {
    let Query(HistoryQuery { limit, before }) = query?;
    let limit = page::limit(limit)?;
    let before = before.map(Version::try_from).transpose()?;
    let (newest, mut versions) = state.store.history(file_id(&id)?, user, before, limit + 1).await?;
    let link = page::cut(&mut versions, limit, |last| {
        format!("/files/{}/history?limit={limit}&before={}", last.id, last.version)
    });
    let describe = |file: &FileRecord| {
        if file.version == newest { latest(&state.hub, file) } else { describe(file, None) }
    };
    let versions: Vec<FileOut> = versions.iter().map(describe).collect();
    Ok((link, Json(versions)).into_response())
}
