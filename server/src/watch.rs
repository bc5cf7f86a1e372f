//! The live event stream in the terminal: the same frames that the page gets.

use std::io::{self, Write};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use shared::backoff::Backoff;
use shared::rng::Rng;
use shared::wire::event::Entry;
use shared::wire::overview::Overview;
use shared::wire::stream::{SILENCE, StreamFrame};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::outage::Outage;
use crate::site::Site;
use crate::tls::{Stream, Trust};
use crate::wall;

/// The pause between attempts to reach the server.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(5) };

/// Why watching ends.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Nobody answers there.
    #[error("can't connect to {place} ({reason}): is a server running there?")]
    NoServer {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
    /// Nothing can be printed any more.
    #[error("can't write")]
    Write(#[from] io::Error),
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random(#[from] getrandom::Error),
}

/// Prints what happens until `token` is cancelled. A server that is lost is waited for, one that isn't there isn't.
/// `trust` is needed if the address asks for encryption.
///
/// # Errors
/// When nobody answers there at first, or nothing can be printed any more.
pub async fn run(
    site: &Site,
    trust: Option<Trust>,
    json: bool,
    out: &mut impl Write,
    token: &CancellationToken,
) -> Result<(), WatchError> {
    let mut rng = Rng::from_seed(getrandom::u64()?);
    let (mut outage, mut failures, mut was_there) = (Outage::default(), 0, false);
    while !token.is_cancelled() {
        let reason = match connect(site, trust.as_ref(), token).await {
            Some(Ok(mut socket)) => {
                if let Some(text) = outage.over(Instant::now()) {
                    info!("connected to {} again, {text}", site.place);
                }
                (failures, was_there) = (0, true);
                follow(&mut socket, json, out, token).await?
            }
            Some(Err(reason)) if !was_there => {
                return Err(WatchError::NoServer { place: site.place.to_string(), reason });
            }
            Some(Err(reason)) => reason,
            None => return Ok(()),
        };
        if token.is_cancelled() {
            return Ok(());
        }
        let pause = RECONNECT.delay(failures, &mut rng);
        failures = failures.saturating_add(1);
        if let Some(text) = outage.failed(&reason, Instant::now()) {
            warn!("not connected to {}, trying again and again: {text}", site.place);
        }
        tokio::select! {
            () = token.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

type Socket = tokio_tungstenite::WebSocketStream<Stream>;

/// A connection, or why there is none; `None` when `token` was cancelled.
async fn connect(site: &Site, trust: Option<&Trust>, token: &CancellationToken) -> Option<Result<Socket, String>> {
    let opened = token.run_until_cancelled(timeout(SILENCE, open(site, trust))).await?;
    Some(match opened {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(silence()),
    })
}

async fn open(site: &Site, trust: Option<&Trust>) -> Result<Socket, tungstenite::Error> {
    let stream = site.connect(trust).await?;
    // The stream is encrypted already, or isn't to be.
    let url = format!("ws://{}{}/ws", site.authority, site.base);
    Ok(client_async(url, stream).await?.0)
}

fn silence() -> String {
    format!("the server has said nothing for {} s", SILENCE.as_secs())
}

/// Prints until the connection ends; says why it did.
async fn follow(
    socket: &mut Socket,
    json: bool,
    out: &mut impl Write,
    token: &CancellationToken,
) -> io::Result<String> {
    loop {
        let message = tokio::select! {
            () = token.cancelled() => {
                // The server sees the end of the connection either way.
                drop(socket.close(None).await);
                return Ok("stopped".to_owned());
            }
            message = timeout(SILENCE, socket.next()) => match message {
                Ok(message) => message,
                Err(_elapsed) => return Ok(silence()),
            },
        };
        match message {
            Some(Ok(Message::Text(text))) if json => print_json(&text, out)?,
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(frame) => print(&frame, out)?,
                Err(error) => return Ok(format!("a frame that this version doesn't understand: {error}")),
            },
            Some(Ok(Message::Ping(_))) => drop(socket.flush().await),
            Some(Ok(Message::Close(_))) | None => return Ok("closed by the server".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Ok(error.to_string()),
        }
        out.flush()?;
    }
}

/// One JSON object a line: each entry of a batch, any other frame as it is. Those of a newer server, too.
fn print_json(text: &str, out: &mut impl Write) -> io::Result<()> {
    let frame: serde_json::Value = serde_json::from_str(text)?;
    match frame.get("entries").and_then(serde_json::Value::as_array) {
        Some(entries) => entries.iter().try_for_each(|entry| writeln!(out, "{entry}")),
        None => writeln!(out, "{frame}"),
    }
}

fn print(frame: &StreamFrame, out: &mut impl Write) -> io::Result<()> {
    match frame {
        StreamFrame::Snapshot { missed, overview, .. } => {
            if *missed > 0 {
                writeln!(out, "… {missed} entries missed")?;
            }
            print_overview(overview, out)
        }
        StreamFrame::Batch { entries } => entries.iter().try_for_each(|entry| print_entry(entry, out)),
        StreamFrame::Heartbeat { .. } => Ok(()),
    }
}

fn print_overview(overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    let (peers, links) = (overview.running(), overview.links().len());
    // What the best informed peer knows; the overview's own list is a part, with deleted files in it.
    let files = overview.peers.values().filter_map(|view| view.files).max().unwrap_or(0);
    writeln!(out, "{peers} local peers run, {links} links, {files} files; entry {}", overview.seq)
}

fn print_entry(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} {:>6} {}", wall::rfc3339(entry.at_ms), entry.seq, entry.event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_printed_as_one_json_object_a_line_and_a_snapshot_as_one() {
        let mut out = Vec::new();
        print_json(r#"{"type":"snapshot","overview":{"seq":4}}"#, &mut out).unwrap();
        print_json(r#"{"type":"batch","entries":[{"seq":5,"event":{"news":[1]}},{"seq":6}]}"#, &mut out).unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64()).collect();
        assert_eq!(numbers, [None, Some(5), Some(6)]);
        assert_eq!(lines[0]["overview"]["seq"], 4);
    }
}
