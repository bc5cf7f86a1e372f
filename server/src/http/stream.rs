//! The event stream over a WebSocket. What is in it is the hub's business; here is only the connection: who doesn't
//! take a frame or doesn't answer in time is dropped, so nothing is buffered for it.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, unfold};
use futures_util::{SinkExt as _, StreamExt as _};
use shared::wire::stream::StreamFrame;
use tokio::select;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::hub::Subscription;

/// How long a client may take to accept a frame. A guess: a phone's bad moment.
const SEND_TIME: Duration = Duration::from_secs(10);
/// How often a quiet client is asked whether it is there. A guess: below the minute after which routers forget.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a client may be silent: two pings unanswered, and a third due.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The largest message from a client, in bytes. It has nothing to say but pongs.
const MESSAGE_BYTES: usize = 4096;

/// The event stream
///
/// A WebSocket. One JSON object in each text message: first `snapshot`, then `batch` after `batch` of numbered entries,
/// `snapshot` again for a reader that was too slow, and a `heartbeat` with time and number at least every 2 s.
#[utoipa::path(get, path = "/ws", tag = "stream",
    responses(
        (status = 101, description = "The stream begins"),
        (status = 403, description = "The call comes from another origin's page"),
        (status = 426, description = "The call isn't a WebSocket's handshake"),
    ))]
pub(super) async fn stream(
    State(state): State<AppState>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response<Body>, ApiError> {
    let upgrade = upgrade.map_err(|_not_a_handshake| ApiError::NotAWebSocket)?;
    let AppState { tasks, hub, .. } = state;
    Ok(upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES).on_upgrade(async move |socket| {
        let token = tasks.token().clone();
        drop(tasks.spawn(serve(socket, hub.subscribe(), token)).await);
    }))
}

type Sink = SplitSink<WebSocket, Message>;

/// Why a connection ended.
enum End {
    /// The client went away.
    Gone,
    /// The client is too slow or silent.
    Stuck,
    /// The server stops.
    Shutdown,
}

async fn serve(socket: WebSocket, subscription: Subscription, token: CancellationToken) {
    let (mut sink, mut messages) = socket.split();
    // A stream keeps a begun frame when it isn't polled to its end, which the subscription's future doesn't.
    let mut frames = pin!(unfold(subscription, async |mut subscription: Subscription| {
        let frame = subscription.next_frame().await;
        Some((frame, subscription))
    }));
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let end = loop {
        let sent = select! {
            () = token.cancelled() => break End::Shutdown,
            message = messages.next() => match message {
                Some(Ok(message)) if !matches!(message, Message::Close(_)) => { heard = Instant::now(); Ok(()) }
                Some(_) | None => break End::Gone,
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX { Err(End::Stuck) } else { send(&mut sink, Message::Ping(Bytes::new())).await }
            }
            Some(frame) = frames.next() => send_frame(&mut sink, &frame).await,
        };
        if let Err(end) = sent {
            break end;
        }
    };
    close(&mut sink, end).await;
}

async fn send_frame(sink: &mut Sink, frame: &StreamFrame) -> Result<(), End> {
    match serde_json::to_string(frame) {
        Ok(json) => send(sink, Message::text(json)).await,
        Err(error) => {
            warn!(%error, "a frame of the stream can't be written as JSON");
            Err(End::Stuck)
        }
    }
}

async fn send(sink: &mut Sink, message: Message) -> Result<(), End> {
    match timeout(SEND_TIME, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_closed)) => Err(End::Gone),
        Err(_elapsed) => Err(End::Stuck),
    }
}

async fn close(sink: &mut Sink, end: End) {
    match end {
        End::Gone => debug!("a reader of the stream went away"),
        End::Stuck => debug!("a reader of the stream was dropped: it took nothing or said nothing for too long"),
        End::Shutdown => {
            let frame = CloseFrame { code: close_code::AWAY, reason: "the server stops".into() };
            // It may be gone already.
            drop(timeout(Duration::from_secs(1), sink.send(Message::Close(Some(frame)))).await);
        }
    }
}
