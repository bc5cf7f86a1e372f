//! The door: connections come in, are served HTTP/1, and go. Time and number are limited here ([`Limits`]), as they are
//! at the peers' ports. When there is no more room, who has waited the longest for a request makes room; where nobody
//! waits, a few more are let in for nothing but the server's health, so that this is answered whatever happens.

mod refusal;
mod serving;
mod socket;
mod visitors;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::http::door::serving::Desk;
use crate::http::door::socket::Socket;
use crate::http::door::visitors::{Visitor, Visitors};
use crate::http::limits::Limits;
use crate::shutdown::Tasks;

/// How long who was answered early may go on sending, so that she reads the answer and isn't just cut off.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How much of that is read, in bytes. More than most clients send before they look.
const LINGER_BYTES: usize = 256 << 20;
/// How much is read of it at once.
const LINGER_PIECE: usize = 16 * 1024;
/// The least that is read ahead of a request, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// How long nobody is let in after the system gave no socket, or while those who make room are on their way out. A guess.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves who comes to `listener` until the tasks are told to stop; each connection is a task of theirs.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, tasks: Tasks) {
    let door = Door { router, limits, visitors: Visitors::new(limits), token: tasks.token().clone() };
    let mut is_short = false;
    loop {
        let _settled = timeout(ACCEPT_PAUSE, door.visitors.settled()).await;
        let accepted = select! {
            () = door.token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, from)) => {
                is_short = false;
                if let Some(visitor) = door.visitors.admit(from.ip(), door.token.child_token()) {
                    drop(tasks.spawn(door.clone().visit(tcp, from, visitor)));
                }
            }
            // It went away before it was let in.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_short, true) {
                    warn!(%error, "a connection can't be accepted; the one that has waited the longest is closed");
                }
                door.visitors.make_room();
                let _stopped = door.token.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
}

#[derive(Clone)]
struct Door {
    router: Router,
    limits: Limits,
    visitors: Visitors,
    token: CancellationToken,
}

/// How a visit ended.
enum End {
    /// The connection is done, or broken.
    Done(hyper::Result<()>),
    /// It waited too long, or made room for another.
    Closed,
}

type Connection = http1::UpgradeableConnection<TokioIo<Socket>, Desk>;

impl Door {
    async fn visit(self, tcp: TcpStream, from: SocketAddr, visitor: Arc<Visitor>) {
        // Else the end of an answer waits until the client has said that it got the beginning: 40 ms.
        if let Err(error) = tcp.set_nodelay(true) {
            debug!(%from, %error, "a connection was gone at once");
            return;
        }
        let mut connection = self.serve(Socket::new(tcp, Arc::clone(&visitor), self.limits.pace()), &visitor);
        let mut is_leaving = false;
        let mut alarm = pin!(sleep(self.limits.head_time));
        let end = loop {
            let step = poll_fn(|context| {
                if let Poll::Ready(done) = Pin::new(&mut connection).poll(context) {
                    return Poll::Ready(End::Done(done));
                }
                // What has just happened on the connection may have moved its deadline.
                let Some(deadline) = visitor.deadline(&self.limits) else { return Poll::Pending };
                if alarm.deadline() != deadline {
                    alarm.as_mut().reset(deadline);
                }
                alarm.as_mut().poll(context).map(|()| End::Closed)
            });
            select! {
                biased;
                end = step => break end,
                () = visitor.leave.cancelled(), if !is_leaving => is_leaving = true,
            }
            if visitor.waits() {
                break End::Closed;
            }
            Pin::new(&mut connection).graceful_shutdown();
        };
        if let Some(socket) = remaining(connection, end, from) {
            // Until then it is one of the connections, and makes room like any other that waits.
            let _ended = visitor.leave.run_until_cancelled(timeout(LINGER_TIME, linger(socket))).await;
        }
    }

    fn serve(&self, socket: Socket, visitor: &Arc<Visitor>) -> Connection {
        let desk = Desk::new(self.router.clone(), Arc::clone(visitor));
        http1::Builder::new()
            // Ours tells a kept connection that is idle from a head that doesn't come to its end.
            .header_read_timeout(None)
            .max_header_size(self.limits.head_bytes)
            .max_headers(self.limits.headers)
            .max_buf_size(self.limits.head_bytes.saturating_mul(2).max(READ_BYTES))
            .keep_alive(!visitor.is_in_the_lobby())
            .serve_connection(TokioIo::new(socket), desk)
            .with_upgrades()
    }
}

/// The socket, where an answer was sent that the client may still have to read.
fn remaining(connection: Connection, end: End, from: SocketAddr) -> Option<Socket> {
    match end {
        End::Done(Ok(())) => {}
        // What can't be understood was answered, too.
        End::Done(Err(error)) if error.is_parse() => debug!(%from, %error, "a request can't be understood"),
        End::Done(Err(error)) => {
            debug!(%from, error = &error as &dyn std::error::Error, "a connection broke");
            return None;
        }
        End::Closed => return None,
    }
    connection.into_parts().map(|parts| parts.io.into_inner())
}

/// Lets a client that is still sending go on for a while, so that it hears what it was answered: closed at once, its
/// bytes would be answered by a reset, which throws the answer away.
async fn linger(mut socket: Socket) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut piece = vec![0; LINGER_PIECE];
    let mut left = LINGER_BYTES;
    while let Ok(bytes) = socket.read(&mut piece).await
        && bytes > 0
        && bytes < left
    {
        left -= bytes;
    }
}
