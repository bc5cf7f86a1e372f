//! Runs of the concurrency lab.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use shared::wire::lab::{LabConfig, LabRunOut};

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::json::JsonBody;
use crate::http::path::Path;

/// Run the concurrency lab
///
/// An empty body runs it as the original did. Its steps are in the event stream.
#[utoipa::path(post, path = "/lab/runs", tag = "lab", request_body(content = Option<LabConfig>),
    responses(
        (status = 202, description = "It runs", body = LabRunOut,
            headers(("location" = String, description = "The run's path"))),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "Another run is at work"),
        (status = 413, description = "The body is larger than 64 KiB"),
        (status = 415, description = "The body isn't application/json, or it is compressed"),
        (status = 422, description = "A number is out of range"),
    ))]
pub(super) async fn start(
    State(state): State<AppState>,
    config: Option<JsonBody<LabConfig>>,
) -> Result<Response<Body>, ApiError> {
    let config = config.map(|JsonBody(config)| config).unwrap_or_default();
    let run = state.lab.start(config)?;
    let location = [(header::LOCATION, format!("/lab/runs/{}", run.id))];
    Ok((StatusCode::ACCEPTED, location, Json(run)).into_response())
}

/// How far a run is and what it showed
#[utoipa::path(get, path = "/lab/runs/{id}", tag = "lab", params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run so far", body = LabRunOut),
        (status = 404, description = "There is no such run, or it is too long ago"),
    ))]
pub(super) async fn get(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<LabRunOut>, ApiError> {
    state.lab.get(&id).map(Json).ok_or(ApiError::NotFound)
}
