//! Alive, and ready.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::wire::event::PartState;
use shared::wire::overview::Overview;
use shared::wire::rest::{ConditionOut, HealthOut, ReadyOut};
use tracing::warn;

use crate::broker::explain;
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
    let (store, (outbox, set_aside)) = match checked {
        Ok((outbox, set_aside)) => (PartState::Up, (Some(outbox), Some(set_aside))),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "the store isn't ready");
            (PartState::Down { reason: explain(&error) }, (None, None))
        }
    };
    let (broker, bridge, peers) =
        state.hub.read(|overview| (overview.broker.clone(), overview.bridge.clone(), overview.running()));
    let depths = state.depths.as_ref().map(|depths| *depths.borrow());
    let queue = depths.flatten().map(|depths| depths.bridge.messages);
    let dead_letters = match depths {
        None => set_aside,
        Some(known) => set_aside.zip(known).map(|(set_aside, depths)| set_aside + depths.dead_letters),
    };
    let conditions = state.hub.read(conditions);
    let ready = store == PartState::Up && !conditions.iter().any(|condition| condition.name.stops_uploads());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyOut { ready, store, broker, bridge, outbox, queue, dead_letters, peers, conditions }))
}

fn conditions(overview: &Overview) -> Vec<ConditionOut> {
    let standing = overview.conditions.iter();
    standing
        .map(|(name, standing)| ConditionOut {
            name: *name,
            detail: standing.detail.clone(),
            since: wall::rfc3339(standing.since_ms),
        })
        .collect()
}
