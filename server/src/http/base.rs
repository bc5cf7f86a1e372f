//! The path that a proxy puts the server under. The routes don't know it: requests lose it on their way in, and headers
//! that name an address of ours get it on their way out. So it serves proxies that pass the path on and proxies that cut
//! it off alike.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use axum::middleware::{self, Next};

use crate::front::BasePath;

/// The same routes, with and without the base path before them.
pub fn serve_under(base: BasePath, routes: Router) -> Router {
    if base.is_root() {
        return routes;
    }
    // A layer of a router sees requests after they were routed; this router has nothing but the other one.
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(base, translate))
}

async fn translate(State(base): State<BasePath>, mut request: Request, next: Next) -> Response<Body> {
    if let Some(uri) = inside(&base, request.uri()) {
        *request.uri_mut() = uri;
    }
    let mut response = next.run(request).await;
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        rewrite(response.headers_mut(), &name, |path| path.starts_with('/').then(|| base.join(path)));
    }
    let linked = format!("<{}", base.join("/"));
    rewrite(response.headers_mut(), &header::LINK, |links| Some(links.replace("</", &linked)));
    response
}

/// Where a request for `uri` goes; `None` where the proxy has cut the base path off already.
fn inside(base: &BasePath, uri: &Uri) -> Option<Uri> {
    let path: PathAndQuery = base.strip(uri.path_and_query()?.as_str())?.parse().ok()?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

fn rewrite(headers: &mut HeaderMap, name: &header::HeaderName, change: impl FnOnce(&str) -> Option<String>) {
    let changed = headers.get(name).and_then(|value| change(value.to_str().ok()?));
    if let Some(value) = changed.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(name, value);
    }
}
