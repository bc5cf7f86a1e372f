//! Connections to other peers, as the node wants them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shared::gossip::io::HostName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::dial::{HostPort, Resolver, connect};
use crate::peer::conn::ConnEvent;

/// How long a dial may take. The original's, doubled.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// How long a dial of a name may take, all its addresses included.
const NAME_LIMIT: Duration = Duration::from_secs(5);

/// Opens a connection, and reports how that went.
pub(super) async fn dial(addr: SocketAddr, events: mpsc::Sender<ConnEvent>, token: CancellationToken) {
    let stream = tokio::select! {
        () = token.cancelled() => return,
        dialled = timeout(DIAL_LIMIT, TcpStream::connect(addr)) => dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    };
    // A peer that is gone needs no answer.
    drop(events.send(ConnEvent::Dialled { addr, stream }).await);
}

/// Looks a name up and opens a connection, and reports how that went.
pub(super) async fn dial_name(
    (name, place): (HostName, HostPort),
    resolver: Resolver,
    events: mpsc::Sender<ConnEvent>,
    token: CancellationToken,
) {
    let connecting = connect(&place, &resolver, NAME_LIMIT);
    let Some(stream) = token.run_until_cancelled(connecting).await else { return };
    drop(events.send(ConnEvent::Named { name, stream }).await);
}
