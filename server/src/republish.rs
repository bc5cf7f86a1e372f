//! `grapevine republish`: asks a running server to publish its catalogue again.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use shared::wire::rest::{Problem, RepublishOut};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the server may take: it looks at some 10,000 files a second.
const LIMIT: Duration = Duration::from_mins(10);
/// The longest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why nothing, or not all, is published again.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// The address is none that can be asked.
    #[error("not an http address: {0}")]
    Url(String),
    /// The server isn't reached.
    #[error("can't reach {0}")]
    Connect(String, #[source] io::Error),
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

/// Asks the server at `url` to publish what was stored since `since` again; prints how much that is.
///
/// # Errors
/// When the server can't be asked, or doesn't do it.
pub async fn run(url: &str, since: Option<Timestamp>, out: &mut impl Write) -> Result<(), RepublishError> {
    let answer = timeout(LIMIT, ask(url, since)).await.map_err(|_elapsed| RepublishError::TooSlow)??;
    Ok(writeln!(out, "{} versions are published again", answer.versions)?)
}

async fn ask(url: &str, since: Option<Timestamp>) -> Result<RepublishOut, RepublishError> {
    let Server { authority, addr, base } = server(url)?;
    let stream = TcpStream::connect(&addr).await.map_err(|error| RepublishError::Connect(addr, error))?;
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

/// Where the server is.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    /// Its name.
    authority: String,
    /// Where to connect to.
    addr: String,
    /// The path that a proxy puts it under; empty for none.
    base: String,
}

/// The server at `url`, which may be the page's.
fn server(url: &str) -> Result<Server, RepublishError> {
    let wrong = || RepublishError::Url(url.to_owned());
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = with_scheme.parse().map_err(|_invalid| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let addr = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let path = uri.path().trim_end_matches('/');
    let base = path.strip_suffix("/ui").unwrap_or(path).to_owned();
    Ok(Server { authority: authority.to_string(), addr, base })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_of_the_server_leads_to_it() {
        let check = |url: &str| server(url).map(|server| (server.addr, server.base)).ok();
        let at = |addr: &str, base: &str| Some((addr.to_owned(), base.to_owned()));
        for url in ["http://h:8000", "h:8000", "http://h:8000/ui/"] {
            assert_eq!(check(url), at("h:8000", ""), "{url}");
        }
        assert_eq!(check("http://h"), at("h:80", ""));
        assert_eq!(check("http://h/vine/ui/"), at("h:80", "/vine"));
        for wrong in ["https://h", "ftp://h", "http://"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
