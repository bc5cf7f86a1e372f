//! Alive, and ready.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::wire::rest::{HealthOut, ReadyOut};
use shared::wire::stream::PartState;
use tracing::warn;

use crate::http::AppState;
use crate::wall;

/// Whether the server answers
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, description = "It does", body = HealthOut)))]
pub(super) async fn health() -> Json<HealthOut> {
    Json(HealthOut { status: "ok".to_owned(), time: wall::rfc3339(wall::now_ms()) })
}

/// Whether uploads are accepted
///
/// They are while broker and bridge are away: their events wait.
#[utoipa::path(get, path = "/ready", tag = "health",
    responses(
        (status = 200, description = "They are", body = ReadyOut),
        (status = 503, description = "They aren't; the body says why", body = ReadyOut),
    ))]
pub(super) async fn ready(State(state): State<AppState>) -> (StatusCode, Json<ReadyOut>) {
    let checked = match state.store.check().await {
        Ok(()) => state.store.outbox_counts().await,
        Err(error) => Err(error),
    };
    let (store, (outbox, dead_letters)) = match checked {
        Ok(counts) => (PartState::Up, counts),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "the store isn't ready");
            (PartState::Down { reason: error.to_string() }, (0, 0))
        }
    };
    let ready = store == PartState::Up;
    let (broker, bridge, peers) =
        state.hub.read(|overview| (overview.broker.clone(), overview.bridge.clone(), overview.running()));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyOut { ready, store, broker, bridge, outbox, dead_letters, peers }))
}
