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
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use shared::wire::lines::Line;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::connection::codec::{Codec, Decoded};
use crate::connection::{Connection, HELLO_LIMIT};
use crate::peer::conn::{ConnContext, ConnEvent};

/// Connections that are looked at at once. As many as a node has links.
const MOST: usize = 64;
/// How long a connection may take to show what it is, instead of [`HELLO_LIMIT`], while others wait at the door. A
/// guess: a few round trips of the longest ways.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of lines after which a connection becomes a link, so that what it says counts against a link's rate.
const MOST_LINE_BYTES: usize = 64 * 1024;

/// Connections that wait in the listener's backlog at most. More than 128, which is usual: a peer that is held up for
/// some seconds loses nothing of what is brought meanwhile.
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
    pub fn look_at(&self, guest: Guest, context: &ConnContext) {
        let (events, original, crowded) = (context.events.clone(), context.original, self.crowded.subscribe());
        context
            .tasks
            .spawn(context.tasks.token().clone().run_until_cancelled_owned(look_at(guest, original, events, crowded)));
    }
}

async fn look_at(guest: Guest, original: bool, events: mpsc::Sender<ConnEvent>, crowded: watch::Receiver<bool>) {
    let Guest { mut connection, _place } = guest;
    let remote = connection.remote();
    let (mut codec, mut bytes) = (Codec::Unknown { original }, 0);
    let mut patience = pin!(patience(crowded));
    let fate = loop {
        let Some(read) = read(&mut connection, &mut codec, patience.as_mut()).await else { break unheard(&codec) };
        bytes += read;
        let (lines, fate) = hear(&mut codec, read, bytes);
        // However long the peer takes to hear them: they are nowhere else any more.
        if !lines.is_empty() && events.send(ConnEvent::Brought { remote, lines }).await.is_err() {
            return;
        }
        if let Some(fate) = fate {
            break fate;
        }
    };
    let event = match fate {
        Fate::Link => ConnEvent::Came { connection, codec },
        Fate::TurnedAway(reason) => ConnEvent::TurnedAway { remote, reason },
        Fate::Gone => return,
    };
    // A peer that is gone needs no guests.
    drop(events.send(event).await);
}

/// How many bytes came, 0 at the end; `None` when the guest's time is over and nothing more is there. After a stop of
/// this process both are so at once: what has come counts.
async fn read(
    connection: &mut Connection,
    codec: &mut Codec,
    patience: Pin<&mut impl Future<Output = ()>>,
) -> Option<usize> {
    tokio::select! {
        biased;
        read = connection.hear(codec) => Some(read.unwrap_or(0)),
        () = patience => None,
    }
}

/// The lines that came with a read of `read` bytes, the last of `bytes`, and what becomes of the guest, if it is known
/// now.
fn hear(codec: &mut Codec, read: usize, bytes: usize) -> (Vec<Line>, Option<Fate>) {
    if matches!(codec, Codec::Frames(_)) {
        return (Vec::new(), Some(Fate::Link));
    }
    let (decoded, failure) = if read == 0 { codec.end() } else { codec.take() };
    let lines = match decoded {
        Decoded::Lines(lines) => lines,
        Decoded::Messages(_) => Vec::new(),
    };
    let fate = match failure {
        Some(reason) => Some(Fate::TurnedAway(reason)),
        None if read == 0 => Some(Fate::Gone),
        None if matches!(codec, Codec::Lines(_)) && bytes > MOST_LINE_BYTES => Some(Fate::Link),
        None => None,
    };
    (lines, fate)
}

/// What becomes of a guest whose time is over.
fn unheard(codec: &Codec) -> Fate {
    match codec {
        Codec::Lines(_) => Fate::Link,
        Codec::Unknown { .. } | Codec::Frames(_) | Codec::Neither(_) => Fate::TurnedAway("no hello".to_owned()),
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream as Client;

    use shared::gossip::io::LinkId;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    const LINE: &[u8] = b"{\"type\":\"event\",\"file_id\":\"f\",\"version\":1,\"from\":\"127.0.0.1:9001\",\"ts\":1}\n";

    /// Guests that are being looked at, and their own ends.
    async fn look_at_some(count: usize, events: &mpsc::Sender<ConnEvent>) -> (JoinSet<()>, Vec<Client>) {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let (door, mut guests, mut clients) = (Door::default(), Vec::new(), Vec::new());
        for _ in 0..count {
            clients.push(Client::connect(listener.local_addr().unwrap()).unwrap());
            guests.push(door.accept(&listener).await.unwrap());
        }
        let look_at = |guest| look_at(guest, true, events.clone(), door.crowded.subscribe());
        let looking = guests.into_iter().map(look_at).collect();
        // Each is waited for now.
        yield_now().await;
        (looking, clients)
    }

    /// As for a process that is stopped: bytes come and time passes before it can see either.
    #[tokio::test(start_paused = true)]
    async fn what_has_come_is_heard_though_its_time_is_over_before_it_is_read() {
        const COUNT: usize = 32;
        let (events, mut inbox) = mpsc::channel(2 * COUNT);
        let (looking, clients) = look_at_some(COUNT, &events).await;
        for mut client in clients {
            client.write_all(LINE).unwrap();
        }
        tokio::time::advance(HELLO_LIMIT * 2).await;
        looking.join_all().await;
        drop(events);
        for _ in 0..COUNT {
            let heard = inbox.recv().await;
            assert!(matches!(&heard, Some(ConnEvent::Brought { lines, .. }) if lines.len() == 1), "{heard:?}");
        }
        assert!(inbox.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_heard_however_long_the_peer_is_busy() {
        let (events, mut inbox) = mpsc::channel(1);
        events.send(ConnEvent::Drained { link: LinkId(1) }).await.unwrap();
        let (looking, mut clients) = look_at_some(1, &events).await;
        clients[0].write_all(LINE).unwrap();
        tokio::time::sleep(HELLO_LIMIT * 2).await;
        assert!(matches!(inbox.recv().await, Some(ConnEvent::Drained { .. })));
        assert!(matches!(inbox.recv().await, Some(ConnEvent::Brought { .. })));
        assert!(matches!(inbox.recv().await, Some(ConnEvent::Came { .. })), "it stays, so it becomes a link");
        looking.join_all().await;
    }
}
