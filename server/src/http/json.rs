//! A body of JSON: of one type, of bounded size, within a time.

use axum::body::Body;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::upload::refuse_encoded;

/// The largest body that isn't an upload, in bytes: a few fields.
const BYTES_MAX: usize = 64 * 1024;

/// The body of a call that has nothing to say: empty, or an object without members.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The body, read.
#[derive(Debug, Clone)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(ApiError::UnsupportedMediaType("send the body as application/json".to_owned()));
        }
        refuse_encoded(&parts.headers)?;
        parse(&read(state, body).await?)
    }
}

/// For calls that can do without: an empty body is none, and its type need not be said.
impl<T: DeserializeOwned> OptionalFromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Option<Self>, ApiError> {
        let (parts, body) = request.into_parts();
        refuse_encoded(&parts.headers)?;
        let bytes = read(state, body).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        if parts.headers.contains_key(header::CONTENT_TYPE) && !is_json(&parts.headers) {
            return Err(ApiError::UnsupportedMediaType("send the body as application/json".to_owned()));
        }
        parse(&bytes).map(Some)
    }
}

/// Every body is an object; an array would be taken for its members in their order.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<JsonBody<T>, ApiError> {
    if bytes.trim_ascii().starts_with(b"[") {
        return Err(ApiError::Invalid("send the body as a JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map(JsonBody).map_err(|error| ApiError::Invalid(error.to_string()))
}

/// `application/json`, or a type that is written in JSON (RFC 6839).
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read(state: &AppState, body: Body) -> Result<Vec<u8>, ApiError> {
    let mut pieces = body.into_data_stream();
    let gather = async {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| ApiError::BrokenBody(error.to_string()))?;
            if bytes.len().saturating_add(piece.len()) > BYTES_MAX {
                return Err(ApiError::TooLarge(u64::try_from(BYTES_MAX).unwrap_or(u64::MAX)));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    timeout(state.config.limits.body_time, gather).await.map_err(|_elapsed| ApiError::TooSlow)?
}
