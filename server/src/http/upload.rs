//! A multipart body becomes a received content, with a bounded buffer and whatever the client does.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::Stream;
use multer::{Field, Multipart};
use shared::wire::update::MAX_NAME_BYTES;
use tokio::time::timeout;

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::store::NewContent;

/// The fields that may hold the file: ours, and the one that many clients use.
const FIELDS: [&str; 2] = ["uploaded", "file"];
/// How much may come before the file: heads, other fields. A guess: names of [`MAX_NAME_BYTES`] many times.
const HEAD_BYTES: u64 = 64 * 1024;
/// How long nothing may come. A guess: longer than a lost packet's retries, shorter than patience.
const IDLE: Duration = Duration::from_secs(30);
/// How long a refused client may go on sending, so that it reads the answer and isn't just cut off.
const LINGER: Duration = Duration::from_secs(5);
/// The media type of a file whose uploader doesn't say.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Takes the file out of the body and onto the disk.
///
/// # Errors
/// When there is no file in it, it is too large or broken, comes too slowly, or the disk fails; then nothing is left.
pub async fn receive(state: &AppState, headers: &HeaderMap, body: Body) -> Result<NewContent, ApiError> {
    let body = SharedBody(Arc::new(Mutex::new(body.into_data_stream())));
    let received = match Form::new(headers, body.clone()) {
        Ok(mut form) => form.receive(state, headers).await,
        Err(error) => Err(error),
    };
    received.map_err(|error| refuse(state, body, error))
}

/// Refuses a body before it was looked at.
pub fn refuse_unread(state: &AppState, body: Body, error: ApiError) -> ApiError {
    refuse(state, SharedBody(Arc::new(Mutex::new(body.into_data_stream()))), error)
}

/// Lets the client go on sending for a while, so that it hears `error` instead of a broken connection.
fn refuse(state: &AppState, body: SharedBody, error: ApiError) -> ApiError {
    let token = state.tasks.token().clone();
    drop(state.tasks.spawn(async move {
        let rest =
            timeout(LINGER, async { while let Some(Ok(_piece)) = poll_fn(|context| body.poll(context)).await {} });
        token.run_until_cancelled(rest).await
    }));
    error
}

/// The body, for the parser and for what comes after it.
#[derive(Clone)]
struct SharedBody(
    /// A lock is enough: it is held for one poll.
    Arc<Mutex<BodyDataStream>>,
);

impl SharedBody {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_next(context)
    }
}

struct Form {
    multipart: Multipart<'static>,
    /// How much may be read ahead before the next piece of the file comes out.
    allowance: Arc<AtomicU64>,
}

impl Form {
    fn new(headers: &HeaderMap, body: SharedBody) -> Result<Self, ApiError> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(content_type)
            .map_err(|_other| ApiError::UnsupportedMediaType("send the file as multipart/form-data".to_owned()))?;
        let allowance = Arc::new(AtomicU64::new(HEAD_BYTES));
        let pieces = Pieces { body, allowance: Arc::clone(&allowance), rest: false };
        Ok(Self { multipart: Multipart::new(pieces, boundary), allowance })
    }

    async fn receive(&mut self, state: &AppState, headers: &HeaderMap) -> Result<NewContent, ApiError> {
        let bytes_max = state.config.max_upload_bytes;
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > bytes_max.saturating_add(HEAD_BYTES)) {
            return Err(ApiError::TooLarge(bytes_max));
        }
        let claim = state.store.claim(announced.unwrap_or_default()).await?;
        while let Some(mut field) = self.field().await? {
            if field.name().is_some_and(|name| FIELDS.contains(&name)) {
                let name = checked_name(field.file_name())?;
                let content_type = field.content_type().map_or_else(|| UNKNOWN_TYPE.to_owned(), ToString::to_string);
                let mut content = state.store.receive(bytes_max, claim).await?;
                while let Some(piece) = self.piece(&mut field).await? {
                    content.write(piece).await?;
                }
                return Ok(NewContent { name, content_type, received: content.finish().await? });
            }
        }
        Err(ApiError::Invalid(format!("the body has no file in a field named {}", FIELDS.join(" or "))))
    }

    async fn field(&mut self) -> Result<Option<Field<'static>>, ApiError> {
        timely(self.multipart.next_field()).await
    }

    async fn piece(&self, field: &mut Field<'static>) -> Result<Option<Bytes>, ApiError> {
        self.allowance.store(HEAD_BYTES, Ordering::Relaxed);
        timely(field.chunk()).await
    }
}

async fn timely<T>(next: impl Future<Output = multer::Result<T>>) -> Result<T, ApiError> {
    match timeout(IDLE, next).await {
        Ok(Ok(next)) => Ok(next),
        Ok(Err(error)) => Err(ApiError::BrokenBody(error.to_string())),
        Err(_elapsed) => Err(ApiError::TooSlow),
    }
}

fn checked_name(name: Option<&str>) -> Result<String, ApiError> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::Invalid("the file has no name".to_owned()));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(ApiError::Invalid(format!("the file's name is longer than {MAX_NAME_BYTES} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::Invalid("the file's name has control characters".to_owned()));
    }
    Ok(name.to_owned())
}

/// The body, one piece at a time. The parser reads ahead for as long as pieces are ready, and looks for the end of a
/// field's head however far that is: the one is met by a pause after each piece, the other by the allowance.
struct Pieces {
    body: SharedBody,
    allowance: Arc<AtomicU64>,
    rest: bool,
}

#[derive(Debug, thiserror::Error)]
enum PieceError {
    #[error("more than {HEAD_BYTES} bytes come before the file")]
    Head,
    #[error("the connection ended early")]
    Body(#[source] axum::Error),
}

impl Stream for Pieces {
    type Item = Result<Bytes, PieceError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.body.poll(context);
        let Poll::Ready(Some(Ok(piece))) = next else {
            return next.map(|end| end.map(|result| result.map_err(PieceError::Body)));
        };
        self.rest = true;
        let left = self.allowance.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Some(Err(PieceError::Head)));
        }
        self.allowance.store(left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX)), Ordering::Relaxed);
        Poll::Ready(Some(Ok(piece)))
    }
}
