//! A multipart body becomes a received content, with a bounded buffer and whatever the client does. The body is read to
//! its end and must be whole before anything is made of it.

mod epilogue;

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use multer::{Field, Multipart};
use shared::wire::update::MAX_NAME_BYTES;
use tokio::time::{Instant, timeout};

use crate::http::AppState;
use crate::http::disposition::FormField;
use crate::http::error::ApiError;
use crate::http::pace::Pace;
use crate::http::single::single;
use crate::http::upload::epilogue::Epilogue;
use crate::store::NewContent;

/// The fields that may hold the file: ours, and the one that many clients use.
const FIELDS: [&str; 2] = ["uploaded", "file"];
/// How much of the body may be something else than the file: heads, other fields. A guess: names of [`MAX_NAME_BYTES`]
/// many times.
const HEAD_BYTES: u64 = 64 * 1024;
/// The media type of a file whose uploader doesn't say.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Takes the file out of the body and onto the disk.
///
/// # Errors
/// When there isn't one file in it, it is too large or broken, comes too slowly, or the disk fails; then nothing is left.
pub async fn receive(state: &AppState, headers: &HeaderMap, body: Body) -> Result<NewContent, ApiError> {
    refuse_encoded(headers)?;
    let bytes_max = state.config.max_upload_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max.saturating_add(HEAD_BYTES)) {
        return Err(ApiError::TooLarge(bytes_max));
    }
    let form = Form::new(state, headers, body)?;
    state.store.admit(announced.unwrap_or_default()).await?;
    form.receive(state).await
}

/// A body is taken as it comes: what says that it is compressed isn't unpacked.
///
/// # Errors
/// When it says so.
pub fn refuse_encoded(headers: &HeaderMap) -> Result<(), ApiError> {
    let codings = headers.get_all(header::CONTENT_ENCODING);
    let is_plain = codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_plain { Ok(()) } else { Err(ApiError::EncodedBody) }
}

struct Form {
    multipart: Multipart<'static>,
    body: SharedBody,
    /// How much may be read ahead before the next piece of the file comes out.
    allowance: Arc<AtomicU64>,
    pace: Pace,
}

impl Form {
    fn new(state: &AppState, headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let content_type = single(headers, &header::CONTENT_TYPE)?.and_then(|value| value.to_str().ok());
        let boundary = multer::parse_boundary(content_type.unwrap_or_default())
            .map_err(|_other| ApiError::UnsupportedMediaType("send the file as multipart/form-data".to_owned()))?;
        let allowance = Arc::new(AtomicU64::new(HEAD_BYTES));
        let body = SharedBody(Arc::new(Mutex::new(Passing {
            body: body.into_data_stream(),
            epilogue: Epilogue::new(&boundary),
        })));
        let pieces = Pieces { body: body.clone(), allowance: Arc::clone(&allowance), rest: false };
        Ok(Self { multipart: Multipart::new(pieces, boundary), body, allowance, pace: state.config.limits.pace() })
    }

    async fn receive(mut self, state: &AppState) -> Result<NewContent, ApiError> {
        let mut file = None;
        while let Some(mut field) = self.field().await? {
            let form_field = FormField::read(field.headers());
            if !form_field.name.as_deref().is_some_and(|name| FIELDS.contains(&name)) {
                refuse_other_file(&form_field)?;
                continue;
            }
            if file.is_some() {
                return Err(ApiError::Invalid("there are several files in the body; send each by itself".to_owned()));
            }
            let name = checked_name(form_field.filename)?;
            let content_type = field.content_type().map_or_else(|| UNKNOWN_TYPE.to_owned(), ToString::to_string);
            let mut content = state.store.receive(state.config.max_upload_bytes).await?;
            while let Some(piece) = self.piece(&mut field).await? {
                content.write(piece).await?;
            }
            file = Some(NewContent { name, content_type, received: content.finish().await? });
        }
        self.finish().await?;
        file.ok_or_else(|| ApiError::Invalid(format!("the body has no file in a field named {}", FIELDS.join(" or "))))
    }

    /// Nothing may come after the last boundary, and the body must be as long as it was announced.
    async fn finish(&mut self) -> Result<(), ApiError> {
        let mut rest = Pieces { body: self.body.clone(), allowance: Arc::clone(&self.allowance), rest: false };
        while timely(&mut self.pace, async { rest.next().await.transpose() }).await?.is_some() {}
        if self.body.lock().epilogue.has_more() {
            return Err(ApiError::BrokenBody("something comes after its last boundary".to_owned()));
        }
        Ok(())
    }

    async fn field(&mut self) -> Result<Option<Field<'static>>, ApiError> {
        timely(&mut self.pace, self.multipart.next_field()).await
    }

    async fn piece(&mut self, field: &mut Field<'static>) -> Result<Option<Bytes>, ApiError> {
        self.allowance.store(HEAD_BYTES, Ordering::Relaxed);
        let piece = timely(&mut self.pace, field.chunk()).await?;
        self.pace.pay_back(piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }
}

async fn timely<T, E: Error + 'static>(
    pace: &mut Pace,
    next: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError> {
    let begun = Instant::now();
    let next = timeout(pace.left(), next).await;
    pace.count(begun.elapsed());
    match next {
        Ok(Ok(next)) => Ok(next),
        Ok(Err(error)) => Err(ApiError::BrokenBody(reason(&error))),
        Err(_elapsed) => Err(ApiError::TooSlow),
    }
}

/// Why the body is broken: the cause of causes, which the parser's own message hides.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// A file under a name that isn't taken would be dropped without a word.
fn refuse_other_file(field: &FormField) -> Result<(), ApiError> {
    if field.filename.is_none() {
        return Ok(());
    }
    let name = field.name.as_deref().unwrap_or_default();
    Err(ApiError::Invalid(format!("there is a file in the field {name:?}; send it as {}", FIELDS.join(" or "))))
}

fn checked_name(name: Option<String>) -> Result<String, ApiError> {
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
    Ok(name)
}

/// The body, for the parser, which stops at the last boundary, and for what comes after it.
#[derive(Clone)]
struct SharedBody(
    /// A lock is enough: it is held for one poll.
    Arc<Mutex<Passing>>,
);

struct Passing {
    body: BodyDataStream,
    epilogue: Epilogue,
}

impl SharedBody {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let mut passing = self.lock();
        let next = Pin::new(&mut passing.body).poll_next(context);
        if let Poll::Ready(Some(Ok(piece))) = &next {
            passing.epilogue.pass(piece);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, Passing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    #[error("more than {HEAD_BYTES} bytes come before or after the file")]
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
