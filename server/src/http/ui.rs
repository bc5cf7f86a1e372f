//! The built dashboard, packed into the binary, under `/ui/`. What can be compressed was when it was built.

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    LOCATION, VARY,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::http::error::ApiError;
use crate::http::etag::Tags;

/// How many hexadecimal digits of the hash of what is in a file `scripts/web-build.sh` puts into its name.
const HASH_DIGITS: usize = 16;
/// For a name that will never stand for anything else.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For all others: asked for each time, or a browser would keep an old page after an upgrade.
const ASK: &str = "no-cache";
/// What is served for the folder itself.
const INDEX: &str = "index.html";

/// A file of the dashboard: as it is, and compressed; empty where it isn't.
struct File {
    name: &'static str,
    plain: &'static [u8],
    brotli: &'static [u8],
    gzip: &'static [u8],
}

/// What `build.rs` found.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// Returns what serves the dashboard's files. Another page's path leads to the page, which is only one.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let files =
        Router::new().route("/", get(async |headers: HeaderMap, uri: Uri| answer(INDEX, &headers, &uri))).route(
            "/{*path}",
            get(async |Path(path): Path<String>, headers: HeaderMap, uri: Uri| answer(&path, &headers, &uri)),
        );
    Router::new().route("/ui", get(async || Redirect::temporary("/ui/"))).nest("/ui/", files)
}

fn answer(name: &str, headers: &HeaderMap, uri: &Uri) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => file.answer(headers),
        None => elsewhere(uri),
    }
}

impl File {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let (coding, bytes) = self.form(headers);
        let keep = if is_hashed(self.name) { FOR_EVER } else { ASK };
        let tag = format!("\"{}\"", &blake3::hash(bytes).to_hex().get(..32).unwrap_or_default());
        let known = Tags::read(headers, &IF_NONE_MATCH).is_some_and(|tags| tags.have(&tag));
        let about = [(CACHE_CONTROL, keep), (VARY, "accept-encoding"), (ETAG, tag.as_str())];
        if known {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let coding = coding.map(|coding| [(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        let kind: [(HeaderName, &str); 1] = [(CONTENT_TYPE, content_type(self.name))];
        let body = Bytes::from_static(bytes);
        match coding {
            Some(coding) => (about, kind, coding, body).into_response(),
            None => (about, kind, body).into_response(),
        }
    }

    /// The smallest form that the caller takes, and what it is called.
    fn form(&self, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
        let forms = [("br", self.brotli), ("gzip", self.gzip)];
        let taken = forms.into_iter().find(|(coding, bytes)| !bytes.is_empty() && accepts(headers, coding));
        taken.map_or((None, self.plain), |(coding, bytes)| (Some(coding), bytes))
    }
}

/// Whether a caller names `coding` among those that she takes (RFC 9110, section 12.5.3), and not with the weight 0.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let is_zero = weight.split_once('=').is_some_and(|(_q, weight)| weight.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(coding) && !is_zero
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_stem, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

/// Whether a name ends in `-`, a hash and an extension.
fn is_hashed(path: &str) -> bool {
    let stem = path.rsplit_once('.').map_or("", |(stem, _extension)| stem);
    let hash = stem.rsplit_once('-').map_or("", |(_name, hash)| hash);
    hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path that no file has. One that looks like a file's is an error: a page in its place could be nothing that the
/// caller understands.
fn elsewhere(uri: &Uri) -> Response {
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
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static(ASK))])
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_hash_is_kept() {
        assert!(is_hashed("web_bg-0123456789abcdef.wasm"));
        for path in ["web.js", "web-abc.js", "index.html", "", "a-0123456789abcdeg.js", "0123456789abcdef.js"] {
            assert!(!is_hashed(path), "{path}");
        }
    }

    #[test]
    fn a_form_that_isnt_taken_isnt_sent() {
        let file = File { name: "a.js", plain: b"plain", brotli: b"br", gzip: b"gzip" };
        let sent = |accepted: &'static str| {
            file.form(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepted))])).1
        };
        for (accepted, bytes) in [
            ("gzip, deflate, br, zstd", b"br".as_slice()),
            ("br;q=0.5, GZIP", b"br"),
            ("gzip, br;q=0", b"gzip"),
            ("br; q=0.000 , gzip;q=0", b"plain"),
            ("identity", b"plain"),
            ("", b"plain"),
        ] {
            assert_eq!(sent(accepted), bytes, "{accepted}");
        }
        assert_eq!(file.form(&HeaderMap::new()).1, b"plain");
    }
}
