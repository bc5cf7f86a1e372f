//! Connections to other peers, as the node wants them.

use std::net::SocketAddr;

use shared::gossip::io::HostName;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::dial::{HostPort, Resolver};
use crate::peer::conn::ConnEvent;

/// Opens a connection, and reports how that went.
pub(super) async fn dial(addr: SocketAddr, events: mpsc::Sender<ConnEvent>, token: CancellationToken) {
    let (place, resolver) = (addr.into(), Resolver::System);
    let dialling = Connection::dial(&place, &resolver);
    let Some(connection) = token.run_until_cancelled(dialling).await else { return };
    // A peer that is gone needs no answer.
    drop(events.send(ConnEvent::Dialled { addr, connection }).await);
}

/// Looks a name up and opens a connection, and reports how that went.
pub(super) async fn dial_name(
    (name, place): (HostName, HostPort),
    resolver: Resolver,
    events: mpsc::Sender<ConnEvent>,
    token: CancellationToken,
) {
    let dialling = Connection::dial(&place, &resolver);
    let Some(connection) = token.run_until_cancelled(dialling).await else { return };
    drop(events.send(ConnEvent::Named { name, connection }).await);
}
