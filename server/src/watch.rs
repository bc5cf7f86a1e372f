//! The live event stream in the terminal: the same frames that the page gets.

use std::io::{self, Write};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use shared::backoff::Backoff;
use shared::rng::Rng;
use shared::wire::event::Entry;
use shared::wire::overview::Overview;
use shared::wire::stream::{SILENCE, StreamFrame};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::dial::{self, HostPort, Resolver};
use crate::tls::{self, Stream, Trust};
use crate::wall;

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The pause between attempts to reach the server.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(5) };

/// Why watching ends.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The address is none.
    #[error("not an http, https, ws or wss address: {0}")]
    Url(String),
    /// Nothing can be printed any more.
    #[error("can't write")]
    Write(#[from] io::Error),
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random(#[from] getrandom::Error),
}

/// Whether the server's address asks for encryption.
pub fn is_encrypted(url: &str) -> bool {
    stream_url(url).is_ok_and(|url| url.starts_with("wss://"))
}

/// Prints what happens until `token` is cancelled. A lost server is waited for. `trust` is needed if the address asks for
/// encryption.
///
/// # Errors
/// When the address is none, or nothing can be printed any more.
pub async fn run(
    url: &str,
    trust: Option<Trust>,
    json: bool,
    out: &mut impl Write,
    token: &CancellationToken,
) -> Result<(), WatchError> {
    let url = stream_url(url)?;
    let mut rng = Rng::from_seed(getrandom::u64()?);
    let mut failures = 0;
    while !token.is_cancelled() {
        let reason = match connect(&url, trust.as_ref(), token).await {
            Some(Ok(mut socket)) => {
                failures = 0;
                follow(&mut socket, json, out, token).await?
            }
            Some(Err(reason)) => reason,
            None => return Ok(()),
        };
        if token.is_cancelled() {
            return Ok(());
        }
        let pause = RECONNECT.delay(failures, &mut rng);
        failures = failures.saturating_add(1);
        warn!("not connected to {url} ({reason}); trying again in {} ms", pause.as_millis());
        tokio::select! {
            () = token.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

type Socket = tokio_tungstenite::WebSocketStream<Stream>;

/// A connection, or why there is none; `None` when `token` was cancelled.
async fn connect(url: &str, trust: Option<&Trust>, token: &CancellationToken) -> Option<Result<Socket, String>> {
    let opened = token.run_until_cancelled(timeout(SILENCE, open(url, trust))).await?;
    Some(match opened {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(silence()),
    })
}

async fn open(url: &str, trust: Option<&Trust>) -> Result<Socket, tungstenite::Error> {
    let request = url.into_client_request()?;
    let host = request.uri().host().unwrap_or_default().to_owned();
    let encrypted = request.uri().scheme_str() == Some("wss");
    let port = request.uri().port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let server = HostPort::new(tls::bare(&host), port).map_err(io::Error::other)?;
    let (stream, _addr) = dial::connect(&server, &Resolver::System, CONNECT_LIMIT).await?;
    let stream = match (encrypted, trust) {
        (false, _) => Stream::Plain(stream),
        (true, Some(trust)) => trust.encrypt(&host, stream).await?,
        (true, None) => return Err(io::Error::other("no authority's certificates are trusted").into()),
    };
    Ok(client_async(request, stream).await?.0)
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
    let files = overview.peers.values().map(|view| view.files).max().unwrap_or(0);
    writeln!(out, "{peers} local peers run, {links} links, {files} files; entry {}", overview.seq)
}

fn print_entry(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} {:>6} {}", wall::rfc3339(entry.at_ms), entry.seq, entry.event)
}

fn stream_url(url: &str) -> Result<String, WatchError> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let (scheme, rest) = with_scheme.split_once("://").ok_or_else(|| WatchError::Url(url.to_owned()))?;
    let scheme = match scheme {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(WatchError::Url(url.to_owned())),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // What isn't the page's or the stream's own path is where a proxy has put the server.
    let base = rest.trim_end_matches('/').trim_end_matches("/ui").trim_end_matches("/ws");
    if base.is_empty() || base.starts_with('/') {
        return Err(WatchError::Url(url.to_owned()));
    }
    Ok(format!("{scheme}://{base}/ws"))
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

    #[test]
    fn any_spelling_of_the_server_leads_to_its_stream() {
        for url in ["http://h:8000", "h:8000", "http://h:8000/ui/", "http://h:8000/ui/#files", "ws://h:8000/ws"] {
            assert_eq!(stream_url(url).unwrap(), "ws://h:8000/ws");
        }
        for url in ["https://h/grapevine", "https://h/grapevine/ui/", "wss://h/grapevine/ws"] {
            assert_eq!(stream_url(url).unwrap(), "wss://h/grapevine/ws");
        }
        assert!(stream_url("ftp://h").is_err());
        assert!(stream_url("http://").is_err());
    }
}
