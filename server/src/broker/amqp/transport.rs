//! How lapin reaches the broker: encrypted if the URL says so, and else not at all.

use std::io;

use async_compat::Compat;
use lapin::tcp::RustlsConnector;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use crate::broker::amqp::CONNECT_LIMIT;
use crate::dial::{self, HostPort, Resolver};
use crate::tls::{self, Trust};

/// A connection with the broker at `uri`. Its name is looked up now, and all its addresses are tried.
pub(super) async fn connect(
    uri: AMQPUri,
    trust: Option<&Trust>,
    properties: ConnectionProperties,
) -> Result<Connection, lapin::Error> {
    let connector = match (&uri.scheme, trust) {
        (AMQPScheme::AMQP, _) => None,
        (AMQPScheme::AMQPS, Some(trust)) => Some(RustlsConnector::from(trust.config())),
        (AMQPScheme::AMQPS, None) => return Err(io::Error::other("no authority's certificates are trusted").into()),
    };
    let reach = async move |uri: AMQPUri, _runtime| {
        let stream = AsyncTcpStream::Plain(Compat::new(dial(&uri).await?));
        let Some(connector) = &connector else { return Ok(stream) };
        let host = tls::bare(&uri.authority.host);
        let encrypted = stream.into_rustls(connector, host).await;
        Ok(encrypted.map_err(|error| tls::refused(host, &error))?)
    };
    Connection::connector(uri, lapin::runtime::default_runtime()?, reach, properties).await
}

/// A bare connection with the broker at `uri`.
pub(super) async fn dial(uri: &AMQPUri) -> io::Result<tokio::net::TcpStream> {
    let authority = &uri.authority;
    let broker = HostPort::new(tls::bare(&authority.host), authority.port);
    let broker = broker.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let (stream, _addr) = dial::connect(&broker, &Resolver::System, CONNECT_LIMIT).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
