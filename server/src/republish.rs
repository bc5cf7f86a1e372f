//! `grapevine republish`: asks a running server to publish its catalogue again.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use shared::wire::rest::{Problem, RepublishOut};
use tokio::time::timeout;

use crate::dial::{self, HostPort, Resolver};
use crate::tls::{self, Stream, Trust};

/// How long the server may take: it looks at some 10,000 files a second.
const LIMIT: Duration = Duration::from_mins(10);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why nothing, or not all, is published again.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// The address is none that can be asked.
    #[error("not an http or https address: {0}")]
    Url(String),
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

/// Whether the server's address asks for encryption.
pub fn is_encrypted(url: &str) -> bool {
    server(url).is_ok_and(|server| server.encrypted)
}

/// Asks the server at `url` to publish what was stored since `since` again; prints how much that is. `trust` is needed if
/// the address asks for encryption.
///
/// # Errors
/// When the server can't be asked, or doesn't do it.
pub async fn run(
    url: &str,
    trust: Option<Trust>,
    since: Option<Timestamp>,
    out: &mut impl Write,
) -> Result<(), RepublishError> {
    let answer = timeout(LIMIT, ask(url, trust, since)).await.map_err(|_elapsed| RepublishError::TooSlow)??;
    Ok(writeln!(out, "{} versions are being published again", answer.versions)?)
}

async fn ask(url: &str, trust: Option<Trust>, since: Option<Timestamp>) -> Result<RepublishOut, RepublishError> {
    let server = server(url)?;
    let connected = connect(&server, trust).await;
    let stream = connected.map_err(|error| RepublishError::Connect(server.place.clone(), error))?;
    let Server { authority, base, .. } = server;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let path = format!("{base}/republish{query}");
    let request = Request::post(path).header(header::HOST, authority).body(Body::empty());
    let request = request.map_err(|error| RepublishError::Url(error.to_string()))?;
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

async fn connect(server: &Server, trust: Option<Trust>) -> io::Result<Stream> {
    let (stream, _addr) = dial::connect(&server.place, &Resolver::System, CONNECT_LIMIT).await?;
    match (server.encrypted, trust) {
        (false, _) => Ok(Stream::Plain(stream)),
        (true, Some(trust)) => trust.encrypt(&server.host, stream).await,
        (true, None) => Err(io::Error::other("no authority's certificates are trusted")),
    }
}

/// Where the server is.
struct Server {
    /// Its name, as HTTP has it.
    authority: String,
    /// Its name, as its certificate has it.
    host: String,
    /// Where to connect to.
    place: HostPort,
    encrypted: bool,
    /// The path that a proxy puts it under; empty for none.
    base: String,
}

/// The server at `url`, which may be the page's.
fn server(url: &str) -> Result<Server, RepublishError> {
    let wrong = || RepublishError::Url(url.to_owned());
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = with_scheme.parse().map_err(|_invalid| wrong())?;
    let (encrypted, usual_port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        Some(_) | None => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    let host = authority.host().to_owned();
    let port = authority.port_u16().unwrap_or(usual_port);
    let place = HostPort::new(tls::bare(&host), port).map_err(|_no_host| wrong())?;
    let path = uri.path().trim_end_matches('/');
    let base = path.strip_suffix("/ui").unwrap_or(path).to_owned();
    Ok(Server { authority: authority.to_string(), host, place, encrypted, base })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_of_the_server_leads_to_it() {
        let check = |url: &str| server(url).map(|server| (server.place.to_string(), server.base)).ok();
        let at = |addr: &str, base: &str| Some((addr.to_owned(), base.to_owned()));
        for url in ["http://h:8000", "h:8000", "http://h:8000/ui/"] {
            assert_eq!(check(url), at("h:8000", ""), "{url}");
        }
        assert_eq!(check("http://h"), at("h:80", ""));
        assert_eq!(check("https://h"), at("h:443", ""));
        assert!(is_encrypted("https://h") && !is_encrypted("http://h"));
        assert_eq!(check("http://h/vine/ui/"), at("h:80", "/vine"));
        for wrong in ["ftp://h", "http://"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
