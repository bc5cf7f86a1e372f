//! Keeps pages from elsewhere out: a browser on this machine can be talked into calling us, under a name that its
//! owner points here (DNS rebinding) or across origins. So `Host` must be ours, and who changes things must not come
//! from another origin.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, Response, header};
use axum::middleware::Next;
use axum::response::IntoResponse;

use crate::http::error::ApiError;
use crate::http::{AppState, HttpConfig};

/// Lets a request pass, or answers 403.
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
    let host =
        host(request).ok_or_else(|| ApiError::ForeignCaller("the header Host is missing or wrong".to_owned()))?;
    if config.local_only && !is_local(&host) && !is_allowed(config, &host) {
        return Err(ApiError::ForeignCaller(format!("{host} isn't a name of this server; see --allowed-host")));
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe && request.uri().path() != "/ws" {
        return Ok(());
    }
    match request.headers().get(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if is_same(config, origin, &host) => Ok(()),
        Some(origin) => {
            Err(ApiError::ForeignCaller(format!("pages of {origin:?} may not do this; see --allowed-host")))
        }
    }
}

fn host(request: &Request) -> Option<Authority> {
    match request.headers().get(header::HOST) {
        Some(host) => host.to_str().ok()?.parse().ok(),
        None => request.uri().authority().cloned(),
    }
}

fn is_local(host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn is_allowed(config: &HttpConfig, host: &Authority) -> bool {
    let matches = |name: &str| name.eq_ignore_ascii_case(host.as_str()) || name.eq_ignore_ascii_case(host.host());
    config.allowed_hosts.iter().any(|name| matches(name))
}

fn is_same(config: &HttpConfig, origin: &HeaderValue, host: &Authority) -> bool {
    let text = origin.to_str().unwrap_or_default();
    let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(Ok(authority)) = authority.map(str::parse::<Authority>) else { return false };
    authority == *host || config.allowed_hosts.iter().any(|name| name.eq_ignore_ascii_case(authority.as_str()))
}
