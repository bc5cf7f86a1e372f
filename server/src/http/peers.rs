//! The local peers and the overlay as they see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use shared::gossip::census::short_name;
use shared::ids::PeerId;
use shared::wire::census::Record;
use shared::wire::event::PeerState;
use shared::wire::overview::Overview;
use shared::wire::peer_view::PeerView;
use shared::wire::rest::{PeerAction, PeerActionIn, PeerOut, TopologyOut};
use utoipa::IntoParams;

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::json::{JsonBody, Nothing};
use crate::http::path::Path;

/// The local peers
#[utoipa::path(get, path = "/peers", tag = "peers",
    responses(
        (status = 200, description = "The peers that this server runs or has run", body = Vec<PeerOut>),
        (status = 304, description = "You have this answer already (If-None-Match)"),
    ))]
pub(super) async fn list(State(state): State<AppState>) -> Json<Vec<PeerOut>> {
    Json(state.hub.read(|overview| {
        let peers = overview.peers.iter().filter(|(_, view)| view.state.is_ours());
        peers.map(|(id, view)| describe(*id, view)).collect()
    }))
}

/// Start one more peer
///
/// It joins through one that runs. It runs until it is stopped or the server is: a start of the server starts as many as
/// `--peers` says. What it kept stays on the disk, and whoever is started in its place goes on with it, under its id.
#[utoipa::path(post, path = "/peers", tag = "peers",
    responses(
        (status = 201, description = "Started", body = PeerOut,
            headers(("location" = String, description = "The peer's path"))),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "As many peers as allowed run already"),
        (status = 413, description = "The body is larger than 64 KiB"),
        (status = 415, description = "The body isn't application/json, or it is compressed"),
        (status = 422, description = "There is a member in the body, which says nothing"),
        (status = 507, description = "There is no room on the disk for what it keeps"),
    ))]
pub(super) async fn start(
    State(state): State<AppState>,
    body: Result<Option<JsonBody<Nothing>>, ApiError>,
) -> Result<Response<Body>, ApiError> {
    let _nothing = body?;
    let swarm = state.swarm.clone();
    // A task, so that a client that goes away leaves no half-started peer.
    let task = state.tasks.spawn(async move { swarm.start_peer().await });
    let id = task.await.map_err(|error| ApiError::Internal(error.into()))??;
    let location = [(header::LOCATION, format!("/peers/{id}"))];
    Ok((StatusCode::CREATED, location, Json(shown(&state, id)?)).into_response())
}

/// Whether it is to be forgotten.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// Forget a peer that is stopped, with all that it kept: it is no member any more and can't come back.
    #[serde(default)]
    forget: bool,
}

/// Make a peer leave, or forget it
///
/// It says goodbye and stops; it may come back. With `forget=true` one that is stopped is forgotten.
#[utoipa::path(delete, path = "/peers/{id}", tag = "peers",
    params(("id" = String, Path, description = "The peer"), RemoveQuery),
    responses(
        (status = 204, description = "It left, or is forgotten"),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 404, description = "There is no such local peer"),
        (status = 409, description = "It is stopped already; or with `forget`: it runs"),
        (status = 422, description = "A parameter is invalid"),
    ))]
pub(super) async fn remove(
    State(state): State<AppState>,
    Path(id): Path<String>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let (swarm, id, forget) = (state.swarm.clone(), peer_id(&id)?, query?.0.forget);
    let task = state.tasks.spawn(async move { if forget { swarm.forget(id).await } else { swarm.leave(id).await } });
    task.await.map_err(|error| ApiError::Internal(error.into()))??;
    Ok(StatusCode::NO_CONTENT)
}

/// Kill a peer or bring it back
#[utoipa::path(post, path = "/peers/{id}/actions", tag = "peers",
    params(("id" = String, Path, description = "The peer")), request_body = PeerActionIn,
    responses(
        (status = 200, description = "Done", body = PeerOut),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 404, description = "There is no such local peer"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "It isn't in the state that the action needs"),
        (status = 413, description = "The body is larger than 64 KiB"),
        (status = 415, description = "The body isn't application/json, or it is compressed"),
        (status = 422, description = "There is no such action, or there is an unknown member"),
    ))]
pub(super) async fn act(
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: Result<JsonBody<PeerActionIn>, ApiError>,
) -> Result<Json<PeerOut>, ApiError> {
    let (swarm, id, action) = (state.swarm.clone(), peer_id(&id)?, body?.0.action);
    let task = state.tasks.spawn(async move {
        match action {
            PeerAction::Kill => swarm.kill(id).await.map(|()| id),
            PeerAction::Rejoin => swarm.rejoin(id).await,
        }
    });
    // Its id is a new one where what it kept was damaged.
    let id = task.await.map_err(|error| ApiError::Internal(error.into()))??;
    Ok(Json(shown(&state, id)?))
}

/// The overlay
///
/// Its own peers as they see themselves, all others as they told of themselves. A server without peers of its own asks one
/// of those named by `--peer`.
#[utoipa::path(get, path = "/topology", tag = "peers",
    responses(
        (status = 200, description = "Peers and links as the local peers see them", body = TopologyOut),
        (status = 304, description = "You have this answer already (If-None-Match)"),
    ))]
pub(super) async fn topology(State(state): State<AppState>) -> Json<TopologyOut> {
    if state.hub.read(Overview::has_local_peers) {
        return Json(state.hub.read(|overview: &Overview| TopologyOut {
            peers: Some(overview.peers.iter().map(|(id, view)| describe(*id, view)).collect()),
            links: Some(overview.links().iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()),
        }));
    }
    let told = match &state.contact {
        Some(contact) => contact.peers().await.ok(),
        None => None,
    };
    Json(told.map_or(TopologyOut { peers: None, links: None }, |records| as_told(&records)))
}

/// The overlay by what peers tell of themselves. Neighbours that nobody tells of are left out.
fn as_told(records: &[Arc<Record>]) -> TopologyOut {
    let ids: BTreeMap<u64, PeerId> = records.iter().map(|record| (short_name(record.peer), record.peer)).collect();
    let neighbours =
        |record: &Record| -> Vec<PeerId> { record.active.iter().filter_map(|short| ids.get(short).copied()).collect() };
    let peers = records.iter().map(|record| PeerOut {
        id: record.peer.to_string(),
        addr: record.addr,
        // It was when it told of itself; the contact may have lost it since.
        state: PeerState::Unknown,
        files: Some(record.files),
        neighbours: Some(neighbours(record).iter().map(ToString::to_string).collect()),
    });
    let ends = records.iter().flat_map(|record| neighbours(record).into_iter().map(|other| (record.peer, other)));
    let links: BTreeSet<(PeerId, PeerId)> = ends.map(|(a, b)| (a.min(b), a.max(b))).collect();
    TopologyOut {
        peers: Some(peers.collect()),
        links: Some(links.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()),
    }
}

fn peer_id(text: &str) -> Result<PeerId, ApiError> {
    text.parse().map_err(|_not_an_id| ApiError::NotFound)
}

/// A peer as the hub has heard of it.
fn shown(state: &AppState, id: PeerId) -> Result<PeerOut, ApiError> {
    let peer = state.hub.read(|overview| overview.peers.get(&id).map(|view| describe(id, view)));
    peer.ok_or(ApiError::NotFound)
}

fn describe(id: PeerId, view: &PeerView) -> PeerOut {
    // Who hasn't told how many files it has hasn't told of its neighbours either.
    let neighbours = view.files.map(|_told| view.neighbours.iter().map(ToString::to_string).collect());
    PeerOut { id: id.to_string(), addr: view.addr, state: view.state, files: view.files, neighbours }
}
