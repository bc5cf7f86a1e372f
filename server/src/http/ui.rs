//! The built dashboard, packed into the binary, under `/ui/`.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use memory_serve::CacheControl;

use crate::http::error::ApiError;

/// How many hexadecimal digits of the hash of what is in a file `scripts/web-build.sh` puts into its name.
const HASH_DIGITS: usize = 16;
/// For a name that will never stand for anything else.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The dashboard's files. Another page's path leads to the page, which is only one.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let files = memory_serve::load!()
        .index_file(Some("/index.html"))
        .html_cache_control(CacheControl::NoCache)
        .cache_control(CacheControl::NoCache)
        .into_router()
        .fallback(elsewhere)
        .layer(middleware::from_fn(keep));
    Router::new().route("/ui", get(async || Redirect::temporary("/ui/"))).nest("/ui/", files)
}

/// Files whose names say what is in them may be kept; all others are asked for each time, or a browser would keep an old
/// page after an upgrade.
async fn keep(request: Request, next: Next) -> Response {
    let named = is_hashed(request.uri().path());
    let mut answer = next.run(request).await;
    if named && answer.status() == StatusCode::OK {
        answer.headers_mut().insert(CACHE_CONTROL, FOR_EVER);
    }
    answer
}

/// Whether a name ends in `-`, a hash and an extension.
fn is_hashed(path: &str) -> bool {
    let stem = path.rsplit_once('.').map_or("", |(stem, _extension)| stem);
    let hash = stem.rsplit_once('-').map_or("", |(_name, hash)| hash);
    hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path that no file has. One that looks like a file's is an error: a page in its place could be nothing that the
/// caller understands.
async fn elsewhere(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.rsplit('/').next().is_some_and(|name| name.contains('.')) {
        return ApiError::NoSuchPage.into_response();
    }
    let up = path.matches('/').count();
    if up == 0 { moved("./") } else { moved(&"../".repeat(up)) }
}

/// To an address relative to the one that was asked for: a proxy may have put more before it.
fn moved(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/ui/"));
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))])
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_hash_is_kept() {
        assert!(is_hashed("/web_bg-0123456789abcdef.wasm"));
        for path in ["/web.js", "/web-abc.js", "/index.html", "/", "/a-0123456789abcdeg.js", "/0123456789abcdef.js"] {
            assert!(!is_hashed(path), "{path}");
        }
    }
}
