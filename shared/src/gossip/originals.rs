//! Peers of the original system, which speak JSON lines ([`crate::wire::lines`]): where they are, and what they have
//! been told.
//!
//! An original writes on the connections that it dials and reads those that it accepts, so each side dials the other:
//!
//! ```text
//!   original                                          this node
//!   │ ── hello {from} ───────────────────────────────▶ │   on its connection; nothing is answered there
//!   │ ── state {files, peers}, each 2 s ─────────────▶ │
//!   │ ◀───────────────────────────── (connection) ──── │   dialled by this node, which waits:
//!   │ ── hello {from} ───────────────────────────────▶ │   an original speaks first; so it is one
//!   │ ◀────────────── hello, state in several lines ── │
//!   │ ◀────────────────────────────────────── event ── │   for each change, as it is applied here
//!
//!   bridge ── event ──▶ this node                             connect, one line, close
//! ```
//!
//! Nobody is taken for an original because of what others say: only who speaks lines first is told anything. An address
//! is in the [address book](super::membership::address_book) or here, never in both, so no original is ever offered to
//! peers as one of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::gossip::catalogue::Catalogue;
use crate::gossip::io::{LinkId, NodeEvent, Output};
use crate::gossip::ledger::EVERYTHING;
use crate::gossip::reconcile;
use crate::gossip::runtime::Runtime;
use crate::ids::{FileId, Version};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::lines::{self, Line, LineMessage};
use crate::wire::peer::{Key, Wanted};

/// Originals that are dialled and told. A guess: each costs a link, and every original dials every other anyway.
pub const MAX_ORIGINALS: usize = 16;
/// After one more failure in a row an original is forgotten: with the pauses of `Views::redial_lost` after one to two
/// minutes. One that comes back dials by itself.
const MAX_FAILURES: u32 = 9;
/// A link that lasted this long was good: what failed before it doesn't count any more. A guess: some of its dial
/// loops.
const LASTING: Duration = Duration::from_secs(10);
/// The pause between two dials, whomever they are for, so that nobody can have us flood others by naming them. A guess:
/// ten a second hurt nobody, and the last of 16 originals waits no longer than for its own next state.
const DIAL_EVERY: Duration = Duration::from_millis(100);
/// How soon one that gives a sign of life is dialled again at the latest. About the original's pause.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How often it is looked whether there are other peers to tell of. The original's pause between two states.
const PEERS_EVERY: Duration = Duration::from_secs(2);

/// The originals that this node knows.
#[derive(Debug)]
pub struct Originals {
    /// The pause before one that was lost is dialled again.
    redial: Backoff,
    known: BTreeMap<SocketAddr, Original>,
    /// When one may be dialled again.
    dial_at: Instant,
    /// Lamport's clock, as the original has it.
    clock: u64,
    /// Changes that were applied since the originals were last told.
    changes: Vec<(FileId, Version)>,
    /// The peers that all of them were told of, and when to look whether there are others.
    peers: Vec<SocketAddr>,
    peers_at: Instant,
    /// When the next part of a state may be told.
    state_at: Instant,
    /// Lines that weren't understood.
    not_understood: u64,
}

#[derive(Debug)]
struct Original {
    usage: Usage,
    /// A person named it: it is never forgotten.
    named: bool,
    failures: u32,
    not_before: Instant,
}

#[derive(Debug)]
enum Usage {
    Idle,
    Dialling,
    Linked(Told),
}

/// How far one original has been told.
#[derive(Debug)]
struct Told {
    link: LinkId,
    since: Instant,
    /// From where on the catalogue is still to be told.
    next: Option<Key>,
    /// It takes nothing now.
    congested: bool,
    /// Something changed meanwhile, so that all has to be told again.
    missed: bool,
}

impl Originals {
    /// None is known. `redial`: the pause before one that was lost is dialled again.
    pub fn new(redial: Backoff) -> Self {
        Self {
            redial,
            known: BTreeMap::new(),
            dial_at: Instant::START,
            clock: 0,
            changes: Vec::new(),
            peers: Vec::new(),
            peers_at: Instant::START,
            state_at: Instant::START,
            not_understood: 0,
        }
    }

    /// An address where an original may be. Returns whether it is taken: if there is no room, one that fails
    /// gives way, but those that a person names are always taken.
    pub fn learn(&mut self, addr: SocketAddr, named: bool, now: Instant) -> bool {
        if let Some(known) = self.known.get_mut(&addr) {
            known.named |= named;
            known.not_before = known.not_before.min(now + SIGN_OF_LIFE);
            return true;
        }
        if self.known.len() >= MAX_ORIGINALS && !self.make_room() && !named {
            return false;
        }
        self.known.insert(addr, Original { usage: Usage::Idle, named, failures: 0, not_before: now });
        true
    }

    /// The one that failed most often goes.
    fn make_room(&mut self) -> bool {
        let failing = self.known.iter().filter(|(_, known)| known.failures > 0 && !known.named);
        let gone = failing.max_by_key(|(_, known)| known.failures).map(|(addr, _)| *addr);
        gone.is_some_and(|gone| self.known.remove(&gone).is_some())
    }

    /// Whether an address is one of theirs, as far as is known.
    pub fn knows(&self, addr: &SocketAddr) -> bool {
        self.known.contains_key(addr)
    }

    /// Another kind of peer is there. Returns whether a person named it.
    pub fn forget(&mut self, addr: &SocketAddr) -> bool {
        self.known.remove(addr).is_some_and(|known| known.named)
    }

    /// One that is to be dialled now; it counts as being dialled from now on.
    pub fn poll_dial(&mut self, now: Instant) -> Option<SocketAddr> {
        if now < self.dial_at {
            return None;
        }
        let due = |known: &Original| matches!(known.usage, Usage::Idle) && known.not_before <= now;
        let (addr, known) = self.known.iter_mut().find(|(_, known)| due(known))?;
        known.usage = Usage::Dialling;
        self.dial_at = now + DIAL_EVERY;
        Some(*addr)
    }

    /// Whether an address is being dialled as an original's.
    pub fn is_dialling(&self, addr: &SocketAddr) -> bool {
        self.known.get(addr).is_some_and(|known| matches!(known.usage, Usage::Dialling))
    }

    /// It spoke on the link that was dialled: it is an original, and is to be told everything.
    pub fn linked(&mut self, addr: SocketAddr, link: LinkId, now: Instant) {
        let Some(known) = self.known.get_mut(&addr) else { return };
        let told = Told { link, since: now, next: Some(Key(0)), congested: false, missed: false };
        known.usage = Usage::Linked(told);
        self.state_at = now;
    }

    /// A dial failed (`link`: absent), or the link that was dialled is closed: it is tried again, or forgotten.
    pub fn lost(&mut self, addr: SocketAddr, link: Option<LinkId>, now: Instant, rng: &mut Rng) {
        let Some(known) = self.known.get_mut(&addr) else { return };
        match &known.usage {
            Usage::Linked(told) if Some(told.link) != link => return,
            Usage::Linked(told) if now - told.since >= LASTING => known.failures = 0,
            Usage::Linked(_) | Usage::Dialling | Usage::Idle => {}
        }
        known.usage = Usage::Idle;
        known.not_before = now + self.redial.delay(known.failures, rng);
        known.failures = known.failures.saturating_add(1);
        if known.failures > MAX_FAILURES && !known.named {
            self.known.remove(&addr);
        }
    }

    /// When there is something to do without anything's happening.
    pub fn next_wake(&self) -> Option<Instant> {
        let idle = self.known.values().filter(|known| matches!(known.usage, Usage::Idle));
        let dial_at = idle.map(|known| known.not_before.max(self.dial_at)).min();
        let peers_at = self.told().next().map(|_| self.peers_at);
        let state_at = self.told().any(Told::has_more).then_some(self.state_at);
        [dial_at, peers_at, state_at].into_iter().flatten().min()
    }

    // --- what is told ---------------------------------------------------------------------------------------------

    /// Something was received that carries the sender's clock.
    pub fn heard(&mut self, ts: u64) {
        self.clock = self.clock.max(ts).saturating_add(1);
    }

    /// The clock for something that is sent.
    pub fn stamp(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    /// A change was applied here, which whoever listens is to be told.
    pub fn changed(&mut self, file: &FileId, version: Version) {
        if self.told().next().is_some() {
            self.changes.push((file.clone(), version));
        }
    }

    /// The changes that are to be told, and on which links: not to who told them, at `except`.
    pub fn poll_changes(&mut self, except: Option<SocketAddr>) -> (Vec<LinkId>, Vec<(FileId, Version)>) {
        let changes = std::mem::take(&mut self.changes);
        let links = if changes.is_empty() { Vec::new() } else { self.poll_ready(except) };
        (links, changes)
    }

    /// Who is to be told a part of the catalogue, and from where on.
    pub fn poll_state(&self) -> Option<(LinkId, Key)> {
        self.told().filter(|told| told.has_more()).find_map(|told| Some((told.link, told.next?)))
    }

    /// A part was told on a link; `next` is what is left. The next part follows once the driver has written this one.
    pub fn told_state(&mut self, link: LinkId, next: Option<Key>, now: Instant) {
        self.state_at = now;
        if let Some(told) = self.told_on(link) {
            told.next = next;
        }
    }

    /// Whether it is time to look whether there are other peers to tell of.
    pub fn are_peers_due(&self, now: Instant) -> bool {
        now >= self.peers_at && self.told().next().is_some()
    }

    /// The links on which these peers are to be told: none if they are the same as before.
    pub fn poll_peers(&mut self, now: Instant, peers: &[SocketAddr]) -> Vec<LinkId> {
        self.peers_at = now + PEERS_EVERY;
        if self.peers == peers {
            return Vec::new();
        }
        self.peers = peers.to_vec();
        self.poll_ready(None)
    }

    /// The links on which something new can be told, but for the original at `except`; the others miss it.
    fn poll_ready(&mut self, except: Option<SocketAddr>) -> Vec<LinkId> {
        let mut ready = Vec::new();
        for (addr, known) in &mut self.known {
            let Usage::Linked(told) = &mut known.usage else { continue };
            if told.next == Some(Key(0)) {
                // It is going to be told everything.
                continue;
            }
            told.missed |= told.congested;
            if !told.congested && Some(*addr) != except {
                ready.push(told.link);
            }
        }
        ready
    }

    /// A link takes nothing now.
    pub fn congested(&mut self, link: LinkId) {
        if let Some(told) = self.told_on(link) {
            told.congested = true;
        }
    }

    /// It takes something again: the rest of the state, or all of it where something was missed.
    pub fn drained(&mut self, link: LinkId, now: Instant) {
        self.state_at = now;
        if let Some(told) = self.told_on(link) {
            told.congested = false;
            if std::mem::take(&mut told.missed) {
                told.next = Some(Key(0));
            }
        }
    }

    // --- lines ----------------------------------------------------------------------------------------------------

    /// Dials those that are to be dialled, and tells the others what is to be told. `known`: the peers that this node
    /// knows.
    pub fn tend(&mut self, known: impl Fn(&Runtime) -> Vec<SocketAddr>, catalogue: &Catalogue, rt: &mut Runtime) {
        if rt.leaving {
            return;
        }
        while let Some(addr) = self.poll_dial(rt.now) {
            rt.push(Output::Dial { addr });
        }
        self.tell_changes(None, rt);
        if self.are_peers_due(rt.now) {
            let peers = peers_to_tell(&known, rt);
            let links = self.poll_peers(rt.now, &peers);
            self.say(links, lines::state(own_addr(rt), [], &peers), rt);
        }
        if let Some((link, from)) = self.poll_state() {
            self.tell_state((link, from), known, catalogue, rt);
        }
    }

    /// Tells the changes that were applied since the last time, but not who told them, at `except`.
    pub fn tell_changes(&mut self, except: Option<SocketAddr>, rt: &mut Runtime) {
        let (links, changes) = self.poll_changes(except);
        let events = changes.into_iter().map(|(file, version)| LineMessage::Event { file, version });
        self.say(links, events, rt);
    }

    /// Tells a page of the files, from a key on. The driver says when the link takes no more.
    fn tell_state(
        &mut self,
        (link, from): (LinkId, Key),
        known: impl Fn(&Runtime) -> Vec<SocketAddr>,
        catalogue: &Catalogue,
        rt: &mut Runtime,
    ) {
        let (page, rest) = reconcile::page(catalogue, &Wanted::Range(EVERYTHING, from));
        let files = page.iter().map(|update| (update.file.clone(), update.version));
        let peers = if from == Key(0) { peers_to_tell(known, rt) } else { Vec::new() };
        let state = lines::state(own_addr(rt), files, &peers);
        self.say(vec![link], state, rt);
        self.told_state(link, rest.map(|(_, key)| key), rt.now);
    }

    /// Introduces this node, which listens at `own`, to one that was dialled and is an original.
    pub fn introduce_myself(&mut self, link: LinkId, own: Option<SocketAddr>, rt: &mut Runtime) {
        self.say(vec![link], own.filter(can_be_told).map(|from| LineMessage::Hello { from }), rt);
    }

    fn say(&mut self, to: Vec<LinkId>, messages: impl IntoIterator<Item = LineMessage>, rt: &mut Runtime) {
        if to.is_empty() {
            return;
        }
        let lines: Vec<Line> = messages.into_iter().map(|message| Line { message, ts: self.stamp() }).collect();
        if !lines.is_empty() {
            rt.push(Output::SendLines { to, lines });
        }
    }

    /// How many lines couldn't be understood since the start.
    pub fn lines_not_understood(&self) -> u64 {
        self.not_understood
    }

    /// A line from `remote` couldn't be understood.
    pub fn not_understood(&mut self, remote: SocketAddr, reason: String, rt: &mut Runtime) {
        self.not_understood += 1;
        rt.event(NodeEvent::NotUnderstood { remote, reason, lines: self.not_understood });
    }

    fn told(&self) -> impl Iterator<Item = &Told> {
        self.known.values().filter_map(|known| match &known.usage {
            Usage::Linked(told) => Some(told),
            Usage::Idle | Usage::Dialling => None,
        })
    }

    fn told_on(&mut self, link: LinkId) -> Option<&mut Told> {
        self.known.values_mut().find_map(|known| match &mut known.usage {
            Usage::Linked(told) if told.link == link => Some(told),
            Usage::Linked(_) | Usage::Idle | Usage::Dialling => None,
        })
    }
}

/// This node and the peers that it knows, as far as an original can dial them.
fn peers_to_tell(known: impl Fn(&Runtime) -> Vec<SocketAddr>, rt: &Runtime) -> Vec<SocketAddr> {
    std::iter::once(rt.me.listen).chain(known(rt)).filter(can_be_told).collect()
}

/// Where this node listens, if that is the same for all.
fn own_addr(rt: &Runtime) -> Option<SocketAddr> {
    Some(rt.me.listen).filter(|addr| !addr.ip().is_unspecified())
}

/// The original can't dial an address with more than one colon, and would find itself everywhere.
fn can_be_told(addr: &SocketAddr) -> bool {
    addr.is_ipv4() && !addr.ip().is_unspecified()
}

impl Told {
    fn has_more(&self) -> bool {
        self.next.is_some() && !self.congested
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_mins(2) };

    fn addr(number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(1000 + number).unwrap()))
    }

    /// Fails each dial, and says how many there were until it was forgotten, at most 100.
    fn dials(originals: &mut Originals) -> usize {
        let mut rng = Rng::from_seed(1);
        let mut count = 0;
        while let Some(at) = originals.next_wake().filter(|_| count < 100) {
            let addr = originals.poll_dial(at).unwrap();
            originals.lost(addr, None, at, &mut rng);
            count += 1;
        }
        count
    }

    #[test]
    fn an_original_that_stays_away_is_forgotten_unless_a_person_named_it() {
        let mut originals = Originals::new(PAUSE);
        originals.learn(addr(1), false, Instant::START);
        assert_eq!(dials(&mut originals), 10);
        originals.learn(addr(1), true, Instant::START);
        assert_eq!(dials(&mut originals), 100);
    }

    #[test]
    fn bounded_memory_only_one_that_fails_gives_way() {
        let (mut originals, now) = (Originals::new(PAUSE), Instant::START);
        for number in 0..100 {
            assert_eq!(originals.learn(addr(number), false, now), number < MAX_ORIGINALS);
        }
        let failing = originals.poll_dial(now).unwrap();
        originals.lost(failing, None, now, &mut Rng::from_seed(1));
        assert!(originals.learn(addr(200), false, now) && !originals.knows(&failing));
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut originals = Originals::new(PAUSE);
        originals.heard(102);
        assert_eq!(originals.stamp(), 104);
        originals.heard(0);
        assert_eq!(originals.stamp(), 106);
        originals.heard(u64::MAX);
        assert_eq!(originals.stamp(), u64::MAX);
    }

    #[test]
    fn who_missed_a_change_while_congested_is_told_all_again() {
        let (mut originals, now, link) = (Originals::new(PAUSE), Instant::START, LinkId(1));
        originals.learn(addr(1), false, now);
        originals.linked(addr(1), link, now);
        originals.told_state(link, None, now);
        originals.congested(link);
        originals.changed(&"a".parse().unwrap(), Version(1));
        assert_eq!(originals.poll_changes(None).0, []);
        assert_eq!(originals.poll_state(), None);
        originals.drained(link, now);
        assert_eq!(originals.poll_state(), Some((link, Key(0))));
    }
}
