//! Keeps pages from elsewhere out: a browser on this machine can be talked into calling us, under a name that its
//! owner points here (DNS rebinding) or across origins. So the host that is asked for must be ours, and who changes things must not come
//! from another origin.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, Response, Version, header};
use axum::middleware::Next;
use axum::response::IntoResponse;

use crate::http::error::ApiError;
use crate::http::single::single;
use crate::http::{AppState, HttpConfig};

/// The ports that aren't written.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Lets a request pass, or answers 403; 400 where its headers say nothing clear.
pub async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response<Body> {
    let mut response = match judge(&state.config, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("frame-ancestors 'none'"));
    response
}

fn judge(config: &HttpConfig, request: &Request) -> Result<(), ApiError> {
    let Some(host) = host(request)? else {
        return if is_simple_check(request) {
            Ok(())
        } else {
            Err(ApiError::ForeignCaller("without the header Host only /health and /ready are answered".to_owned()))
        };
    };
    if config.local_only && !is_local(&host) && !is_allowed(config, &host, &[HTTP, HTTPS]) {
        return Err(ApiError::ForeignCaller(format!("{host} isn't a name of this server; see --allowed-host")));
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe && request.uri().path() != "/ws" {
        return Ok(());
    }
    match single(request.headers(), &header::ORIGIN)? {
        None => Ok(()),
        Some(origin) if is_same(config, origin, &host) => Ok(()),
        Some(origin) => {
            Err(ApiError::ForeignCaller(format!("pages of {origin:?} may not do this; see --allowed-host")))
        }
    }
}

/// Health checkers of some balancers speak HTTP/1.0, which has no `Host`; no browser does.
fn is_simple_check(request: &Request) -> bool {
    matches!(request.uri().path(), "/health" | "/ready")
}

/// The host that is asked for: the target's if it names one, else that of the header (RFC 9112, section 3.2). `None` where
/// nobody names one, as HTTP/1.0 allows.
fn host(request: &Request) -> Result<Option<Authority>, ApiError> {
    let header = match single(request.headers(), &header::HOST)? {
        Some(host) => Some(host.to_str().ok().and_then(|host| host.parse().ok()).ok_or_else(bad_host)?),
        None if request.version() > Version::HTTP_10 => return Err(bad_host()),
        None => None,
    };
    Ok(request.uri().authority().cloned().or(header))
}

fn bad_host() -> ApiError {
    ApiError::BadRequest("the header Host is missing or isn't one".to_owned())
}

fn is_local(host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Where no port is named, it is one of `usual`.
fn is_allowed(config: &HttpConfig, host: &Authority, usual: &[u16]) -> bool {
    let port = host.port_u16();
    let ports = port.as_ref().map_or(usual, std::slice::from_ref);
    config.allowed_hosts.iter().any(|allowed| allowed.covers(host.host(), ports))
}

fn is_same(config: &HttpConfig, origin: &HeaderValue, host: &Authority) -> bool {
    let (authority, port) = match origin.to_str().unwrap_or_default().split_once("://") {
        Some(("http", authority)) => (authority, HTTP),
        Some(("https", authority)) => (authority, HTTPS),
        _ => return false,
    };
    authority.parse().is_ok_and(|authority| authority == *host || is_allowed(config, &authority, &[port]))
}
