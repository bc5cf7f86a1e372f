//! What comes in at a peer's port before it is a link: the first bytes of a connection tell what it is.
//!
//! ```text
//! first byte   0           frames: a link from now on
//!              { or blank  the original's lines: what a connection brings is taken as it comes. It becomes a link when it
//!                          stays; most bring one event and close
//!              other       turned away with a reason
//! ```
//!
//! Only so many connections are looked at at once, for so long. The others aren't accepted meanwhile: they wait in the
//! listener's backlog with what they have sent, and nothing of it is lost.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::connection::speech::{Said, Speech};
use crate::connection::{Connection, HELLO_LIMIT};
use crate::peer::conn::{ConnEvent, Wires};

/// Connections that are looked at at once. As many as a node has links.
const MOST: usize = 64;
/// How long a connection may take to show what it is, instead of [`HELLO_LIMIT`], while others wait at the door. A guess: a few round trips of the longest ways.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of lines after which a connection becomes a link, so that what it says counts against a link's rate.
const MOST_LINE_BYTES: usize = 64 * 1024;

/// Connections that wait in the listener's backlog at most. More than 128, which is usual: a peer that is held up for some
/// seconds loses nothing of what is brought meanwhile.
const BACKLOG: u32 = 1024;

/// Listens at an address.
///
/// # Errors
/// When somebody else does, or the address isn't this machine's.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A peer that comes back at its address doesn't wait for what its former connections may still bring.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// The door of one peer.
#[derive(Debug)]
pub struct Door {
    room: Arc<Semaphore>,
    /// Whether nobody else can come in now.
    crowded: watch::Sender<bool>,
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Guest {
    connection: Connection,
    _place: OwnedSemaphorePermit,
}

/// What becomes of a guest.
enum Fate {
    Link,
    Gone,
    TurnedAway(String),
}

impl Default for Door {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(MOST)), crowded: watch::channel(false).0 }
    }
}

impl Door {
    /// Lets the next one in, once there is room. May be cancelled.
    ///
    /// # Errors
    /// When the system can't accept a connection now.
    pub async fn accept(&self, listener: &TcpListener) -> io::Result<Guest> {
        let full = self.room.available_permits() == 0;
        self.crowded.send_if_modified(|crowded| std::mem::replace(crowded, full) != full);
        // It is never closed.
        let place = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
        self.crowded.send_if_modified(std::mem::take);
        Ok(Guest { connection: Connection::accept(listener).await?, _place: place })
    }

    /// Looks at a guest, and tells the peer what it turns out to be.
    pub fn look_at(&self, guest: Guest, wires: &Wires) {
        let (events, original, crowded) = (wires.events.clone(), wires.original, self.crowded.subscribe());
        wires
            .tasks
            .spawn(wires.tasks.token().clone().run_until_cancelled_owned(look_at(guest, original, events, crowded)));
    }
}

async fn look_at(guest: Guest, original: bool, events: mpsc::Sender<ConnEvent>, crowded: watch::Receiver<bool>) {
    let Guest { mut connection, _place } = guest;
    let remote = connection.remote();
    let mut speech = Speech::Unknown { original };
    let end = patience(crowded);
    let fate = tokio::select! {
        fate = listen(&mut connection, &mut speech, &events) => fate,
        () = end => match &speech {
            Speech::Lines(_) => Fate::Link,
            Speech::Unknown { .. } | Speech::Frames(_) | Speech::Neither(_) => Fate::TurnedAway("no hello".to_owned()),
        },
    };
    let event = match fate {
        Fate::Link => ConnEvent::Came { connection, speech },
        Fate::TurnedAway(reason) => ConnEvent::TurnedAway { remote, reason },
        Fate::Gone => return,
    };
    // A peer that is gone needs no guests.
    drop(events.send(event).await);
}

/// Until a guest shows what it is.
async fn listen(connection: &mut Connection, speech: &mut Speech, events: &mpsc::Sender<ConnEvent>) -> Fate {
    let remote = connection.remote();
    let mut bytes = 0;
    loop {
        let read = connection.hear(speech).await.unwrap_or(0);
        bytes += read;
        if matches!(speech, Speech::Frames(_)) {
            return Fate::Link;
        }
        let (said, failure) = if read == 0 { speech.end() } else { speech.take() };
        if let Said::Lines(lines) = said
            && !lines.is_empty()
            && events.send(ConnEvent::Brought { remote, lines }).await.is_err()
        {
            return Fate::Gone;
        }
        match failure {
            Some(reason) => return Fate::TurnedAway(reason),
            None if read == 0 => return Fate::Gone,
            None if matches!(speech, Speech::Lines(_)) && bytes > MOST_LINE_BYTES => return Fate::Link,
            None => {}
        }
    }
}

/// Ends when a guest has had its time, which is short while others wait.
async fn patience(mut crowded: watch::Receiver<bool>) {
    let came = Instant::now();
    let others_wait = async {
        drop(crowded.wait_for(|crowded| *crowded).await);
        sleep_until(came + LEAST_PATIENCE).await;
    };
    drop(timeout_at(came + HELLO_LIMIT, others_wait).await);
}
