//! The bridge's links to entry peers: one, and a second one for as long as the first is slow. Entries are tried one
//! after the other; a dial that hangs doesn't hold up the next.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shared::ids::PeerId;
use shared::rng::Rng;
use shared::wire::peer::PeerMessage;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bridge::source::BACKOFF;
use crate::client::{Link, LinkError};
use crate::deadline::at;
use crate::dial::HostPort;

/// The most links, and the most dials, at once.
const AT_ONCE: usize = 2;
/// How long a dial is waited for before another entry is dialled, too.
pub(super) const HURRY: Duration = Duration::from_secs(1);

/// Names a link for as long as the bridge runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u64);

/// What links have to tell.
pub(super) enum LinkEvent {
    /// One more is open.
    Opened(LinkId),
    /// The entry peer said something.
    Received(LinkId, PeerMessage),
    /// It broke.
    Lost(LinkId, HostPort, LinkError),
    /// An entry couldn't be reached.
    Unreached(HostPort, LinkError),
    /// There is nobody to dial.
    NoEntries,
}

type Dialled = (HostPort, Result<Link, LinkError>);

/// The links. The first of `open` is the one that changes are submitted to.
pub(super) struct Links {
    me: PeerId,
    cluster: String,
    entries: watch::Receiver<Vec<HostPort>>,
    /// Counts on, over the ends of `entries`.
    next_entry: usize,
    open: Vec<(LinkId, Link)>,
    last_link: u64,
    dialling: Vec<HostPort>,
    dials: FuturesUnordered<Pin<Box<dyn Future<Output = Dialled> + Send>>>,
    /// How many links there should be.
    wanted: usize,
    /// Dials and links that failed since an entry peer last did its work.
    failures: usize,
    dial_at: Instant,
    /// When the last dial began.
    dialled_at: Instant,
    told_empty: bool,
    rng: Rng,
}

impl Links {
    /// No links yet, to none of `entries`.
    pub(super) fn new(me: PeerId, cluster: String, entries: watch::Receiver<Vec<HostPort>>, rng: Rng) -> Self {
        let now = Instant::now();
        Self {
            me,
            cluster,
            entries,
            next_entry: 0,
            open: Vec::new(),
            last_link: 0,
            dialling: Vec::new(),
            dials: FuturesUnordered::new(),
            wanted: 1,
            failures: 0,
            dial_at: now,
            dialled_at: now,
            told_empty: false,
            rng,
        }
    }

    /// Whether there is a link to hand changes over on.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// All links; changes are submitted to the first.
    pub(super) fn all(&self) -> Vec<LinkId> {
        self.open.iter().map(|(id, _)| *id).collect()
    }

    /// An open link.
    pub(super) fn get(&mut self, id: LinkId) -> Option<&mut Link> {
        self.open.iter_mut().find(|(other, _)| *other == id).map(|(_, link)| link)
    }

    /// The first link is slow: open another beside it.
    pub(super) fn want_second(&mut self) {
        self.wanted = AT_ONCE;
    }

    /// This one answers sooner than the first.
    pub(super) fn prefer(&mut self, id: LinkId) {
        self.open.sort_by_key(|(other, _)| *other != id);
    }

    /// The first link is enough: others are closed, and named here. No answer will come on them.
    #[must_use]
    pub(super) fn one_is_enough(&mut self) -> Vec<LinkId> {
        self.wanted = 1;
        let others = self.open.split_off(self.open.len().min(1));
        others.into_iter().map(|(id, _closed)| id).collect()
    }

    /// An entry peer did its work.
    pub(super) fn works(&mut self) {
        self.failures = 0;
    }

    /// Gives a link up.
    pub(super) fn lose(&mut self, id: LinkId) -> Option<HostPort> {
        let index = self.open.iter().position(|(other, _)| *other == id)?;
        let (_, link) = self.open.remove(index);
        self.failed();
        Some(link.entry)
    }

    /// What happens next. May be cancelled; nothing is lost by it.
    pub(super) async fn next(&mut self) -> LinkEvent {
        loop {
            if self.entries.borrow().is_empty() && self.open.is_empty() && !self.told_empty {
                self.told_empty = true;
                return LinkEvent::NoEntries;
            }
            self.dial_who_is_due();
            let wake_at = self.wake_at();
            tokio::select! {
                (id, heard) = hear(&mut self.open) => match heard {
                    Ok(message) => return LinkEvent::Received(id, message),
                    Err(error) => if let Some(entry) = self.lose(id) {
                        return LinkEvent::Lost(id, entry, error);
                    },
                },
                Some((entry, dialled)) = self.dials.next() => if let Some(event) = self.dialled(entry, dialled) {
                    return event;
                },
                () = changed(&mut self.entries) => {
                    self.told_empty = false;
                    self.dial_at = Instant::now();
                }
                () = at(wake_at) => {}
            }
        }
    }

    fn dialled(&mut self, entry: HostPort, dialled: Result<Link, LinkError>) -> Option<LinkEvent> {
        self.dialling.retain(|other| *other != entry);
        match dialled {
            Ok(link) if self.open.len() < self.wanted => {
                self.last_link += 1;
                let id = LinkId(self.last_link);
                self.open.push((id, link));
                Some(LinkEvent::Opened(id))
            }
            // Another dial was quicker.
            Ok(_not_wanted) => None,
            Err(error) => {
                self.failed();
                Some(LinkEvent::Unreached(entry, error))
            }
        }
    }

    /// The next entry comes at once, but after all have failed there is a pause.
    fn failed(&mut self) {
        self.failures += 1;
        let entries = self.entries.borrow().len().max(1);
        if self.failures.is_multiple_of(entries) {
            let round = u32::try_from(self.failures / entries - 1).unwrap_or(u32::MAX);
            self.dial_at = Instant::now() + BACKOFF.delay(round, &mut self.rng);
        }
    }

    fn dial_who_is_due(&mut self) {
        while self.dial_is_due_at().is_some_and(|due| due <= Instant::now()) {
            let Some(entry) = self.candidate() else { return };
            self.next_entry = self.next_entry.wrapping_add(1);
            self.dialling.push(entry.clone());
            self.dialled_at = Instant::now();
            let (me, cluster) = (self.me, self.cluster.clone());
            self.dials.push(Box::pin(async move { (entry.clone(), Link::open(entry, me, &cluster).await) }));
        }
    }

    /// When something must be looked at again, if nothing happens.
    fn wake_at(&self) -> Option<Instant> {
        self.dial_is_due_at().filter(|_| self.candidate().is_some())
    }

    fn dial_is_due_at(&self) -> Option<Instant> {
        let (open, dialling) = (self.open.len(), self.dialling.len());
        if open >= self.wanted || dialling >= AT_ONCE {
            return None;
        }
        // Beyond what is wanted only where a dial hangs.
        let hurried = (open + dialling >= self.wanted).then_some(self.dialled_at + HURRY);
        Some(hurried.unwrap_or(self.dial_at).max(self.dial_at))
    }

    /// The next entry that is neither linked nor dialled.
    fn candidate(&self) -> Option<HostPort> {
        let entries = self.entries.borrow();
        let busy =
            |entry: &HostPort| self.dialling.contains(entry) || self.open.iter().any(|(_, link)| link.entry == *entry);
        let first = self.next_entry.checked_rem(entries.len())?;
        let (before, after) = entries.split_at_checked(first)?;
        after.iter().chain(before).find(|entry| !busy(entry)).cloned()
    }
}

/// What is said on any link; for ever when there is none.
async fn hear(open: &mut [(LinkId, Link)]) -> (LinkId, Result<PeerMessage, LinkError>) {
    match open {
        [] => pending().await,
        [(id, link)] => (*id, link.receive().await),
        [(first, one), (second, other), ..] => tokio::select! {
            heard = one.receive() => (*first, heard),
            heard = other.receive() => (*second, heard),
        },
    }
}

/// Waits for other entry peers; for ever when they can't change any more.
async fn changed(entries: &mut watch::Receiver<Vec<HostPort>>) {
    if entries.changed().await.is_err() {
        pending::<()>().await;
    }
}
