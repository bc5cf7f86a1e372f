//! Errors as the caller sees them: RFC 9457 problem details. One complete match gives each its status and type.

use std::any::Any;
use std::error::Error;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use shared::ids::{IdError, Version};
use shared::wire::rest::{Problem, USER_HEADER};
use tracing::error;

use crate::concurrency::LabError;
use crate::contents::error::ContentsError;
use crate::db::DbError;
use crate::http::etag;
use crate::store::error::StoreError;
use crate::swarm::SwarmError;

/// The media type of errors.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// After how many seconds it may be tried again whether there is room on the disk. A guess: nobody makes room faster.
const RETRY_FULL_AFTER_S: u32 = 30;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody said who is asking.
    #[error("the header X-User-Id is missing or empty")]
    MissingUser,
    /// The call comes under a name or from a page that isn't this server's.
    #[error("{0}")]
    ForeignCaller(String),
    /// The file is somebody else's, who shared it.
    #[error("only the file's owner may do this")]
    NotOwner,
    /// There is no such thing, or it isn't the caller's to see.
    #[error("there is none, or it isn't yours to see")]
    NotFound,
    /// There is no such path.
    #[error("there is nothing under this path; see /docs")]
    NoSuchPage,
    /// The path has no such method.
    #[error("this path doesn't know the method; see the header Allow")]
    MethodNotAllowed,
    /// A change needs to say what it changes.
    #[error("say which version you change: If-Match with the ETag you have, or * for any")]
    PreconditionRequired,
    /// The file is at another version than the change was meant for.
    #[error("the file is at version {0}: its tag is \"{0}\"")]
    VersionMismatch(Version),
    /// The caller wants it only if it has a tag that it doesn't have.
    #[error("what there is has another ETag")]
    PreconditionFailed,
    /// The request can't be understood.
    #[error("{0}")]
    BadRequest(String),
    /// The body is beyond the limit.
    #[error("at most {0} bytes are allowed")]
    TooLarge(u64),
    /// The body isn't of the type that the call takes.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The body says that it is compressed.
    #[error("send the body as it is, without Content-Encoding")]
    EncodedBody,
    /// The body ended early or isn't what its type says.
    #[error("the body is broken: {0}")]
    BrokenBody(String),
    /// The body came too slowly.
    #[error("nothing of the body came for a while")]
    TooSlow,
    /// Another upload is at work under the same key.
    #[error("an upload with this Idempotency-Key is at work; ask again when it is over")]
    KeyAtWork,
    /// The key named another upload.
    #[error("this Idempotency-Key was used for another upload; use a new one")]
    KeyReused,
    /// What an upload made under this key is no more.
    #[error(
        "the file that was made under this Idempotency-Key has been deleted since; use a new key to upload it again"
    )]
    KeySpent,
    /// There are too many connections for other things than asking after the server's health.
    #[error("too many connections are open; only /health and /ready are answered on this one")]
    Crowded,
    /// The framework refused it before any of our code.
    #[error("{1}")]
    Rejected(StatusCode, String),
    /// The range lies outside of the content.
    #[error("the content has {0} bytes")]
    RangeNotSatisfiable(u64),
    /// A field, a parameter or a name is missing or wrong.
    #[error("{0}")]
    Invalid(String),
    /// It can't be done in this state.
    #[error("{0}")]
    Conflict(String),
    /// The call isn't a WebSocket's handshake.
    #[error("open this path as a WebSocket")]
    NotAWebSocket,
    /// There is no room on the disk.
    #[error("there is no room on the server's disk; nothing was changed")]
    DiskFull,
    /// The content is missing or damaged.
    #[error("{0}; the server's log says which it is, and so does `grapevine fsck`")]
    BadContent(String),
    /// The catalogue isn't where it was any more.
    #[error("the catalogue was moved, replaced or removed under the running server; nothing was changed: see /ready")]
    Displaced,
    /// Something is broken here; the log says what.
    #[error("something is broken on the server; its log says what")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl ApiError {
    /// The status, the stable name and the title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MissingUser => (StatusCode::UNAUTHORIZED, "missing-user", "Who is asking?"),
            Self::ForeignCaller(_) => (StatusCode::FORBIDDEN, "foreign-caller", "Calls from elsewhere aren't served"),
            Self::NotOwner => (StatusCode::FORBIDDEN, "not-owner", "Not the owner"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::NoSuchPage => (StatusCode::NOT_FOUND, "no-such-page", "No such page"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition-required", "If-Match is required")
            }
            Self::VersionMismatch(_) => (StatusCode::PRECONDITION_FAILED, "version-mismatch", "Version mismatch"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "precondition-failed", "Precondition failed"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-request", "Bad request"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::EncodedBody => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded-body", "Compressed bodies aren't taken"),
            Self::BrokenBody(_) => (StatusCode::BAD_REQUEST, "broken-body", "Broken body"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "Too slow"),
            Self::KeyAtWork => (StatusCode::CONFLICT, "key-at-work", "The first upload is at work"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was used before"),
            Self::KeySpent => (StatusCode::GONE, "key-spent", "What the key stands for was deleted"),
            Self::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "crowded", "Too many connections"),
            Self::Rejected(status, _) => (*status, "rejected", status.canonical_reason().unwrap_or("Rejected")),
            Self::RangeNotSatisfiable(_) => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "Range not satisfiable")
            }
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid input"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Not possible now"),
            Self::NotAWebSocket => (StatusCode::UPGRADE_REQUIRED, "not-a-websocket", "A WebSocket is needed"),
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "Disk full"),
            Self::BadContent(_) => (StatusCode::INTERNAL_SERVER_ERROR, "bad-content", "The content can't be served"),
            Self::Displaced => (StatusCode::SERVICE_UNAVAILABLE, "catalogue-displaced", "The catalogue is elsewhere"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// What the caller is told.
    pub fn problem(&self) -> Problem {
        let (status, kind, title) = self.kind();
        Problem {
            kind: format!("urn:grapevine:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
        }
    }

    /// Headers that help the caller to go on.
    fn hints(&self) -> Vec<(header::HeaderName, String)> {
        let hint = match self {
            // RFC 9110, sections 15.5.2 and 15.5.22: these say what is missing.
            Self::MissingUser => (header::WWW_AUTHENTICATE, format!("Grapevine header=\"{USER_HEADER}\"")),
            Self::NotAWebSocket => {
                let upgrade = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")];
                return upgrade.map(|(name, value)| (name, value.to_owned())).to_vec();
            }
            Self::VersionMismatch(current) => (header::ETAG, etag::of(*current)),
            Self::RangeNotSatisfiable(size_bytes) => (header::CONTENT_RANGE, format!("bytes */{size_bytes}")),
            Self::DiskFull => (header::RETRY_AFTER, RETRY_FULL_AFTER_S.to_string()),
            // RFC 9110, section 12.5.3: which codings are taken instead.
            Self::EncodedBody => (header::ACCEPT_ENCODING, "identity".to_owned()),
            Self::KeyAtWork | Self::Crowded => (header::RETRY_AFTER, "1".to_owned()),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        if let Self::Internal(source) = &self {
            error!(error = &**source as &dyn Error, "a call failed");
        }
        let problem = self.problem();
        let status = self.kind().0;
        let mut response = (status, axum::Json(problem)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in self.hints() {
            if let Ok(value) = value.try_into() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// How much of a framework's own message is kept, in bytes.
const MESSAGE_BYTES: usize = 1024;

/// An error that isn't told as JSON yet, as a problem with its words.
pub(super) async fn as_problem(response: Response<Body>) -> Response<Body> {
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type.is_some_and(|value| value == PROBLEM_JSON.as_bytes() || value == b"application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let message = to_bytes(body, MESSAGE_BYTES).await.unwrap_or_default();
    let message = match std::str::from_utf8(message.trim_ascii()) {
        Ok(message) if !message.is_empty() && !message.starts_with('<') => message.to_owned(),
        _ => parts.status.canonical_reason().unwrap_or("refused").to_lowercase(),
    };
    let problem = ApiError::Rejected(parts.status, message).into_response();
    for gone in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::ETAG, header::CACHE_CONTROL] {
        parts.headers.remove(gone);
    }
    parts.headers.extend(problem.headers().clone());
    Response::from_parts(parts, problem.into_body())
}

/// The answer when a handler panicked.
pub(super) fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    ApiError::Internal("a handler panicked".into()).into_response()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_disk_full() {
            return Self::DiskFull;
        }
        match error {
            StoreError::Contents(error) => error.into(),
            StoreError::NotFound => Self::NotFound,
            StoreError::NotOwner => Self::NotOwner,
            StoreError::VersionMismatch { current } => Self::VersionMismatch(current),
            StoreError::KeyReused => Self::KeyReused,
            StoreError::KeySpent => Self::KeySpent,
            StoreError::SharedWithOwner => Self::Invalid(error.to_string()),
            StoreError::NoMoreVersions | StoreError::Republishing => Self::Conflict(error.to_string()),
            StoreError::Db(DbError::Displaced(_)) => Self::Displaced,
            StoreError::Db(_)
            | StoreError::NoCatalogue { .. }
            | StoreError::EmptyCatalogue { .. }
            | StoreError::DamagedCatalogue { .. }
            | StoreError::NewerCatalogue { .. }
            | StoreError::Random(_)
            | StoreError::Interrupted => Self::Internal(error.into()),
        }
    }
}

impl From<ContentsError> for ApiError {
    fn from(error: ContentsError) -> Self {
        if error.is_disk_full() {
            return Self::DiskFull;
        }
        match error {
            ContentsError::Bad(_) => Self::BadContent(error.to_string()),
            ContentsError::NoRoom => Self::DiskFull,
            ContentsError::TooLarge { bytes_max } => Self::TooLarge(bytes_max),
            ContentsError::Io { .. } | ContentsError::Folder { .. } | ContentsError::Interrupted => {
                Self::Internal(error.into())
            }
        }
    }
}

impl From<SwarmError> for ApiError {
    fn from(error: SwarmError) -> Self {
        match error {
            SwarmError::NotFound(_) => Self::NotFound,
            SwarmError::WrongState(_)
            | SwarmError::Full(_)
            | SwarmError::Crowded(_)
            | SwarmError::Bind { .. }
            | SwarmError::ShuttingDown => Self::Conflict(error.to_string()),
            SwarmError::Start(error) if error.is_disk_full() => Self::DiskFull,
            SwarmError::Start(_) | SwarmError::Forget { .. } => Self::Internal(error.into()),
        }
    }
}

impl From<LabError> for ApiError {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Busy => Self::Conflict(error.to_string()),
            LabError::Invalid(_) => Self::Invalid(error.to_string()),
        }
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}
