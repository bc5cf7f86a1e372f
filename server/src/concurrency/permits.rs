//! A counting semaphore that serves in the order of asking, so that nobody starves: a thread that gives its permit back
//! and asks at once stands behind those that wait. (A semaphore without order lets it pass them, for ever if it is
//! quick.)

use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;

/// The permits.
#[derive(Debug)]
pub(super) struct Permits {
    total: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: u32,
    max_held: u32,
    /// How many have asked; the number of the next one.
    asked: u64,
    /// How many were served; the number of the one whose turn it is.
    served: u64,
}

impl Permits {
    /// All of `total` are free.
    pub(super) fn new(total: u32) -> Self {
        Self { total, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for a permit; it goes back when it is dropped.
    pub(super) fn acquire(&self) -> Permit<'_> {
        let mut state = lock(&self.state);
        let number = state.asked;
        state.asked += 1;
        let free_for_me = |state: &mut State| state.served == number && state.held < self.total;
        let waited = self.changed.wait_while(state, |state| !free_for_me(state));
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.served += 1;
        state.held += 1;
        state.max_held = state.max_held.max(state.held);
        // The next one may have a free permit too.
        self.changed.notify_all();
        Permit { permits: self }
    }

    /// The most permits that were held at once.
    pub(super) fn max_held(&self) -> u32 {
        lock(&self.state).max_held
    }
}

/// The right to be active.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    permits: &'a Permits,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        lock(&self.permits.state).held -= 1;
        self.permits.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn wait_until_asked(permits: &Permits, asked: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while lock(&permits.state).asked < asked {
            assert!(Instant::now() < deadline, "the thread doesn't ask");
            thread::yield_now();
        }
    }

    #[test]
    fn permits_go_in_the_order_of_asking() {
        let permits = Permits::new(1);
        let served = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let held = permits.acquire();
            for number in 0..8_u64 {
                let (permits, served) = (&permits, &served);
                scope.spawn(move || {
                    let _permit = permits.acquire();
                    lock(served).push(number);
                });
                wait_until_asked(permits, number + 2);
            }
            drop(held);
        });
        assert_eq!(served.into_inner().unwrap(), (0..8).collect::<Vec<_>>());
        assert_eq!(permits.max_held(), 1);
    }

    #[test]
    fn nobody_passes_one_who_waits_by_asking_again_at_once() {
        let permits = Permits::new(1);
        let served = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let held = permits.acquire();
            scope.spawn(|| {
                let _permit = permits.acquire();
                lock(&served).push("waited");
            });
            wait_until_asked(&permits, 2);
            drop(held);
            let _again = permits.acquire();
            lock(&served).push("asked again");
        });
        assert_eq!(served.into_inner().unwrap(), ["waited", "asked again"]);
    }

    #[test]
    fn never_more_than_the_permits_are_held() {
        let permits = Permits::new(2);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _permit = permits.acquire();
                        assert!(lock(&permits.state).held <= 2);
                        thread::yield_now();
                    }
                });
            }
        });
        assert_eq!(lock(&permits.state).held, 0);
        assert!(permits.max_held() <= 2);
    }
}
