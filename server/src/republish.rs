//! `grapevine republish`: asks a running server to publish its catalogue again.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use shared::wire::rest::{Problem, RepublishOut};
use tokio::time::timeout;

use crate::dial::HostPort;
use crate::site::Site;
use crate::tls::Trust;

/// How long the server may take: it looks at some 10,000 files a second.
const LIMIT: Duration = Duration::from_mins(10);
/// The longest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why nothing, or not all, is published again.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// The question can't be written.
    #[error("the address can't be asked")]
    Question(#[from] axum::http::Error),
    /// The server isn't reached.
    #[error("can't reach {0}")]
    Connect(HostPort, #[source] io::Error),
    /// The connection broke off.
    #[error("the server didn't answer")]
    Http(#[from] hyper::Error),
    /// It takes too long.
    #[error("the server didn't answer within {LIMIT:?}")]
    TooSlow,
    /// The answer is none of ours.
    #[error("the server's answer isn't understood: {0}")]
    Answer(String),
    /// The server says no.
    #[error("the server says: {0}")]
    Refused(String),
    /// Nothing can be printed.
    #[error("can't write")]
    Write(#[from] io::Error),
}

/// Asks the server at `site` to publish what was stored since `since` again; prints how much that is. `trust` is needed if
/// the address asks for encryption.
///
/// # Errors
/// When the server can't be asked, or doesn't do it.
pub async fn run(
    site: Site,
    trust: Option<Trust>,
    since: Option<Timestamp>,
    out: &mut impl Write,
) -> Result<(), RepublishError> {
    let answer = timeout(LIMIT, ask(site, trust, since)).await.map_err(|_elapsed| RepublishError::TooSlow)??;
    Ok(writeln!(out, "{} versions are being published again", answer.versions)?)
}

async fn ask(site: Site, trust: Option<Trust>, since: Option<Timestamp>) -> Result<RepublishOut, RepublishError> {
    let connected = site.connect(trust.as_ref()).await;
    let stream = connected.map_err(|error| RepublishError::Connect(site.place.clone(), error))?;
    let Site { authority, base, .. } = site;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let path = format!("{base}/republish{query}");
    let request = Request::post(path).header(header::HOST, authority).body(Body::empty())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let is_success = answer.status().is_success();
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES).await;
        body.map(|body| (is_success, body)).map_err(|error| RepublishError::Answer(error.to_string()))
    };
    let driven = async { connection.await.map_err(RepublishError::from) };
    let (is_success, body) = tokio::select! {
        // The connection ends with the exchange; before it only when it breaks off.
        biased;
        done = exchange => done?,
        ended = driven => return Err(ended.err().unwrap_or_else(|| RepublishError::Answer("it ended early".to_owned()))),
    };
    read(is_success, &body)
}

fn read(is_success: bool, body: &Bytes) -> Result<RepublishOut, RepublishError> {
    let unknown = |error: serde_json::Error| RepublishError::Answer(error.to_string());
    if is_success {
        return serde_json::from_slice(body).map_err(unknown);
    }
    let problem: Problem = serde_json::from_slice(body).map_err(unknown)?;
    Err(RepublishError::Refused(problem.detail))
}
