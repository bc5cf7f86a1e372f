//! The calls that a section of the page has under way: they end with it.

use futures_util::future::{AbortHandle, abortable};
use leptos::prelude::{LocalStorage, StoredValue, UpdateValue, on_cleanup};

use crate::small_map::SmallMap;
use crate::tasks::{self, Task};

/// Runs calls as long as the section that made this is shown; copies are the same.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    running: StoredValue<(u32, SmallMap<u32, AbortHandle>), LocalStorage>,
}

impl Calls {
    /// For the section that is being made.
    pub fn new() -> Self {
        let running = StoredValue::new_local((0, SmallMap::<u32, AbortHandle>::new()));
        on_cleanup(move || {
            running.try_update_value(|(_, running)| running.entries().iter().for_each(|(_, call)| call.abort()));
        });
        Self { running }
    }

    /// Runs `call` until it ends or the section goes.
    pub fn run(self, call: impl Future<Output = ()> + 'static) {
        self.run_boxed(Box::pin(call));
    }

    /// One copy of the code for all calls: the page is to be small.
    fn run_boxed(self, call: Task) {
        let (call, abort) = abortable(call);
        let number = self.running.try_update_value(|(last, running)| {
            *last += 1;
            running.put(*last, abort);
            *last
        });
        let Some(number) = number else { return }; // the section is gone
        tasks::spawn(async move {
            if call.await.is_ok() {
                self.running.try_update_value(|(_, running)| running.take(&number));
            }
        });
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}
