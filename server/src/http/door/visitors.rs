//! Who is at the door: how many, from where, and who has waited the longest for a request.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::limits::Limits;

/// How many are let in beyond the limits, for nothing but the server's health. A guess: more than there are checkers.
const LOBBY: usize = 16;
/// How many who make room may still have their sockets when one more is let in. A guess: a task's turn comes soon.
const LEAVING: usize = 16;

/// All visitors; clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Visitors {
    limits: Limits,
    /// A lock is enough: it is held to count one in or out, or to look for who makes room.
    book: Arc<Mutex<Book>>,
    /// Told when one who made room is gone.
    gone: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    entries: HashMap<u64, Entry>,
    addresses: HashMap<IpAddr, usize>,
    inside: Room,
    lobby: Room,
    /// Who made room and still has a socket.
    leaving: usize,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    in_the_lobby: bool,
    /// Whether it makes room: then it is counted there no more, but among those who leave.
    is_leaving: bool,
    leave: CancellationToken,
}

#[derive(Debug, Default)]
struct Room {
    count: usize,
    /// Who waits for a request, by since when.
    waiting: BTreeMap<(Instant, u64), IpAddr>,
}

/// What a visitor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of the next request has come since then.
    Idle(Instant),
    /// A head has begun to come then, or the connection.
    Head(Instant),
    /// A request is being served.
    Served,
    /// The rest of an answer is being written.
    Leftover,
}

/// One connection; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Visitor {
    id: u64,
    in_the_lobby: bool,
    /// Cancelled when it makes room for another, or the server stops.
    pub(super) leave: CancellationToken,
    state: Mutex<State>,
    visitors: Visitors,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    /// Since when it waits, as the book has it.
    waits_since: Instant,
}

impl Visitors {
    /// Nobody is there; as many as `limits` says may come.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, book: Arc::default(), gone: Arc::default() }
    }

    /// Counts in who comes from `address`. `None` where there is no room, not even in the lobby.
    pub(super) fn admit(&self, address: IpAddr, leave: CancellationToken) -> Option<Arc<Visitor>> {
        let (address, now) = (network(address), Instant::now());
        let mut book = self.lock();
        let in_the_lobby = !book.make_room_inside(address, &self.limits);
        if in_the_lobby && book.lobby.count >= LOBBY && !book.close_longest_waiting(true, |_address| true) {
            return None;
        }
        let id = book.next;
        book.next += 1;
        book.count_in(address, in_the_lobby);
        book.room(in_the_lobby).waiting.insert((now, id), address);
        book.entries.insert(id, Entry { address, in_the_lobby, is_leaving: false, leave: leave.clone() });
        let state = Mutex::new(State { phase: Phase::Head(now), waits_since: now });
        Some(Arc::new(Visitor { id, in_the_lobby, leave, state, visitors: self.clone() }))
    }

    /// Closes the connection that has waited the longest, wherever it comes from.
    pub(super) fn make_room(&self) {
        self.lock().close_longest_waiting(false, |_address| true);
    }

    /// Waits until few of those who make room still have their sockets.
    pub(super) async fn settled(&self) {
        while self.lock().leaving > LEAVING {
            self.gone.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Whether there is room for one more from `address`, after closing a connection if need be.
    fn make_room_inside(&mut self, address: IpAddr, limits: &Limits) -> bool {
        if self.addresses.get(&address).is_some_and(|count| *count >= limits.connections_per_address) {
            self.close_longest_waiting(false, |other| other == address)
        } else if self.inside.count >= limits.connections {
            self.close_longest_waiting(false, |_address| true)
        } else {
            true
        }
    }

    /// Closes the connection that has waited the longest of those that `counts`; whether there was one.
    fn close_longest_waiting(&mut self, in_the_lobby: bool, counts: impl Fn(IpAddr) -> bool) -> bool {
        let room = self.room(in_the_lobby);
        let Some(&(since, id)) = room.waiting.iter().find(|(_, address)| counts(**address)).map(|(key, _)| key) else {
            return false;
        };
        room.waiting.remove(&(since, id));
        self.send_away(id);
        true
    }

    fn send_away(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.is_leaving = true;
        entry.leave.cancel();
        let (address, in_the_lobby) = (entry.address, entry.in_the_lobby);
        self.count_out(address, in_the_lobby);
        self.leaving += 1;
    }

    /// Counts who was sent away in again: a request of it came first, and is served.
    fn keep(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.is_leaving) else { return };
        entry.is_leaving = false;
        let (address, in_the_lobby) = (entry.address, entry.in_the_lobby);
        self.leaving -= 1;
        self.count_in(address, in_the_lobby);
    }

    /// Forgets one that is gone; whether it had made room.
    fn forget(&mut self, id: u64) -> bool {
        let Some(Entry { address, in_the_lobby, is_leaving, .. }) = self.entries.remove(&id) else { return false };
        if is_leaving {
            self.leaving -= 1;
        } else {
            self.count_out(address, in_the_lobby);
        }
        is_leaving
    }

    fn count_in(&mut self, address: IpAddr, in_the_lobby: bool) {
        self.room(in_the_lobby).count += 1;
        if !in_the_lobby {
            *self.addresses.entry(address).or_default() += 1;
        }
    }

    fn count_out(&mut self, address: IpAddr, in_the_lobby: bool) {
        let room = self.room(in_the_lobby);
        room.count = room.count.saturating_sub(1);
        if !in_the_lobby && let Some(count) = self.addresses.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    fn room(&mut self, in_the_lobby: bool) -> &mut Room {
        if in_the_lobby { &mut self.lobby } else { &mut self.inside }
    }
}

impl Visitor {
    /// Whether it is only let in to ask for the server's health.
    pub(super) fn is_in_the_lobby(&self) -> bool {
        self.in_the_lobby
    }

    /// Whether no request of it is being served.
    pub(super) fn waits(&self) -> bool {
        matches!(self.lock().phase, Phase::Idle(_) | Phase::Head(_))
    }

    /// When it is closed if nothing happens.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match self.lock().phase {
            Phase::Idle(since) => Some(since + limits.idle_time),
            Phase::Head(since) => Some(since + limits.head_time),
            Phase::Served | Phase::Leftover => None,
        }
    }

    /// Some bytes came.
    pub(super) fn on_bytes(&self) {
        let mut state = self.lock();
        if let Phase::Idle(_) = state.phase {
            state.phase = Phase::Head(Instant::now());
        }
    }

    /// A request has come whole as far as its head.
    pub(super) fn on_request(&self) {
        let former = std::mem::replace(&mut self.lock().phase, Phase::Served);
        if let Phase::Idle(_) | Phase::Head(_) = former {
            let key = (self.lock().waits_since, self.id);
            let mut book = self.visitors.lock();
            book.room(self.in_the_lobby).waiting.remove(&key);
            book.keep(self.id);
        }
    }

    /// The answer has been handed over to the connection, which may still have to write some of it.
    pub(super) fn on_answered(&self) {
        self.lock().phase = Phase::Leftover;
    }

    /// All that there was to write is written.
    pub(super) fn on_written(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.phase != Phase::Leftover {
            return;
        }
        *state = State { phase: Phase::Idle(now), waits_since: now };
        drop(state);
        let mut book = self.visitors.lock();
        if let Some(Entry { address, .. }) = book.entries.get(&self.id) {
            let address = *address;
            book.room(self.in_the_lobby).waiting.insert((now, self.id), address);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let key = (self.lock().waits_since, self.id);
        let mut book = self.visitors.lock();
        book.room(self.in_the_lobby).waiting.remove(&key);
        if book.forget(self.id) {
            self.visitors.gone.notify_one();
        }
    }
}

/// What counts as one address: of IPv6 the network, for a household has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors(connections: usize, connections_per_address: usize) -> Visitors {
        Visitors::new(Limits { connections, connections_per_address, ..Limits::default() })
    }

    fn admit(visitors: &Visitors, address: &str) -> Arc<Visitor> {
        visitors.admit(address.parse().unwrap(), CancellationToken::new()).unwrap()
    }

    #[tokio::test]
    async fn who_has_waited_the_longest_makes_room() {
        let visitors = visitors(3, 3);
        let (served, first, second) =
            (admit(&visitors, "10.0.0.1"), admit(&visitors, "10.0.0.2"), admit(&visitors, "10.0.0.3"));
        served.on_request();
        let third = admit(&visitors, "10.0.0.4");
        assert!(first.leave.is_cancelled() && !served.leave.is_cancelled() && !second.leave.is_cancelled());
        // Answered and written, it waits again, but not as long as the others.
        served.on_answered();
        served.on_written();
        let _fourth = admit(&visitors, "10.0.0.5");
        assert!(second.leave.is_cancelled() && !served.leave.is_cancelled() && !third.leave.is_cancelled());
    }

    #[tokio::test]
    async fn an_address_that_has_many_makes_room_for_itself() {
        let visitors = visitors(10, 2);
        let other = admit(&visitors, "10.0.0.1");
        let (first, second) = (admit(&visitors, "10.0.0.2"), admit(&visitors, "::ffff:10.0.0.2"));
        let _third = admit(&visitors, "10.0.0.2");
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled() && !other.leave.is_cancelled());
        let (first, second) = (admit(&visitors, "fd00::1"), admit(&visitors, "fd00::2"));
        let _third = admit(&visitors, "fd00::3");
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled(), "a network is one address");
        assert!(!admit(&visitors, "fd00:0:0:1::1").in_the_lobby);
        assert!(!second.leave.is_cancelled());
    }

    #[tokio::test]
    async fn where_nobody_waits_some_are_let_into_the_lobby_and_no_more() {
        let visitors = visitors(2, 2);
        let inside = [admit(&visitors, "10.0.0.1"), admit(&visitors, "10.0.0.2")];
        for visitor in &inside {
            visitor.on_request();
        }
        let lobby: Vec<_> = (0..LOBBY).map(|_| admit(&visitors, "10.0.0.3")).collect();
        assert!(lobby.iter().all(|visitor| visitor.is_in_the_lobby()));
        let newest = admit(&visitors, "10.0.0.3");
        assert!(lobby[0].leave.is_cancelled() && !lobby[1].leave.is_cancelled(), "there it is the same");
        for visitor in &lobby {
            visitor.on_request();
        }
        newest.on_request();
        assert!(visitors.admit("10.0.0.4".parse().unwrap(), CancellationToken::new()).is_none());
        drop(inside);
        assert!(!admit(&visitors, "10.0.0.4").is_in_the_lobby(), "who leaves is counted out");
    }

    #[tokio::test]
    async fn nobody_is_counted_twice_or_for_ever() {
        let visitors = visitors(2, 2);
        let evicted = admit(&visitors, "10.0.0.1");
        let others = [admit(&visitors, "10.0.0.1"), admit(&visitors, "10.0.0.1")];
        assert!(evicted.leave.is_cancelled());
        // It was about to be served when it was told to leave.
        evicted.on_request();
        evicted.on_answered();
        evicted.on_written();
        let counts = || {
            let book = visitors.lock();
            (book.inside.count, book.leaving)
        };
        assert_eq!(counts(), (3, 0), "it is served after all");
        let other = admit(&visitors, "10.0.0.1");
        assert_eq!(counts(), (3, 1), "it has its socket still");
        drop(evicted);
        drop(others);
        drop(other);
        let book = visitors.lock();
        assert_eq!((book.inside.count, book.lobby.count, book.entries.len(), book.addresses.len()), (0, 0, 0, 0));
        assert_eq!(book.leaving, 0);
        assert!(book.inside.waiting.is_empty() && book.lobby.waiting.is_empty());
    }
}
