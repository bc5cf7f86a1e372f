//! Runs of the concurrency lab.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use shared::wire::rest::{LabConfig, LabRunOut};

use crate::http::AppState;
use crate::http::error::ApiError;

/// Run the concurrency lab
///
/// An empty body runs it as the original did. Its steps are in the event stream.
#[utoipa::path(post, path = "/lab/runs", tag = "lab", request_body(content = Option<LabConfig>),
    responses(
        (status = 202, description = "It runs", body = LabRunOut,
            headers(("location" = String, description = "The run's path"))),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 409, description = "Another run is at work"),
        (status = 422, description = "A number is out of range"),
    ))]
pub(super) async fn start(State(state): State<AppState>, body: Bytes) -> Result<Response<Body>, ApiError> {
    let config = match body.trim_ascii() {
        b"" => LabConfig::default(),
        json => serde_json::from_slice(json).map_err(|error| ApiError::Invalid(error.to_string()))?,
    };
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
