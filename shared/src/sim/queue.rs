//! What is going to happen, by time, then in the order in which it was put in.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::time::Instant;

/// A queue of future events.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Slot<T>>>,
    count: u64,
}

#[derive(Debug)]
struct Slot<T> {
    at: Instant,
    order: u64,
    what: T,
}

impl<T> Queue<T> {
    /// Nothing is going to happen.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), count: 0 }
    }

    /// `what` will happen at `at`.
    pub fn push(&mut self, at: Instant, what: T) {
        self.count += 1;
        self.heap.push(Reverse(Slot { at, order: self.count, what }));
    }

    /// What happens next, if it is before `end`.
    pub fn pop_before(&mut self, end: Instant) -> Option<(Instant, T)> {
        if self.heap.peek()?.0.at >= end {
            return None;
        }
        self.heap.pop().map(|Reverse(slot)| (slot.at, slot.what))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Slot<T> {}
