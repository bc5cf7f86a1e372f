//! The event stream: connects, hands on frames, and connects again with growing delays when the connection is lost, or
//! when nothing comes on it any more.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use gloo_net::websocket::futures::WebSocket;
use gloo_net::websocket::{Message, WebSocketError};
use gloo_timers::future::TimeoutFuture;
use serde::Deserialize;
use shared::backoff::Backoff;
use shared::rng::Rng;
use shared::wire::stream::{SILENCE, StreamFrame};

use crate::json;
use crate::model::ApplyError;
use crate::model::connection::Connection;

/// Delays between attempts: soon enough to notice a quick restart, long enough to leave a server in peace. A guess.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) };
/// How often a wait looks whether it shall end early, and counts down.
const TICK_MS: u32 = 250;

/// What the socket needs of the page.
pub trait Listener {
    /// The connection's state changed.
    fn connection(&self, state: Connection);
    /// A frame came.
    ///
    /// # Errors
    /// When it doesn't follow from what is known.
    fn frame(&self, frame: StreamFrame) -> Result<(), ApplyError>;
    /// Whether somebody asked to try at once, since the last time this was called.
    fn hurried(&self) -> bool;
    /// The server's format differs from the page's. Whether the page is being loaded anew.
    fn outdated(&self, found: u32) -> bool;
}

/// Keeps the page connected; ends only where the server is of another version. Dropping it closes the connection.
pub async fn run(url: &str, seed: u64, listener: &impl Listener) {
    let mut rng = Rng::from_seed(seed);
    let mut failed = 0;
    loop {
        match attempt(url, listener).await {
            Lost::AfterFrames => failed = 0,
            Lost::BeforeFrames => {}
            Lost::Outdated(found) => {
                if !listener.outdated(found) {
                    listener.connection(Connection::Incompatible);
                }
                return;
            }
        }
        wait(BACKOFF.delay(failed, &mut rng), listener).await;
        failed = failed.saturating_add(1);
        listener.connection(Connection::Reconnecting);
    }
}

/// How one connection ended.
enum Lost {
    AfterFrames,
    BeforeFrames,
    Outdated(u32),
}

async fn attempt(url: &str, listener: &impl Listener) -> Lost {
    let Ok(mut socket) = WebSocket::open(url) else { return Lost::BeforeFrames };
    let mut connected = false;
    while let Some(Ok(message)) = next(&mut socket).await {
        let Message::Text(text) = message else { continue };
        let frame = match json::read(&text) {
            Ok(frame) => frame,
            Err(error) => return unreadable(&text, &error, connected),
        };
        match listener.frame(frame) {
            Ok(()) if connected => {}
            Ok(()) => {
                connected = true;
                listener.connection(Connection::Connected);
            }
            Err(ApplyError::Format { found }) => return Lost::Outdated(found),
            Err(error @ (ApplyError::Gap { .. } | ApplyError::NoSnapshot)) => {
                leptos::logging::warn!("{error}; asking for a new snapshot");
                break;
            }
        }
    }
    if connected { Lost::AfterFrames } else { Lost::BeforeFrames }
}

/// The next message; `None` at the connection's end, and when the server, which says something all the time, says nothing:
/// it hangs, or the way to it is gone.
async fn next(socket: &mut WebSocket) -> Option<Result<Message, WebSocketError>> {
    let silence = TimeoutFuture::new(u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX));
    match select(socket.next(), silence).await {
        Either::Left((message, _)) => message,
        Either::Right(((), _)) => None,
    }
}

/// A frame of another version may have another shape altogether; its version number stays where it is.
fn unreadable(text: &str, error: &serde_json::Error, connected: bool) -> Lost {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    leptos::logging::warn!("a frame can't be read: {error}");
    match json::read::<Head>(text) {
        Ok(head) if head.format != shared::wire::stream::VERSION => Lost::Outdated(head.format),
        Ok(_) | Err(_) if connected => Lost::AfterFrames,
        Ok(_) | Err(_) => Lost::BeforeFrames,
    }
}

/// Waits, counting down in whole seconds, until `delay` is over or somebody is in a hurry.
async fn wait(delay: Duration, listener: &impl Listener) {
    let ticks = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX).div_ceil(TICK_MS);
    for left in (1..=ticks).rev() {
        listener.connection(Connection::Waiting { seconds: (left * TICK_MS).div_ceil(1000) });
        TimeoutFuture::new(TICK_MS).await;
        if listener.hurried() {
            return;
        }
    }
}
