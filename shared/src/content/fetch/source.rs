//! Somebody who may have something: what is asked of it, and whether it may be asked for more.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::content::fetch::pace::Pace;
use crate::content::io::RequestId;
use crate::ids::PeerId;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::content::{MAX_OPEN_BYTES, MAX_OPEN_REQUESTS};

/// A source is asked for at least so many bytes ahead; where several peers fetch the same and relay it to each other, for
/// no more: what is asked of one is not asked of another. From the requirement.
const SMALLEST_WINDOW: u64 = 1 << 20;
/// A source is asked ahead for as much as it sends in this time. A guess: the longest round trip on which it is kept busy.
const AHEAD_MS: u64 = 200;
/// Nothing at all came for so long of what was asked for: the source is left. From the requirement.
pub(super) const SILENT: Duration = Duration::from_secs(2);
/// How long one that is slow isn't asked. A guess.
const SLOW: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_mins(5) };
/// How long one that is busy isn't asked. A guess.
const BUSY: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(5) };

/// A connection with somebody.
#[derive(Debug)]
pub(super) struct Source {
    /// Who is there.
    pub(super) peer: PeerId,
    /// What is asked of it and hasn't come.
    pub(super) open: BTreeSet<RequestId>,
    /// The bytes of these.
    open_bytes: u64,
    /// How fast it is.
    pub(super) pace: Pace,
    /// When it last brought something, or was asked while nothing was open.
    heard: Instant,
    /// It isn't asked before.
    rests: Option<(Rest, Instant)>,
    /// How often in a row it was slow, and busy.
    slow: u32,
    busy: u32,
}

/// Why a source isn't asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is slow: better than nobody.
    Slow,
    /// It says so.
    Busy,
}

impl Source {
    /// Somebody who isn't asked for anything yet.
    pub(super) fn new(peer: PeerId, now: Instant) -> Self {
        let (open, pace) = (BTreeSet::new(), Pace::default());
        Self { peer, open, open_bytes: 0, pace, heard: now, rests: None, slow: 0, busy: 0 }
    }

    /// How many bytes it may be asked for, in a swarm or not; 0 while it has enough to do, or rests.
    pub(super) fn room_bytes(&self, in_swarm: bool, now: Instant) -> u64 {
        if self.rests.is_some_and(|(_, until)| until > now) || self.open.len() >= MAX_OPEN_REQUESTS {
            return 0;
        }
        let window = if in_swarm { SMALLEST_WINDOW } else { self.pace.rate().saturating_mul(AHEAD_MS) / 1000 };
        let window = window.clamp(SMALLEST_WINDOW, MAX_OPEN_BYTES);
        // One chunk may be as large as the window: so it is asked for before the window is empty.
        if self.open_bytes > window / 2 { 0 } else { window - self.open_bytes }
    }

    /// It was asked for something of so many bytes.
    pub(super) fn asked(&mut self, request: RequestId, bytes: u64, now: Instant) {
        if self.open.is_empty() {
            self.heard = now;
        }
        self.open.insert(request);
        self.open_bytes += bytes;
        if bytes > 0 {
            self.pace.asked(now);
        }
    }

    /// It brought bytes that it was asked for. Returns whether its pace is known anew.
    pub(super) fn brought(&mut self, bytes: u32, now: Instant) -> bool {
        self.heard = now;
        self.busy = 0;
        self.open_bytes = self.open_bytes.saturating_sub(bytes.into());
        self.pace.came(bytes, now)
    }

    /// It said something.
    pub(super) fn spoke(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A request is over, of which so many bytes haven't come.
    pub(super) fn is_over(&mut self, request: RequestId, left_bytes: u64, now: Instant) {
        if self.open.remove(&request) {
            self.open_bytes = self.open_bytes.saturating_sub(left_bytes);
            if self.open_bytes == 0 {
                self.pace.idle(now);
            }
        }
    }

    /// When it is left, unless something comes.
    pub(super) fn is_silent_at(&self) -> Option<Instant> {
        (!self.open.is_empty()).then_some(self.heard + SILENT)
    }

    /// It isn't asked for a while. Returns for how long.
    pub(super) fn rest(&mut self, why: Rest, now: Instant, rng: &mut Rng) -> Duration {
        let (backoff, times) = match why {
            Rest::Slow => (SLOW, &mut self.slow),
            Rest::Busy => (BUSY, &mut self.busy),
        };
        let time = backoff.delay(*times, rng);
        *times += 1;
        self.rests = Some((why, now + time));
        if why == Rest::Slow {
            self.pace = Pace::default();
        }
        time
    }

    /// Until when it isn't asked.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.rests.map(|(_, until)| until).filter(|until| *until > now)
    }

    /// Whether it rests since it is slow.
    pub(super) fn rests_as_slow(&self, now: Instant) -> bool {
        self.rests.is_some_and(|(why, until)| why == Rest::Slow && until > now)
    }

    /// It is asked again.
    pub(super) fn wake(&mut self) {
        self.rests = None;
    }

    /// It is asked again if it has rested long enough. Returns whether it has.
    pub(super) fn wake_rested(&mut self, now: Instant) -> bool {
        self.rests.take_if(|(_, until)| *until <= now).is_some()
    }
}
