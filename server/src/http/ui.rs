//! The built dashboard, packed into the binary, under `/ui/`.

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use memory_serve::CacheControl;

/// The dashboard's files. The page itself also answers the paths that it routes by itself.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let files = memory_serve::load!()
        .index_file(Some("/index.html"))
        .fallback(Some("/index.html"))
        .fallback_status(StatusCode::OK)
        .html_cache_control(CacheControl::NoCache)
        // The build names all but the page by what is in them.
        .cache_control(CacheControl::Long)
        .into_router();
    Router::new().route("/ui", get(async || Redirect::permanent("/ui/"))).nest("/ui/", files)
}
