//! A Grapevine server as a person names it: where it is, and a connection with it, encrypted if the address says so.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use tokio::time::timeout;

use crate::dial::{self, HostPort, Resolver};
use crate::tls::{self, Stream, Trust};

/// How long connecting may take, handshake included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Where a server is.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its name and port, as HTTP has them.
    pub authority: String,
    /// Where to connect to.
    pub place: HostPort,
    /// Whether its address asks for encryption.
    pub encrypted: bool,
    /// The path that a proxy puts it under; empty for none.
    pub base: String,
    /// Its name, as its certificate has it.
    host: String,
}

/// The address is none that leads to a server.
#[derive(Debug, thiserror::Error)]
#[error("not an http, https, ws or wss address: {0}")]
pub struct NoSite(String);

impl FromStr for Site {
    type Err = NoSite;

    /// The server at `url`, which may be the page's or the stream's.
    fn from_str(url: &str) -> Result<Self, NoSite> {
        let wrong = || NoSite(url.to_owned());
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = with_scheme.parse().map_err(|_invalid| wrong())?;
        let (encrypted, usual_port) = match uri.scheme_str() {
            Some("http" | "ws") => (false, 80),
            Some("https" | "wss") => (true, 443),
            Some(_) | None => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().to_owned();
        let port = authority.port_u16().unwrap_or(usual_port);
        let place = HostPort::new(tls::bare(&host), port).map_err(|_no_host| wrong())?;
        // What isn't the page's or the stream's own path is where a proxy has put the server.
        let path = uri.path().trim_end_matches('/');
        let base = path.strip_suffix("/ui").or(path.strip_suffix("/ws")).unwrap_or(path).to_owned();
        Ok(Self { authority: authority.to_string(), place, encrypted, base, host })
    }
}

impl Site {
    /// A connection with the server. `trust` is needed if its address asks for encryption.
    ///
    /// # Errors
    /// When there is none within 5 s.
    pub async fn connect(&self, trust: Option<&Trust>) -> io::Result<Stream> {
        let connecting = async {
            let (stream, _addr) = dial::connect(&self.place, &Resolver::System, CONNECT_LIMIT).await?;
            match (self.encrypted, trust) {
                (false, _) => Ok(Stream::Plain(stream)),
                (true, Some(trust)) => trust.encrypt(&self.host, stream).await,
                (true, None) => Err(io::Error::other("no authority's certificates are trusted")),
            }
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {CONNECT_LIMIT:?}"));
        timeout(CONNECT_LIMIT, connecting).await.unwrap_or_else(|_elapsed| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_of_the_server_leads_to_it() {
        let check = |url: &str| {
            let site = url.parse::<Site>().ok()?;
            Some((site.authority, site.place.to_string(), site.encrypted, site.base))
        };
        let at = |authority: &str, place: &str, encrypted, base: &str| {
            Some((authority.to_owned(), place.to_owned(), encrypted, base.to_owned()))
        };
        for url in ["http://h:8000", "h:8000", "http://h:8000/ui/", "http://h:8000/ui/#files", "ws://h:8000/ws"] {
            assert_eq!(check(url), at("h:8000", "h:8000", false, ""), "{url}");
        }
        for url in ["https://h/vine", "https://h/vine/ui/", "https://h/vine/ui/?a#b", "wss://h/vine/ws"] {
            assert_eq!(check(url), at("h", "h:443", true, "/vine"), "{url}");
        }
        assert_eq!(check("http://[::1]"), at("[::1]", "[::1]:80", false, ""));
        for wrong in ["ftp://h", "http://", "http:///ui", ""] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
