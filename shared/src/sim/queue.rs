//! What is going to happen, by time, then in the order in which it was put in.

use std::collections::VecDeque;

use crate::time::Instant;

/// One for what happens now, and one for each bit of a moment.
const BUCKETS: usize = 65;

/// A queue of future events: a radix heap (Ahuja, Mehlhorn, Orlin, Tarjan, "Faster Algorithms for the Shortest Path
/// Problem", JACM 1990, section 2), which works since time doesn't go back. What is due at the same moment is always in
/// the same bucket, in the order in which it came.
#[derive(Debug)]
pub struct Queue<T> {
    /// What happens at `now`.
    due: VecDeque<T>,
    /// What happens later, by the highest bit in which its moment differs from `now`.
    later: Vec<Vec<(Instant, T)>>,
    now: Instant,
}

impl<T> Queue<T> {
    /// Nothing is going to happen.
    pub fn new() -> Self {
        let later = std::iter::repeat_with(Vec::new).take(BUCKETS).collect();
        Self { due: VecDeque::new(), later, now: Instant::START }
    }

    /// `what` will happen at `at`; now, if that is past.
    pub fn push(&mut self, at: Instant, what: T) {
        let differs = at.as_micros() ^ self.now.as_micros();
        let bucket = usize::try_from(u64::BITS - differs.leading_zeros()).unwrap_or(0);
        if at <= self.now {
            self.due.push_back(what);
        } else if let Some(bucket) = self.later.get_mut(bucket) {
            bucket.push((at, what));
        }
    }

    /// What happens next, if it is before `end`. Nothing is put in before that any more.
    pub fn pop_before(&mut self, end: Instant) -> Option<(Instant, T)> {
        if self.due.is_empty() {
            self.advance(end)?;
        }
        if self.now >= end {
            return None;
        }
        self.due.pop_front().map(|what| (self.now, what))
    }

    /// Goes on to the next moment at which something happens, if it is before `end`.
    fn advance(&mut self, end: Instant) -> Option<()> {
        let place = self.later.iter().position(|bucket| !bucket.is_empty())?;
        let bucket = self.later.get_mut(place)?;
        let next = bucket.iter().map(|(at, _)| *at).min().filter(|next| *next < end)?;
        let mut sooner = std::mem::take(bucket);
        self.now = next;
        for (at, what) in sooner.drain(..) {
            self.push(at, what);
        }
        // All went to lower buckets; the room that they had is for what comes.
        self.later.get_mut(place).map(|bucket| *bucket = sooner)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}
