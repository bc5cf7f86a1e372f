//! A queue with a bound: who puts waits for room, who takes waits for an item, and it ends when nobody can put any more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    capacity: u32,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    depth: u32,
    inlets: u32,
}

impl<T> Queue<T> {
    /// A queue for `capacity` items. It ends until somebody gets an inlet.
    pub(super) fn new(capacity: u32) -> Self {
        let state = State { items: VecDeque::new(), depth: 0, inlets: 0 };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The right to put; the queue ends when the last one is dropped.
    pub(super) fn inlet(&self) -> Inlet<'_, T> {
        lock(&self.state).inlets += 1;
        Inlet { queue: self }
    }

    /// Waits for the next item; `None` when the queue is empty and ends. `then` hears how many items are left before
    /// any other thread can change it.
    pub(super) fn take(&self, then: impl FnOnce(u32)) -> Option<T> {
        let waited = self.changed.wait_while(lock(&self.state), |state| state.items.is_empty() && state.inlets > 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let item = state.items.pop_front()?;
        state.depth -= 1;
        then(state.depth);
        self.changed.notify_all();
        Some(item)
    }
}

/// The right to put into a queue.
#[derive(Debug)]
pub(super) struct Inlet<'a, T> {
    queue: &'a Queue<T>,
}

impl<T> Inlet<'_, T> {
    /// Waits for room. `then` hears how many items are in the queue now before any other thread can change it.
    pub(super) fn put(&self, item: T, then: impl FnOnce(u32)) {
        let Queue { capacity, state, changed } = self.queue;
        let waited = changed.wait_while(lock(state), |state| state.depth == *capacity);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.items.push_back(item);
        state.depth += 1;
        then(state.depth);
        changed.notify_all();
    }
}

impl<T> Drop for Inlet<'_, T> {
    fn drop(&mut self) {
        lock(&self.queue.state).inlets -= 1;
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_keeps_its_bound_and_its_order_and_ends() {
        let queue = Queue::new(3);
        let inlet = queue.inlet();
        let taken = thread::scope(|scope| {
            scope.spawn(move || {
                for item in 0..1_000 {
                    inlet.put(item, |depth| assert!(depth <= 3));
                }
            });
            std::iter::from_fn(|| queue.take(|depth| assert!(depth < 3))).collect::<Vec<_>>()
        });
        assert_eq!(taken, (0..1_000).collect::<Vec<_>>());
        assert_eq!(queue.take(|_| ()), None);
    }
}
