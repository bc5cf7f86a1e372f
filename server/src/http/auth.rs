//! Who is asking. The header is trusted: clusters aren't authenticated yet, and the server listens on loopback.

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use shared::ids::UserId;
use shared::wire::rest::USER_HEADER;

use crate::http::error::ApiError;
use crate::http::single::single;

/// The user who makes the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub UserId);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let value = single(&parts.headers, &HeaderName::from_static(USER_HEADER))?.ok_or(ApiError::MissingUser)?;
        let text = std::str::from_utf8(value.as_bytes());
        let text = text.map_err(|_not_utf8| ApiError::Invalid("a user id must be UTF-8".to_owned()))?.trim();
        if text.is_empty() {
            return Err(ApiError::MissingUser);
        }
        Ok(Self(text.parse()?))
    }
}
