//! Publishing the catalogue again.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use shared::wire::rest::RepublishOut;
use utoipa::IntoParams;

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::json::{JsonBody, Nothing};

/// What to publish again.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RepublishQuery {
    /// Only versions that were stored then or later (RFC 3339); all where absent.
    since: Option<String>,
}

/// Publish again what the broker may have lost
///
/// The newest version of each file, tombstones too, is published as if it had just been made. Harmless: whoever knows it
/// already isn't changed by it.
#[utoipa::path(post, path = "/republish", tag = "files", params(RepublishQuery),
    responses(
        (status = 202, description = "They wait for the broker", body = RepublishOut),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "Files are being published again already"),
        (status = 413, description = "The body is larger than 64 KiB"),
        (status = 415, description = "The body isn't application/json, or it is compressed"),
        (status = 422, description = "The time isn't one, or there is a member in the body, which says nothing"),
        (status = 507, description = "There is no room on the disk for their events"),
    ))]
pub(super) async fn republish(
    State(state): State<AppState>,
    query: Result<Query<RepublishQuery>, QueryRejection>,
    body: Result<Option<JsonBody<Nothing>>, ApiError>,
) -> Result<(StatusCode, Json<RepublishOut>), ApiError> {
    let _nothing = body?;
    let since: Option<Timestamp> = query?.0.since.map(|since| since.parse()).transpose().map_err(|error| {
        ApiError::Invalid(format!("since must be a time as in RFC 3339, e.g. 2026-11-28T06:00:00Z: {error}"))
    })?;
    let since_ms = since.map_or(0, |since| u64::try_from(since.as_millisecond()).unwrap_or_default());
    let store = state.store.clone();
    // A task, so that a client that goes away leaves nothing half done.
    let task = state.tasks.spawn(async move { store.republish(since_ms).await });
    let versions = task.await.map_err(|error| ApiError::Internal(error.into()))??;
    Ok((StatusCode::ACCEPTED, Json(RepublishOut { versions })))
}
