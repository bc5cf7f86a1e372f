//! The REST API and the event stream: every route on one page, and what the handlers share.

pub mod auth;
pub mod base;
pub mod cache;
pub mod conditions;
pub mod disposition;
pub mod door;
pub mod download;
pub mod error;
pub mod etag;
pub mod files;
pub mod guard;
pub mod health;
pub mod history;
pub mod idempotency;
pub mod json;
pub mod lab;
pub mod limits;
pub mod openapi;
pub mod pace;
pub mod page;
pub mod path;
pub mod peers;
pub mod range;
pub mod republish;
pub mod shares;
pub mod single;
pub mod stream;
pub mod ui;
pub mod upload;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::middleware;
use axum::response::Redirect;
use axum::routing::get;
use shared::ids::FileId;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate as _, SizeAbove};
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::broker::amqp::inspector::Depths;
use crate::concurrency::Lab;
use crate::contact::Contact;
use crate::front::{AllowedHost, BasePath};
use crate::http::error::ApiError;
use crate::http::idempotency::KeysAtWork;
use crate::http::limits::Limits;
use crate::hub::Hub;
use crate::shutdown::Tasks;
use crate::store::Store;
use crate::swarm::Swarm;

/// JSON is compressed from this size on, in bytes: less fits into one packet anyway.
pub(crate) const COMPRESSED_BYTES: u64 = 1024;

/// How the API is reached, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The largest file that is accepted, in bytes.
    max_upload_bytes: u64,
    /// Whether only names of this machine are accepted as `Host`: so when the server listens on loopback, where a page
    /// from elsewhere could otherwise reach it under a name of its own (DNS rebinding).
    local_only: bool,
    /// Further accepted hosts, and origins of pages that may change things.
    allowed_hosts: Arc<[AllowedHost]>,
    /// Where a proxy puts it.
    base_path: BasePath,
    /// What callers may use.
    limits: Limits,
}

impl HttpConfig {
    /// Takes files of at most `max_upload_bytes`, listens on `host`, and is also known as `allowed_hosts`.
    pub fn new(max_upload_bytes: u64, host: IpAddr, allowed_hosts: Vec<AllowedHost>) -> Self {
        Self {
            max_upload_bytes,
            local_only: host.is_loopback(),
            allowed_hosts: allowed_hosts.into(),
            base_path: BasePath::default(),
            limits: Limits::default(),
        }
    }

    /// The same, where a proxy puts it under a path.
    #[must_use]
    pub fn under(self, base_path: BasePath) -> Self {
        Self { base_path, ..self }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

/// What the handlers use.
#[derive(Debug, Clone)]
pub struct AppState {
    /// Files, versions, shares.
    pub store: Store,
    /// What happens.
    pub hub: Hub,
    /// The local peers.
    pub swarm: Swarm,
    /// What lies in RabbitMQ's queues, where that is known; absent with the embedded broker.
    pub depths: Option<watch::Receiver<Option<Depths>>>,
    /// Whom to ask for the overlay while there are no local peers.
    pub contact: Option<Contact>,
    /// The concurrency lab.
    pub lab: Lab,
    /// The keys of uploads that are at work.
    pub keys: KeysAtWork,
    /// Where tasks that outlive their request run.
    pub tasks: Tasks,
    /// How the API is reached.
    pub config: HttpConfig,
}

/// Everything that is served on the API's port.
pub fn router(state: AppState) -> Router {
    let (routes, description) = api().split_for_parts();
    let base_path = state.config.base_path.clone();
    let routes = routes
        .merge(openapi::pages(openapi::finish(description, &base_path)))
        .route("/", get(async || Redirect::temporary("/ui/")))
        .merge(ui::pages())
        .fallback(async || ApiError::NoSuchPage)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(state.clone(), guard::check))
        .layer(middleware::from_fn(cache::apply))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES).and(is_json)))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(TraceLayer::new_for_http())
        .with_state(state);
    base::serve_under(base_path, routes)
}

/// The path of ours that a base path can't be told from, if there is one.
pub fn path_like(base_path: &BasePath) -> Option<String> {
    let api = api().into_openapi();
    let others = ["/ui", "/docs", "/openapi.json"].map(str::to_owned);
    api.paths.paths.into_keys().chain(others).find(|path| base_path.is_taken_by(path))
}

/// Contents go as they are: their tag and their ranges are those of the bytes that were uploaded.
fn is_json(_status: StatusCode, _version: Version, headers: &HeaderMap, _extensions: &Extensions) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/json")
}

/// The calls that the API's description lists.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::preface())
        .routes(routes!(files::upload, files::list))
        .routes(routes!(download::download, files::replace, files::delete))
        .routes(routes!(history::meta))
        .routes(routes!(history::history))
        .routes(routes!(republish::republish))
        .routes(routes!(shares::share, shares::list))
        .routes(routes!(shares::unshare))
        .routes(routes!(peers::list, peers::start))
        .routes(routes!(peers::remove))
        .routes(routes!(peers::act))
        .routes(routes!(peers::topology))
        .routes(routes!(lab::start))
        .routes(routes!(lab::get))
        .routes(routes!(stream::stream))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
}

/// The file that a path names. The API's ids are UUIDs; what isn't one names no file.
fn file_id(text: &str) -> Result<FileId, ApiError> {
    let id = Uuid::parse_str(text).map_err(|_not_an_id| ApiError::NotFound)?;
    id.to_string().parse().map_err(|_too_long| ApiError::NotFound)
}
